"""Ruuvi Gateway, Minew, Shelly and raddec: gateways that send adverts as they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from tagtrail_agent.inputs.formats import values
from tagtrail_agent.inputs.formats.told import Sound, Told
from tagtrail_agent.inputs.formats.values import UnreadableError

_UNNAMED_SHELLY: Final = "shelly"
"""Receiver where neither message nor topic names the device, as the server has it."""
_RADDEC_KINDS: Final = {1: "eui64", 4: "tid", 5: "epc", 6: "uuid", 7: "eurid"}
"""raddec's identifier types; 0 is unknown, 2 and 3 are radio addresses."""
_PDU_HEAD_BYTES: Final = 8
"""raddec's packets begin with the link layer's header and the sender's address."""


def read_ruuvi(levels: Sequence[str], payload: bytes) -> Told:
    """Read `ruuvi/<gateway>/<tag>`: the tag's address stands only in the topic.

    Raises:
        UnreadableError: it does not fit its topic.
    """
    if levels[-1] == "gw_status":
        return Told(state=True)
    members = values.parse_object(payload)
    rssi_dbm = values.number(members, "rssi")
    if rssi_dbm is None:
        raise UnreadableError("no_signal")
    on_topic = values.mac(levels[-2]) if len(levels) > 1 else None
    decoded = values.named(
        technology="ble",
        sequence=values.integer(members, "measurementSequenceNumber", "cnt"),
        tx_power_dbm=values.number(members, "txPower"),
        **values.sensor_members(members),
    )
    sound = Sound(
        gateway_id=values.mac(members.get("gw_mac")) or on_topic,
        rssi_dbm=rssi_dbm,
        address=values.mac(levels[-1]) or values.mac(members.get("id")),
        ad=values.octets(members.get("data")),
        members=decoded,
        own=values.moment(members, "ts", "gwts"),
    )
    return Told([sound])


def read_minew(levels: Sequence[str], payload: bytes) -> Told:
    """Read JSON-LONG or JSON-RAW: an array whose first element is the gateway.

    Raises:
        UnreadableError: it is no JSON array.
    """
    elements = values.parse(payload)
    if not isinstance(elements, list):
        raise UnreadableError("no_array")
    told = Told()
    gateway_id = values.receiver(levels[-2] if levels[-1] == "status" else levels[-1])
    for element in elements:
        if not isinstance(element, dict):
            told.faults["no_object"] += 1
        elif element.get("type") == "Gateway" or "gateway" in element:
            named = values.mac(element.get("mac")) or values.mac(element.get("gateway"))
            gateway_id = named or gateway_id
        else:
            _minew_device(told, gateway_id, element)
    return told


def _minew_device(told: Told, gateway_id: str | None, members: Mapping[str, Any]) -> None:
    rssi_dbm = values.number(members, "rssi")
    if rssi_dbm is None:
        told.faults["no_signal"] += 1
        return
    uuid = values.octets(members.get("ibeaconUuid"))
    decoded = values.named(
        technology="ble",
        rssi_1m_dbm=values.number(members, "ibeaconTxPower"),
        sequence=values.integer(members, "seq"),
        channel=values.integer(members, "no"),
        **values.sensor_members(members),
    )
    tags: tuple[str, ...] = ()
    if uuid is not None:
        major, minor = (
            values.integer(members, "ibeaconMajor"),
            values.integer(members, "ibeaconMinor"),
        )
        tags = (f"ibeacon:{uuid.hex()}:{major}:{minor}",)
        if decoded.get("battery_pct") == 0:  # the tag does not tell its battery
            del decoded["battery_pct"]
    told.sounds.append(
        Sound(
            gateway_id=gateway_id,
            rssi_dbm=rssi_dbm,
            address=values.mac(members.get("mac")),
            ad=values.octets(members.get("rawData")),
            tags=tags,
            members=decoded,
            own=values.moment(members, "timestamp"),
        )
    )


