"""The tags that this agent may speak of, and their keys. It comes from the server and a key file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from tagtrail_agent.errors import AgentError
from tagtrail_agent.identity.rolling import RollingKey
from tagtrail_agent.identity.spelling import normal_identity

_KEY_KIND: Final = "irk:"
"""An identity of this kind is a key, as ESPresense has it: better not shown to others."""

_DEFAULT_EXPONENT: Final = 10


class TagListError(AgentError):
    """The list of tags or the keys cannot be read; the text names the entry, never a key."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of one tag; None where it has none.

    Attributes:
        irk: Identity resolving key of its private addresses, 16 octets.
        mibeacon: Bind key of MiBeacon, 16 octets, or 12 for versions 2 and 3.
        bthome: Bind key of BTHome, 16 octets.
        eddystone: Identity key and clock of Eddystone EID.
        fmdn: Ephemeral identity key and clock of Google's network.
    """

    irk: bytes | None = field(default=None, repr=False)
    mibeacon: bytes | None = field(default=None, repr=False)
    bthome: bytes | None = field(default=None, repr=False)
    eddystone: RollingKey | None = field(default=None, repr=False)
    fmdn: RollingKey | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class EnrolledTag:
    """A tag that the server told the agent.

    Attributes:
        tag_id: The server's id.
        identities: Normalised identities, `kind:value`, at least one.
        name: The identity that its readings carry, whichever way it was recognised.
        model: Key of the tag model catalogue.
        mode: Cadence mode, "transit" or "storage".
        interval_s: Expected time between adverts, seconds.
        rssi_1m_dbm: Power at 1 m, dBm.
        keys: Its keys.
    """

    tag_id: str
    identities: tuple[str, ...]
    name: str
    model: str | None = None
    mode: str = "storage"
    interval_s: float | None = None
    rssi_1m_dbm: float | None = None
    keys: Keys = Keys()


@dataclass(frozen=True, slots=True)
class Enrolment:
    """All tags that may leave the agent.

    Attributes:
        tags: The tags.
        faults: What of the server's list could not be used, one sentence each, for the log and the
            heartbeat; no address, no key.
        ranges: Beginnings of identities that pass although nobody enrolled them one by one, such
            as "epc:3034257BF7" for the goods of one company.
    """

    tags: tuple[EnrolledTag, ...] = ()
    ranges: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @classmethod
    def parse(cls, document: Mapping[str, Any], keys: Mapping[str, Any] | None = None) -> Enrolment:
        """Read the list of tags.

        Args:
            document: `tags`: objects as `GET /v1/tags` gives them (`tag_id`, `identities`, and
                if known `model`, `mode`, `interval_s`, `rssi_1m_dbm`); `ranges`: texts. Other
                members do not count.
            keys: Keys by tag id: `irk`, `mibeacon`, `bthome` as hex digits; `eddystone`, `fmdn`
                as `{key, exponent, clock_s, clock_at}`. They are the agent's own: the server has
                none. Keys of unknown tags do not count.

        A tag that cannot be read is left out and named in `faults`, so that one mistake does not
        make the gateway deaf. Where two tags claim an identity, the later one has it.

        Raises:
            TagListError: the document is no list of tags, or a key or range cannot be read.
        """
        keys = keys or {}
        items = document.get("tags", [])
        if not isinstance(items, list | tuple):
            raise TagListError("tags must be a list")
        tags: list[EnrolledTag] = []
        faults: list[str] = []
        for item in items:
            try:
                tags.append(_tag(item, keys))
            except _TagFaultError as fault:
                faults.append(str(fault))
        faults += _claimed_twice(tags)
        return cls(
            tuple(tags), tuple(_range(r) for r in document.get("ranges") or ()), tuple(faults)
        )


class _TagFaultError(Exception):
    """A tag of the server's list cannot be used."""


def _claimed_twice(tags: Iterable[EnrolledTag]) -> list[str]:
    owner: dict[str, str] = {}
    faults: list[str] = []
    for tag in tags:
        for identity in tag.identities:
            before = owner.get(identity, tag.tag_id)
            owner[identity] = tag.tag_id
            if before != tag.tag_id:
                kind = identity.partition(":")[0]
                faults.append(
                    f"tags {before!r} and {tag.tag_id!r} claim the same {kind} identity; "
                    "retire one of them at the server"
                )
    return faults


