"""The answers of a partner's cloud: one generic form of JSON, read strictly. Pure.

docs/sources.md describes it. An answer in another form is no answer, whatever its status says.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Meta

from tagtrail_ingest.adapters import Adapter, Decoded, Message
from tagtrail_ingest.adapters.members import ItemRefusedError
from tagtrail_ingest.adapters.outcome import Outcome
from tagtrail_ingest.adapters.times import Times, plausible
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.events.sightings import Aware, TagPositionReported, TagZoneReported

FORMAT: Final = "partner"
"""Name of the format in counts and in the source of events."""

MAX_ITEMS: Final = 1000
"""Most sightings of one page: one batch of the log."""

_Name = Annotated[str, Meta(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Degrees = Annotated[float, Meta(ge=-180, le=180)]


class PartnerAnswerError(Exception):
    """The body is not what a partner answers.

    Args:
        detail: One sentence, without what the body says.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One sighting as a partner tells it; a place is coordinates or a zone.

    Attributes:
        id: The partner's own id of the sighting: one event, however often it is told.
        device: The partner's id of the tag; `partner:<name>/<device>` is its identity.
        at: When it was seen.
        latitude_deg: WGS84 latitude.
        longitude_deg: WGS84 longitude.
        accuracy_m: Radius, metres.
        zone: A zone's name, instead of coordinates.
        battery_pct: Charge, percent.
    """

    id: _Name
    device: _Name
    at: Aware
    latitude_deg: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude_deg: _Degrees | None = None
    accuracy_m: Annotated[float, Meta(ge=0, le=100_000)] | None = None
    zone: _Name | None = None
    battery_pct: Annotated[float, Meta(ge=0, le=100)] | None = None


class Page(msgspec.Struct, frozen=True):
    """One page.

    Attributes:
        sightings: Items, the oldest first.
        next: What to ask from next time; opaque.
        more: Whether there is more at once.
    """

    sightings: Annotated[list[msgspec.Raw], Meta(max_length=MAX_ITEMS)]
    next: Annotated[str, Meta(min_length=1, max_length=1000)]
    more: bool = False


_decode_page = msgspec.json.Decoder(Page).decode
_decode_item = msgspec.json.Decoder(Item).decode


def page_of(body: bytes) -> Page:
    """Read one answer.

    Raises:
        PartnerAnswerError: it has another form, for example that of an error message.
    """
    try:
        return _decode_page(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        fault = str(error) if isinstance(error, msgspec.ValidationError) else "it is not JSON"
        raise PartnerAnswerError(f"the answer has not the form of a page: {fault}") from error


def adapter_of(name: str) -> Adapter:
    """Return the reader of a partner's pages, as a format of ingest."""
    return Adapter(FORMAT, partial(_read, name), verdicts=True, source_class="partner_network")


def _read(name: str, message: Message) -> Decoded:
    out = Outcome(message, FORMAT, technology="unknown", source_class="partner_network")
    found: dict[int, Item] = {}
    for index, raw in enumerate(page_of(message.payload).sightings):
        with out.item(index):
            found[index] = item = _item(raw, message.received_at)
            _tell(out, name, item)
    decoded = out.done()
    readings = tuple(
        msgspec.structs.replace(r, event_id=_event_id(name, found[r.index]))
        for r in decoded.readings
    )
    return msgspec.structs.replace(decoded, readings=readings)


def _item(raw: msgspec.Raw, received_at: datetime) -> Item:
    try:
        item = _decode_item(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ItemRefusedError("bad_value", str(error)) from error
    if not plausible(item.at, received_at):
        raise ItemRefusedError("implausible_time", "at is before 2010 or in the future")
    return item


def _tell(out: Outcome, name: str, item: Item) -> None:
    fields: dict[str, Any] = {"battery_pct": item.battery_pct}
    kind: type[TagPositionReported | TagZoneReported] = TagPositionReported
    if item.zone is not None:
        kind, fields = TagZoneReported, {"zone": item.zone}
    elif item.latitude_deg is None or item.longitude_deg is None:
        raise ItemRefusedError("no_position", "neither a zone nor latitude and longitude")
    else:
        fields |= {
            "latitude_deg": item.latitude_deg,
            "longitude_deg": item.longitude_deg,
            "accuracy_m": item.accuracy_m,
        }
    out.tag(
        kind,
        identities=(f"partner:{name}/{item.device}",),
        gateway_id=f"partner-{name}",
        times=Times(gateway_received_at=item.at),
        fields=fields,
        content=item.id.encode(),
    )


def _event_id(name: str, item: Item) -> Any:
    return uuid8(item.at, f"partner/{quote(name, safe='')}/{item.id}".encode())
