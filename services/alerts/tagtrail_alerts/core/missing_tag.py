"""Rule `missing_tag`: a tag is silent although it should have been heard.

Locate decides what silence means (`tag.presence_changed`, computed in event time with the state of
the gateways): `overdue` and `unobservable` are no reason for an alert, `missing` is. So is a tag
that left through a dock: locate does not know whether that was planned, this rule does. And so is
a tag whose battery came to its end: nothing is lost, but nobody watches the goods until it is changed.
"""

from __future__ import annotations

from datetime import timedelta

from tagtrail_alerts.core import describe
from tagtrail_alerts.core.memory import Expectation, Memory, Place
from tagtrail_alerts.core.parameters import MISSING_TAG, MissingTagParameters
from tagtrail_alerts.core.transitions import Transition, alert_identity, clip, end_or_resolve
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.alerts import AlertFired
from tagtrail_kernel.events.places import TagPresenceChanged
from tagtrail_kernel.events.registrations import TagBound, TagRetired, TagUnbound


def react(
    memory: Memory, parameters: MissingTagParameters, version: int, event: Recorded
) -> list[Transition]:
    """Return what the rule makes of an event that is already in memory."""
    data = event.data
    if isinstance(data, TagPresenceChanged):
        return _on_presence(memory, parameters, version, event, data)
    if isinstance(data, TagRetired | TagUnbound | TagBound):
        return _on_binding(memory, parameters, event, data)
    return []


def _on_presence(
    memory: Memory,
    parameters: MissingTagParameters,
    version: int,
    event: Recorded,
    data: TagPresenceChanged,
) -> list[Transition]:
    active = memory.active(MISSING_TAG, data.tag_id)
    if active is not None:
        heard = data.state == "present" or data.last_heard_at > active.from_at
        if not heard:
            return []
        return end_or_resolve(
            memory,
            active,
            state="met",
            cause=f"heard again at {describe.moment(data.last_heard_at)}",
            at=data.last_heard_at,
            event_id=str(event.id),
        )
    missing = data.state == "missing" and not data.lost
    told = missing or describe.has_left(data) or describe.battery_is_empty(data)
    if told and _concerns(memory, parameters, data):
        memory.expect(_expectation(memory, parameters, version, event, data))
    return []


def _on_binding(
    memory: Memory,
    parameters: MissingTagParameters,
    event: Recorded,
    data: TagRetired | TagUnbound | TagBound,
) -> list[Transition]:
    active = memory.active(MISSING_TAG, data.tag_id)
    cause = _end_of_binding(active, parameters, data) if active is not None else None
    if active is None or cause is None:
        return []
    return end_or_resolve(
        memory,
        active,
        state="cancelled",
        cause=cause,
        at=event.envelope.occurred_at,
        event_id=str(event.id),
    )


def _end_of_binding(
    active: Expectation, parameters: MissingTagParameters, data: TagRetired | TagUnbound | TagBound
) -> str | None:
    if isinstance(data, TagRetired):
        return "the tag was retired"
    if not parameters.only_bound or active.card.asset_id is None:
        return None
    if data.asset_id != active.card.asset_id:
        return "the tag is on another asset now" if isinstance(data, TagBound) else None
    return "the tag was taken off its asset" if isinstance(data, TagUnbound) else None


def _concerns(memory: Memory, parameters: MissingTagParameters, data: TagPresenceChanged) -> bool:
    tag, place = memory.tags.get(data.tag_id), memory.places.get(data.tag_id)
    asset_id = tag.asset_id if tag is not None else None
    if asset_id is None and parameters.only_bound:
        return False
    asset = memory.assets.get(asset_id)
    if parameters.asset_kinds and (asset is None or asset.kind not in parameters.asset_kinds):
        return False
    zone_id = _last_zone(place, data)
    if zone_id in parameters.excluded_zone_ids:
        return False
    if describe.kind_of(memory, zone_id) in parameters.excluded_zone_kinds:
        return False
    return not (parameters.ignore_shipped and _shipped(memory, asset_id, place, data))


