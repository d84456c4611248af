"""`tagtrail gateways update`: sign a version of the agent, put it out, see how it goes."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tagtrail.calls import server_of
from tagtrail_ingest.updates.manifest import SIGNED, number_of
from tagtrail_kernel.errors import RejectedError

app = typer.Typer(no_args_is_help=True)

ApiUrl = Annotated[
    str | None, typer.Option(help="Address of the API; else the server of this home.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Wheel = Annotated[Path, typer.Argument(help="Wheel of the agent, tagtrail_agent-<version>-….whl.")]

_WHEEL: Final = re.compile(r"tagtrail_agent-([0-9.]+)-.*\.whl")


@app.callback()
def update() -> None:
    """Bring a new version of the agent to the gateways: to a few first, then to all.

    Gateways take only what the release key has signed. Keep its file away from the server; the
    public part goes into TAGTRAIL_INGEST_RELEASE_KEY before gateways are enrolled, or into their
    agent.toml as updates.key.
    """


@app.command("new-key")
def new_key(
    file: Annotated[Path, typer.Argument(help="Where the private key shall lie.")],
) -> None:
    """Make a release key; prints its public part."""
    key = Ed25519PrivateKey.generate()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as held:
            held.write(base64.b64encode(key.private_bytes_raw()) + b"\n")
    except OSError as error:
        raise RejectedError(f"cannot make {file}: {error.strerror}") from error
    typer.echo(base64.b64encode(key.public_key().public_bytes_raw()).decode())


@app.command()
def sign(
    wheel: Wheel,
    key: Annotated[Path, typer.Option(help="File of the release key, of `new-key`.")],
    out: Annotated[Path, typer.Option(help="Where the manifest shall lie.")],
    min_version: Annotated[str, typer.Option(help="Oldest version that it may replace.")] = "0.0",
) -> None:
    """Sign a wheel: writes its manifest."""
    found = _WHEEL.fullmatch(wheel.name)
    if found is None:
        raise RejectedError(f"{wheel.name} is not named tagtrail_agent-<version>-….whl")
    members = {
        "version": found[1],
        "url": wheel.name,
        "sha256": hashlib.sha256(_read(wheel)).hexdigest(),
        "min_version": min_version,
    }
    _ = number_of(found[1]), number_of(min_version)
    payload = orjson.dumps(members)
    signed = {
        "payload": base64.b64encode(payload).decode(),
        "signature": base64.b64encode(_private(key).sign(SIGNED + payload)).decode(),
    }
    out.write_bytes(orjson.dumps(signed) + b"\n")
    typer.echo(f"{out}: version {found[1]}")


@app.command()
def publish(
    wheel: Wheel,
    manifest: Annotated[Path, typer.Option(help="Its signed manifest.")],
    canary: Annotated[
        list[str] | None, typer.Option(help="Gateway that takes it first; may be repeated.")
    ] = None,
    canary_pct: Annotated[
        float, typer.Option(min=0.01, max=100, help="Without --canary: part of the gateways.")
    ] = 10.0,
    soak_minutes: Annotated[
        float, typer.Option(min=0, help="So long the first ones must work with it.")
    ] = 60.0,
    within_hours: Annotated[
        float, typer.Option(min=0.01, help="It is stopped if they need longer.")
    ] = 24.0,
    api_url: ApiUrl = None,
    as_json: AsJson = False,
) -> None:
    """Put a version out: to a few gateways, to all when those have proved it.

    It stops by itself when a gateway takes it back or refuses it.
    """
    body = {
        "manifest": _manifest(manifest),
        "wheel": base64.b64encode(_read(wheel)).decode(),
        "canaries": canary or [],
        "canary_pct": canary_pct,
        "soak_minutes": soak_minutes,
        "within_hours": within_hours,
    }
    made = server_of(api_url).call("POST", "/updates", body)
    if as_json:
        typer.echo(orjson.dumps(made, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(f"{made['version']} is out; first: {', '.join(made['canaries'])}")
    typer.echo("See how it goes with `tagtrail gateways update status`.")


@app.command()
def status(api_url: ApiUrl = None, as_json: AsJson = False) -> None:
    """Show the last update, and how every gateway stands to it."""
    state = server_of(api_url).call("GET", "/updates/latest")
    if as_json:
        typer.echo(orjson.dumps(state, option=orjson.OPT_INDENT_2).decode())
        return
    cause = f": {state['cause']}" if state["cause"] else ""
    stage = "done" if state["done"] else state["stage"]
    typer.echo(f"{state['version']}  {stage}{cause}")
    for gateway in state["gateways"]:
        first = "first" if gateway["canary"] else ""
        version, refused = gateway["version"] or "-", gateway["refused"] or ""
        line = f"  {gateway['gateway_id']:<24} {version:<10} {gateway['standing']:<10} {first:<6}"
        typer.echo(f"{line}{refused}".rstrip())


@app.command()
def versions(
    below: Annotated[
        str | None, typer.Option(help="Only gateways with an older version than this.")
    ] = None,
    api_url: ApiUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show which version each gateway runs."""
    query = f"?below={below}" if below else ""
    items = server_of(api_url).call("GET", f"/gateway-versions{query}")["items"]
    if as_json:
        typer.echo(orjson.dumps(items, option=orjson.OPT_INDENT_2).decode())
        return
    for item in items:
        typer.echo(f"{item['gateway_id']:<24} {item['version']:<10} {item['told_at']}")


@app.command()
def extend(api_url: ApiUrl = None) -> None:
    """Let all gateways take the last update, without waiting for the first ones."""
    typer.echo(f"{_decided(api_url, 'extend', None)}: all gateways may take it now")


@app.command()
def stop(
    cause: Annotated[str, typer.Argument(help="Why, for those who read the log.")],
    api_url: ApiUrl = None,
) -> None:
    """Let no further gateway take the last update; those that work with it keep it."""
    typer.echo(f"{_decided(api_url, 'stop', {'cause': cause})}: stopped")


def _decided(api_url: str | None, act: str, body: dict[str, str] | None) -> str:
    server = server_of(api_url)
    latest = server.call("GET", "/updates/latest")
    return str(server.call("POST", f"/updates/{latest['update_id']}/{act}", body)["version"])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RejectedError(f"cannot read {path}: {error.strerror}") from error


def _manifest(path: Path) -> Any:
    try:
        return orjson.loads(_read(path))
    except orjson.JSONDecodeError as error:
        raise RejectedError(f"{path} is no signed manifest: {error}") from error


def _private(path: Path) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(_read(path), validate=False))
    except ValueError as error:
        raise RejectedError(f"{path} holds no release key; make one with `new-key`") from error
