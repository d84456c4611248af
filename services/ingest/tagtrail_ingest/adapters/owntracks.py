"""OwnTracks on phones: `owntracks/<user>/<device>` over MQTT, or HTTP with the topic in the body.

The receiver of a GPS fix is the phone itself; its name is a person's, so it is an identity and
never a gateway id.
"""

from __future__ import annotations

from typing import Any, Final

from tagtrail_ingest.adapters import values
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times
from tagtrail_kernel.events.sightings import (
    TagAbsenceReported,
    TagPositionReported,
    TagZoneReported,
)

FORMAT: Final = "owntracks"
_KMH_PER_MPS: Final = 3.6
_PERSONAL: Final = ("tid", "SSID", "BSSID", "topic", "_id", "poi", "image", "imagename", "face")
_CLAIMS: Final = {"enter": "entered", "leave": "left"}


def read(message: Message) -> Decoded:
    """Read one message.

    Raises:
        UnreadableError: it is no OwnTracks object, or encrypted.
    """
    out = Outcome(message, FORMAT, technology="gps", source_class="own_phone")
    members = Members(values.parse_object(message.payload))
    kind = members.text("_type")
    if kind is None:
        raise UnreadableError("no _type: not of OwnTracks")
    if kind == "encrypted":
        raise UnreadableError("encrypted by the app's own key; switch that off, use TLS instead")
    identities = _identities(message, members)
    with out.item(0):
        if kind == "location":
            _location(out, identities, members)
        elif kind == "transition":
            _transition(out, identities, members)
        elif kind == "lwt":
            _last_will(out, identities, members)
        else:
            raise ItemRefusedError("unsupported", f"OwnTracks {kind} carries no place")
    return out.done()


def _identities(message: Message, members: Members) -> tuple[str, ...]:
    topic = message.topic or members.text("topic") or ""
    levels = [level for level in topic.split("/") if level]
    if levels[-1:] == ["event"]:
        levels.pop()
    named = values.text("/".join(levels[-2:])) if len(levels) >= 2 else members.text("tid")
    return (f"owntracks:{named}",) if named and len(named) < values.MAX_ID else ()


def _location(out: Outcome, identities: tuple[str, ...], members: Members) -> None:
    times = Times(tag_time_at=members.moment("tst"), gateway_sent_at=members.moment("created_at"))
    speed_kmh = members.number("vel")
    fields: dict[str, Any] = {
        "latitude_deg": members.strict_number("lat"),
        "longitude_deg": members.strict_number("lon"),
        "altitude_m": members.number("alt"),
        "accuracy_m": members.number("acc"),
        "speed_mps": None if speed_kmh is None else round(speed_kmh / _KMH_PER_MPS, 3),
        "battery_pct": members.number("batt"),
    }
    if fields["latitude_deg"] is None or fields["longitude_deg"] is None:
        raise ItemRefusedError("no_position", "a location needs lat and lon")
    zones = [z for z in map(values.text, members.items("inregions")) if z]
    members.drop("inrids", *_PERSONAL)
    out.tag(
        TagPositionReported,
        identities=identities,
        gateway_id=FORMAT,
        times=times,
        fields=fields,
        rest=members.rest,
    )
    for zone in dict.fromkeys(zones):
        out.tag(
            TagZoneReported,
            identities=identities,
            gateway_id=FORMAT,
            times=times,
            fields={"zone": zone},
        )


def _transition(out: Outcome, identities: tuple[str, ...], members: Members) -> None:
    claim = _CLAIMS.get(members.text("event") or "")
    zone = members.text("desc", "rid")
    if claim is None or zone is None:
        raise ItemRefusedError("bad_value", "a transition enters or leaves a region with a name")
    times = Times(tag_time_at=members.moment("tst"))
    members.drop(*_PERSONAL)
    out.tag(
        TagZoneReported,
        identities=identities,
        gateway_id=FORMAT,
        times=times,
        fields={"zone": zone, "claim": claim},
        rest=members.rest,
    )


def _last_will(out: Outcome, identities: tuple[str, ...], members: Members) -> None:
    """Read the broker's word that the phone is gone.

    Its `tst` is when the app connected, not when it was lost, so it is no clock of this event.
    """
    connected_at = members.moment("tst")
    out.tag(
        TagAbsenceReported,
        identities=identities,
        gateway_id=FORMAT,
        fields={"reason": "the broker lost the phone's connection"},
        rest={"connected_at": connected_at.isoformat()} if connected_at else {},
    )
