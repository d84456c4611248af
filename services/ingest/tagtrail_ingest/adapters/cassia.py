"""Cassia gateways over MQTT: the documented envelope `{action, gateway, timestamp, data}`.

The manufacturer's pages give no example of scan data. We read the items of its SDK's event stream
(`bdaddrs` or `mac`, `rssi`, `adData`, `scanData`) and call the rest unreadable.
"""

from __future__ import annotations

from typing import Final

from tagtrail_ingest.adapters import adverts, values
from tagtrail_ingest.adapters.ble import hear
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times

FORMAT: Final = "cassia"
_SCANS: Final = frozenset({"data.scan", "scan"})


def read(message: Message) -> Decoded:
    """Read one message.

    Raises:
        UnreadableError: it is no such envelope.
    """
    out = Outcome(message, FORMAT)
    members = Members(values.parse_object(message.payload))
    levels = (message.topic or "").split("/")
    gateway_id = members.mac("gateway") or (values.mac(levels[-2]) if len(levels) > 1 else None)
    action = members.text("action") or levels[-1]
    sent_at = members.moment("timestamp")
    if action in _SCANS:
        _scans(out, gateway_id, members, Times(gateway_sent_at=sent_at))
        return out.done()
    if action == "" or not values.is_object(members.peek("data")):
        raise UnreadableError("expected Cassia's envelope with action and data")
    with out.item(0):
        figures = {"action": action, **members.nested("data").rest}
        out.gateway("telemetry", gateway_id, figures=figures, sent_at=sent_at)
    return out.done()


def _scans(out: Outcome, gateway_id: str | None, members: Members, times: Times) -> None:
    data = members.peek("data")
    items = data if isinstance(data, list) else [data]
    for index, item in enumerate(items):
        with out.item(index):
            if not values.is_object(item):
                raise ItemRefusedError("bad_value", "scan data must be an object or an array")
            _scan(out, gateway_id, Members(item), times)


def _scan(out: Outcome, gateway_id: str | None, item: Members, times: Times) -> None:
    addresses = item.items("bdaddrs")
    first = addresses[0] if addresses else {}
    address = values.mac(first.get("bdaddr")) if values.is_object(first) else None
    address = address or item.mac("mac", "bdaddr")
    raw = (item.octets("adData") or b"") + (item.octets("scanData") or b"")
    rssi_dbm = item.strict_number("rssi")
    if rssi_dbm is None:
        raise ItemRefusedError("no_signal", "no rssi")
    times = times._replace(gateway_received_at=item.moment("timestamp"))
    item.drop("name", "bdaddrs", "adData", "scanData")
    hear(
        out,
        gateway_id=gateway_id,
        address=address,
        advert=adverts.read_advert(raw),
        times=times,
        fields={"rssi_dbm": rssi_dbm},
        rest=item.rest,
        content=raw,
    )
