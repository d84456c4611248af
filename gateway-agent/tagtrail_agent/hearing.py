"""The ear: adverts and readings in, items for the outbox out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

from tagtrail_agent.clock import EPOCH, Clock, ServerTime
from tagtrail_agent.courier import MESSAGES
from tagtrail_agent.decoding import Decoded
from tagtrail_agent.filtering import (
    AlarmSink,
    AlarmWatch,
    EdgeFilter,
    Rules,
    Traits,
    default_rules,
)
from tagtrail_agent.filtering.matching import enrolled_traits
from tagtrail_agent.identity import Enrolment, Resolver
from tagtrail_agent.items import compact, item_of
from tagtrail_agent.outbox import Outbox
from tagtrail_agent.readings import Advert, Reading
from tagtrail_agent.store import Item

log = logging.getLogger(__name__)

_MS: Final = timedelta(milliseconds=1)


class Hearing:
    """Takes what inputs hear: whose is it, is it news, keep it.

    Args:
        outbox: Where items are kept.
        enrolment: The tags that may leave.
        rules: Of the filter and the alarms; None = those built in.
        filtering: Whether the filter works.
        decode_advert: Decodes adverts.
        clock: Both clocks.
        server_time: What is known of the server's clock.
        boot: This boot of the machine.
        gateway_id: The agent's own gateway.
        alarm_sink: Is told of local alarms.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        enrolment: Enrolment,
        rules: Rules | None,
        filtering: bool,
        decode_advert: Callable[[bytes], Decoded],
        clock: Clock,
        server_time: ServerTime,
        boot: str,
        gateway_id: str,
        alarm_sink: AlarmSink,
    ) -> None:
        self._outbox = outbox
        self._clock, self._server_time, self._boot = clock, server_time, boot
        self._gateway_id, self._alarm_sink = gateway_id, alarm_sink
        self._decode = decode_advert
        self._resolver = Resolver(enrolment, decode_advert)
        self._look_up = enrolled_traits(enrolment)
        self._ranges = enrolment.ranges
        self._tag_ids = _tag_ids(enrolment)
        rules = rules or default_rules()
        self._filter = EdgeFilter(rules, self._traits_of, gateway_id) if filtering else None
        self._alarms = AlarmWatch(rules.alarms, alarm_sink, self._traits_of, gateway_id)
        self.online = True
        self.adverts = 0
        self.readings = 0
        self.kept = 0

    def _traits_of(self, tag: str) -> Traits:
        return self._look_up(tag)

    def knows(self, identity: str) -> bool:
        """Return whether an identity may leave: it is enrolled, or in an enrolled range."""
        return identity in self._tag_ids or identity.startswith(self._ranges)

    def hear(self, heard: Sequence[Advert | Reading]) -> None:
        """Take a batch; when this returns, what passed the filter survives a kill."""
        try:
            self._take(heard)
        except Exception:
            log.exception("hearing.failed", extra={"count": len(heard)})
            self._outbox.tally.add("fault_of_agent", len(heard))

    def _take(self, heard: Sequence[Advert | Reading]) -> None:
        readings: list[Reading] = []
        for one in heard:
            if isinstance(one, Advert):
                self.adverts += 1
                found = self._resolver.resolve(one)
            else:
                self.readings += 1
                found = self._resolver.admit(one)
            if found is not None:
                if found.gateway_id in (self._gateway_id, MESSAGES):
                    found.gateway_id = None
                readings.append(found)
        if readings:
            now_s = self._clock.elapsed_s()
            self._alarms.take(readings, now_s, online=self.online)
            self._keep(self._filter.take(readings, now_s) if self._filter else readings)

    def tend(self) -> None:
        """Send what time alone decides; call it about once a second."""
        now_s = self._clock.elapsed_s()
        if self._filter is not None:
            self._keep(self._filter.due(now_s))
        self._alarms.due(now_s, self._clock.now(), online=self.online)

    def flush(self) -> None:
        """Keep everything that the filter still holds, before the end."""
        if self._filter is not None:
            self._keep(self._filter.flush())

    def adopt(self, enrolment: Enrolment, rules: Rules | None) -> None:
        """Go on with other tags, and other rules unless None."""
        self._look_up = enrolled_traits(enrolment)
        self._ranges, self._tag_ids = enrolment.ranges, _tag_ids(enrolment)
        self._resolver = Resolver(enrolment, self._decode, self._resolver.counts)
        if self._filter is not None:
            self._filter.adopt(rules)
        if rules is not None:
            self._alarms = AlarmWatch(
                rules.alarms, self._alarm_sink, self._traits_of, self._gateway_id
            )

    def _keep(self, readings: Sequence[Reading]) -> None:
        if readings:
            self.kept += len(readings)
            self._outbox.put([self._item(r) for r in readings])

    def _item(self, reading: Reading) -> Item:
        receiver = reading.gateway_id or self._gateway_id
        server_at = self._server_time.at(reading.elapsed_s)
        return Item(
            gateway=reading.gateway_id,
            boot=self._boot,
            at_ms=(reading.at - EPOCH) // _MS,
            elapsed_s=reading.elapsed_s,
            ahead_s=(reading.at - server_at).total_seconds() if server_at else None,
            body=compact(item_of(reading, receiver)),
        )

    def without_addresses(self, members: Any) -> Any:
        """Return figures in which tags go by their ids: identities hold radio addresses."""
        if isinstance(members, list):
            return [self.without_addresses(m) for m in members]
        if not isinstance(members, dict):
            return members
        named = {k: self.without_addresses(v) for k, v in members.items() if k != "tag"}
        tag = members.get("tag")
        if isinstance(tag, str):
            tag_id = named["tag_id"] = self._tag_ids.get(tag)
            for name, value in named.items():
                if isinstance(value, str):
                    named[name] = value.replace(tag, tag_id or "a tag")
        return named

    def figures(self) -> dict[str, Any]:
        """Return what the gateway's status says about hearing, identity, filter and alarms."""
        figures: dict[str, Any] = {
            "adverts": self.adverts, "readings": self.readings, "kept": self.kept,
            "identity": dict(sorted(self._resolver.counts.totals.items())),
        }  # fmt: skip
        if self._filter is not None:
            figures["filter"] = self._filter.figures()
        figures.update(self._alarms.figures())
        named: dict[str, Any] = self.without_addresses(figures)
        return named


def _tag_ids(enrolment: Enrolment) -> dict[str, str]:
    return {i: tag.tag_id for tag in enrolment.tags for i in tag.identities}
