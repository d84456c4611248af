"""Kontakt.io telemetry streams: one object or an array of them."""

from __future__ import annotations

from typing import Any, Final

from tagtrail_ingest.adapters import values
from tagtrail_ingest.adapters.ble import decoded_fields, hear
from tagtrail_ingest.adapters.contract import Decoded, Message
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times

FORMAT: Final = "kontakt"


def read(message: Message) -> Decoded:
    """Read one message.

    Raises:
        UnreadableError: it is no JSON object or array.
    """
    out = Outcome(message, FORMAT)
    for index, element in enumerate(values.parse_objects(message.payload)):
        with out.item(index):
            if not values.is_object(element):
                raise ItemRefusedError("bad_value", "an element must be an object")
            _telemetry(out, Members(element))
    return out.done()


def _telemetry(out: Outcome, members: Members) -> None:
    named = members.text("trackingId", "uniqueId")
    gateway_id = values.receiver(members.text("sourceId"))
    times = Times(
        tag_time_at=members.moment("beaconTimestamp"),
        gateway_received_at=members.moment("timestamp"),
    )
    fields: dict[str, Any] = {"rssi_dbm": members.strict_number("rssi"), **decoded_fields(members)}
    if fields["rssi_dbm"] is None:
        raise ItemRefusedError("no_signal", "no rssi")
    members.drop("userId")
    hear(
        out,
        gateway_id=gateway_id,
        address=values.mac(named),
        identities=(f"kontakt:{named}",) if named and not values.mac(named) else (),
        times=times,
        fields=fields,
        rest=members.rest,
    )
