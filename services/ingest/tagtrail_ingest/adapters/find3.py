"""FIND3 `POST /data`: a phone says which fixed transmitters it hears, and how loudly.

The direction is turned round: the device `d` is the tag, and each Bluetooth or Wi-Fi key is a
fixed transmitter that takes the gateway's place. A key may be a stranger's device, so ingest takes
such a reading only where a gateway of that id is registered (`Reading.needs_known_gateway`).
"""

from __future__ import annotations

from typing import Any, Final, Literal

from tagtrail_ingest.adapters import values
from tagtrail_ingest.adapters.contract import Decoded, Message, UnreadableError
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times
from tagtrail_kernel.events.sightings import TagPositionReported, TagSighted, TagZoneReported

FORMAT: Final = "find3"
_TECHNOLOGIES: Final[tuple[tuple[str, Literal["ble", "wifi"]], ...]] = (
    ("bluetooth", "ble"),
    ("wifi", "wifi"),
)


def read(message: Message) -> Decoded:
    """Read one message.

    Raises:
        UnreadableError: it names no device.
    """
    out = Outcome(message, FORMAT, source_class="own_phone")
    members = Members(values.parse_object(message.payload))
    device, family = members.text("d"), members.text("f")
    if device is None:
        raise UnreadableError("no device d: not of FIND3")
    identities = (f"find3:{family}/{device}" if family else f"find3:{device}",)
    times = Times(tag_time_at=members.moment("t"))
    sensors = members.nested("s")
    index = 0
    for name, technology in _TECHNOLOGIES:
        heard = sensors.nested(name)
        for key in heard.names:
            with out.item(index):
                _heard(out, identities, key, heard.number(key), technology, times)
            index += 1
    with out.item(index):
        _place(out, identities, members, times)
    return out.done()


def _heard(
    out: Outcome,
    identities: tuple[str, ...],
    key: str,
    rssi_dbm: float | None,
    technology: Literal["ble", "wifi"],
    times: Times,
) -> None:
    if rssi_dbm is None:
        raise ItemRefusedError("bad_value", "a signal strength is no finite number")
    out.tag(
        TagSighted,
        identities=identities,
        gateway_id=values.receiver(key),
        times=times,
        fields={"rssi_dbm": rssi_dbm, "technology": technology},
        needs_known_gateway=True,
    )


def _place(out: Outcome, identities: tuple[str, ...], members: Members, times: Times) -> None:
    """Read the GPS fix, and the place that the user named while teaching the system."""
    fix, zone = members.nested("gps"), members.text("l")
    fields: dict[str, Any] = {
        "technology": "gps",
        "latitude_deg": fix.strict_number("lat"),
        "longitude_deg": fix.strict_number("lon"),
        "altitude_m": fix.number("alt"),
        "accuracy_m": fix.number("acc"),
    }
    if zone is not None:
        out.tag(
            TagZoneReported,
            identities=identities,
            gateway_id=FORMAT,
            times=times,
            fields={"zone": zone, "technology": "unknown"},
        )
    if fields["latitude_deg"] is not None and fields["longitude_deg"] is not None:
        out.tag(
            TagPositionReported,
            identities=identities,
            gateway_id=FORMAT,
            times=times,
            fields=fields,
            rest=fix.rest,
        )
