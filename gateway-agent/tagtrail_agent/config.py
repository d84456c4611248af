"""The agent's configuration: agent.toml, the credentials beside it, the files of its state."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from tagtrail_agent.binding import Document, Range, bind
from tagtrail_agent.errors import ConfigError

DEFAULT_PATH: Final = Path("/etc/tagtrail-agent/agent.toml")
"""Where the configuration lies unless another place is named."""

_LEVEL: Final = re.compile(r"[^\x00-\x20\x7f+#/$*>]{1,200}")
"""What may be one level of a topic, and a name on the wire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySection:
    """[gateway]: who this is.

    Attributes:
        id: As the server knows it.
        site: Its site.
        state: Folder of the queue and of what the server has pushed.
    """

    id: str
    site: str
    state: Path = Path("/var/lib/tagtrail-agent")

    def __post_init__(self) -> None:
        for name, value in (("id", self.id), ("site", self.site)):
            if not _LEVEL.fullmatch(value):
                raise ConfigError(f"{name} {value!r}: use letters, digits, - _ . : only")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSection:
    """[server]: where the readings go.

    Attributes:
        url: HTTP address.
        mqtt: Broker's address, mqtts://host:port.
        transport: How batches go; `auto` takes MQTT if there is an address for it.
        ca_file: Certificates to trust instead of the system's.
        config_every_s: How often the server is asked for a new configuration, seconds.
    """

    url: str | None = None
    mqtt: str | None = None
    transport: Literal["auto", "mqtt", "http"] = "auto"
    ca_file: Path | None = None
    config_every_s: Annotated[float, Range(5, 86_400)] = 300.0

    def __post_init__(self) -> None:
        for name, value, schemes in (
            ("url", self.url, ("http", "https")),
            ("mqtt", self.mqtt, ("mqtt", "mqtts")),
        ):
            parts = urlsplit(value or f"{schemes[0]}://none")
            if parts.scheme not in schemes or not parts.hostname:
                raise ConfigError(f"{name} {value!r} must read {schemes[1]}://host:port")
        if self.way == "mqtt" and not self.mqtt:
            raise ConfigError('transport "mqtt" needs the broker\'s address: add mqtt')
        if self.way == "http" and not self.url:
            raise ConfigError("add url, the server's address, or mqtt, the broker's")

    @property
    def way(self) -> Literal["mqtt", "http"]:
        """The transport that is used."""
        if self.transport == "auto":
            return "mqtt" if self.mqtt else "http"
        return self.transport


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSection:
    """[outbox]: what is kept while the server is away.

    Attributes:
        max_mb: Most that the queue may take, MB; beyond that the oldest items are dropped.
        max_age_days: Older items are dropped, days.
        force_every_s: How often the queue is forced to the disk, seconds: a power cut can take
            what came since. The end of the process takes nothing.
    """

    max_mb: Annotated[float, Range(1, 100_000)] = 256.0
    max_age_days: Annotated[float, Range(0.01, 365)] = 30.0
    force_every_s: Annotated[float, Range(0.1, 3600)] = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSection:
    """[batch]: how readings are sent.

    Attributes:
        max_items: Most items of one batch.
        wait_s: How long an item waits for others, seconds.
        confirm_within_s: When a batch without confirmation is sent again, seconds.
        retry_s: First wait after a failure, seconds; doubles.
        max_retry_s: Longest wait after failures, seconds.
        clock_tolerance_s: The clock may be wrong by this much before times are corrected, seconds.
    """

    max_items: Annotated[int, Range(1, 1000)] = 200
    wait_s: Annotated[float, Range(0.05, 3600)] = 2.0
    confirm_within_s: Annotated[float, Range(1, 600)] = 30.0
    retry_s: Annotated[float, Range(0.05, 60)] = 1.0
    max_retry_s: Annotated[float, Range(0.1, 3600)] = 120.0
    clock_tolerance_s: Annotated[float, Range(0.1, 240)] = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatSection:
    """[heartbeat]: how often the gateway says how it is.

    Attributes:
        every_s: Between two heartbeats, seconds.
    """

    every_s: Annotated[float, Range(1, 3600)] = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TagsSection:
    """[tags]: what the gateway knows about tags by itself.

    Attributes:
        file: JSON list of tags, as the server gives it, for a gateway without server.url.
        keys: TOML file with keys of tags, by tag id; mode 600.
        models: Further catalogues of tag models, YAML.
        ranges: Beginnings of identities that pass without enrolment, as "epc:3034257BF7".
    """

    file: Path | None = None
    keys: Path | None = None
    models: tuple[Path, ...] = ()
    ranges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSection:
    """[filter]: what is left out at the edge.

    Attributes:
        enabled: Whether the filter works; without it every reading is sent.
        rules: Rules of one's own, JSON; the server's replace them.
    """

    enabled: bool = True
    rules: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatesSection:
    """[updates]: signed new versions.

    Attributes:
        manifest: Address of the manifest; None = never.
        key: Ed25519 key of whoever signs releases, base64.
        every_s: How often it is looked at, seconds.
        root: Folder of the installed versions.
        health_within_s: How long a new version may take until the server has confirmed something,
            seconds; after that the old one comes back.
    """

    manifest: str | None = None
    key: str | None = None
    every_s: Annotated[float, Range(1, 604_800)] = 21_600.0
    root: Path = Path("/var/lib/tagtrail-agent/versions")
    health_within_s: Annotated[float, Range(1, 86_400)] = 600.0

    def __post_init__(self) -> None:
        if self.manifest is not None and self.key is None:
            raise ConfigError("add key, the release key that manifests must be signed with")


