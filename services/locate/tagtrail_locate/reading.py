"""Reads the tables for the API; every answer says which position of the log it shows."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final

from tagtrail_kernel.clock import Clock
from tagtrail_kernel.database import Connection, Database
from tagtrail_kernel.errors import NotFoundError
from tagtrail_locate.projection import NAME
from tagtrail_locate.replies import age_s
from tagtrail_locate.tables import GATEWAY, HISTORY, PLACE

Item = dict[str, Any]

_PLACE: Final = ", ".join(f"p.{c}" for c in PLACE)
_HISTORY: Final = ", ".join(HISTORY)
_GATEWAY: Final = ", ".join(GATEWAY)
_PLACES: Final = (
    f"select {_PLACE}, s.heard_at as site_heard_at, n.cause, n.gone_probability, "  # noqa: S608 - constants
    "coalesce(n.lost, false) as lost, coalesce(n.look_first, '{}') as look_first "
    "from place p left join presence n on n.log_id = p.log_id and n.tag_id = p.tag_id left join ("
    "select site_id, max(last_heard_at) as heard_at from gateway where log_id = $1 group by site_id"
    ") s on s.site_id = p.site_id where p.log_id = $1"
)


class Reading:
    """Places, histories and gateways as JSON values.

    Args:
        database: Locate's tables.
        clock: For ages; nothing is decided by it.
        gateway_silent_s: Silence after which a gateway, or a whole site, is shown as silent.
    """

    def __init__(self, database: Database, clock: Clock, *, gateway_silent_s: float) -> None:
        self._database = database
        self._clock = clock
        self._silent_s = gateway_silent_s

    def now(self) -> datetime:
        """Return the present time, for ages."""
        return self._clock.now()

    @contextlib.asynccontextmanager
    async def snapshot(self, log_id: int) -> AsyncIterator[tuple[Connection, int]]:
        """Lend a connection that sees one state, and the position of that state."""
        async with (
            self._database.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            position = await connection.fetchval(
                "select position from consumer where name = $1 and log_id = $2", NAME, log_id
            )
            yield connection, int(position or 0)

    async def places(
        self,
        connection: Connection,
        log_id: int,
        *,
        after: str,
        limit: int,
        site_id: str | None = None,
        zone_id: str | None = None,
    ) -> list[Item]:
        """Return latest places by tag id."""
        rows = await connection.fetch(
            f"{_PLACES} and p.tag_id > $2 and ($3::text is null or p.site_id = $3) "
            "and ($4::text is null or p.zone_id = $4) order by p.tag_id limit $5",
            log_id, after, site_id, zone_id, limit,
        )  # fmt: skip
        now = self._clock.now()
        return [self._place(row, now) for row in rows]

    async def place(self, connection: Connection, log_id: int, tag_id: str) -> Item:
        """Return the latest place of a tag.

        Raises:
            NotFoundError: it was never heard.
        """
        row = await connection.fetchrow(f"{_PLACES} and p.tag_id = $2", log_id, tag_id)
        if row is None:
            raise unknown_tag(tag_id)
        return self._place(row, self._clock.now())

    async def changed_places(self, log_id: int, after: int) -> list[Item]:
        """Return the places that were written after a position, oldest first, each tag once."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"{_PLACES} and p.position > $2 order by p.position, p.tag_id", log_id, after
            )
        now = self._clock.now()
        return [self._place(row, now) for row in rows]

    async def tags_of_site(self, log_id: int, site_id: str) -> set[str]:
        """Return the tags whose latest place is at a site."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "select tag_id from place where log_id = $1 and site_id = $2", log_id, site_id
            )
        return {row["tag_id"] for row in rows}

    async def position(self, log_id: int) -> int:
        """Return the position that the tables show."""
        async with self.snapshot(log_id) as (_, position):
            return position

    async def history(
        self,
        connection: Connection,
        log_id: int,
        tag_id: str,
        *,
        since: datetime | None,
        until: datetime | None,
        before: int | None,
        limit: int,
    ) -> list[Item]:
        """Return confirmed changes of a tag's zone, newest first."""
        rows = await connection.fetch(
            f"select {_HISTORY} from place_history where log_id = $1 and tag_id = $2 "  # noqa: S608 - constants
            "and ($3::timestamptz is null or occurred_at >= $3) "
            "and ($4::timestamptz is null or occurred_at <= $4) "
            "and ($5::bigint is null or position < $5) order by position desc limit $6",
            log_id, tag_id, since, until, before, limit,
        )  # fmt: skip
        return [_change(row) for row in rows]

    async def gateways(
        self, connection: Connection, log_id: int, *, after: str, limit: int, site_id: str | None
    ) -> list[Item]:
        """Return how the gateways are, by gateway id."""
        rows = await connection.fetch(
            f"select {_GATEWAY} from gateway where log_id = $1 and gateway_id > $2 "  # noqa: S608 - constants
            "and ($3::text is null or site_id = $3) order by gateway_id limit $4",
            log_id, after, site_id, limit,
        )  # fmt: skip
        now = self._clock.now()
        return [self._gateway(row, now) for row in rows]

    def _place(self, row: Any, now: datetime) -> Item:
        item = dict(row)
        heard_at = item.pop("site_heard_at")
        silent_s = age_s(heard_at, now)
        return item | {
            "age_s": age_s(item["last_heard_at"], now),
            "configuration": str(item["configuration"]),
            "site_heard_at": heard_at,
            "site_silent": silent_s is None or silent_s > self._silent_s,
        }

    def _gateway(self, row: Any, now: datetime) -> Item:
        item = dict(row)
        silence_s = age_s(item["last_heard_at"], now)
        state = gateway_state(item, silence_s, self._silent_s)
        fresh = silence_s is not None and silence_s <= self._silent_s
        return item | {
            "state": state,
            "age_s": silence_s,
            "sightings_per_min": item["sightings_per_min"] if fresh else 0,
            "tags_heard": item["tags_heard"] if fresh else 0,
        }


def gateway_state(item: Item, silence_s: float | None, silent_s: float) -> str:
    """Return the one word for a gateway's health, the worst that applies.

    Args:
        item: Its row.
        silence_s: Time since it was heard, seconds; None = never.
        silent_s: Silence that counts as silent, seconds.
    """
    if silence_s is None:
        return "never_heard"
    if item["online"] is False:
        return "offline"
    if silence_s > silent_s:
        return "silent"
    if item["clock_ahead_s"] is not None:
        return "clock_ahead"
    return "healthy" if item["registered"] else "unregistered"


def _change(row: Any) -> Item:
    item = dict(row)
    item["at"] = item.pop("occurred_at")
    item["configuration"] = str(item["configuration"])
    return item


def unknown_tag(tag_id: str) -> NotFoundError:
    """Return the problem of a tag that was never heard."""
    return NotFoundError(
        f"no tag {tag_id!r} was heard yet; GET /v1/places lists those that were, and "
        "/v1/gateways/health says what the gateways hear",
        tag_id=tag_id,
    )


def ids_for_resuming(items: Sequence[Item]) -> list[int]:
    """Return the position to resume from after each item, so that ties are not skipped."""
    positions = [int(item["position"]) for item in items]
    following = [*positions[1:], None][: len(positions)]
    return [p if p != after else p - 1 for p, after in zip(positions, following, strict=True)]
