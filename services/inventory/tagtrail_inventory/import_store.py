"""Keeps imports, and reads what their plans need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import orjson

from tagtrail_inventory.core.checks import Known
from tagtrail_inventory.core.imports import Current, Step
from tagtrail_inventory.core.kinds import PLURALS
from tagtrail_kernel.database import Connection, Database
from tagtrail_kernel.errors import NotFoundError
from tagtrail_kernel.events.registry import Event, type_of

ACTIVE: Final = (
    "select id, site_id, body from registration where log_id = $1 and kind = $2 and not retired"
)
"""Registrations in use of one kind."""


CHECKED_KEPT: Final = timedelta(days=7)
"""How long a dry run that was never applied is kept."""


@dataclass(frozen=True, slots=True)
class Run:
    """An import.

    Attributes:
        import_id: Its id.
        kind: Plural name.
        state: `checked`, `applying`, `applied`, `undoing` or `undone`.
        created_at: When it was checked; the time of its facts.
        by_key: Key that checked it.
        text: The file.
        steps: What it does.
        hash_before: Hash of the state before it was applied.
    """

    import_id: UUID
    kind: str
    state: str
    created_at: datetime
    by_key: str
    text: bytes
    steps: tuple[Step, ...]
    hash_before: str | None = None


def _events(facts: Sequence[Event]) -> list[dict[str, Any]]:
    return [{"type": f.TYPE, "data": msgspec.to_builtins(f)} for f in facts]


def _facts(stored: Sequence[Mapping[str, Any]]) -> tuple[Event, ...]:
    return tuple(msgspec.convert(s["data"], type_of(s["type"])) for s in stored)


async def save(database: Database, log_id: int, run: Run, report: Mapping[str, Any]) -> None:
    """Store an import that was checked; only rows that do something are kept as steps."""
    steps = [
        {
            "line": s.line,
            "id": s.id,
            "action": s.action,
            "do": _events(s.do),
            "undo": _events(s.undo),
            "after": s.after,
        }
        for s in run.steps
        if s.do
    ]
    async with database.transaction() as c:
        await c.execute(
            "delete from import_run where log_id = $1 and state = 'checked' and created_at < $2",
            log_id, run.created_at - CHECKED_KEPT,
        )  # fmt: skip
        await c.execute(
            "insert into import_run (log_id, import_id, kind, state, created_at, by_key, text, "
            "report, steps) values ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9::jsonb)",
            log_id, run.import_id, run.kind, run.state, run.created_at, run.by_key, run.text,
            orjson.dumps(report).decode(), orjson.dumps(steps).decode(),
        )  # fmt: skip


async def load(database: Database, log_id: int, import_id: UUID) -> Run:
    """Return an import.

    Raises:
        NotFoundError: there is none.
    """
    async with database.connection() as c:
        row = await c.fetchrow(
            "select * from import_run where log_id = $1 and import_id = $2", log_id, import_id
        )
    if row is None:
        raise NotFoundError(f"no import {import_id}; list them with GET /v1/imports")
    steps = tuple(
        Step(
            s["line"], s["id"], s["action"], do=_facts(s["do"]), undo=_facts(s["undo"]),
            after=s["after"],
        )
        for s in orjson.loads(row["steps"])
    )  # fmt: skip
    return Run(
        import_id, row["kind"], row["state"], row["created_at"], row["by_key"], row["text"], steps,
        row["hash_before"],
    )  # fmt: skip


async def set_state(
    database: Database,
    log_id: int,
    import_id: UUID,
    state: str,
    *,
    applied_position: int | None = None,
    undone_position: int | None = None,
    hash_before: str | None = None,
    hash_after: str | None = None,
    hash_undone: str | None = None,
) -> None:
    """Note how far an import is; what is not given stays."""
    async with database.connection() as c:
        await c.execute(
            "update import_run set state = $3, "
            "applied_position = coalesce($4, applied_position), "
            "undone_position = coalesce($5, undone_position), "
            "hash_before = coalesce($6, hash_before), hash_after = coalesce($7, hash_after), "
            "hash_undone = coalesce($8, hash_undone) where log_id = $1 and import_id = $2",
            log_id, import_id, state, applied_position, undone_position, hash_before, hash_after,
            hash_undone,
        )  # fmt: skip


async def load_current(c: Connection, log_id: int, kind: str) -> Current:
    """Return what the plan of a kind of import needs to know."""

    async def ids(of: str) -> set[str]:
        return {r["id"] for r in await c.fetch(ACTIVE, log_id, of)}

    current = Current()
    if kind in PLURALS:
        rows = await c.fetch(ACTIVE, log_id, PLURALS[kind].name)
        current.bodies = {r["id"]: orjson.loads(r["body"]) for r in rows}
    if kind in ("zones", "gateways"):
        zones = await c.fetch(ACTIVE, log_id, "zone")
        current.known = Known(sites=await ids("site"), zones={r["id"]: r["site_id"] for r in zones})
    elif kind == "tags":
        owners = await c.fetch("select identity, tag_id from identity where log_id = $1", log_id)
        current.known = Known(owners={r["identity"]: r["tag_id"] for r in owners})
    elif kind == "bindings":
        bound = await c.fetch(
            "select tag_id, asset_id from tag_now where log_id = $1 and asset_id is not null",
            log_id,
        )
        current.known = Known(
            tags=await ids("tag"), assets=await ids("asset"),
            bound={r["tag_id"]: r["asset_id"] for r in bound},
        )  # fmt: skip
    elif kind == "contents":
        held = await c.fetch(
            "select asset_id, sku, lot, quantity from content_now where log_id = $1", log_id
        )
        current.known = Known(assets=await ids("asset"), skus=await ids("sku"))
        current.held = {(r["asset_id"], r["sku"], r["lot"]): r["quantity"] for r in held}
    return current


async def still_holds(c: Connection, log_id: int, run: Run) -> list[tuple[int, str]]:
    """Return the lines of an import whose effect was changed or is used, with the reason."""
    current = await load_current(c, log_id, run.kind)
    used = await _in_use(c, log_id, run)
    changed: list[tuple[int, str]] = []
    for step in run.steps:
        if run.kind == "bindings":
            same = current.known.bound.get(step.id) == step.after
        elif run.kind == "contents":
            what = step.after
            same = current.held.get((step.id, what["sku"], what["lot"]), 0) == what["quantity"]
        else:
            same = current.bodies.get(step.id) == step.after
        if not same:
            changed.append((step.line, f"{step.id} is not as the import left it"))
        elif step.action == "create" and step.id in used:
            changed.append((step.line, f"{step.id} is in use: {used[step.id]}"))
    return changed


USES: Final[Mapping[str, str]] = {
    "sites": "select site_id as id, 'zones or gateways stand on it' as why from registration "
    "where log_id = $1 and not retired and site_id = any($2::text[])",
    "zones": "select body ->> 'zone_id' as id, 'a gateway stands in it' as why from registration "
    "where log_id = $1 and kind = 'gateway' and not retired and body ->> 'zone_id' = any($2::text[])",
    "tags": "select tag_id as id, 'it is on an asset' as why from tag_now "
    "where log_id = $1 and asset_id is not null and tag_id = any($2::text[])",
    "assets": "select asset_id as id, 'it holds something' as why from content_now "
    "where log_id = $1 and quantity > 0 and asset_id = any($2::text[]) union all "
    "select asset_id, 'it carries a tag' from tag_now "
    "where log_id = $1 and asset_id = any($2::text[])",
    "skus": "select sku as id, 'it is in stock' as why from content_now "
    "where log_id = $1 and quantity > 0 and sku = any($2::text[])",
}
"""What keeps a thing from being taken back, by kind."""


async def _in_use(c: Connection, log_id: int, run: Run) -> dict[str, str]:
    if run.kind not in USES:
        return {}
    created = [s.id for s in run.steps if s.action == "create"]
    return {r["id"]: r["why"] for r in await c.fetch(USES[run.kind], log_id, created)}
