"""Impinj readers (IoT device interface): arrays, single objects or lines of events, RAIN RFID."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from tagtrail_ingest.adapters import values
from tagtrail_ingest.adapters.contract import Decoded, Message
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times
from tagtrail_kernel.events.sightings import TagSighted

FORMAT: Final = "impinj"
_decode_lines = msgspec.json.Decoder().decode_lines


def read(message: Message) -> Decoded:
    """Read one message.

    Raises:
        UnreadableError: it is no JSON, nor JSON lines.
    """
    out = Outcome(message, FORMAT, technology="rfid", source_class="reader")
    for index, element in enumerate(_elements(message.payload)):
        with out.item(index):
            if not values.is_object(element):
                raise ItemRefusedError("bad_value", "an event must be an object")
            _event(out, Members(element))
    return out.done()


def _elements(payload: bytes) -> list[object]:
    """Return the events; a reader's stream puts one on each line."""
    try:
        lines: list[object] = _decode_lines(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return values.parse_objects(payload)
    return lines if len(lines) > 1 else values.parse_objects(payload)


def _event(out: Outcome, event: Members) -> None:
    gateway_id = values.receiver(event.text("hostname"))
    sent_at = event.moment("timestamp")
    kind = event.text("eventType")
    if "tagInventoryEvent" in event:
        _inventory(out, gateway_id, sent_at, event.nested("tagInventoryEvent"))
        return
    if kind is None:
        raise ItemRefusedError("unsupported", "no eventType")
    out.gateway(
        "telemetry", gateway_id, figures={"event_type": kind, **event.rest}, sent_at=sent_at
    )


def _inventory(
    out: Outcome, gateway_id: str | None, sent_at: datetime | None, tag: Members
) -> None:
    rssi_cdbm, power_cdbm = tag.strict_number("peakRssiCdbm"), tag.number("transmitPowerCdbm")
    times = Times(gateway_received_at=tag.moment("lastSeenTime"), gateway_sent_at=sent_at)
    fields: dict[str, Any] = {
        "rssi_dbm": None if rssi_cdbm is None else rssi_cdbm / 100,
        "antenna": tag.integer("antennaPort"),
    }
    identities = _identities(tag)
    for old, new in (("frequency", "frequency_khz"), ("phaseAngle", "phase_deg")):
        tag.rename(old, new)
    tag.drop("epc", "epcHex", "tid", "tidHex", "pc")
    rest = tag.rest
    if power_cdbm is not None:
        rest["reader_power_dbm"] = power_cdbm / 100
    out.tag(
        TagSighted,
        identities=identities,
        gateway_id=gateway_id,
        times=times,
        fields=fields,
        rest=rest,
    )


def _identities(tag: Members) -> tuple[str, ...]:
    found = []
    for kind in ("epc", "tid"):
        code = tag.octets(f"{kind}Hex") or values.base64_octets(tag.peek(kind))
        if code:
            found.append(f"{kind}:{code.hex().upper()}")
    return tuple(found)
