"""Reelables edge, enriched positions: coordinates of a label, and the zones that it is in."""

from __future__ import annotations

from typing import Any, Final

from tagtrail_ingest.adapters import values
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.identities import best_first
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times
from tagtrail_kernel.events.sightings import TagPositionReported, TagZoneReported

FORMAT: Final = "reelables"


def read(message: Message) -> Decoded:
    """Read one message, or an array of them.

    Raises:
        UnreadableError: it has no position.
    """
    out = Outcome(message, FORMAT, source_class="partner_network")
    elements = values.parse_objects(message.payload)
    for index, element in enumerate(elements):
        with out.item(index, among=len(elements)):
            if not values.is_object(element) or not values.is_object(element.get("position")):
                raise UnreadableError("expected {position, asset, inZones}")
            _position(out, Members(element))
    return out.done()


def _position(out: Outcome, members: Members) -> None:
    position, asset = members.nested("position"), members.nested("asset")
    address, asset_id = position.mac("beaconMac"), asset.text("id")
    identities = best_first(
        f"reelables:{address}" if address else None,
        f"reelables-asset:{asset_id}" if asset_id else None,
        f"mac:{address}" if address else None,
    )
    times = Times(gateway_received_at=position.moment("locatedAt"))
    fields: dict[str, Any] = {
        "x_m": position.strict_number("x"),
        "y_m": position.strict_number("y"),
        "z_m": position.number("z"),
        "accuracy_m": position.number("accuracyRadius"),
        "frame_id": position.text("networkId"),
    }
    if fields["x_m"] is None or fields["y_m"] is None:
        raise ItemRefusedError("no_position", "a position needs x and y")
    zones = members.items("inZones")
    out.tag(
        TagPositionReported,
        identities=identities,
        gateway_id=FORMAT,
        times=times,
        fields=fields,
        rest={**position.rest, **members.rest},
    )
    for zone in zones:
        _zone(out, identities, zone, times)


def _zone(out: Outcome, identities: tuple[str, ...], stay: object, times: Times) -> None:
    if not values.is_object(stay):
        raise ItemRefusedError("bad_value", "an entry of inZones must be an object")
    members = Members(stay)
    zone = members.nested("zone")
    members.rename("enteredAt", "entered_at")
    out.tag(
        TagZoneReported,
        identities=identities,
        gateway_id=FORMAT,
        times=times,
        fields={"zone": zone.text("name", "externalId", "id")},
        rest={**members.rest, **{f"zone_{k}": v for k, v in zone.rest.items()}},
    )
