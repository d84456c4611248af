"""Ruuvi Gateway: MQTT `<prefix>/<gateway>/<tag>` (the tag's address is only in the topic) and HTTP.

Old firmware sends numbers as text, writes `gwmac`, and addresses without colons; without NTP a
counter stands in place of the times. All times are whole seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tagtrail_ingest.adapters import adverts, values
from tagtrail_ingest.adapters.ble import decoded_fields, hear
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times

FORMAT: Final = "ruuvi"


def read(message: Message) -> Decoded:
    """Read one message of either transport.

    Raises:
        UnreadableError: it is neither a tag, nor a list of tags, nor a status.
    """
    out = Outcome(message, FORMAT)
    members = Members(values.parse_object(message.payload))
    levels = (message.topic or "").split("/")
    with out.item(0):
        if levels[-1] == "gw_status":
            _connection(out, levels[-2] if len(levels) > 1 else "", members)
        elif values.is_object(members.peek("data")):
            _posted(out, members.nested("data"))
        elif "DEVICE_ADDR" in members:
            _status(out, members)
        elif "rssi" in members:
            _published(out, levels, members)
        else:
            raise UnreadableError("neither rssi, nor data.tags, nor a status of a Ruuvi Gateway")
    return out.done()


def _connection(out: Outcome, gateway: str, members: Members) -> None:
    state = members.text("state")
    if state not in ("online", "offline"):
        raise UnreadableError("gw_status must say online or offline")
    out.gateway("status", values.receiver(gateway), online=state == "online", figures=members.rest)


def _status(out: Outcome, members: Members) -> None:
    """Read the hourly status; of the lists of sensors only their lengths are kept."""
    gateway_id = members.mac("DEVICE_ADDR")
    counts = {f"{n}_COUNT": len(members.items(n)) for n in ("ACTIVE_SENSORS", "INACTIVE_SENSORS")}
    out.gateway("telemetry", gateway_id, figures={**members.rest, **counts})


def _published(out: Outcome, levels: list[str], members: Members) -> None:
    on_topic = [values.mac(level) for level in levels[-2:]]
    gateway_id = members.mac("gw_mac") or (on_topic[0] if len(on_topic) == 2 else None)
    address = on_topic[-1] or members.mac("id")
    times = Times(gateway_received_at=members.moment("ts"), gateway_sent_at=members.moment("gwts"))
    _heard(out, gateway_id, address, members, times, members.integer("cnt"))


def _posted(out: Outcome, data: Members) -> None:
    gateway_id = data.mac("gw_mac", "gwmac")
    sent_at = data.moment("timestamp")
    tags = data.peek("tags")
    if not values.is_object(tags):
        raise UnreadableError("data.tags must be an object")
    for index, (key, tag) in enumerate(tags.items()):
        with out.item(index):
            _posted_tag(out, gateway_id, values.mac(key), tag, Times(gateway_sent_at=sent_at))


def _posted_tag(
    out: Outcome, gateway_id: str | None, address: str | None, tag: object, times: Times
) -> None:
    if not values.is_object(tag):
        raise ItemRefusedError("bad_value", "a tag must be an object")
    members = Members(tag)
    times = times._replace(gateway_received_at=members.moment("timestamp"))
    _heard(out, gateway_id, address, members, times, members.integer("counter"))


def _heard(
    out: Outcome,
    gateway_id: str | None,
    address: str | None,
    members: Members,
    times: Times,
    counter: int | None,
) -> None:
    advert_bytes = members.octets("data") or b""
    advert = adverts.read_advert(advert_bytes)
    fields: dict[str, Any] = {
        "rssi_dbm": members.strict_number("rssi"),
        **decoded_fields(members),
        "tx_power_dbm": members.number("ble_tx_power", "txPower"),
        "sequence": members.integer("measurementSequenceNumber"),
        "channel": members.integer("ble_chan"),
    }
    members.drop("data", "aoa", "coords", "gw_mac", "id", "name")
    rest = members.rest
    _count(fields, rest, advert.fields, counter)
    hear(
        out,
        gateway_id=gateway_id,
        address=address,
        advert=advert,
        times=times,
        fields=fields,
        rest=rest,
        content=advert_bytes,
    )


def _count(
    fields: dict[str, Any], rest: dict[str, Any], advert: Mapping[str, Any], counter: int | None
) -> None:
    """Take the tag's own counter as sequence; the gateway's only where the tag has none."""
    if counter is None:
        return
    if fields["sequence"] is None and "sequence" not in advert:
        fields["sequence"] = counter
    else:
        rest["gateway_counter"] = counter
