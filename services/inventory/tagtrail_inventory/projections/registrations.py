"""What exists: the last registration of everything, and who is heard by which identity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import msgspec

from tagtrail_inventory.core.kinds import Kind, id_of, kind_of
from tagtrail_inventory.projections.conflicts import Conflict
from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.registrations import TagRegistered, TagRetired
from tagtrail_kernel.events.registry import Event

UPSERT = """
insert into registration as r (log_id, kind, id, site_id, retired, body, event_id, occurred_at,
                               position, first_position)
select $1, * from unnest($2::text[], $3::text[], $4::text[], $5::bool[], $6::jsonb[], $7::uuid[],
                         $8::timestamptz[], $9::bigint[], $10::bigint[])
on conflict (log_id, kind, id) do update set
    site_id = excluded.site_id, retired = excluded.retired, body = excluded.body,
    event_id = excluded.event_id, occurred_at = excluded.occurred_at, position = excluded.position
"""
RETIRE = """
update registration r set retired = true, event_id = n.event_id, occurred_at = n.at,
       position = n.position
from unnest($2::text[], $3::text[], $4::uuid[], $5::timestamptz[], $6::bigint[])
     as n (kind, id, event_id, at, position)
where r.log_id = $1 and r.kind = n.kind and r.id = n.id
"""


@dataclass(slots=True)
class _Row:
    """The last that a page says about one thing; `body` None if it only retires it."""

    body: Event | None
    retired: bool
    event_id: UUID
    occurred_at: datetime
    position: int
    first_position: int


def body_of(fact: Event) -> str:
    """Return a registration as canonical JSON, all members that are not at their default."""
    return json.dumps(msgspec.to_builtins(fact), sort_keys=True, separators=(",", ":"))


@dataclass(slots=True)
class Registrations:
    """Folds one page of registrations and retirements."""

    log_id: int
    rows: dict[tuple[str, str], _Row] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)

    async def fold(self, tx: Connection, events: Sequence[Recorded]) -> None:
        """Fold and write a page."""
        mine = [(e, found) for e in events if (found := kind_of(e.data)) is not None]
        if not mine:
            return
        for event, (kind, retires) in mine:
            self._take(event, kind, retires=retires)
        await self._write(tx)
        await self._fold_identities(tx, [e for e, (kind, _) in mine if kind.name == "tag"])

    def _take(self, event: Recorded, kind: Kind, *, retires: bool) -> None:
        key = (kind.name, id_of(kind, event.data))
        known = self.rows.get(key)
        self.rows[key] = _Row(
            body=(known.body if known else None) if retires else event.data,
            retired=retires,
            event_id=event.id,
            occurred_at=event.envelope.occurred_at,
            position=event.position,
            first_position=known.first_position if known and known.body else event.position,
        )

    async def _write(self, tx: Connection) -> None:
        whole = [(key, row, row.body) for key, row in self.rows.items() if row.body is not None]
        if whole:
            await tx.execute(
                UPSERT,
                self.log_id,
                [key[0] for key, _, _ in whole],
                [key[1] for key, _, _ in whole],
                [getattr(body, "site_id", None) if key[0] != "site" else None for key, _, body in whole],
                [row.retired for _, row, _ in whole],
                [body_of(body) for _, _, body in whole],
                [row.event_id for _, row, _ in whole],
                [row.occurred_at for _, row, _ in whole],
                [row.position for _, row, _ in whole],
                [row.first_position for _, row, _ in whole],
            )  # fmt: skip
        ends = [(key, row) for key, row in self.rows.items() if row.body is None]
        if ends:
            await tx.execute(
                RETIRE,
                self.log_id,
                [key[0] for key, _ in ends],
                [key[1] for key, _ in ends],
                [row.event_id for _, row in ends],
                [row.occurred_at for _, row in ends],
                [row.position for _, row in ends],
            )

    async def _fold_identities(self, tx: Connection, events: Sequence[Recorded]) -> None:
        """The last registration wins an identity, as in ingest; the loser is noted as a conflict."""
        if not events:
            return
        owners = await self._load_identities(tx, events)
        before = dict(owners)
        for event in events:
            match event.data:
                case TagRegistered() as tag:
                    self._assign(owners, tag, event)
                case TagRetired(tag_id=tag_id):
                    _free(owners, tag_id)
        await self._write_identities(tx, before, owners)

    async def _load_identities(
        self, tx: Connection, events: Sequence[Recorded]
    ) -> dict[str, tuple[str, int]]:
        tags = [id_of_tag(e.data) for e in events]
        named = [i for e in events if isinstance(e.data, TagRegistered) for i in e.data.identities]
        rows = await tx.fetch(
            "select identity, tag_id, position from identity "
            "where log_id = $1 and (tag_id = any($2::text[]) or identity = any($3::text[]))",
            self.log_id, tags, named,
        )  # fmt: skip
        return {r["identity"]: (r["tag_id"], r["position"]) for r in rows}

    def _assign(
        self, owners: dict[str, tuple[str, int]], tag: TagRegistered, event: Recorded
    ) -> None:
        _free(owners, tag.tag_id)
        for identity in dict.fromkeys(tag.identities):
            held = owners.get(identity)
            if held is not None:
                self.conflicts.append(
                    Conflict.of(event, "identity_taken", tag.tag_id, identity, held[0])
                )
            owners[identity] = (tag.tag_id, event.position)

    async def _write_identities(
        self,
        tx: Connection,
        before: dict[str, tuple[str, int]],
        after: dict[str, tuple[str, int]],
    ) -> None:
        gone = [i for i in before if i not in after]
        new = [(i, *held) for i, held in after.items() if before.get(i) != held]
        await tx.execute(
            "delete from identity where log_id = $1 and identity = any($2::text[])",
            self.log_id, gone,
        )  # fmt: skip
        await tx.execute(
            "insert into identity (log_id, identity, tag_id, position) "
            "select $1, * from unnest($2::text[], $3::text[], $4::bigint[]) "
            "on conflict (log_id, identity) do update set tag_id = excluded.tag_id, "
            "position = excluded.position",
            self.log_id, [n[0] for n in new], [n[1] for n in new], [n[2] for n in new],
        )  # fmt: skip


def id_of_tag(fact: Event) -> str:
    """Return the tag that a registration or retirement of a tag names."""
    return str(getattr(fact, "tag_id"))  # noqa: B009 - both kinds have it, their base has not


def _free(owners: dict[str, tuple[str, int]], tag_id: str) -> None:
    for identity in [i for i, (tag, _) in owners.items() if tag == tag_id]:
        del owners[identity]
