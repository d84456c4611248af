"""Shelly: the official scripts over MQTT, and the RPC event `ble.scan_result`.

Scripts publish decoded adverts on a bare address or on `blegateway/<address>/<kind>`; which Shelly
heard them stands in `src` only where the script is set so. None of the forms carries a time,
except the RPC envelope's `ts`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from tagtrail_ingest.adapters import adverts, values
from tagtrail_ingest.adapters.ble import decoded_fields, hear, sensor_readings
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times
from tagtrail_kernel.events.sightings import TagSensed

FORMAT: Final = "shelly"
UNNAMED: Final = "shelly"
"""Gateway id where neither message, topic nor key names the device."""


def read(message: Message) -> Decoded:
    """Read one message of a script or of the RPC channel.

    Raises:
        UnreadableError: it is neither.
    """
    out = Outcome(message, FORMAT)
    members = Members(values.parse_object(message.payload))
    levels = (message.topic or "").split("/")
    with out.item(0):
        if "event" in members or "method" in members:
            _rpc(out, members, _device_of(levels))
        else:
            _script(out, members, levels)
    return out.done()


def _device_of(levels: list[str]) -> str | None:
    return values.receiver(levels[-3]) if levels[-2:] == ["events", "rpc"] else None


def _rpc(out: Outcome, members: Members, on_topic: str | None) -> None:
    gateway_id = on_topic or values.receiver(members.peek("src")) or out.message.gateway_id
    gateway_id = gateway_id or UNNAMED
    if members.peek("event") is not None:
        _event(out, members, gateway_id, None, 0)
        return
    parameters = members.nested("params")
    sent_at = parameters.moment("ts")
    events = parameters.items("events")
    if members.peek("method") != "NotifyEvent":
        out.gateway("telemetry", gateway_id, figures=parameters.rest, sent_at=sent_at)
        return
    index = 0
    for event in events:
        with out.item(index):
            if not values.is_object(event):
                raise ItemRefusedError("bad_value", "an event must be an object")
            index = _event(out, Members(event), gateway_id, sent_at, index)


def _event(
    out: Outcome, event: Members, gateway_id: str, sent_at: datetime | None, index: int
) -> int:
    """Read one event and return the index after its results."""
    if event.peek("event") != "ble.scan_result":
        raise ItemRefusedError("unsupported", "an RPC event other than ble.scan_result")
    sent_at = event.moment("ts") or sent_at
    results = _results(event.items("data"))
    for offset, result in enumerate(results):
        with out.item(index + offset):
            _scanned(out, result, gateway_id, sent_at)
    return index + max(len(results), 1)


def _results(data: list[Any]) -> list[Any]:
    """Return the scan results of both versions: `[1, address, …]` and `[2, [[address, …], …]]`."""
    match data:
        case [1, *result]:
            return [result]
        case [2, [*results]]:
            return results
        case _:
            raise ItemRefusedError("unsupported", "ble.scan_result of a version other than 1 and 2")


def _scanned(out: Outcome, result: object, gateway_id: str, sent_at: datetime | None) -> None:
    if not isinstance(result, list) or len(result) < 3:
        raise ItemRefusedError("bad_value", "a scan result is [address, rssi, advert, response]")
    address, rssi_dbm = values.mac(result[0]), values.number(result[1])
    raw = b"".join(values.base64_octets(part) or b"" for part in result[2:4])
    if rssi_dbm is None:
        raise ItemRefusedError("bad_value", "rssi is not a finite number")
    hear(
        out,
        gateway_id=gateway_id,
        address=address,
        advert=_merged(result[2:4]),
        times=Times(gateway_sent_at=sent_at),
        fields={"rssi_dbm": rssi_dbm},
        content=raw,
    )


def _merged(parts: list[Any]) -> adverts.Advert:
    """Read advert and scan response apart: a broken advert must not hide the response."""
    return adverts.merge(adverts.read_advert(values.base64_octets(part) or b"") for part in parts)


def _script(out: Outcome, members: Members, levels: list[str]) -> None:
    address = members.mac("addr") or next((a for x in levels if (a := values.mac(x))), None)
    if address is None:
        raise UnreadableError("no address in the message or its topic")
    gateway_id = values.receiver(members.text("src")) or out.message.gateway_id or UNNAMED
    services = members.nested("service_data")
    fields: dict[str, Any] = {"rssi_dbm": members.strict_number("rssi")}
    fields |= {k: v for k, v in decoded_fields(members).items() if v is not None}
    fields |= {k: v for k, v in decoded_fields(services).items() if v is not None}
    fields["sequence"] = services.integer("pid")
    members.drop("addr", "local_name")
    rest = {**members.rest, **services.rest}
    if len(levels) > 2:
        rest["kind"] = levels[-1][:64]
    if fields["rssi_dbm"] is None:
        readings = sensor_readings(fields, rest)
        hear(
            out,
            gateway_id=gateway_id,
            address=address,
            fields={"readings": readings},
            kind=TagSensed,
        )
        return
    hear(out, gateway_id=gateway_id, address=address, fields=fields, rest=rest)
