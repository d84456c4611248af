"""After sightings were erased: what locate concludes without them goes into the log anew, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope, Recorded
from tagtrail_kernel.events.operations import ConclusionsRenewed, SightingsErased
from tagtrail_kernel.events.registry import Family
from tagtrail_kernel.wiring import Deps


class Renewal:
    """Conclusions that orders withdrew and that no rebuild has derived anew yet.

    Args:
        deps: Log and sink.
        log_id: The tenant's log.
        order: The last such order.
        since: First withdrawn position by tag.
    """

    def __init__(self, deps: Deps, log_id: int, order: Recorded, since: Mapping[str, int]) -> None:
        self._deps = deps
        self._log_id = log_id
        self._order = order
        self._since = since

    async def publish(self, facts: Sequence[Envelope], position: int) -> None:
        """Append what is derived of a page: only of tags that lost something, and from then on.

        The log knows by their ids what it still has.

        Args:
            facts: Derived facts.
            position: Last position of the page.
        """
        lost = [fact for fact in facts if self._since.get(fact.subject, position + 1) <= position]
        if lost:
            await self._deps.sink.publish(self._log_id, lost)

    async def finish(self) -> None:
        """Record that it is done: a later rebuild, perhaps by other rules, adds nothing."""
        order = self._order
        fact = Envelope(
            id=uuid8(order.recorded_at, f"renewed/{order.id}".encode()),
            subject=order.subject,
            source="rebuild",
            occurred_at=order.recorded_at,
            data=ConclusionsRenewed(up_to=order.position),
            causation_id=order.id,
        )
        await self._deps.sink.publish(self._log_id, [fact])


async def renewal_of(deps: Deps, log_id: int) -> Renewal | None:
    """Return what is to be derived anew; None if nothing is."""
    orders: list[Recorded] = []
    at = 0
    while page := await deps.log.read(log_id, after=at, families=Family.OPERATION):
        at = page.last
        for event in page.events:
            if isinstance(event.data, SightingsErased):
                orders.append(event)
            elif isinstance(event.data, ConclusionsRenewed):
                up_to = event.data.up_to
                orders = [order for order in orders if order.position > up_to]
    since: dict[str, int] = {}
    for order in orders:
        for position, subject in await deps.log.erased(log_id, order=order.position, again=True):
            since[subject] = min(position, since.get(subject, position))
    return Renewal(deps, log_id, orders[-1], since) if since else None
