"""HTTP: imports from CSV with dry run and undo."""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from tagtrail_inventory.api_reading import After, Limit
from tagtrail_inventory.core.imports import COLUMNS
from tagtrail_inventory.importing import Command, Importing
from tagtrail_inventory.reading import snapshot
from tagtrail_inventory.replies import (
    CONFLICT,
    NOT_FOUND,
    PROBLEMS,
    REJECTED,
    cursor_of,
    link_next,
    page_of,
    parts_of,
)
from tagtrail_inventory.writer import Seed, Writer
from tagtrail_kernel.access import Principal, requires
from tagtrail_kernel.errors import NotFoundError, RejectedError

Importer = Annotated[Principal, Depends(requires("registry:write", "stock:write"))]
Reading = Annotated[Principal, Depends(requires("registry:read"))]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="Repeating a request with it has one effect."),
]
Partial = Annotated[
    bool, Query(description="Apply the rows without fault although others have one.")
]
_ALL: Final = PROBLEMS | NOT_FOUND | CONFLICT | REJECTED | {413: {"description": "Too many rows"}}
LIST: Final = """
select import_id, kind, state, created_at, by_key, report -> 'counts' as counts, applied_position,
       undone_position, hash_before, hash_after, hash_undone, report
from import_run
where log_id = $1 and ($2::uuid is null or import_id < $2) and ($3::uuid is null or import_id = $3)
order by import_id desc limit $4
"""
CSV_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "asset_id,kind,name\ncrate-1,crate,Blue crate\n",
            }
        },
    }
}


class ImportsApi:
    """Endpoints of imports."""

    def __init__(self, writer: Writer, importing: Importing) -> None:
        self._writer = writer
        self._do = importing

    async def start(
        self,
        kind: Annotated[str, Path(description=", ".join(COLUMNS))],
        request: Request,
        who: Importer,
        dry_run: Annotated[
            bool, Query(description="Only check, and say what would change.")
        ] = False,
        partial: Partial = False,
        key: Key = None,
    ) -> Response:
        """Import a CSV file (UTF-8; comma, semicolon or tab; the first line names the fields).

        A column that is left out keeps what is known; an empty cell clears it. All rows are
        applied or none, unless `partial`. `contents` states what an asset holds.
        """
        raw = await request.body()

        async def act(seed: Seed) -> tuple[int, dict[str, Any]]:
            command = Command(request, who)
            body = await self._do.run(
                command, kind, raw, dry_run=dry_run, partial=partial, at=seed.first_at
            )
            return 200, body

        return await self._writer.once(request, who, key, act)

    async def apply(
        self, import_id: UUID, request: Request, who: Importer, partial: Partial = False
    ) -> dict[str, Any]:
        """Apply an import that was checked by a dry run, or finish one that broke off."""
        return await self._do.apply(Command(request, who), import_id, partial=partial)

    async def undo(self, import_id: UUID, request: Request, who: Importer) -> dict[str, Any]:
        """Take an import back by compensating facts; the state is as before, by its hash."""
        return await self._do.undo(Command(request, who), import_id)

    async def imports(
        self,
        request: Request,
        response: Response,
        who: Reading,
        limit: Limit = 100,
        after: After = None,
    ) -> dict[str, Any]:
        """List imports, newest first."""
        last = parts_of(after, 1)
        try:
            before = UUID(last[0]) if last else None
        except ValueError as error:
            raise RejectedError("`after` is not a cursor of this list", field="after") from error
        async with snapshot(self._writer.database, who.log_id) as (c, position):
            rows = await c.fetch(LIST, who.log_id, before, None, limit + 1)
        items = [_item(r) for r in rows[:limit]]
        cursor = cursor_of(items[-1]["import_id"]) if len(rows) > limit else None
        link_next(request, response, cursor)
        return page_of(items, position=position, cursor=cursor)

    async def one(self, import_id: UUID, who: Reading) -> dict[str, Any]:
        """Show an import with its rows."""
        async with snapshot(self._writer.database, who.log_id) as (c, position):
            rows = await c.fetch(LIST, who.log_id, None, import_id, 1)
        if not rows:
            raise NotFoundError(f"no import {import_id}; list them with GET /v1/imports")
        report: dict[str, Any] = orjson.loads(rows[0]["report"])
        return _item(rows[0]) | report | {"as_of_position": position}


def _item(row: Any) -> dict[str, Any]:
    members = dict(row)
    del members["report"]
    return members | {
        "import_id": str(row["import_id"]), "counts": orjson.loads(row["counts"])
    }  # fmt: skip


def router_of(writer: Writer, importing: Importing) -> APIRouter:
    """Return the routes of imports."""
    api = ImportsApi(writer, importing)
    router = APIRouter(tags=["imports"])
    router.add_api_route(
        "/v1/imports/{kind}", api.start, methods=["POST"], operation_id="start_import",
        summary="Check or import a CSV file", responses=_ALL, openapi_extra=CSV_BODY,
    )  # fmt: skip
    router.add_api_route(
        "/v1/imports/{import_id}/apply", api.apply, methods=["POST"], operation_id="apply_import",
        summary="Apply a checked import", responses=_ALL,
    )  # fmt: skip
    router.add_api_route(
        "/v1/imports/{import_id}/undo", api.undo, methods=["POST"], operation_id="undo_import",
        summary="Take an import back", responses=_ALL,
    )  # fmt: skip
    router.add_api_route(
        "/v1/imports", api.imports, methods=["GET"], operation_id="list_imports",
        summary="List imports", responses=_ALL,
    )  # fmt: skip
    router.add_api_route(
        "/v1/imports/{import_id}", api.one, methods=["GET"], operation_id="get_import",
        summary="Show an import", responses=_ALL,
    )  # fmt: skip
    return router
