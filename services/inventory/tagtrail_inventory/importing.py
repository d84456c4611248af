"""Imports: checked, applied as facts, taken back by compensating facts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from fastapi import Request

from tagtrail_inventory import import_store
from tagtrail_inventory.core.checks import Fault
from tagtrail_inventory.core.imports import COLUMNS, Plan, Step, plan, subject_of
from tagtrail_inventory.core.tables import read_table
from tagtrail_inventory.holding import Turns
from tagtrail_inventory.import_store import Run, load_current, still_holds
from tagtrail_inventory.reading import snapshot
from tagtrail_inventory.settings import InventorySettings
from tagtrail_inventory.state import current_state_hash
from tagtrail_inventory.writer import Fact, Seed, Writer
from tagtrail_kernel.access import Principal
from tagtrail_kernel.errors import ConflictError, NotFoundError, RejectedError, UnavailableError
from tagtrail_kernel.events.registry import Event

CHUNK: Final = 500
"""Facts of one append; an import that breaks off between two goes on with the same ids."""

SHOWN_FAULTS: Final = 1000
"""Most faults of one problem answer; a dry run shows all."""


@dataclass(frozen=True, slots=True)
class Command:
    """Who imports, by which request."""

    request: Request
    who: Principal


class Importing:
    """Checks, applies and takes back imports; one at a time for a tenant in this process."""

    def __init__(self, writer: Writer, settings: InventorySettings) -> None:
        self._writer = writer
        self._settings = settings
        self._turns = Turns()

    async def run(
        self, command: Command, kind: str, raw: bytes, *, dry_run: bool, partial: bool, at: datetime
    ) -> dict[str, Any]:
        """Check a file, and apply it unless it is a dry run.

        Args:
            command: Who imports.
            kind: Plural name.
            raw: The file.
            dry_run: Only check.
            partial: Apply the rows without fault although others have one.
            at: Time of its facts.

        Raises:
            NotFoundError: no such kind.
            RejectedError: there are faults, and it is no dry run.
        """
        if kind not in COLUMNS:
            raise NotFoundError(f"no import of {kind!r}; kinds are {', '.join(COLUMNS)}")
        log_id = command.who.log_id
        async with self._turns.of(log_id, "import"):
            made = await self._plan(log_id, kind, raw)
            if not dry_run:
                _refuse(made, partial=partial)
            run = Run(
                self._writer.new_id(), kind, "checked", at, command.who.key_id, raw, made.steps
            )
            await import_store.save(self._writer.database, log_id, run, _report(made))
            body = _report(made) | {"import_id": str(run.import_id), "state": "checked"}
            if dry_run:
                return body
            return body | await self._apply(command, run)

    async def apply(self, command: Command, import_id: UUID, *, partial: bool) -> dict[str, Any]:
        """Apply an import that was checked, or go on with one that broke off.

        Raises:
            ConflictError: it was applied before, or would do something else now.
        """
        log_id = command.who.log_id
        async with self._turns.of(log_id, "import"):
            run = await import_store.load(self._writer.database, log_id, import_id)
            if run.state == "checked":
                made = await self._plan(log_id, run.kind, run.text)
                _refuse(made, partial=partial)
                if _effects(made.steps) != _effects(run.steps):
                    raise ConflictError(
                        "the registry changed since the check; run the dry run again"
                    )
            elif run.state != "applying":
                raise ConflictError(f"this import is {run.state}; start a new one")
            return {"import_id": str(import_id)} | await self._apply(command, run)

    async def undo(self, command: Command, import_id: UUID) -> dict[str, Any]:
        """Take an import back by compensating facts.

        Raises:
            ConflictError: it was not applied, or what it made has been changed since.
        """
        log_id, database = command.who.log_id, self._writer.database
        async with self._turns.of(log_id, "import"):
            run = await import_store.load(database, log_id, import_id)
            if run.state not in ("applied", "undoing"):
                raise ConflictError(
                    f"this import is {run.state}; only an applied one is taken back"
                )
            if run.state == "applied":
                async with snapshot(database, log_id) as (c, _):
                    refuse_changed(await still_holds(c, log_id, run))
                await import_store.set_state(database, log_id, import_id, "undoing")
            facts = [
                Fact(subject_of(step, fact), fact, run.created_at)
                for step in reversed(run.steps)
                for fact in step.undo
            ]
            position = await self._write(command, run, "undo", facts)
            state_hash = await self._hash(log_id)
            await import_store.set_state(
                database, log_id, import_id, "undone",
                undone_position=position, hash_undone=state_hash,
            )  # fmt: skip
            return {
                "import_id": str(import_id),
                "state": "undone",
                "position": position,
                "current_state_hash": state_hash,
                "restored": state_hash == run.hash_before,
            }

    async def _apply(self, command: Command, run: Run) -> dict[str, Any]:
        log_id, database = command.who.log_id, self._writer.database
        before = run.hash_before or await self._hash(log_id)
        await import_store.set_state(
            database, log_id, run.import_id, "applying", hash_before=before
        )
        facts = [
            Fact(subject_of(step, fact), fact, run.created_at)
            for step in run.steps
            for fact in step.do
        ]
        position = await self._write(command, run, "apply", facts)
        after = await self._hash(log_id)
        await import_store.set_state(
            database, log_id, run.import_id, "applied", applied_position=position, hash_after=after
        )
        return {
            "state": "applied",
            "position": position,
            "hash_before": before,
            "current_state_hash": after,
        }

    async def _write(self, command: Command, run: Run, act: str, facts: Sequence[Fact]) -> int:
        """Append the facts of an import in pieces; the same ids at every try."""
        seed = Seed(command.who, f"import/{act}", str(run.import_id), run.created_at)
        position = 0
        for start in range(0, len(facts), CHUNK):
            written = await self._writer.write(
                command.request, seed, facts[start : start + CHUNK],
                correlation_id=f"import/{run.import_id}", first_number=start,
            )  # fmt: skip
            position = written.position
            if not written.applied:
                await self._must_apply(command, position)
        return position or await self._writer.position(command.who.log_id)

    async def _must_apply(self, command: Command, position: int) -> None:
        """Wait longer than a single command: the hash afterwards must show the whole import."""
        for _ in range(15):
            if await self._writer.applied(command.request, command.who.log_id, position):
                return
        raise UnavailableError(
            f"the facts are appended up to position {position}, but the books lag behind; send the "
            "same request again to finish it"
        )

    async def _plan(self, log_id: int, kind: str, raw: bytes) -> Plan:
        table = await asyncio.to_thread(
            read_table, raw, COLUMNS[kind], self._settings.import_max_rows
        )
        async with snapshot(self._writer.database, log_id) as (c, _):
            current = await load_current(c, log_id, kind)
        return await asyncio.to_thread(plan, kind, table, current)

    async def _hash(self, log_id: int) -> str:
        async with snapshot(self._writer.database, log_id) as (c, _):
            return await current_state_hash(c, log_id)


def _effects(steps: Sequence[Step]) -> list[tuple[int, tuple[Event, ...], tuple[Event, ...]]]:
    return [(s.line, s.do, s.undo) for s in steps if s.do]


def _report(made: Plan) -> dict[str, Any]:
    return {
        "kind": made.kind,
        "counts": made.counts,
        "errors": [asdict(f) for f in made.faults],
        "rows": [
            {
                "line": s.line,
                "id": s.id,
                "action": s.action,
                "changes": s.changes,
                "errors": [asdict(f) for f in s.faults],
            }
            for s in made.steps
        ],
    }


def _refuse(made: Plan, *, partial: bool) -> None:
    if made.is_clean or (partial and not made.faults):
        return
    faults: list[tuple[int, Fault]] = [(1, f) for f in made.faults]
    faults += [(s.line, f) for s in made.steps for f in s.faults]
    raise RejectedError(
        f"{len(faults)} faults, nothing was imported; correct them, or look at the dry run first",
        errors=[
            {"line": str(line), "column": f.column, "code": f.code, "detail": f.detail}
            for line, f in faults[:SHOWN_FAULTS]
        ],
    )


def refuse_changed(changed: Sequence[tuple[int, str]]) -> None:
    """Refuse to take back what somebody has changed or used since.

    Raises:
        ConflictError: names the lines.
    """
    if changed:
        raise ConflictError(
            f"{len(changed)} rows were changed or used since the import; put them right by hand",
            errors=[{"line": str(line), "detail": why} for line, why in changed[:SHOWN_FAULTS]],
        )