def read_shelly(levels: Sequence[str], payload: bytes) -> Told:
    """Read a script's message, or the RPC event `ble.scan_result`.

    Raises:
        UnreadableError: it is neither.
    """
    members = values.parse_object(payload)
    if "event" not in members and "method" not in members:
        return _shelly_script(levels, members)
    on_topic = levels[-3] if len(levels) > 2 and levels[-2:] == ["events", "rpc"] else None
    gateway_id = values.receiver(on_topic or members.get("src")) or _UNNAMED_SHELLY
    told = Told()
    if "event" in members:
        _shelly_event(told, gateway_id, members, None)
        return told
    if members.get("method") != "NotifyEvent":
        return Told(state=True)
    given = members.get("params")
    parameters: dict[str, Any] = given if isinstance(given, dict) else {}
    for event in _listed(parameters, "events"):
        if isinstance(event, dict):
            _shelly_event(told, gateway_id, event, values.moment(parameters, "ts"))
        else:
            told.faults["no_object"] += 1
    return told


def _shelly_event(
    told: Told, gateway_id: str, event: Mapping[str, Any], sent_at: datetime | None
) -> None:
    data = event.get("data")
    match data if event.get("event") == "ble.scan_result" else None:
        case [1, *result]:
            results: list[Any] = [result]
        case [2, [*results]]:
            pass
        case _:
            told.faults["unsupported"] += 1
            return
    own = values.moment(event, "ts") or sent_at
    for result in results:
        match result:
            case [str(address), int() | float() as rssi_dbm, *parts]:
                ad = b"".join(values.from_base64(p) or b"" for p in parts[:2])
                told.sounds.append(Sound(gateway_id, rssi_dbm, values.mac(address), ad, own=own))
            case _:
                told.faults["unreadable"] += 1


def _shelly_script(levels: Sequence[str], members: Mapping[str, Any]) -> Told:
    address = values.mac(members.get("addr"))
    address = address or next((a for level in levels if (a := values.mac(level))), None)
    if address is None:
        raise UnreadableError("no_identity")
    rssi_dbm = values.number(members, "rssi")
    if rssi_dbm is None:
        return Told(about=(f"mac:{address}",))
    services = members.get("service_data")
    services = services if isinstance(services, dict) else {}
    decoded = values.named(technology="ble", sequence=values.integer(services, "pid"))
    decoded |= values.sensor_members(members) | values.sensor_members(services)
    gateway_id = values.receiver(members.get("src")) or _UNNAMED_SHELLY
    return Told([Sound(gateway_id, rssi_dbm, address, members=decoded)])


def read_raddec(_levels: Sequence[str], payload: bytes) -> Told:
    """Read one raddec or an array of them: one transmitter, and each receiver that decoded it.

    Raises:
        UnreadableError: it has no transmitter.
    """
    found = values.parse(payload)
    told = Told()
    for element in found if isinstance(found, list) else [found]:
        if not isinstance(element, dict) or "transmitterId" not in element:
            raise UnreadableError("no_transmitter")
        _raddec(told, element)
    return told


def _raddec(told: Told, members: Mapping[str, Any]) -> None:
    kind = values.integer(members, "transmitterIdType") or 0
    name = values.text(members.get("transmitterId")) or ""
    address = values.mac(name) if kind in (0, 2, 3) else None
    tags = () if address or not name else (f"{_RADDEC_KINDS.get(kind, 'raddec')}:{name}",)
    packets = [p for p in map(values.octets, _listed(members, "packets")) if p]
    ad = b"".join(p[_PDU_HEAD_BYTES:] for p in packets) or None
    for receiver in _listed(members, "rssiSignature"):
        if not isinstance(receiver, dict):
            told.faults["no_object"] += 1
            continue
        decoded = values.named(
            technology="rfid" if kind in (4, 5) else "ble",
            samples=values.integer(receiver, "numberOfDecodings"),
            antenna=values.integer(receiver, "receiverAntenna"),
        )
        told.sounds.append(
            Sound(
                gateway_id=values.receiver(receiver.get("receiverId")),
                rssi_dbm=values.number(receiver, "rssi"),
                address=address,
                ad=ad if address else None,
                random_address={2: False, 3: True}.get(kind),
                tags=tags,
                members=decoded,
                own=values.moment(members, "timestamp"),
            )
        )


def _listed(members: Mapping[str, Any], name: str) -> list[Any]:
    value = members.get(name)
    return value if isinstance(value, list) else []
