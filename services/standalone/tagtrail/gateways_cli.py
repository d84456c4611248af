"""`tagtrail gateways`: one-time codes that make machines gateways."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx2
import orjson
import typer

from tagtrail import diagnosis, running
from tagtrail_kernel.errors import RejectedError, UnavailableError
from tagtrail_kernel.settings import KernelSettings, load

app = typer.Typer(no_args_is_help=True)

TIMEOUT_S = 10.0
"""For the answer; making a code takes milliseconds."""


@app.callback()
def gateways() -> None:
    """Make one-time codes that make machines gateways.

    The key is read from TAGTRAIL_API_KEY; else it is the administrator's of this home.
    """


@app.command("enrol-code")
def enrol_code(
    gateway: Annotated[str, typer.Argument(help="Id of the gateway, as registered.")],
    hours: Annotated[
        float, typer.Option(min=0.02, max=24, help="Hours that the code works.")
    ] = 24.0,
    api_url: Annotated[
        str | None, typer.Option(help="Address of the API; else the server of this home.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Make a code that makes a machine this gateway, once. Older codes of the gateway end.

    It is printed once and not stored; on the machine `tagtrail-agent enrol` takes it.
    """
    settings = load(KernelSettings)
    noted = diagnosis.serving_of(settings)
    url = (api_url or (str(noted["url"]) if noted else "")).rstrip("/")
    if not url:
        raise UnavailableError(
            "no server runs on this home; start one with `tagtrail serve`, or give --api-url"
        )
    home = Path(noted["home"]) if noted else running.home_of(settings)
    made = _made(url, _key(home), gateway, minutes=max(round(hours * 60), 1))
    made["command"] = f"tagtrail-agent enrol --server {url} --code {made['code']}"
    if as_json:
        typer.echo(orjson.dumps(made, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(made["code"])
    typer.echo(f"It works once, until {made['expires_at']}. On the machine of {gateway} run:")
    typer.echo(f"  {made['command']}")


def _key(home: Path) -> str:
    """Return the key of the environment, else the administrator's of a home.

    Raises:
        RejectedError: there is none.
    """
    given = os.environ.get("TAGTRAIL_API_KEY")
    if given:
        return given
    try:
        return (home / "admin.key").read_text(encoding="ascii").strip()
    except OSError as error:
        raise RejectedError(
            f"set TAGTRAIL_API_KEY to an administrator's key: {home / 'admin.key'} cannot be read"
        ) from error


def _made(url: str, key: str, gateway: str, *, minutes: int) -> dict[str, Any]:
    """Have a code made.

    Raises:
        UnavailableError: nobody answers.
        RejectedError: the server refuses, for example because no such gateway is registered.
    """
    try:
        reply = httpx2.post(
            f"{url}/v1/gateways/{quote(gateway, safe='')}/enrolment-codes",
            json={"minutes": minutes},
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT_S,
        )
        members: dict[str, Any] = reply.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise UnavailableError(
            f"{url} does not answer as Tagtrail does ({type(error).__name__}); check --api-url, "
            "and that `tagtrail serve` runs"
        ) from error
    if reply.status_code != 201:
        raise RejectedError(f"the server refuses ({reply.status_code}): {members.get('detail')}")
    return members
