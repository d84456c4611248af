"""The projection of gateways' versions and of updates; it decides how an update goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec

from tagtrail_ingest.updates.campaign import Campaign, Fleet, Told
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.consumers import Context, Projection
from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Envelope, Recorded
from tagtrail_kernel.events.gateways import (
    GatewayReported,
    UpdateExtended,
    UpdatePublished,
    UpdateStopped,
)
from tagtrail_kernel.events.registrations import GatewayRetired
from tagtrail_kernel.events.registry import Family

_TOLD: Final = (
    "version, told_at, update_state, update_version, refused_version, refused, healthy_since, "
    "takes_updates"
)
_KEEP_TOLD: Final = (
    f"insert into gateway_version (log_id, gateway_id, {_TOLD}) "  # noqa: S608 - constants
    "values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (log_id, gateway_id) do update set "
    + ", ".join(f"{column} = excluded.{column}" for column in _TOLD.split(", "))
)
_KEEP_UPDATE: Final = (
    "insert into agent_update (log_id, update_id, published, published_at, stage, canaries, cause, "
    "gateway_id) values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (log_id, update_id) do update "
    "set stage = excluded.stage, canaries = excluded.canaries, cause = excluded.cause, "
    "gateway_id = excluded.gateway_id"
)


class Updates(Projection):
    """What each gateway runs, and the updates of one tenant."""

    name: ClassVar[str] = "updates"
    families: ClassVar[Family] = Family.REGISTRY | Family.GATEWAY
    version: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]] = ("agent_update", "gateway_version")

    def __init__(self) -> None:
        self._fleet = Fleet()

    async def restore(self, tx: Connection, context: Context, position: int) -> int:
        """See `Projection.restore`."""
        self._fleet = await fleet_of(tx, context.log_id)
        return position

    async def apply(
        self, tx: Connection, context: Context, events: Sequence[Recorded]
    ) -> Sequence[Envelope]:
        """See `Projection.apply`."""
        fleet, derived = self._fleet, list[Envelope]()
        changed: set[str] = set()
        gone: set[str] = set()
        for event in events:
            data = event.data
            if isinstance(data, UpdatePublished):
                await _keep_update(tx, context.log_id, fleet.campaign)  # it is over
                changed |= set(fleet.told)
            decided = fleet.take(data, event.recorded_at)
            if isinstance(data, GatewayReported):
                changed.add(data.gateway_id)
            elif isinstance(data, GatewayRetired):
                gone.add(data.gateway_id)
            if decided is not None:
                derived.append(_envelope(fleet.campaign, decided, event))
            if decided is not None or isinstance(data, _OF_UPDATES):
                await _keep_update(tx, context.log_id, fleet.campaign)
        await _keep_told(tx, context.log_id, fleet, changed, gone)
        return derived


_OF_UPDATES: Final = (UpdatePublished, UpdateExtended, UpdateStopped, GatewayRetired)


def _envelope(
    campaign: Campaign | None, decided: UpdateExtended | UpdateStopped, cause: Recorded
) -> Envelope:
    """Return a decision as a fact; its id is one for each update and kind, however often made."""
    published_at = campaign.published_at if campaign is not None else cause.recorded_at
    return Envelope(
        id=uuid8(published_at, f"{decided.TYPE}/{decided.update_id}".encode()),
        subject=decided.update_id,
        source="ingest/updates",
        occurred_at=cause.recorded_at,
        data=decided,
        causation_id=cause.id,
    )


async def _keep_update(tx: Connection, log_id: int, campaign: Campaign | None) -> None:
    if campaign is not None:
        await tx.execute(
            _KEEP_UPDATE, log_id, campaign.published.update_id,
            msgspec.json.encode(campaign.published).decode(), campaign.published_at,
            campaign.stage, list(campaign.canaries), campaign.cause, campaign.gateway_id,
        )  # fmt: skip


async def _keep_told(
    tx: Connection, log_id: int, fleet: Fleet, changed: set[str], gone: set[str]
) -> None:
    rows = [
        (log_id, gateway_id, t.version, t.told_at, t.update_state, t.update_version,
         t.refused_version, t.refused, t.healthy_since, t.takes_updates)
        for gateway_id, t in fleet.told.items() if gateway_id in changed
    ]  # fmt: skip
    if rows:
        await tx.executemany(_KEEP_TOLD, rows)
    if gone - set(fleet.told):
        await tx.execute(
            "delete from gateway_version where log_id = $1 and gateway_id = any($2)",
            log_id, sorted(gone - set(fleet.told)),
        )  # fmt: skip


async def fleet_of(tx: Connection, log_id: int) -> Fleet:
    """Read what each gateway runs, and the last update."""
    rows = await tx.fetch(
        f"select gateway_id, {_TOLD} from gateway_version where log_id = $1",  # noqa: S608 - constants
        log_id,
    )
    told = {row["gateway_id"]: _told(row) for row in rows}
    updates = await campaigns_of(tx, log_id, limit=1)
    return Fleet(told, updates[0] if updates else None)


async def campaigns_of(tx: Connection, log_id: int, *, limit: int) -> list[Campaign]:
    """Read updates, the last one first."""
    rows = await tx.fetch(
        "select published, published_at, stage, canaries, cause, gateway_id from agent_update "
        "where log_id = $1 order by published_at desc, update_id desc limit $2",
        log_id, limit,
    )  # fmt: skip
    return [
        Campaign(
            msgspec.json.decode(row["published"], type=UpdatePublished), row["published_at"],
            row["stage"], tuple(row["canaries"]), row["cause"], row["gateway_id"],
        )
        for row in rows
    ]  # fmt: skip


def _told(row: Any) -> Told:
    return Told(**{k: v for k, v in row.items() if k != "gateway_id"})
