"""`tagtrail-agent enrol`: a one-time code becomes this gateway's own credentials."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tagtrail_agent import VERSION, remote
from tagtrail_agent.config import load
from tagtrail_agent.delivery.web import Web
from tagtrail_agent.errors import AgentError, EnrolmentError, RemoteConfigError

_TEMPLATE: Final = """\
# Written by `tagtrail-agent enrol`. Everything that can be set: gateway-agent/README.md.
[gateway]
id = {id}
site = {site}
state = {state}

[server]
url = {url}
{more}
{updates}# What this gateway hears, for example:
# [[input]]
# kind = "bluetooth"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        server: Address of the server.
        code: One-time code.
        config_path: Where the configuration shall lie; an existing one is not changed.
        ca_file: Certificates to trust instead of the system's.
        state: Folder of the queue.
        insecure_http: Whether http:// to another machine is allowed.
    """

    server: str
    code: str
    config_path: Path
    ca_file: Path | None = None
    state: Path | None = None
    insecure_http: bool = False


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What came of it.

    Attributes:
        gateway_id: Who this machine is now.
        site_id: Its site.
        wrote_config: Whether a configuration was written; else one was there.
    """

    gateway_id: str
    site_id: str
    wrote_config: bool


def enrol(request: Request) -> Enrolled:
    """Redeem a code, and write credentials (mode 600) and configuration.

    Raises:
        EnrolmentError: the code is not taken, the address is not safe, or files cannot be written.
        UnreachableError: the server does not answer; the code is still good.
    """
    _demand_safe(request)
    folder = request.config_path.absolute().parent
    _demand_writable(folder)
    answer = _redeemed(request)
    try:
        found = Enrolled(
            str(answer["gateway_id"]), str(answer["site_id"]), not request.config_path.exists()
        )
        credentials, pushed = _checked(answer, found.gateway_id)
    except (KeyError, TypeError, ValueError, AttributeError, RemoteConfigError) as error:
        raise EnrolmentError(
            f"the server's answer cannot be used ({error!r}); is it a newer or older version?"
        ) from error
    try:
        remote.write_private(folder / "credentials.json", json.dumps(credentials).encode())
        if found.wrote_config:
            text = _config_text(request, answer)
            request.config_path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EnrolmentError(
            f"cannot write into {folder} ({error.strerror}); the code is used up, make another"
        ) from error
    _keep_pushed(request, pushed)
    return found


def _demand_writable(folder: Path) -> None:
    """Look before the code is used up."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remote.write_private(folder / ".enrolling", b"")
        (folder / ".enrolling").unlink()
    except OSError as error:
        raise EnrolmentError(f"cannot write into {folder} ({error.strerror}); use sudo?") from error


def _checked(answer: Any, gateway_id: str) -> tuple[dict[str, Any], remote.Pushed]:
    """Return what goes into credentials.json, and the pushed configuration, well signed."""
    config_key = bytes.fromhex(answer["config_key"])
    mqtt = answer.get("mqtt") or {}
    credentials = {
        "key": str(answer["key"]),
        "config_key": config_key.hex(),
        "mqtt_user": mqtt.get("user"),
        "mqtt_password": mqtt.get("password"),
    }
    raw = json.dumps(answer["config"]).encode()
    return credentials, remote.verified(raw, key=config_key, gateway_id=gateway_id)


def _demand_safe(request: Request) -> None:
    parts = urlsplit(request.server)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme == "http" and not local and not request.insecure_http:
        raise EnrolmentError(
            f"{request.server} is not encrypted: everybody on the way could take the key. Use "
            "https://, or --insecure-http in a network that you trust"
        )


def _redeemed(request: Request) -> Any:
    web = Web(request.server, ca_file=request.ca_file, headers={"Content-Type": "application/json"})
    body = json.dumps(
        {"code": request.code, "agent_version": VERSION, "host": socket.gethostname()[:100]}
    )
    try:
        reply = web.request("POST", "/v1/enrolments", body.encode())
    finally:
        web.close()
    if reply.status != 201:
        raise EnrolmentError(reply.detail)
    return reply.json()


def _config_text(request: Request, answer: Any) -> str:
    state = request.state or Path("/var/lib/tagtrail-agent")
    more = []
    mqtt = (answer.get("mqtt") or {}).get("url")
    if mqtt:
        more.append(f"mqtt = {_quoted(mqtt)}")
    if request.ca_file:
        more.append(f"ca_file = {_quoted(str(request.ca_file.absolute()))}")
    release_key = answer.get("release_key")
    return _TEMPLATE.format(
        id=_quoted(answer["gateway_id"]),
        site=_quoted(answer["site_id"]),
        state=_quoted(str(state.absolute())),
        url=_quoted(request.server.rstrip("/")),
        more="\n".join(more),
        updates=f"[updates]\nkey = {_quoted(release_key)}\n\n" if release_key else "",
    )


def _quoted(text: str) -> str:
    """Return a TOML basic string; JSON's escapes are the same."""
    return json.dumps(text)


def _keep_pushed(request: Request, pushed: remote.Pushed) -> None:
    try:
        state = load(request.config_path).state
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (AgentError, OSError):
        return  # `check` tells what is wrong; the running agent fetches it again
    remote.keep(state, pushed)
