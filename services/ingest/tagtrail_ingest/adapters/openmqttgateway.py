"""OpenMQTTGateway and Theengs Gateway: `home/<gateway>/BTtoMQTT/<address>` and its neighbours.

Known traps, each with a test: absence claims look like sightings without rssi; the address stands
in `id`, `mac` or only in the topic, in any case; numbers may be text; the same JSON may come twice
(presence topic), and one advert with several service-data fields comes as several messages that
differ only in raw bytes: both are exact doubles to us (`Reading.repeat_window_s`).
"""

from __future__ import annotations

import re
from typing import Any, Final

from tagtrail_ingest.adapters import adverts, values
from tagtrail_ingest.adapters.ble import decoded_fields, hear, sensor_readings
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.identities import normal_identity
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times
from tagtrail_kernel.events.sightings import TagAbsenceReported, TagSensed

FORMAT: Final = "openmqttgateway"
REPEAT_WINDOW_S: Final = 0.5
"""Doubles come within milliseconds on one connection; a tag advertises at most a few times a
second, so nothing of value is lost."""

_ANONYMOUS: Final = re.compile(r"airtag|find ?my|fmdn|smart ?tag|dult", re.IGNORECASE)
_LEFT_OUT: Final = ("id", "mac", "uuid", "name", "manufacturerdata", "servicedata", "trackerid")


def read(message: Message) -> Decoded:
    """Read one message by its topic.

    Raises:
        UnreadableError: the topic is none of this gateway's, or the payload does not fit it.
    """
    levels = (message.topic or "").split("/")
    out = Outcome(message, FORMAT, repeat_window_s=REPEAT_WINDOW_S)
    with out.item(0):
        match levels:
            case [*_, gateway, "LWT"]:
                _last_will(out, gateway)
            case [*_, gateway, "SYStoMQTT"]:
                out.gateway("telemetry", values.receiver(gateway), figures=_figures(message))
            case [*_, gateway, "trackersync"]:
                out.gateway("sync", values.receiver(gateway), figures=_figures(message))
            case [*_, gateway, "BTtoMQTT"]:
                out.gateway("setting", values.receiver(gateway), figures=_figures(message))
            case [*_, gateway, "BTtoMQTT", leaf] | [*_, "presence" as leaf, gateway]:
                _device(out, values.receiver(gateway), values.mac(leaf))
            case _:
                raise UnreadableError("no topic of OpenMQTTGateway: BTtoMQTT, presence, LWT are")
    return out.done()


def _figures(message: Message) -> dict[str, Any]:
    return Members(values.parse_object(message.payload)).rest


def _last_will(out: Outcome, gateway: str) -> None:
    word = values.parse_text(out.message.payload).strip()
    if word not in ("online", "offline"):
        raise UnreadableError("a last will is online or offline")
    out.gateway("status", values.receiver(gateway), online=word == "online")


def _device(out: Outcome, gateway_id: str | None, topic_address: str | None) -> None:
    members = Members(values.parse_object(out.message.payload))
    named = members.text("id")
    address = members.mac("mac") or values.mac(named) or topic_address
    identities = _identities(members, named)
    if members.text("state") == "offline" or members.text("presence") == "absent":
        out.tag(
            TagAbsenceReported,
            identities=(*identities, *((f"mac:{address}",) if address else ())),
            gateway_id=gateway_id,
            times=_times(members),
            fields={"reason": "no longer heard"},
        )
        return
    _heard(out, gateway_id, address, identities, members)


def _heard(
    out: Outcome,
    gateway_id: str | None,
    address: str | None,
    identities: tuple[str, ...],
    members: Members,
) -> None:
    labels = " ".join(str(members.peek(n)) for n in ("model", "model_id", "brand", "type"))
    if _ANONYMOUS.search(labels):
        raise ItemRefusedError("anonymous_tracker", "the gateway names it a finding-network tag")
    advert = _advert(members)
    is_beacon = any(i.startswith("ibeacon:") for i in identities)
    rssi_dbm = members.strict_number("rssi")
    fields: dict[str, Any] = decoded_fields(members)
    if rssi_dbm is None:
        _sensed(out, gateway_id, address, identities, members, fields)
        return
    power = members.number("txpower")
    hear(
        out,
        gateway_id=gateway_id,
        address=address,
        advert=advert,
        identities=identities,
        times=_times(members),
        fields={
            **fields,
            "rssi_dbm": rssi_dbm,
            "rssi_1m_dbm" if is_beacon else "tx_power_dbm": power,
            "distance_m": members.number("distance"),
        },
        rest=_rest(members),
    )


def _sensed(
    out: Outcome,
    gateway_id: str | None,
    address: str | None,
    identities: tuple[str, ...],
    members: Members,
    fields: dict[str, Any],
) -> None:
    times = _times(members)
    members.rename("tempf", "temperature_f")
    readings = sensor_readings(fields, _rest(members))
    if not readings:
        raise ItemRefusedError("no_signal", "neither signal strength nor a sensor value")
    hear(
        out,
        gateway_id=gateway_id,
        address=address,
        identities=identities,
        times=times,
        fields={"readings": readings},
        kind=TagSensed,
    )


def _identities(members: Members, named: str | None) -> tuple[str, ...]:
    uuid, major, minor = (members.peek(n) for n in ("uuid", "major", "minor"))
    beacon = normal_identity(f"ibeacon:{uuid}:{major}:{minor}") if uuid else None
    if beacon:
        members.drop("major", "minor")
        return (beacon,)
    short = values.hex_id(named).lower().replace(":", "") if named else ""
    return () if values.mac(named) or not short else (f"theengs:{short}",)


def _advert(members: Members) -> adverts.Advert:
    manufacturer = members.octets("manufacturerdata")
    service = members.octets("servicedata")
    uuid = members.octets("servicedatauuid")
    services = []
    if service and uuid and len(uuid) == 2:
        services.append((int.from_bytes(uuid, "big"), service))
    return adverts.read_parts(manufacturer, services)


def _times(members: Members) -> Times:
    return Times(gateway_sent_at=members.moment("UTCtime", "unixtime"))


def _rest(members: Members) -> dict[str, Any]:
    members.drop(*_LEFT_OUT)
    return members.rest