def _tag(item: object, keys: Mapping[str, Any]) -> EnrolledTag:
    if not isinstance(item, Mapping):
        raise _TagFaultError("a tag must be an object with tag_id and identities")
    tag_id = item.get("tag_id")
    written = item.get("identities")
    if not isinstance(tag_id, str) or not tag_id or not isinstance(written, list | tuple):
        raise _TagFaultError("a tag must have a tag_id (text) and identities (list)")
    identities = tuple(dict.fromkeys(_identity(tag_id, i) for i in written))
    if not identities:
        raise _TagFaultError(f"tag {tag_id!r} has no identity; register it with at least one")
    return EnrolledTag(
        tag_id=tag_id,
        identities=identities,
        name=next((i for i in identities if not i.startswith(_KEY_KIND)), identities[0]),
        model=_text(item.get("model")),
        mode=_text(item.get("mode")) or "storage",
        interval_s=_positive(item.get("interval_s")),
        rssi_1m_dbm=_real(item.get("rssi_1m_dbm")),
        keys=_keys(tag_id, identities, keys.get(tag_id) or {}),
    )


def _identity(tag_id: str, written: object) -> str:
    identity = normal_identity(written) if isinstance(written, str) else None
    if identity is None:
        raise _TagFaultError(f"tag {tag_id!r}: one of its identities is not of the form kind:value")
    return identity


def _range(written: object) -> str:
    kind, colon, start = str(written).rstrip("*").partition(":")
    if not colon or not kind or not start:
        raise TagListError(f"range {written!r}: write kind:beginning, such as epc:3034257BF7")
    return f"{kind.lower()}:{start.upper() if kind.lower() in ('epc', 'tid') else start}"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _real(value: object) -> float | None:
    return float(value) if type(value) in (int, float) else None  # type: ignore[arg-type]


def _positive(value: object) -> float | None:
    number = _real(value)
    return number if number is not None and number > 0 else None


def _keys(tag_id: str, identities: tuple[str, ...], given: object) -> Keys:
    if not isinstance(given, Mapping):
        raise TagListError(f"keys of tag {tag_id!r} must be an object")
    strange = set(given) - {"irk", "mibeacon", "bthome", "eddystone", "fmdn"}
    if strange:
        raise TagListError(f"keys of tag {tag_id!r}: unknown {', '.join(sorted(strange))}")
    irk = _octets(tag_id, given, "irk", 16)
    if irk is None:
        own = next((i for i in identities if i.startswith(_KEY_KIND)), None)
        irk = bytes.fromhex(own.removeprefix(_KEY_KIND)) if own else None
    return Keys(
        irk=irk,
        mibeacon=_octets(tag_id, given, "mibeacon", 16, 12),
        bthome=_octets(tag_id, given, "bthome", 16),
        eddystone=_rolling(tag_id, given, "eddystone", 16),
        fmdn=_rolling(tag_id, given, "fmdn", 32),
    )


def _octets(tag_id: str, given: Mapping[str, Any], name: str, *lengths: int) -> bytes | None:
    written = given.get(name)
    if written is None:
        return None
    try:
        key = bytes.fromhex(written) if isinstance(written, str) else b""
    except ValueError:
        key = b""
    if len(key) not in lengths:
        digits = " or ".join(str(2 * n) for n in lengths)
        raise TagListError(f"key {name!r} of tag {tag_id!r} must be {digits} hex digits")
    return key


def _rolling(tag_id: str, given: Mapping[str, Any], name: str, length: int) -> RollingKey | None:
    parts = given.get(name)
    if parts is None:
        return None
    if not isinstance(parts, Mapping):
        raise TagListError(f"key {name!r} of tag {tag_id!r} must be an object")
    key = _octets(tag_id, {name: parts.get("key", "")}, name, length)
    exponent = parts.get("exponent", _DEFAULT_EXPONENT)
    clock_s = parts.get("clock_s")
    if type(exponent) is not int or not 0 <= exponent <= 15:
        raise TagListError(f"key {name!r} of tag {tag_id!r}: exponent is 0 to 15")
    if type(clock_s) is not int or not 0 <= clock_s < 2**32:
        raise TagListError(f"key {name!r} of tag {tag_id!r}: clock_s is the tag's clock, seconds")
    at = _moment(parts.get("clock_at"))
    if key is None or at is None:
        raise TagListError(f"key {name!r} of tag {tag_id!r}: clock_at is a time with an offset")
    return RollingKey(key, exponent, clock_s, at)


def _moment(written: object) -> datetime | None:
    """Read an RFC 3339 time; TOML gives it as a time already."""
    if isinstance(written, str):
        try:
            written = datetime.fromisoformat(written)
        except ValueError:
            return None
    if not isinstance(written, datetime) or written.tzinfo is None:
        return None
    return written.astimezone(UTC)
