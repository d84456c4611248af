"""Shipments, and which assets are on their way or delivered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.shipments import PodRecorded, ShipmentDeparted, ShipmentPlanned

SHIPMENT_FACTS = (ShipmentPlanned, ShipmentDeparted, PodRecorded)
UPSERT = """
insert into shipment (log_id, shipment_id, state, asset_ids, document, ship_to, planned_at,
                      departed_at, delivered_at, event_id, position)
select $1, * from unnest($2::text[], $3::text[], $4::jsonb[], $5::text[], $6::text[],
    $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::uuid[], $11::bigint[])
on conflict (log_id, shipment_id) do update set
    state = excluded.state, asset_ids = excluded.asset_ids, document = excluded.document,
    ship_to = excluded.ship_to, planned_at = excluded.planned_at,
    departed_at = excluded.departed_at, delivered_at = excluded.delivered_at,
    event_id = excluded.event_id, position = excluded.position
"""


@dataclass(slots=True)
class Shipment:
    """A shipment as far as it is known.

    Attributes:
        state: `planned`, `departed` or `delivered`: the last that was recorded.
        asset_ids: What it carries: what departed, else what was planned.
        event_id: Last fact about it.
        position: Its position.
        document: Order or delivery note.
        ship_to: Who gets it.
        planned_at: When it was planned.
        departed_at: When it left.
        delivered_at: When its delivery was proved.
    """

    state: str
    asset_ids: tuple[str, ...]
    event_id: UUID
    position: int
    document: str | None = None
    ship_to: str | None = None
    planned_at: datetime | None = None
    departed_at: datetime | None = None
    delivered_at: datetime | None = None


@dataclass(slots=True)
class Custody:
    """Folds one page of facts about shipments.

    Attributes:
        log_id: The tenant.
        assets: Assets whose custody changed.
    """

    log_id: int
    assets: set[str] = field(default_factory=set)
    _shipments: dict[str, Shipment] = field(default_factory=dict)
    _changed: set[str] = field(default_factory=set)
    _rows: list[tuple[object, ...]] = field(default_factory=list)

    async def fold(self, tx: Connection, events: Sequence[Recorded]) -> None:
        """Fold and write a page."""
        mine = [e for e in events if isinstance(e.data, SHIPMENT_FACTS)]
        if not mine:
            return
        await self._load(tx, mine)
        for event in mine:
            self._take(event)
        await self._write(tx)

    async def _load(self, tx: Connection, events: Sequence[Recorded]) -> None:
        ids = {getattr(e.data, "shipment_id", None) for e in events}
        rows = await tx.fetch(
            "select * from shipment where log_id = $1 and shipment_id = any($2::text[])",
            self.log_id, [i for i in ids if i is not None],
        )  # fmt: skip
        for row in rows:
            members = dict(row)
            members["asset_ids"] = tuple(json.loads(members["asset_ids"]))
            del members["log_id"]
            shipment_id = members.pop("shipment_id")
            self._shipments[shipment_id] = Shipment(**members)

    def _take(self, event: Recorded) -> None:
        match event.data:
            case ShipmentPlanned() as plan:
                shipment = self._shipment(plan.shipment_id, "planned", event)
                shipment.asset_ids = plan.asset_ids
                shipment.planned_at = event.envelope.occurred_at
                shipment.document = plan.document or shipment.document
                shipment.ship_to = plan.ship_to or shipment.ship_to
            case ShipmentDeparted() as departure:
                shipment = self._shipment(departure.shipment_id, "departed", event)
                shipment.asset_ids = departure.asset_ids or shipment.asset_ids
                shipment.departed_at = event.envelope.occurred_at
                self._hand_over(event, shipment.asset_ids, "in_transit", departure.shipment_id)
            case PodRecorded(shipment_id=None) as proof:
                self._hand_over(event, proof.asset_ids, "delivered", None)
            case PodRecorded(shipment_id=str() as shipment_id) as proof:
                shipment = self._shipment(shipment_id, "delivered", event)
                shipment.delivered_at = event.envelope.occurred_at
                assets = proof.asset_ids or shipment.asset_ids
                self._hand_over(event, assets, "delivered", shipment_id)
            case _:
                pass

    def _shipment(self, shipment_id: str, state: str, event: Recorded) -> Shipment:
        shipment = self._shipments.setdefault(
            shipment_id, Shipment(state, (), event.id, event.position)
        )
        shipment.state, shipment.event_id, shipment.position = state, event.id, event.position
        self._changed.add(shipment_id)
        return shipment

    def _hand_over(
        self, event: Recorded, assets: Sequence[str], state: str, shipment_id: str | None
    ) -> None:
        at = event.envelope.occurred_at
        for asset in dict.fromkeys(assets):
            self._rows.append(
                (self.log_id, asset, at, event.position, state, shipment_id, event.id)
            )
            self.assets.add(asset)

    async def _write(self, tx: Connection) -> None:
        changed = [(i, self._shipments[i]) for i in sorted(self._changed)]
        await tx.execute(
            UPSERT,
            self.log_id,
            [i for i, _ in changed],
            [s.state for _, s in changed],
            [json.dumps(s.asset_ids) for _, s in changed],
            [s.document for _, s in changed],
            [s.ship_to for _, s in changed],
            [s.planned_at for _, s in changed],
            [s.departed_at for _, s in changed],
            [s.delivered_at for _, s in changed],
            [s.event_id for _, s in changed],
            [s.position for _, s in changed],
        )
        await tx.copy_records_to_table(
            "custody",
            records=self._rows,
            columns=[
                "log_id", "asset_id", "occurred_at", "position", "state", "shipment_id", "event_id",
            ],
        )  # fmt: skip
