"""room-assistant: `room-assistant/entity/<instance>/<sensor>/<entity>`, presence with all rooms.

One message repeats what every room last measured, each with its own time, so a repeated value
gets the same event id.
"""

from __future__ import annotations

from typing import Any, Final

from tagtrail_ingest.adapters import values
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.identities import best_first
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times
from tagtrail_kernel.events.sightings import TagAbsenceReported, TagSighted, TagZoneReported

FORMAT: Final = "roomassistant"


def read(message: Message) -> Decoded:
    """Read one message.

    Raises:
        UnreadableError: it holds no entity.
    """
    out = Outcome(message, FORMAT)
    body = Members(values.parse_object(message.payload))
    if not values.is_object(body.peek("entity")):
        raise UnreadableError("expected {entity: {id, state}}")
    entity = body.nested("entity")
    levels = (message.topic or "").split("/")
    entity_id = entity.text("id") or levels[-1]
    with out.item(0):
        if values.is_object(entity.peek("measuredValues")):
            _presence(out, entity, _identities(entity_id))
        else:
            gateway_id = values.receiver(levels[2]) if len(levels) > 2 else None
            figures = {"entity": entity_id, **entity.rest}
            out.gateway("telemetry", gateway_id, figures=values.keep_members(figures))
    return out.done()


def _identities(entity_id: str) -> tuple[str, ...]:
    named = values.text(entity_id)
    if named is None or len(named) > 128:
        return ()
    address = values.mac(named.removeprefix("ble-").removeprefix("bluetooth-classic-"))
    return best_first(f"room-assistant:{named}", f"mac:{address}" if address else None)


def _presence(out: Outcome, entity: Members, identities: tuple[str, ...]) -> None:
    measured, distances = entity.nested("measuredValues"), entity.nested("distances")
    attributes, state = entity.nested("attributes"), entity.text("state")
    at = attributes.moment("lastUpdatedAt")
    for room in sorted(measured.names):
        with out.item(0):
            _room(out, room, measured.nested(room), distances.nested(room), identities)
    entity.drop("name")
    _state(out, state, identities, Times(gateway_received_at=at), entity.rest)


def _room(
    out: Outcome, room: str, measured: Members, distance: Members, identities: tuple[str, ...]
) -> None:
    fields: dict[str, Any] = {
        "rssi_dbm": measured.strict_number("rssi"),
        "rssi_1m_dbm": measured.number("measuredPower"),
        "distance_m": distance.number("distance"),
    }
    if fields["rssi_dbm"] is None:
        raise ItemRefusedError("no_signal", "a room without rssi")
    times = Times(gateway_received_at=distance.moment("lastUpdatedAt"))
    out.tag(
        TagSighted,
        identities=identities,
        gateway_id=values.receiver(room),
        times=times,
        fields=fields,
        rest={**measured.rest, **distance.rest},
    )


def _state(
    out: Outcome,
    state: str | None,
    identities: tuple[str, ...],
    times: Times,
    rest: dict[str, Any],
) -> None:
    if state is None:
        return
    if state == "not_home":
        fields: dict[str, Any] = {"reason": state}
        out.tag(TagAbsenceReported, identities=identities, gateway_id=FORMAT, fields=fields)
        return
    out.tag(
        TagZoneReported,
        identities=identities,
        gateway_id=FORMAT,
        times=times,
        fields={"zone": state},
        rest=rest,
    )
