"""ESPresense and OpenMQTTGateway with Theengs: gateways that decode adverts themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tagtrail_agent.inputs.formats import values
from tagtrail_agent.inputs.formats.told import Sound, Told
from tagtrail_agent.inputs.formats.values import UnreadableError

_BEACON: Final = re.compile(r"iBeacon:([0-9a-fA-F-]{32,36})-([0-9]{1,5})-([0-9]{1,5})")
_ANONYMOUS: Final = re.compile(r"airtag|find ?my|fmdn|smart ?tag|dult", re.IGNORECASE)
"""What gateways call the frames of finding networks, which name nobody on purpose."""
_FINDING_IDS: Final = ("apple:findmy", "apple:12", "airtag:", "findmy:")
_KEPT_OF_ROOMS: Final = ("status", "telemetry")
"""Settings of rooms are left out: they list addresses and keys."""


def read_espresense(levels: Sequence[str], payload: bytes) -> Told:
    """Read a message below `espresense/`.

    Raises:
        UnreadableError: it does not fit its topic.
    """
    match levels[1:]:
        case ["devices", tag, room]:
            return _device(tag, room, values.parse_object(payload))
        case ["rooms", _, setting]:
            return Told(state=setting in _KEPT_OF_ROOMS)
        case ["companion", tag] | ["companion", tag, "attributes"]:
            return Told(about=_identities(tag))
        case _:
            return Told()


def _device(tag: str, room: str, members: Mapping[str, Any]) -> Told:
    told = Told()
    name = values.text(members.get("id")) or tag
    if name.lower().startswith(_FINDING_IDS):
        told.faults["anonymous_tracker"] += 1
        return told
    rssi_dbm = values.number(members, "rssi")
    distance_m = values.number(members, "distance")
    if rssi_dbm is None and distance_m is None:
        raise UnreadableError("no_signal")
    told.sounds.append(
        Sound(
            gateway_id=values.receiver(room),
            rssi_dbm=rssi_dbm,
            address=values.mac(members.get("mac")) or values.mac(name.removeprefix("known:")),
            tags=_identities(name),
            members=values.named(
                technology="ble",
                rssi_1m_dbm=values.number(members, "rssi@1m"),
                rssi_adjustment_db=values.number(members, "rxAdj"),
                rssi_variance_db2=values.number(members, "rssiVar"),
                distance_m=distance_m,
                interval_ms=values.integer(members, "int"),
                **values.sensor_members(members),
            ),
        )
    )
    return told


def _identities(tag: str) -> tuple[str, ...]:
    """Return the stable identity in an ESPresense id; `apple:` ids name a model, no device."""
    beacon = _BEACON.fullmatch(tag)
    if beacon:
        uuid = beacon[1].replace("-", "").lower()
        return (f"ibeacon:{uuid}:{beacon[2]}:{beacon[3]}",)
    if tag.startswith("irk:"):
        return (tag.lower(),)
    if tag.startswith("apple:") or values.text(tag) is None or values.mac(tag):
        return ()
    return (f"espresense:{tag}",)


def read_openmqttgateway(levels: Sequence[str], payload: bytes) -> Told:
    """Read a message of OpenMQTTGateway or Theengs Gateway.

    Raises:
        UnreadableError: it does not fit its topic.
    """
    match levels:
        case [*_, gateway, "BTtoMQTT", leaf] | [*_, "presence" as leaf, gateway]:
            return _decoded(gateway, values.mac(leaf), values.parse_object(payload))
        case [*_, "LWT" | "SYStoMQTT"]:
            return Told(state=True)
        case _:
            return Told()


def _decoded(gateway: str, on_topic: str | None, members: Mapping[str, Any]) -> Told:
    told = Told()
    name = values.text(members.get("id"))
    address = values.mac(members.get("mac")) or values.mac(name) or on_topic
    tags = _beacon_or_short(members, name)
    absent = members.get("state") == "offline" or members.get("presence") == "absent"
    rssi_dbm = values.number(members, "rssi")
    if absent or rssi_dbm is None:
        told.about = (*tags, *([f"mac:{address}"] if address else []))
        return told
    if any(_ANONYMOUS.search(str(members.get(n))) for n in ("model", "model_id", "brand", "type")):
        told.faults["anonymous_tracker"] += 1
        return told
    kind = values.integer(members, "mac_type")
    power = "rssi_1m_dbm" if tags and tags[0].startswith("ibeacon:") else "tx_power_dbm"
    decoded = values.named(
        technology="ble",
        distance_m=values.number(members, "distance"),
        **{power: values.number(members, "txpower")},
        **values.sensor_members(members),
    )
    told.sounds.append(
        Sound(
            gateway_id=values.receiver(gateway),
            rssi_dbm=rssi_dbm,
            address=address,
            ad=_structures(members),
            random_address=None if kind is None else kind == 1,
            tags=tags,
            members=decoded,
            own=values.moment(members, "UTCtime", "unixtime"),
        )
    )
    return told


def _beacon_or_short(members: Mapping[str, Any], name: str | None) -> tuple[str, ...]:
    uuid = values.octets(members.get("uuid"))
    major, minor = values.integer(members, "major"), values.integer(members, "minor")
    if uuid is not None and len(uuid) == 16 and major is not None and minor is not None:
        return (f"ibeacon:{uuid.hex()}:{major}:{minor}",)
    if name is None or values.mac(name):
        return ()
    return (f"theengs:{name.lower().replace(':', '')}",)


def _structures(members: Mapping[str, Any]) -> bytes | None:
    """Put together the AD structures of which the message has the content."""
    manufacturer = values.octets(members.get("manufacturerdata"))
    service, uuid = (values.octets(members.get(n)) for n in ("servicedata", "servicedatauuid"))
    structures = b""
    if manufacturer is not None and len(manufacturer) < 255:
        structures += bytes([len(manufacturer) + 1, 0xFF]) + manufacturer
    if service is not None and uuid is not None and len(uuid) == 2 and len(service) < 252:
        structures += bytes([len(service) + 3, 0x16]) + uuid[::-1] + service
    return structures or None
