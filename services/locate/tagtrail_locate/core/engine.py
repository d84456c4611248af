"""The fold: one event after the other into memory, out come rows and derived facts.

Everything is decided event by event in log order, in event time. How the events were cut into
batches can not show in anything that comes out.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.registrations import (
    GatewayRegistered,
    GatewayRetired,
    TagRegistered,
    TagRetired,
    ZoneRetired,
)
from tagtrail_locate.core import answers, batteries, coverage, ears, presence, sources
from tagtrail_locate.core.effects import Effects
from tagtrail_locate.core.facts import (
    Absence,
    Claim,
    Fact,
    Position,
    Radio,
    Range,
    Report,
    Sighting,
    read,
)
from tagtrail_locate.core.fusion import fuse
from tagtrail_locate.core.state import GatewayState, State, TagState, pack

SNAPSHOT_EVERY: Final = 16_384
"""Positions between snapshots: replaying as many takes about half a second at start."""

MOST_HEARD: Final = 48
"""Gateways per tag whose last hearing is remembered for presence."""

REGISTRATIONS: Final = frozenset(
    {
        "site.registered", "zone.registered", "zone.retired", "gateway.registered",
        "gateway.retired", "tag.registered", "tag.retired", "config.changed",
    }
)  # fmt: skip
"""The types of family REGISTRY that locate folds."""


class Engine:
    """The memory of one tenant's locate, and how events change it.

    Args:
        state: Memory to go on from; None starts empty.
    """

    def __init__(self, state: State | None = None) -> None:
        self.state = state if state is not None else State()
        self.effects = Effects()
        self._checks: dict[str, list[tuple[float, str]]] = {}
        for tag in self.state.tags.values():
            if tag.check_s is not None:
                self._checks.setdefault(tag.site_id or "", []).append((tag.check_s, tag.tag_id))
        for heap in self._checks.values():
            heapq.heapify(heap)

    def taken(self) -> Effects:
        """Return what came out since the last call."""
        effects, self.effects = self.effects, Effects()
        return effects

    def apply(self, events: Sequence[Recorded]) -> None:
        """Fold events, in position order.

        Raises:
            RejectedError: an event cannot be read.
            UnknownEventTypeError: an event is newer than this code.
        """
        for event in events:
            if event.position // SNAPSHOT_EVERY != self.state.position // SNAPSHOT_EVERY:
                self.effects.snapshot = (self.state.position, pack(self.state))
            self._apply(event)
            self.state.position = event.position

    def _apply(self, event: Recorded) -> None:
        if event.type in REGISTRATIONS:
            self._register(event)
            return
        found = read(event)
        if found is None:
            return
        at_s, fact = found
        if isinstance(fact, Report):
            self._report(event, at_s, fact)
            return
        gateway, at_s = self._hear(event, at_s, fact)
        self._follow(event, at_s, fact, gateway)
        self._advance(event, gateway.site_id or "", at_s)

    # -- registrations ---------------------------------------------------------------------

    def _register(self, event: Recorded) -> None:
        data = event.data
        self.state.registry.fold(event.position, data)
        if isinstance(data, TagRetired):
            if self.state.tags.pop(data.tag_id, None) is not None:
                self.effects.places[data.tag_id] = self.effects.presence[data.tag_id] = None
        elif isinstance(data, GatewayRetired):
            self.state.ears.pop(data.gateway_id, None)
            if self.state.gateways.pop(data.gateway_id, None) is not None:
                self.effects.gateways[data.gateway_id] = None
        elif isinstance(data, ZoneRetired):
            self.state.coverage.pop(data.zone_id, None)
            for tag in self.state.tags.values():
                sources.forget_zone(tag, data.zone_id)
        elif isinstance(data, GatewayRegistered):
            gateway = self._gateway(data.gateway_id, data.site_id, 0.0)
            gateway.position = event.position
            answers.write_gateway(self.state, self.effects, gateway)
        elif isinstance(data, TagRegistered):
            self._expect_anew(data.tag_id)

    def _expect_anew(self, tag_id: str) -> None:
        """A tag's cadence mode may have changed: forget what was learned, judge it soon."""
        tag = self.state.tags.get(tag_id)
        if tag is None:
            return
        tag.gaps_s = []
        coverage.forget(tag)
        sources.refresh(self.state, tag)
        if tag.active_s is not None:
            self._check_at(tag, tag.active_s)

    # -- gateways --------------------------------------------------------------------------

    def _gateway(self, gateway_id: str, site_id: str | None, at_s: float) -> GatewayState:
        gateway = self.state.gateways.get(gateway_id)
        if gateway is None:
            gateway = GatewayState(gateway_id, alive_since_s=at_s)
            self.state.gateways[gateway_id] = gateway
        known = self.state.registry.gateways.get(gateway_id)
        gateway.site_id = known.site_id if known is not None else site_id or gateway.site_id
        return gateway

    def _believed(self, event: Recorded, gateway: GatewayState, at_s: float) -> float:
        """Return the event time, or that of recording if this gateway's clock runs ahead.

        Ahead means: of the recording, and of every other gateway. An accelerated replay is ahead
        of the recording too, but there all gateways agree.
        """
        ahead_s = at_s - event.recorded_at.timestamp()
        limit = self.state.registry.thresholds.clock_ahead_s
        if ahead_s <= limit:
            gateway.ahead_s = None
            return at_s
        others = [g.last_s for g in self.state.gateways.values() if g is not gateway and g.last_s]
        if not others or at_s - max(others) <= limit:
            gateway.ahead_s = None
            return at_s
        gateway.ahead_s = ahead_s
        sources.count(self.state, "clock_ahead")
        return event.recorded_at.timestamp()

    def _alive(self, gateway: GatewayState, at_s: float, position: int) -> None:
        gateway.position = position
        if at_s > gateway.last_s:
            thresholds, pause_s = self.state.registry.thresholds, at_s - gateway.last_s
            if pause_s > thresholds.gateway_timeout_s:
                gateway.alive_since_s = at_s
            if pause_s > thresholds.silence_grace_s:
                gateway.resumed_s = at_s
            gateway.last_s = at_s

    def _report(self, event: Recorded, at_s: float, fact: Report) -> None:
        gateway = self._gateway(fact.gateway_id, fact.site_id, at_s)
        if fact.online is not None:
            gateway.online = fact.online
        if fact.retained or fact.online is False:
            answers.write_gateway(self.state, self.effects, gateway)
            return
        at_s = self._believed(event, gateway, at_s)
        self._alive(gateway, at_s, event.position)
        if fact.values:
            ears.note(self.state.ears, gateway.gateway_id, at_s, fact.values)
        self._advance(event, gateway.site_id or "", at_s)
        answers.write_gateway(self.state, self.effects, gateway)

    def _hear(self, event: Recorded, at_s: float, fact: Radio) -> tuple[GatewayState, float]:
        gateway = self._gateway(fact.gateway_id, fact.site_id, at_s)
        at_s = self._believed(event, gateway, at_s)
        self._alive(gateway, at_s, event.position)
        gateway.online = True
        minute = int(at_s // 60)
        if minute > gateway.minute:
            previous = minute == gateway.minute + 1
            gateway.usual_tags = len(gateway.tags)
            gateway.last_tags = len(gateway.tags) if previous else 0
            gateway.last_count = sum(gateway.tags.values()) if previous else 0
            gateway.minute, gateway.tags = minute, {}
        gateway.tags[fact.tag_id] = gateway.tags.get(fact.tag_id, 0) + 1
        gateway.count += 1
        if gateway.sighted_s is None or at_s > gateway.sighted_s:
            gateway.sighted_s = at_s
        if gateway.written_s is None or at_s - gateway.written_s >= answers.GATEWAY_WRITE_S:
            answers.write_gateway(self.state, self.effects, gateway)
        return gateway, at_s

    # -- tags ------------------------------------------------------------------------------

    def _follow(self, event: Recorded, at_s: float, fact: Fact, gateway: GatewayState) -> None:
        if not isinstance(fact, (Sighting, Range, Position, Claim, Absence)):
            return
        tag = self.state.tags.get(fact.tag_id)
        if isinstance(fact, Absence):
            if tag is not None and fact.gateway_id in tag.links:
                del tag.links[fact.gateway_id]
            return
        if tag is None:
            tag = self.state.tags[fact.tag_id] = TagState(fact.tag_id, settle_s=at_s)
            sources.refresh(self.state, tag)
        if at_s - tag.now_s > tag.window_s:
            tag.settle_s = at_s
        tag.now_s = max(tag.now_s, at_s)
        tag.position, tag.event = event.position, event.id.bytes
        self._note_heard(event, tag, at_s, fact, gateway)
        if isinstance(fact, Sighting):
            batteries.note(tag.habits, at_s, fact.battery_pct, fact.battery_mv)
            sources.take_sighting(self.state, tag, at_s, fact)
        elif isinstance(fact, Range):
            sources.take_range(self.state, tag, at_s, fact)
        elif isinstance(fact, Position):
            sources.take_position(self.state, tag, at_s, fact, gateway.site_id)
        else:
            sources.take_claim(self.state, tag, at_s, fact, gateway.site_id)
        self._settle(event, tag)

    def _note_heard(
        self, event: Recorded, tag: TagState, at_s: float, fact: Radio, gateway: GatewayState
    ) -> None:
        if tag.last_heard_s is None or at_s > tag.last_heard_s:
            tag.last_heard_s = at_s
        if fact.technology in sources.PASSIVE or isinstance(fact, Claim):
            tag.site_id = tag.site_id or gateway.site_id
            return
        tag.heard[fact.gateway_id] = max(at_s, tag.heard.get(fact.gateway_id, at_s))
        coverage.note(tag, fact.gateway_id, at_s)
        if len(tag.heard) > MOST_HEARD:
            del tag.heard[min(tag.heard, key=lambda g: (tag.heard[g], g))]
        if tag.active_s is not None and at_s <= tag.active_s:
            return
        tag.active_s = at_s
        if gateway.site_id is not None and gateway.site_id != tag.site_id:
            tag.site_id = gateway.site_id
            tag.check_s = None
        overdue_s, _ = presence.limits_s(tag, self.state.registry.thresholds)
        if tag.check_s is None:
            self._check_at(tag, at_s + overdue_s)
        watermark = self.state.watermarks_s.get(tag.site_id or "", at_s)
        if tag.presence != "present" and watermark - at_s < overdue_s:
            self._check_at(tag, at_s + overdue_s)
            verdict = presence.Verdict("present", None, max(watermark - at_s, 0.0), 0.0)
            answers.change_presence(self.state, self.effects, tag, verdict, at_s, event)

    def _check_at(self, tag: TagState, watermark_s: float) -> None:
        tag.check_s = watermark_s
        heap = self._checks.setdefault(tag.site_id or "", [])
        heapq.heappush(heap, (watermark_s, tag.tag_id))

    def _advance(self, event: Recorded, site_id: str, at_s: float) -> None:
        """Move a site's watermark and judge the tags whose silence is due."""
        marks = self.state.watermarks_s
        if at_s <= marks.get(site_id, 0.0):
            return
        marks[site_id] = at_s
        heap = self._checks.get(site_id)
        while heap and heap[0][0] <= at_s:
            due_s, tag_id = heapq.heappop(heap)
            tag = self.state.tags.get(tag_id)
            if tag is not None and tag.check_s == due_s and (tag.site_id or "") == site_id:
                self._judge(event, tag, at_s)

    def _judge(self, event: Recorded, tag: TagState, watermark_s: float) -> None:
        sources.refresh(self.state, tag)
        verdict = presence.judge(self.state, tag, watermark_s)
        tag.check_s = None
        if verdict.check_s is not None:
            self._check_at(tag, verdict.check_s)
        if verdict.presence != tag.presence or verdict.lost != tag.habits.lost:
            answers.change_presence(self.state, self.effects, tag, verdict, watermark_s, event)

    # -- the answer over all sources --------------------------------------------------------

    def _settle(self, event: Recorded, tag: TagState) -> None:
        winner = fuse(tag, self.state.registry)
        if winner is not None and winner.zone_id != tag.zone_id:
            sources.refresh(self.state, tag)
            answers.change_zone(self.state, self.effects, tag, winner, event)
            answers.write_place(self.state, self.effects, tag, event)
        elif answers.is_due(tag):
            sources.refresh(self.state, tag)
            self._check_sooner(tag)
            answers.write_place(self.state, self.effects, tag, event)

    def _check_sooner(self, tag: TagState) -> None:
        """Move the next judgement forward if the learned interval has become shorter."""
        if tag.active_s is None or tag.check_s is None:
            return
        overdue_s, _ = presence.limits_s(tag, self.state.registry.thresholds)
        if tag.check_s > tag.active_s + overdue_s:
            self._check_at(tag, tag.active_s + overdue_s)