def _last_zone(place: Place | None, data: TagPresenceChanged) -> str | None:
    return data.zone_id or (place.last_zone_id if place is not None else None)


def _shipped(
    memory: Memory, asset_id: str | None, place: Place | None, data: TagPresenceChanged
) -> bool:
    """Whether the asset was shipped or delivered since it came where it was last."""
    known = memory.deliveries.get(asset_id)
    if known is None:
        return False
    since = place.since_at if place is not None else data.last_heard_at
    times = [p.at for p in known.proofs] + ([known.departed_at] if known.departed_at else [])
    return any(since <= at <= data.last_heard_at + timedelta(seconds=data.silent_s) for at in times)


def _expectation(
    memory: Memory,
    parameters: MissingTagParameters,
    version: int,
    event: Recorded,
    data: TagPresenceChanged,
) -> Expectation:
    at = event.envelope.occurred_at
    due_at = max(at, data.last_heard_at + timedelta(seconds=parameters.min_silence_s))
    anchor = str(event.id)
    alert_id = alert_identity(MISSING_TAG, data.tag_id, anchor)
    return Expectation(
        alert_id=alert_id,
        rule_id=MISSING_TAG,
        key=data.tag_id,
        anchor_event_id=anchor,
        began_at=at,
        from_at=data.last_heard_at,
        due_at=due_at,
        decide_at=due_at,
        known_at=event.recorded_at,
        card=_card(memory, parameters, version, alert_id, anchor, data),
    )


def _card(
    memory: Memory,
    parameters: MissingTagParameters,
    version: int,
    alert_id: str,
    anchor: str,
    data: TagPresenceChanged,
) -> AlertFired:
    tag, place = memory.tags.get(data.tag_id), memory.places.get(data.tag_id)
    asset_id = tag.asset_id if tag is not None else None
    zone_id = _last_zone(place, data)
    what = describe.thing(memory, asset_id, data.tag_id)
    where = describe.place(memory, zone_id)
    gateways = ", ".join(data.gateway_ids[:5]) or "none named"
    return AlertFired(
        alert_id=alert_id,
        rule_id=MISSING_TAG,
        rule_version=str(version),
        severity=parameters.severity,
        title=clip(_title(what, data), 150),
        what=clip(what),
        where=clip(where) if where is not None else None,
        since_at=data.last_heard_at,
        why=clip(
            f"Silent for {describe.duration(data.silent_s)}; expected every "
            f"{describe.duration(data.expected_interval_s)}. "
            f"Gateways that usually hear it and are up: {gateways}.{_chance(data)}"
        ),
        next_step=clip(_next_step(memory, data, where)),
        asset_id=asset_id,
        tag_id=data.tag_id,
        zone_id=zone_id,
        site_id=data.site_id or describe.site_of(memory, zone_id),
        anchor_event_id=anchor,
        evidence=(anchor,),
    )


def _title(what: str, data: TagPresenceChanged) -> str:
    if describe.has_left(data):
        return f"{what} has left unbooked"
    if describe.battery_is_empty(data):
        return f"{what}: the battery of its tag is empty"
    return f"{what} is missing"


def _chance(data: TagPresenceChanged) -> str:
    if data.gone_probability is None:
        return ""
    return f" It is gone from its place with {round(100 * data.gone_probability)} %."


def _next_step(memory: Memory, data: TagPresenceChanged, where: str | None) -> str:
    named = (describe.place(memory, zone_id) for zone_id in data.look_first[:3])
    places = [place for place in named if place is not None] or [where or "its last known place"]
    then = f", then in {' and in '.join(places[1:])}" if len(places) > 1 else ""
    if describe.has_left(data):
        return f"Ask what was loaded at {places[0]} and book it; else look there{then}."
    if describe.battery_is_empty(data):
        return f"Change the battery in {places[0]}; until then nobody watches it."
    return f"Look in {places[0]} first{then}; if it is there, change the battery."
