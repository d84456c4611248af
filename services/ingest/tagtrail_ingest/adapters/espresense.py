"""ESPresense v2 to v4 and its companion: `espresense/…` over MQTT.

No version carries a time, so the event time is ours. The reported `rssi` has `rxAdj` subtracted
already. Ids contain colons and may contain UUIDs; `eddy:` ids are not the true Eddystone namespace
and `apple:` ids name a model, not a device.
"""

from __future__ import annotations

import re
from typing import Any, Final

from tagtrail_ingest.adapters import values
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.identities import best_first, normal_identity
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times
from tagtrail_kernel.events.sightings import (
    TagAbsenceReported,
    TagPositionReported,
    TagSighted,
    TagZoneReported,
)

FORMAT: Final = "espresense"
COMPANION: Final = "espresense-companion"
_BEACON: Final = re.compile(r"iBeacon:([0-9a-fA-F-]{32,36})-([0-9]{1,5})-([0-9]{1,5})")
_BRANCHES: Final = frozenset({"devices", "rooms", "settings", "companion"})
"""The level after the prefix, which is "espresense" by default and may be any."""
_SENSORS: Final = frozenset({"motion", "pir", "radar", "button", "switch"})
_LISTS: Final = frozenset({"known_macs", "known_irks", "include", "exclude", "query", "count_ids"})
"""Settings whose value lists radio addresses or keys: only their number is kept."""


def read(message: Message) -> Decoded:
    """Read one message by its topic.

    Raises:
        UnreadableError: the topic is none of ESPresense's, or the payload does not fit it.
    """
    levels = (message.topic or "").split("/")
    start = next((i for i, level in enumerate(levels) if level in _BRANCHES), len(levels))
    out = Outcome(message, FORMAT)
    with out.item(0):
        match levels[start:]:
            case ["devices", tag, room]:
                _device(out, tag, room)
            case ["rooms", room, *setting] if setting:
                _room(out, room, "/".join(setting))
            case ["settings", _, "config"]:
                _settings(out)
            case ["companion", tag]:
                _companion_zone(out, tag)
            case ["companion", tag, "attributes"]:
                _companion_position(out, tag)
            case _:
                raise UnreadableError(
                    "no ESPresense topic; devices, rooms, settings, companion are"
                )
    return out.done()


def identities_of(tag: str, address: str | None) -> tuple[str, ...]:
    """Return the candidates of an ESPresense id and address, best first.

    Raises:
        ItemRefusedError: the id is that of a finding network's frame.
    """
    if tag.lower().startswith(("apple:findmy", "apple:12", "airtag:", "findmy:")):
        raise ItemRefusedError("anonymous_tracker", "ESPresense saw a frame of a finding network")
    beacon = _BEACON.fullmatch(tag)
    if beacon:
        stable = normal_identity(f"ibeacon:{beacon[1]}:{beacon[2]}:{beacon[3]}")
    elif tag.startswith("irk:"):
        stable = normal_identity(tag)
    else:
        named = values.text(tag)
        model_only = tag.startswith("apple:") or named is None or values.mac(tag) is not None
        stable = None if model_only else f"espresense:{named}"
    from_id = values.mac(tag.removeprefix("known:"))
    return best_first(stable, *(f"mac:{a}" for a in (from_id, address) if a))


def _device(out: Outcome, tag: str, room: str) -> None:
    members = Members(values.parse_object(out.message.payload))
    fields: dict[str, Any] = {
        "rssi_dbm": members.strict_number("rssi"),
        "rssi_1m_dbm": members.number("rssi@1m"),
        "rssi_adjustment_db": members.number("rxAdj"),
        "rssi_variance_db2": members.number("rssiVar"),
        "distance_m": members.number("distance"),
        "interval_ms": members.integer("int"),
        "battery_mv": members.integer("mV"),
        "battery_pct": members.number("batt"),
        "temperature_c": members.number("temp"),
        "humidity_pct": members.number("rh"),
    }
    if fields["rssi_dbm"] is None and fields["distance_m"] is None:
        raise ItemRefusedError("no_signal", "neither rssi nor distance")
    address = members.mac("mac")
    named = members.text("id") or tag
    members.drop("mac", "name", "irk", "id")
    out.tag(
        TagSighted,
        identities=identities_of(named, address),
        gateway_id=values.receiver(room),
        fields=fields,
        rest=members.rest,
    )


def _room(out: Outcome, room: str, setting: str) -> None:
    gateway_id = values.receiver(room)
    payload = out.message.payload
    if setting == "telemetry":
        figures = Members(values.parse_object(payload)).rest
        out.gateway("telemetry", gateway_id, figures=figures)
        return
    value = values.parse_text(payload).strip()
    if setting == "status":
        if value not in ("online", "offline"):
            raise UnreadableError("a room's status is online or offline")
        out.gateway("status", gateway_id, online=value == "online")
    elif setting.endswith("/set"):
        out.gateway("sync", gateway_id, figures=_setting(setting, value))
    elif setting in _SENSORS:
        out.gateway("telemetry", gateway_id, figures=_setting(setting, value))
    else:
        out.gateway("setting", gateway_id, figures=_setting(setting, value))


def _setting(name: str, value: str) -> dict[str, Any]:
    if name.removesuffix("/set") in _LISTS:
        return {f"{name}_count": len(value.replace(",", " ").split())}
    return values.keep_members({name: value[: values.MAX_TEXT]})


def _settings(out: Outcome) -> None:
    """Read the shared settings of one device: its id, name and key stay out of the log."""
    if not out.message.payload:
        out.gateway("setting", FORMAT, figures={"device_settings": "deleted"})
        return
    members = Members(values.parse_object(out.message.payload))
    members.drop("id", "name")
    out.gateway("setting", FORMAT, figures={"device_settings": members.rest})


def _companion_zone(out: Outcome, tag: str) -> None:
    zone = values.text(values.parse_text(out.message.payload))
    if zone is None:
        raise UnreadableError("a companion message is the name of a room, or not_home")
    identities = identities_of(tag, None)
    if zone == "not_home":
        fields: dict[str, Any] = {"reason": zone}
        out.tag(TagAbsenceReported, identities=identities, gateway_id=COMPANION, fields=fields)
        return
    out.tag(TagZoneReported, identities=identities, gateway_id=COMPANION, fields={"zone": zone})


def _companion_position(out: Outcome, tag: str) -> None:
    members = Members(values.parse_object(out.message.payload))
    fields: dict[str, Any] = {
        "x_m": members.strict_number("x"),
        "y_m": members.strict_number("y"),
        "z_m": members.number("z"),
    }
    times = Times(gateway_received_at=members.moment("last_seen"))
    members.drop("name")
    if fields["x_m"] is None or fields["y_m"] is None:
        raise ItemRefusedError("no_position", "attributes without x and y")
    out.tag(
        TagPositionReported,
        identities=identities_of(tag, None),
        gateway_id=COMPANION,
        times=times,
        fields=fields,
        rest=members.rest,
    )
