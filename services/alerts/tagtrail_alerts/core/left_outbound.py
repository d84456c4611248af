"""Rule `left_outbound_without_pod`: "if a pallet leaves the outbound zone without POD, trigger investigation".

Leaving is a confirmed change from a watched zone to another zone or to none, or silence of a tag
whose last confirmed zone is a watched one. From then on a POD that covers the asset is expected
within the grace. A POD during the stay in the outbound zone counts as well. Coming back before
the deadline cancels; coming back afterwards resolves; a POD that reaches the log late, but
happened in time, retracts. A POD that happened after the grace changes nothing: somebody has to
look at it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from tagtrail_alerts.core import describe
from tagtrail_alerts.core.memory import Expectation, Memory, Place, Proof
from tagtrail_alerts.core.parameters import LEFT_OUTBOUND, LeftOutboundParameters
from tagtrail_alerts.core.transitions import (
    Transition,
    alert_identity,
    clip,
    end,
    end_or_resolve,
)
from tagtrail_alerts.core.world import Fact, Move, Proved
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.alerts import AlertFired
from tagtrail_kernel.events.places import TagPresenceChanged
from tagtrail_kernel.events.registrations import AssetRetired


def react(
    memory: Memory,
    parameters: LeftOutboundParameters,
    version: int,
    event: Recorded,
    facts: list[Fact],
) -> list[Transition]:
    """Return what the rule makes of an event that is already in memory."""
    rule = _Rule(memory, parameters, version, event)
    if isinstance(event.data, TagPresenceChanged):
        return rule.on_presence(event.data)
    if isinstance(event.data, AssetRetired):
        return rule.on_retired(event.data.asset_id)
    transitions: list[Transition] = []
    for fact in facts:
        if isinstance(fact, Move):
            transitions += rule.on_move(fact)
        elif isinstance(fact, Proved):
            transitions += rule.on_proof(fact)
    return transitions


class _Rule:
    """The rule at one event."""

    def __init__(
        self, memory: Memory, parameters: LeftOutboundParameters, version: int, event: Recorded
    ) -> None:
        self._memory = memory
        self._parameters = parameters
        self._version = version
        self._event = event
        self._at: datetime = event.envelope.occurred_at

    def on_move(self, move: Move) -> list[Transition]:
        asset_id = self._asset_of(move.tag_id)
        if asset_id is None:
            return []
        watched = self._watched(move.after.zone_id)
        active = self._memory.active(LEFT_OUTBOUND, asset_id)
        if active is not None:
            if watched or (active.outside and self._inside(move.after.zone_id)):
                return self._returned(active, move.after.zone_id)
            if not self._inside(move.after.zone_id):
                self._memory.expect(msgspec.structs.replace(active, outside=True))
            return []
        before = move.before
        if before is None or watched or not self._watched(before.zone_id) or before.gone:
            return []
        if self._inside(move.after.zone_id) and not self._parameters.moves_inside_count:
            return []
        self._expect(asset_id, move.tag_id, before, to_zone_id=move.after.zone_id)
        return []

    def on_presence(self, data: TagPresenceChanged) -> list[Transition]:
        place = self._memory.places.get(data.tag_id)
        asset_id = self._asset_of(data.tag_id)
        if place is None or asset_id is None:
            return []
        if data.state == "present":
            return self._heard_again(asset_id, data, place)
        silent = data.state in self._parameters.silence_states or describe.has_left(data)
        if not silent or place.gone or not self._watched(place.zone_id):
            return []
        self._memory.places.put(data.tag_id, msgspec.structs.replace(place, gone=True))
        if self._memory.active(LEFT_OUTBOUND, asset_id) is None:
            self._expect(asset_id, data.tag_id, place, silence=data)
        return []

    def on_proof(self, fact: Proved) -> list[Transition]:
        transitions: list[Transition] = []
        for asset_id in fact.asset_ids:
            active = self._memory.active(LEFT_OUTBOUND, asset_id)
            if active is not None and active.from_at <= fact.proof.at <= active.due_at:
                transitions += end_or_resolve(
                    self._memory,
                    active,
                    state="met",
                    cause=_proved(fact.proof),
                    at=fact.proof.at,
                    event_id=str(self._event.id),
                )
        return transitions

    def on_retired(self, asset_id: str) -> list[Transition]:
        active = self._memory.active(LEFT_OUTBOUND, asset_id)
        if active is None:
            return []
        return end_or_resolve(
            self._memory,
            active,
            state="cancelled",
            cause="the asset was retired",
            at=self._at,
            event_id=str(self._event.id),
        )

    def _heard_again(
        self, asset_id: str, data: TagPresenceChanged, place: Place
    ) -> list[Transition]:
        if place.gone:
            self._memory.places.put(data.tag_id, msgspec.structs.replace(place, gone=False))
        active = self._memory.active(LEFT_OUTBOUND, asset_id)
        if active is None or not active.silent or not self._watched(place.zone_id):
            return []
        return self._returned(active, place.zone_id, heard_at=data.last_heard_at)

    def _returned(
        self, active: Expectation, zone_id: str | None, heard_at: datetime | None = None
    ) -> list[Transition]:
        at = heard_at or self._at
        where = describe.place(self._memory, zone_id) or "a known zone"
        return end_or_resolve(
            self._memory,
            active,
            state="cancelled",
            cause=f"back in {where} at {describe.moment(at)}",
            at=at,
            event_id=str(self._event.id),
        )

    def _expect(
        self,
        asset_id: str,
        tag_id: str,
        left: Place,
        *,
        to_zone_id: str | None = None,
        silence: TagPresenceChanged | None = None,
    ) -> None:
        anchor = str(self._event.id)
        alert_id = alert_identity(LEFT_OUTBOUND, asset_id, anchor)
        lookback = timedelta(seconds=self._parameters.lookback_s)
        due_at = self._at + timedelta(seconds=self._parameters.grace_s)
        expectation = Expectation(
            alert_id=alert_id,
            rule_id=LEFT_OUTBOUND,
            key=asset_id,
            anchor_event_id=anchor,
            began_at=self._at,
            from_at=left.stay_at if left.stay_at is not None else self._at - lookback,
            due_at=due_at,
            decide_at=due_at + timedelta(seconds=self._parameters.lateness_s),
            known_at=self._event.recorded_at,
            outside=silence is not None or not self._inside(to_zone_id),
            silent=silence is not None,
            card=self._card(alert_id, asset_id, tag_id, left, due_at, to_zone_id, silence),
        )
        self._memory.expect(expectation)
        known = self._memory.deliveries.get(asset_id)
        for proof in known.proofs if known is not None else ():
            if expectation.from_at <= proof.at <= due_at:
                end(self._memory, expectation, "met", _proved(proof))
                return

    def _card(
        self,
        alert_id: str,
        asset_id: str,
        tag_id: str,
        left: Place,
        due_at: datetime,
        to_zone_id: str | None,
        silence: TagPresenceChanged | None,
    ) -> AlertFired:
        memory, anchor = self._memory, str(self._event.id)
        what = describe.thing(memory, asset_id, tag_id)
        where = describe.place(memory, left.zone_id) or "the outbound zone"
        grace = describe.duration(self._parameters.grace_s)
        return AlertFired(
            alert_id=alert_id,
            rule_id=LEFT_OUTBOUND,
            rule_version=str(self._version),
            severity=self._parameters.severity,
            title=clip(f"{clip(what, 90)} left {where} without proof of delivery", 150),
            what=clip(what),
            where=clip(where),
            since_at=silence.last_heard_at if silence is not None else self._at,
            why=clip(
                f"{self._how(clip(where, 100), to_zone_id, silence)} No POD covers it by "
                f"{describe.moment(due_at)} (grace {grace})."
            ),
            next_step=clip(
                "Ask dock and driver for the signed document and record the POD, or find the goods."
            ),
            asset_id=asset_id,
            tag_id=tag_id,
            zone_id=left.zone_id,
            site_id=describe.site_of(memory, left.zone_id),
            anchor_event_id=anchor,
            evidence=(anchor,),
        )

    def _how(self, where: str, to_zone_id: str | None, silence: TagPresenceChanged | None) -> str:
        if silence is not None and describe.has_left(silence):
            return (
                f"Not heard since {describe.moment(silence.last_heard_at)}, last on its way out "
                f"through {where}, although its gateways work."
            )
        if silence is not None and silence.state == "unobservable":
            return (
                f"Last heard in {where} at {describe.moment(silence.last_heard_at)}; its gateways "
                "are silent as well, so look at them first."
            )
        if silence is not None:
            return (
                f"Not heard since {describe.moment(silence.last_heard_at)}, last in {where}, "
                "although its gateways work."
            )
        to = describe.place(self._memory, to_zone_id)
        goal = f" for {clip(to, 100)}" if to is not None else ""
        return f"Left {where}{goal} at {describe.moment(self._at)}."

    def _asset_of(self, tag_id: str) -> str | None:
        tag = self._memory.tags.get(tag_id)
        if tag is None or tag.asset_id is None:
            return None
        kinds = self._parameters.asset_kinds
        asset = self._memory.assets.get(tag.asset_id)
        if kinds and (asset is None or asset.kind not in kinds):
            return None
        return tag.asset_id

    def _watched(self, zone_id: str | None) -> bool:
        return describe.kind_of(self._memory, zone_id) in self._parameters.zone_kinds

    def _inside(self, zone_id: str | None) -> bool:
        return describe.kind_of(self._memory, zone_id) in self._parameters.inside_kinds


def _proved(proof: Proof) -> str:
    document = f" {clip(proof.document, 60)}" if proof.document else ""
    return f"POD{document} of {describe.moment(proof.at)} covers it"
