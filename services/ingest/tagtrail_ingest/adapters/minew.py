"""Minew gateways: JSON-LONG, JSON-RAW and the binary forms, over HTTP or a topic of the user's.

The first element of the JSON array is the gateway. Firmware v2 and v3 posts binary bodies as
`application/json`, so the bytes decide, not the content type.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from tagtrail_ingest.adapters import adverts, minew_binary, values
from tagtrail_ingest.adapters.ble import decoded_fields, hear
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.identities import normal_identity
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times

FORMAT: Final = "minew"


def read(message: Message) -> Decoded:
    """Read one message of any of Minew's forms.

    Raises:
        UnreadableError: it is none of them.
    """
    out = Outcome(message, FORMAT)
    payload = message.payload
    if payload[:3].upper() == b"BB0":
        payload = values.octets(payload.decode("ascii", "replace")) or b""
    if payload[:1] == b"\xbb":
        minew_binary.read(out, payload, _fallback(message))
        return out.done()
    elements = values.parse_json(payload)
    if not isinstance(elements, list):
        raise UnreadableError(f"expected a JSON array, got {values.kind_of(elements)}")
    gateway_id, sent_at = _fallback(message), None
    for index, element in enumerate(elements):
        with out.item(index):
            if not values.is_object(element):
                raise ItemRefusedError("bad_value", "an element must be an object")
            members = Members(element)
            if _is_gateway(members):
                gateway_id, sent_at = _gateway(out, members, gateway_id)
            else:
                _device(out, gateway_id, sent_at, members)
    return out.done()


def _fallback(message: Message) -> str | None:
    """Return the gateway by its topic, for forms that do not name it."""
    levels = (message.topic or "").split("/")
    if len(levels) < 2:
        return message.gateway_id
    return values.receiver(levels[-2] if levels[-1] == "status" else levels[-1])


def _is_gateway(members: Members) -> bool:
    return members.peek("type") == "Gateway" or "gateway" in members


def _gateway(
    out: Outcome, members: Members, fallback: str | None
) -> tuple[str | None, datetime | None]:
    gateway_id = members.mac("mac", "gateway") or fallback
    sent_at = members.moment("timestamp")
    members.drop("type", "locator")
    figures = members.rest
    if figures:
        out.gateway("telemetry", gateway_id, figures=figures, sent_at=sent_at)
    return gateway_id, sent_at


def _device(
    out: Outcome, gateway_id: str | None, sent_at: datetime | None, members: Members
) -> None:
    raw = members.octets("rawData") or b""
    address = members.mac("mac")
    times = Times(gateway_received_at=members.moment("timestamp"), gateway_sent_at=sent_at)
    beacon = _beacon(members)
    if beacon and members.peek("battery") == 0:
        members.rename("battery", "battery_reported")
    fields: dict[str, Any] = {
        "rssi_dbm": members.strict_number("rssi"),
        "rssi_1m_dbm": members.number("ibeaconTxPower"),
        "sequence": members.integer("seq"),
        "channel": members.integer("no"),
        **decoded_fields(members),
    }
    if fields["rssi_dbm"] is None:
        raise ItemRefusedError("no_signal", "no rssi")
    members.drop("bleName", "rawData")
    hear(
        out,
        gateway_id=gateway_id,
        address=address,
        advert=adverts.read_advert(raw),
        identities=(beacon,) if beacon else (),
        times=times,
        fields=fields,
        rest=members.rest,
        content=raw,
    )


def _beacon(members: Members) -> str | None:
    """Take an iBeacon's identity. Its battery is 0 where the tag sends none: that is no charge."""
    uuid = members.text("ibeaconUuid")
    major, minor = members.integer("ibeaconMajor"), members.integer("ibeaconMinor")
    return normal_identity(f"ibeacon:{uuid}:{major}:{minor}") if uuid else None
