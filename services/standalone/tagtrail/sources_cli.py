"""`tagtrail sources`: whose sightings are taken besides one's own, and how to be rid of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer

from tagtrail.calls import Server, server_of

app = typer.Typer(no_args_is_help=True)


class Foreign(StrEnum):
    """Classes that are not one's own."""

    partner_network = "partner_network"
    crowd_shared = "crowd_shared"


Class = Annotated[Foreign, typer.Argument(help="Class of sources.")]
ApiUrl = Annotated[
    str | None, typer.Option(help="Address of the API; else the server of this home.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.callback()
def sources() -> None:
    """Decide whose sightings are taken besides your own; show how partners' clouds are.

    The key is read from TAGTRAIL_API_KEY; else it is the administrator's of this home.
    """


@app.command()
def status(api_url: ApiUrl = None, as_json: AsJson = False) -> None:
    """Show which classes are taken, and how partners' clouds are."""
    found = server_of(api_url).call("GET", "/sources")
    if as_json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    for item in found["items"]:
        typer.echo(f"{item['source_class']:16} {_taken(item)}")
    for partner in found["partners"]:
        age = "never answered" if partner.get("age_s") is None else f"{partner['age_s']:.0f} s old"
        typer.echo(f"partner {partner['name']:8} {partner['state']}, {age}: {partner['why']}")


@app.command()
def allow(
    source_class: Class,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only tags on assets of this kind; again for more.")
    ] = None,
    tag_prefix: Annotated[
        list[str] | None, typer.Option(help="Only tags whose ids begin so; again for more.")
    ] = None,
    api_url: ApiUrl = None,
) -> None:
    """Take sightings of a class from now on: of all tags, or of some."""
    rule = {"accepted": True, "asset_kinds": kind or [], "tag_prefixes": tag_prefix or []}
    _decide(server_of(api_url), source_class, rule)
    typer.echo(f"{source_class.value}: {_taken(rule)}, from now on")


@app.command()
def refuse(source_class: Class, api_url: ApiUrl = None) -> None:
    """Take nothing of a class any more. What was taken stays; see `erase`."""
    _decide(server_of(api_url), source_class, {"accepted": False})
    typer.echo(f"{source_class.value}: off, from now on")


@app.command()
def erase(
    source_class: Class,
    yes: Annotated[bool, typer.Option("--yes", help="It is wanted; it cannot be undone.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the log.")] = "",
    api_url: ApiUrl = None,
) -> None:
    """Erase all sightings of a class that is off, with what followed from them. Needs --yes."""
    path = f"/sources/{source_class.value}/sightings"
    path += f"?reason={quote(reason)}" if reason else ""
    headers = {"Tagtrail-Confirm": "erase-all"} if yes else {}
    done = server_of(api_url).call("DELETE", path, headers=headers)
    state = "erased" if done["done"] else "being erased"
    typer.echo(f"{done['sightings']} sightings and {done['withdrawn']} conclusions {state}")
    typer.echo(done["next"])


def _decide(server: Server, source_class: Foreign, rule: dict[str, Any]) -> None:
    """Replace the rule of one class; the others stay as they are."""
    values = {
        item["source_class"]: {k: v for k, v in item.items() if k != "source_class"}
        for item in server.call("GET", "/sources")["items"]
    }
    server.call("POST", "/config/sources", {"values": values | {source_class.value: rule}})


def _taken(rule: dict[str, Any]) -> str:
    if not rule["accepted"]:
        return "off"
    parts = [f"assets of kind {kind}" for kind in rule["asset_kinds"]]
    parts += [f"tags {prefix}…" for prefix in rule["tag_prefixes"]]
    return "on for " + (", ".join(parts) or "all tags")
