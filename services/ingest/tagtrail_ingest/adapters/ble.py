"""One BLE advert heard by one gateway: the step that most gateway formats share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tagtrail_ingest.adapters import values
from tagtrail_ingest.adapters.adverts import Advert
from tagtrail_ingest.adapters.identities import best_first, by_address
from tagtrail_ingest.adapters.members import ItemRefusedError, Members
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import NO_TIMES, Times
from tagtrail_kernel.events.sightings import Radio, TagSighted


def hear(
    out: Outcome,
    *,
    gateway_id: str | None,
    address: str | None,
    advert: Advert | None = None,
    identities: tuple[str, ...] = (),
    times: Times = NO_TIMES,
    fields: Mapping[str, Any] | None = None,
    rest: Mapping[str, Any] | None = None,
    content: bytes = b"",
    kind: type[Radio] = TagSighted,
) -> None:
    """Add one reception to the outcome.

    Args:
        out: Where to.
        gateway_id: Normalised receiver.
        address: Address it came from, 12 lower-case digits, or None.
        advert: What the advert itself says; the gateway's own `fields` win over it.
        identities: Candidates that the gateway names.
        times: Clocks of the message.
        fields: Members of the event class; None values are left out.
        rest: Unnamed members, fit for the log.
        content: Raw bytes that tell this reception from others.
        kind: Event class.

    Raises:
        ItemRefusedError: the advert belongs to a finding network, or `Outcome.tag` refuses it.
    """
    advert = _named(advert)
    out.tag(
        kind,
        identities=best_first(*identities, *advert.identities, *by_address(address)),
        gateway_id=gateway_id,
        times=times,
        fields=advert.fields | {k: v for k, v in (fields or {}).items() if v is not None},
        rest={**advert.extra, **(rest or {})},
        content=content,
    )


def _named(advert: Advert | None) -> Advert:
    if advert is not None and advert.anonymous:
        raise ItemRefusedError(
            "anonymous_tracker", "a frame of a finding network: its sender is not to be followed"
        )
    return advert or Advert()


def decoded_fields(members: Members) -> dict[str, Any]:
    """Take what gateways that decode adverts themselves call battery, temperature and humidity.

    Battery is percent; `volt` and `voltage` are volts and become millivolts.
    """
    volts = members.number("volt", "voltage")
    return {
        "battery_pct": members.number("batt", "battery", "battery_level", "batteryLevel"),
        "battery_mv": members.integer("mV") if volts is None else round(volts * 1000),
        "temperature_c": members.number("tempc", "temperature", "temp"),
        "humidity_pct": members.number("hum", "humidity"),
    }


def sensor_readings(fields: Mapping[str, Any], rest: Mapping[str, Any]) -> dict[str, Any]:
    """Join values for `tag.sensed`: scalars only; text that is a number (no version) becomes one."""
    readings = {k: v for k, v in fields.items() if v is not None}
    for name, value in rest.items():
        if isinstance(value, bool) or value is None:
            readings[name] = value
        elif isinstance(value, str | int | float):
            number = None if "version" in name else values.number(value)
            readings[name] = value if number is None else number
    return readings