@dataclass(frozen=True, slots=True)
class InputEntry:
    """One [[input]].

    Attributes:
        kind: Which input.
        name: What it is called in figures.
        options: Its other keys.
        place: Where it stands in the file.
    """

    kind: str
    name: str
    options: Mapping[str, Any]
    place: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything of agent.toml.

    Attributes:
        path: The file.
        document: Its text with its lines, for inputs that read their options.
        inputs: In order.
    """

    path: Path
    document: Document
    gateway: GatewaySection
    server: ServerSection
    outbox: OutboxSection = field(default_factory=OutboxSection)
    batch: BatchSection = field(default_factory=BatchSection)
    heartbeat: HeartbeatSection = field(default_factory=HeartbeatSection)
    tags: TagsSection = field(default_factory=TagsSection)
    filter: FilterSection = field(default_factory=FilterSection)
    updates: UpdatesSection = field(default_factory=UpdatesSection)
    inputs: tuple[InputEntry, ...] = ()

    def beside(self, path: Path) -> Path:
        """Return a path of the file, which counts from the folder of the file."""
        return path if path.is_absolute() else self.path.parent / path

    @property
    def state(self) -> Path:
        """Folder of the state."""
        return self.beside(self.gateway.state)

    @property
    def credentials_path(self) -> Path:
        """Where the credentials lie: beside the configuration."""
        return self.path.with_name("credentials.json")


_SECTIONS: Final[Mapping[str, type[Any]]] = {
    "gateway": GatewaySection,
    "server": ServerSection,
    "outbox": OutboxSection,
    "batch": BatchSection,
    "heartbeat": HeartbeatSection,
    "tags": TagsSection,
    "filter": FilterSection,
    "updates": UpdatesSection,
}


def load(path: Path) -> Config:
    """Read agent.toml.

    Raises:
        ConfigError: names the line and says what to do.
    """
    document = Document.read(path)
    for name in document.tables:
        if name not in _SECTIONS and name != "input":
            allowed = ", ".join((*_SECTIONS, "input"))
            raise document.fault((name,), f"is unknown; sections are {allowed}")
    sections: dict[str, Any] = {
        name: bind(cls, document, document.table(name), (name,)) for name, cls in _SECTIONS.items()
    }
    return Config(path=path, document=document, inputs=_inputs(document), **sections)


def updates_in(path: Path) -> UpdatesSection:
    """Read [updates] alone, so that an older launcher gets along with newer sections.

    Raises:
        ConfigError: names the line and says what to do.
    """
    document = Document.read(path)
    return bind(UpdatesSection, document, document.table("updates"), ("updates",))


def _inputs(document: Document) -> tuple[InputEntry, ...]:
    written = document.tables.get("input", [])
    if not isinstance(written, list):
        raise document.fault(("input",), "must be a list: write [[input]] with two brackets")
    entries = []
    for number, table in enumerate(written):
        place = ("input", str(number))
        kind = table.get("kind")
        if not isinstance(kind, str):
            raise document.fault(place, 'needs a kind, as in kind = "bluetooth"')
        options = {k: v for k, v in table.items() if k not in ("kind", "name")}
        name = table.get("name", kind if number == 0 else f"{kind}-{number}")
        if not isinstance(name, str):
            raise document.fault((*place, "name"), "must be text in quotes")
        entries.append(InputEntry(kind, name, options, place))
    return tuple(entries)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the server gave this gateway at its enrolment.

    Attributes:
        key: API key of this gateway alone.
        mqtt_user: User at the broker.
        mqtt_password: Its password.
        config_key: Ed25519 key that signs what is pushed, 32 bytes.
    """

    key: str = field(default="", repr=False)
    mqtt_user: str | None = None
    mqtt_password: str | None = field(default=None, repr=False)
    config_key: bytes | None = field(default=None, repr=False)


def credentials_in(path: Path) -> Credentials:
    """Read the credentials; empty ones if there is no file.

    Raises:
        ConfigError: others may read the file, or it is damaged.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} is open to others; run: chmod 600 {path}")
        members = json.loads(path.read_text(encoding="utf-8"))
        config_key = members.get("config_key")
        return Credentials(
            key=str(members.get("key", "")),
            mqtt_user=members.get("mqtt_user"),
            mqtt_password=members.get("mqtt_password"),
            config_key=bytes.fromhex(config_key) if config_key else None,
        )
    except FileNotFoundError:
        return Credentials()
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); enrol this gateway anew") from error
