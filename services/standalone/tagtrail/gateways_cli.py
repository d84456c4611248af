"""`tagtrail gateways`: codes that make machines gateways, and new versions of the agent for them."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import orjson
import typer

from tagtrail import updates_cli
from tagtrail.calls import server_of

app = typer.Typer(no_args_is_help=True)
app.add_typer(updates_cli.app, name="update")


@app.callback()
def gateways() -> None:
    """Make machines gateways by one-time codes, and keep their agents up to date.

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
    server = server_of(api_url)
    made = server.call(
        "POST",
        f"/gateways/{quote(gateway, safe='')}/enrolment-codes",
        {"minutes": max(round(hours * 60), 1)},
    )
    made["command"] = f"tagtrail-agent enrol --server {server.url} --code {made['code']}"
    if as_json:
        typer.echo(orjson.dumps(made, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(made["code"])
    typer.echo(f"It works once, until {made['expires_at']}. On the machine of {gateway} run:")
    typer.echo(f"  {made['command']}")
