"""The fold: one event after the other into memory, out come rows and derived facts.

Events are read one by one, in log order; evaluations of tags that become due on the way are
computed together at the end of a batch, or before an event that changes what they depend on. How
the events were cut into batches can not show in anything that comes out.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from tagtrail_kernel.envelope import Recorded
from tagtrail_locate.core import answers, batteries, ears, folds, sources, zones
from tagtrail_locate.core.calm import GATHER_S, LONGEST_GAP_S
from tagtrail_locate.core.clocks import SLACK_S, Clock, Clocks, Post
from tagtrail_locate.core.coverage import Lesson
from tagtrail_locate.core.effects import Effects
from tagtrail_locate.core.evaluation import Evaluator
from tagtrail_locate.core.explain import Explanation, explain
from tagtrail_locate.core.facts import (
    SIGHTED,
    Absence,
    Claim,
    Fact,
    Position,
    Range,
    Report,
    Sighting,
    read,
    read_sighting,
)
from tagtrail_locate.core.jobs import STEP_S, Job, Listeners, choir_s, has_moved, is_complete
from tagtrail_locate.core.levels import level_of, shift_of
from tagtrail_locate.core.readings import Reading
from tagtrail_locate.core.registering import REGISTRATIONS, Registering
from tagtrail_locate.core.silence import Silence
from tagtrail_locate.core.state import TELLING_TAGS, State, TagState, pack

SNAPSHOT_EVERY: Final = 131_072
"""Positions between snapshots: replaying as many takes about two seconds at start."""


class Engine:
    """The memory of one tenant's locate, and how events change it.

    Args:
        state: Memory to go on from; None starts empty.
    """

    def __init__(self, state: State | None = None) -> None:
        self.state = state if state is not None else State()
        self.effects = Effects()
        self._clocks = Clocks(self.state)
        self._silence = Silence(self.state, self._clocks)
        self._registering = Registering(self.state, self._clocks, self._silence)
        self._evaluator = Evaluator(self.state)
        self._jobs: list[Job] = []
        self._lessons: list[Lesson] = []
        self._owing: set[str] = set()
        self._posts, self._tags = self._clocks.posts, self.state.tags

    def taken(self) -> Effects:
        """Return what came out since the last call."""
        effects, self.effects = self.effects, Effects(order=self.effects.order)
        effects.arrange()
        return effects

    def explain(self, tag: TagState) -> Explanation:
        """Return why a tag is said to be where it is; see `core.explain`."""
        model = self._evaluator.model(tag.track.site_id) if tag.track is not None else None
        return explain(self.state, tag, model)

    def apply(self, events: Sequence[Recorded]) -> None:
        """Fold events, in position order.

        Raises:
            RejectedError: an event cannot be read.
            UnknownEventTypeError: an event is newer than this code.
        """
        state = self.state
        try:
            for event in events:
                if event.position // SNAPSHOT_EVERY != state.position // SNAPSHOT_EVERY:
                    self._settle_up()
                    self.effects.snapshot = (state.position, pack(state))
                if event.type == SIGHTED:
                    self._sighted(event, *read_sighting(event))
                else:
                    self._apply(event)
                state.position = event.position
        finally:
            self._settle_up()

    def _settle_up(self) -> None:
        """Compute what is due, and write the clocks down."""
        self._compute()
        self._clocks.store()

    def _compute(self) -> None:
        if self._jobs or self._lessons:
            jobs, self._jobs = self._jobs, []
            lessons, self._lessons = self._lessons, []
            self._owing.clear()
            self._evaluator.run(jobs, lessons, self.effects)

    def _apply(self, event: Recorded) -> None:
        if event.type in REGISTRATIONS:
            self._compute()
            self._registering.take(event, self.effects)
            return
        found = read(event)
        if found is None:
            return
        at_s, fact = found
        if isinstance(fact, Report):
            self._report(event, at_s, fact)
            return
        post = self._post(fact.gateway_id, fact.site_id, at_s)
        at_s = self._clocks.believed(event, post, at_s)
        self._hear(event, post, at_s, fact.tag_id)
        self._follow(event, at_s, fact, post)
        self._advance(event, post.clock)

    # -- gateways --------------------------------------------------------------------------

    def _post(self, gateway_id: str, site_id: str | None, at_s: float) -> Post:
        """Return the post of a gateway: at its registered site, else where it says it is."""
        post = self._posts.get(gateway_id)
        if post is not None and site_id in (None, post.site_id):
            return post
        known = self.state.registry.gateways.get(gateway_id)
        if post is not None and known is not None and known.site_id == post.site_id:
            return post
        self._compute()
        return self._clocks.stand(gateway_id, site_id, at_s)

    def _report(self, event: Recorded, at_s: float, fact: Report) -> None:
        post = self._post(fact.gateway_id, fact.site_id, at_s)
        gateway = post.gateway
        if fact.online is not None:
            gateway.online = fact.online
        if not fact.retained and fact.online is not False:
            at_s = self._clocks.believed(event, post, at_s)
            gateway.position = event.position
            if fact.values:
                ears.note(self.state.ears, gateway.gateway_id, at_s, fact.values)
            if at_s > gateway.last_s:
                post.clock.told(post, at_s, self.state.registry.thresholds)
            self._advance(event, post.clock)
        answers.write_gateway(self.state, self.effects, gateway)

    def _hear(self, event: Recorded, post: Post, at_s: float, tag_id: str) -> None:
        """Note that a gateway heard a tag."""
        gateway = post.gateway
        gateway.position = event.position
        if at_s > gateway.last_s:
            post.clock.told(post, at_s, self.state.registry.thresholds)
            gateway.online = True
            if at_s >= gateway.minute_end_s:
                gateway.turn_minute(at_s)
            if gateway.sighted_s is None or at_s > gateway.sighted_s:
                gateway.sighted_s = at_s
        tags = gateway.tags
        if tag_id not in tags:
            tags[tag_id] = 1
            if gateway.lonely or post.clock.lonely[post.index]:
                gateway.lonely = gateway.lonely and len(tags) < TELLING_TAGS
                post.clock.lonely[post.index] = gateway.lonely
        gateway.minute_count += 1
        gateway.count += 1
        if gateway.written_s is None or at_s - gateway.written_s >= answers.GATEWAY_WRITE_S:
            answers.write_gateway(self.state, self.effects, gateway)

    # -- tags ------------------------------------------------------------------------------

    def apply_read(self, sightings: Sequence[tuple[Recorded, float, Sighting]]) -> None:
        """Fold sightings that were decoded already, as `read_sighting` does; see `apply`.

        Args:
            sightings: Event, its event time in seconds, and what it says, in position order.
        """
        for event, at_s, fact in sightings:
            self._sighted(event, at_s, fact)
            self.state.position = event.position
        self._settle_up()

    def _sighted(self, event: Recorded, at_s: float, fact: Sighting) -> None:
        """Take in a sighting: by far the most frequent event."""
        post = self._posts.get(fact.gateway_id)
        if post is None or (fact.site_id is not None and fact.site_id != post.site_id):
            post = self._post(fact.gateway_id, fact.site_id, at_s)
        gateway = post.gateway
        if gateway.ahead_s is not None or gateway.skew_s or at_s > self._clocks.believed_s:
            at_s = self._clocks.believed(event, post, at_s)
        self._hear(event, post, at_s, fact.tag_id)
        tag = self._tags.get(fact.tag_id)
        if tag is None:
            tag = self._appeared(fact.tag_id, at_s)
        if fact.battery_pct is not None or fact.battery_mv is not None:
            batteries.note(tag.habits, at_s, fact.battery_pct, fact.battery_mv)
        plain = fact.technology == "ble" and fact.source_class != "own_phone"
        if plain or not sources.is_read(self.state.registry, fact, tag):
            self._listen(event, at_s, fact, post, tag)
        else:
            self._follow(event, at_s, fact, post)
        clock = post.clock
        due, checks = clock.due, clock.checks
        newest_s = clock.newest_s
        if (due and due[0][0] <= newest_s - SLACK_S and clock.is_ready(due[0][0])) or (
            checks and checks[0][0] <= newest_s
        ):
            self._advance(event, clock)
        elif clock.expiries:
            self._expire(event, clock)

    def _appeared(self, tag_id: str, at_s: float) -> TagState:
        tag = self.state.tags[tag_id] = TagState(tag_id, settle_s=at_s)
        sources.refresh(self.state, tag)
        return tag

    def _listen(
        self, event: Recorded, at_s: float, fact: Sighting, post: Post, tag: TagState
    ) -> None:
        """Let a reading wait for those of the other gateways."""
        if post.counts is None:
            self._look_up(post)
        level = fact.rssi_dbm
        if level is not None and fact.rssi_1m_dbm is None:
            level += post.shift_db - tag.power_db
        else:
            level = level_of(self.state.registry, fact, post.shift_db, tag.power_db)
        event_id = event.id
        samples = fact.samples
        count, span_s = folds.ALONE if samples is None else folds.fold_of(samples, fact.interval_ms)
        reading = (at_s, post.name, level or 0.0, event_id, count, span_s)
        if level is None or not post.counts:
            self._settled(tag)
            self._note_heard(event, tag, [reading], post.site_id)
            tag.now_s = max(tag.now_s, at_s)
            self._settle(event, tag)
            return
        self._wait(event, at_s, post, tag, reading)

    def _wait(
        self, event: Recorded, at_s: float, post: Post, tag: TagState, reading: Reading
    ) -> None:
        """Let a reading wait, or have the tag looked at if it is the last one of an advert."""
        waits, calm, clock = tag.waits, tag.calm, post.clock
        if calm.gathers and at_s <= calm.until_s:
            self._look(event, tag, clock, [reading], (event.position, event.id))
            return
        gathered = calm.gathers
        calm.heed(post.name, reading[2])
        if reading[5]:
            calm.rouse()
        if calm.gathers:
            if tag.waits_s is not None and at_s > tag.waits_s:
                calm.later.append(reading)
                calm.later_position, calm.later_event = event.position, event.id
                return
            due_s = at_s + GATHER_S
        else:
            if gathered:
                waits += calm.later
                calm.later, calm.roused_s = [], at_s
            due_s = at_s
        waits.append(reading)
        tag.waits_position, tag.waits_event = event.position, event.id
        ready = not calm.gathers and len(waits) >= tag.choir
        if tag.presence != "present" or (ready and is_complete(waits, tag.choir, at_s)):
            self._fall_due(event, tag, clock)
        elif tag.waits_s is None or due_s < tag.waits_s:
            self._await(tag, due_s, clock)

    def _await(self, tag: TagState, due_s: float, clock: Clock) -> None:
        """Have a tag looked at when its site's time has come that far."""
        tag.waits_s, tag.waits_at = due_s, clock.site_id
        heapq.heappush(clock.due, (due_s, tag.tag_id))

    def _look_up(self, post: Post) -> None:
        """Look up what the configuration says of a gateway's readings."""
        post.counts = self._evaluator.counts(post.clock.site_id, post.name)
        post.shift_db = shift_of(self.state.registry, post.name)
        if not post.gateway.hears:
            post.gateway.hears = True
            post.clock.lasts[post.index] = post.gateway.last_s

    def _fall_due(self, event: Recorded, tag: TagState, clock: Clock) -> None:
        """Have a tag looked at with the readings that wait."""
        waits, due, calm = tag.waits, clock.due, tag.calm
        if due and due[0][1] == tag.tag_id:
            heapq.heappop(due)
        gathered_s = calm.roused_s - STEP_S if calm.roused_s else None
        calm.roused_s = 0.0
        if calm.gathers and tag.waits_s is not None:
            self._settled(tag)
            if not (moved := has_moved(tag)):
                gathered_s = min(tag.waits_s, clock.newest_s)
            if moved or tag.radio.candidate_count > 0:
                calm.rouse()
        if gathered_s is not None:
            calm.until_s = max(gathered_s, calm.until_s)
        caused = tag.waits_position, tag.waits_event
        later, calm.later = calm.later, []
        tag.waits, tag.waits_s = later, None
        self._look(event, tag, clock, waits, caused, gathered_s)
        gap_s = tag.gaps_s[-1] if tag.gaps_s else math.inf
        calm.looked(
            tag.sought_s, able=gap_s <= LONGEST_GAP_S and not self.state.registry.thresholds.lag_s
        )
        if later:
            tag.waits_position, tag.waits_event = calm.later_position, calm.later_event
            first_s = min(later)[0]
            self._await(tag, first_s + GATHER_S if calm.gathers else first_s, clock)

    def _look(
        self, event: Recorded, tag: TagState, clock: Clock, waits: list[Reading],
        caused: tuple[int, UUID], gathered_s: float | None = None,
    ) -> None:  # fmt: skip
        """Make a job of readings.

        Args:
            event: With which it is due.
            tag: The tag.
            clock: Of the gateways that heard it.
            waits: The readings.
            caused: Position and id of the newest event by arrival among them.
            gathered_s: Time up to which they are one look at a calm tag; None if it is not calm.
        """
        waits.sort()
        self._note_heard(event, tag, waits, clock.site_id or None)
        self.effects.order = order = self.effects.order + 1
        newest_s = waits[-1][0]
        if newest_s > tag.sought_s:
            silent_s = newest_s - tag.sought_s
            least_s = self.state.registry.thresholds.lapse_s
            if silent_s > least_s and silent_s > sources.lapse_s(self.state, tag):
                tag.settle_s = waits[0][0]
                tag.calm.rouse()
            tag.sought_s = newest_s
        lately_s = newest_s - choir_s(tag)
        tag.choir = len([1 for heard_s in tag.heard.values() if heard_s > lately_s])
        cause = answers.Cause(
            order, event.position, *caused, clock.site_id,
            tag.last_heard_s or newest_s, tag.interval_s,
        )  # fmt: skip
        ears = Listeners(clock.names, clock.lasts[:], clock.resumed[:], clock.lonely[:])
        self._jobs.append(
            Job(order, tag, clock.site_id, waits, cause, ears, tag.settle_s, gathered_s)
        )
        timeout_s = self._clocks.timeout_s
        if timeout_s is not None:
            clock.expect(tag.tag_id, tag.sought_s + timeout_s)
        self._owing.add(tag.tag_id)

    def _settled(self, tag: TagState) -> None:
        """Compute what is due if this tag's evaluation is among it."""
        if tag.tag_id in self._owing:
            self._compute()

    def _follow(self, event: Recorded, at_s: float, fact: Fact, post: Post) -> None:
        """Take in a fact that decides by itself; those that wait for others are `_listen`'s."""
        if not isinstance(fact, (Sighting, Range, Position, Claim, Absence)):
            return
        tag = self.state.tags.get(fact.tag_id)
        if isinstance(fact, Absence):
            self._unhear(event, tag, fact.gateway_id)
            return
        if tag is None:
            tag = self._appeared(fact.tag_id, at_s)
        if isinstance(fact, Range):
            self._settled(tag)
        else:
            self._rouse(event, tag)
        tag.now_s = max(tag.now_s, at_s)
        event_id, site_id = event.id.bytes, post.gateway.site_id
        if fact.technology in sources.PASSIVE or isinstance(fact, Claim):
            if tag.last_heard_s is None or at_s > tag.last_heard_s:
                tag.last_heard_s = at_s
            tag.site_id = tag.site_id or site_id
        else:
            self._note_heard(event, tag, [(at_s, post.name, 0.0, event.id, *folds.ALONE)], site_id)
        if isinstance(fact, Sighting):
            sources.take_read(self.state, self.effects, tag, at_s, fact, event_id)
        elif isinstance(fact, Range):
            sources.take_range(self.state, tag, at_s, fact, event_id)
        elif isinstance(fact, Position):
            sources.take_position(self.state, tag, at_s, fact, event_id, site_id)
        else:
            sources.take_claim(self.state, tag, at_s, fact, event_id, site_id)
        self._settle(event, tag)

    def _unhear(self, event: Recorded, tag: TagState | None, gateway_id: str) -> None:
        """Take a gateway at its word that it no longer hears a tag."""
        if tag is None:
            return
        self._rouse(event, tag)
        self._evaluator.unhear(tag, gateway_id)

    def _rouse(self, event: Recorded, tag: TagState) -> None:
        """Look at what was gathered of a tag, and at every advert from now on."""
        if tag.calm.gathers and tag.waits:
            self._fall_due(event, tag, self._clocks.of(tag.waits_at))
        tag.calm.rouse()
        self._settled(tag)

    def _note_heard(
        self, event: Recorded, tag: TagState, readings: list[Reading], site_id: str | None
    ) -> None:
        """Note that a tag that speaks by itself was heard."""
        folds.note(tag, readings)
        if sources.learn_gaps(tag, readings):
            self._silence.learn(tag)
        if self._silence.broken(tag, readings, site_id):
            self._settled(tag)
            self._silence.end(self.effects, tag, readings[-1][0], event)

    def _advance(self, event: Recorded, clock: Clock) -> None:
        """Let fall due what a site's time has reached, and judge the silence of its tags."""
        while clock.due and clock.is_ready(clock.due[0][0]):
            at_s, tag_id = heapq.heappop(clock.due)
            tag = self._tags.get(tag_id)
            if tag is not None and tag.waits_s == at_s and tag.waits_at == clock.site_id:
                self._fall_due(event, tag, clock)
        checks = clock.checks
        while checks and checks[0][0] <= clock.newest_s:
            due_s, tag_id = heapq.heappop(checks)
            tag = self.state.tags.get(tag_id)
            if tag is not None and tag.check_s == due_s and (tag.site_id or "") == clock.site_id:
                self._judge(event, tag, clock)
        if clock.expiries:
            self._expire(event, clock)

    def _judge(self, event: Recorded, tag: TagState, clock: Clock) -> None:
        """Judge the silence of a tag, if it is silent."""
        broken = self._silence.is_broken(tag, clock.newest_s)
        if not broken and tag.waits:
            self._fall_due(event, tag, clock)
            broken = self._silence.is_broken(tag, clock.newest_s)
        if not broken:
            self._compute()
            self._silence.judge(self.effects, tag, clock.newest_s, event)
            return
        lesson = self._silence.judge_later(tag, self.effects.order)
        if lesson is not None:
            self._lessons.append(lesson)
            self._owing.add(tag.tag_id)

    def _expire(self, event: Recorded, clock: Clock) -> None:
        """Give up the zones of tags for which there was no evidence for too long."""
        while (tag_id := clock.expired()) is not None:
            tag = self._tags.get(tag_id)
            if tag is None or tag.waits:
                continue
            least_s = tag.sought_s + (self._clocks.timeout_s or 0.0)
            if least_s > clock.newest_s:
                clock.expect(tag_id, least_s)
                continue
            self._settled(tag)
            fence = self.state.registry.thresholds.fence_of(clock.site_id, tag.radio.zone_id)
            if fence.timeout_s is None:
                continue
            until_s = tag.sought_s + fence.timeout_s
            if until_s > clock.newest_s:
                clock.expect(tag_id, until_s)
            elif zones.expire(tag.radio, clock.newest_s):
                tag.now_s = max(tag.now_s, clock.newest_s)
                self._settle(event, tag)

    # -- the answer over all sources --------------------------------------------------------

    def _settle(self, event: Recorded, tag: TagState) -> None:
        self.effects.order += 1
        cause = answers.Cause(
            self.effects.order, event.position, event.position, event.id, tag.site_id,
            tag.last_heard_s or tag.now_s, tag.interval_s,
        )  # fmt: skip
        answers.settle(self.state, self.effects, tag, cause)
