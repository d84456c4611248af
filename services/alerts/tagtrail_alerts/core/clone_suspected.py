"""Rule `clone_suspected`: two reads of a label cannot both be of one label.

Locate compares the reads (`tag.read_contradicted`); this rule tells people, once per tag and place:
as long as an alert about a tag in a zone is open, further contradictions there add nothing. Nothing
that comes later can make two such reads true, so it ends only by a person, or with the tag.
"""

from __future__ import annotations

from typing import Final

from tagtrail_alerts.core import describe
from tagtrail_alerts.core.memory import Expectation, Memory
from tagtrail_alerts.core.parameters import CLONE_SUSPECTED, CloneSuspectedParameters
from tagtrail_alerts.core.transitions import (
    Resolve,
    Transition,
    alert_identity,
    clip,
    end,
)
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.alerts import AlertFired
from tagtrail_kernel.events.places import LabelRead, TagReadContradicted
from tagtrail_kernel.events.registrations import TagRetired

_NEXT_STEP: Final = (
    "Look at both labels and the things they are on; trust neither until you know which is the "
    "original. Then put a new label on the thing and register it."
)


def react(
    memory: Memory, parameters: CloneSuspectedParameters, version: int, event: Recorded
) -> list[Transition]:
    """Return what the rule makes of an event that is already in memory."""
    data = event.data
    if isinstance(data, TagReadContradicted):
        key = f"{data.tag_id}/{place_of(data.later)}"
        if memory.active(CLONE_SUSPECTED, key) is None and _concerns(memory, parameters, data):
            memory.expect(_expectation(memory, parameters, version, event, data, key))
    elif isinstance(data, TagRetired):
        return _retired(memory, event, data.tag_id)
    return []


def place_of(read: LabelRead) -> str:
    """Return what tells places apart: the zone, else the phone or reader."""
    return read.zone_id or read.gateway_id


def _retired(memory: Memory, event: Recorded, tag_id: str) -> list[Transition]:
    cause = "the tag was retired"
    open_ones = [a for a in memory.active_of(CLONE_SUSPECTED) if a.card.tag_id == tag_id]
    return [
        Resolve(end(memory, a, "closed", cause), cause, event.envelope.occurred_at, str(event.id))
        for a in open_ones
    ]


def _concerns(
    memory: Memory, parameters: CloneSuspectedParameters, data: TagReadContradicted
) -> bool:
    if data.sign not in parameters.signs:
        return False
    if data.later.zone_id in parameters.excluded_zone_ids:
        return False
    tag = memory.tags.get(data.tag_id)
    asset = memory.assets.get(tag.asset_id) if tag is not None else None
    kinds = parameters.asset_kinds
    return not kinds or (asset is not None and asset.kind in kinds)


def _expectation(
    memory: Memory,
    parameters: CloneSuspectedParameters,
    version: int,
    event: Recorded,
    data: TagReadContradicted,
    key: str,
) -> Expectation:
    at, anchor = event.envelope.occurred_at, str(event.id)
    alert_id = alert_identity(CLONE_SUSPECTED, key, anchor)
    return Expectation(
        alert_id=alert_id,
        rule_id=CLONE_SUSPECTED,
        key=key,
        anchor_event_id=anchor,
        began_at=at,
        from_at=data.earlier.at,
        due_at=at,
        decide_at=at,
        known_at=event.recorded_at,
        card=_card(memory, parameters, version, alert_id, anchor, data),
    )


def _card(
    memory: Memory,
    parameters: CloneSuspectedParameters,
    version: int,
    alert_id: str,
    anchor: str,
    data: TagReadContradicted,
) -> AlertFired:
    tag = memory.tags.get(data.tag_id)
    asset_id = tag.asset_id if tag is not None else None
    what = describe.thing(memory, asset_id, data.tag_id)
    zone_id = data.later.zone_id
    return AlertFired(
        alert_id=alert_id,
        rule_id=CLONE_SUSPECTED,
        rule_version=str(version),
        severity=parameters.severity,
        title=clip(f"{clip(what, 100)}: its label was probably copied", 150),
        what=clip(what),
        where=clip(_where(memory, data.later) or data.later.gateway_id),
        since_at=data.later.at,
        why=clip(_why(memory, data)),
        next_step=_NEXT_STEP,
        asset_id=asset_id,
        tag_id=data.tag_id,
        zone_id=zone_id,
        site_id=data.later.site_id or describe.site_of(memory, zone_id),
        anchor_event_id=anchor,
        evidence=(data.earlier.event_id, data.later.event_id, anchor),
    )


def _where(memory: Memory, read: LabelRead) -> str | None:
    site = memory.sites.get(read.site_id)
    return describe.place(memory, read.zone_id) or (site.name if site is not None else None)


def _why(memory: Memory, data: TagReadContradicted) -> str:
    earlier, later = (_read(memory, read) for read in (data.earlier, data.later))
    if data.sign == "counter_repeated":
        said = f"Its label counts its reads, and said {data.later.counter} twice"
    elif data.sign == "counter_went_back":
        said = (
            f"Its label counts its reads, and said {data.later.counter} after "
            f"{data.earlier.counter}"
        )
    else:
        away = "" if data.distance_m is None else f", {round(data.distance_m / 1000)} km apart"
        apart = describe.duration((data.later.at - data.earlier.at).total_seconds())
        said = f"It was read at two sites{away}, within {apart}"
    return f"{said}: {earlier}, and {later}."


def _read(memory: Memory, read: LabelRead) -> str:
    where = _where(memory, read)
    place = f" in {clip(where, 90)}" if where is not None else ""
    return f"at {describe.moment(read.at)}{place} by {clip(read.gateway_id, 50)}"
