"""One item of the native format, with every member of the event classes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from tagtrail_ingest.adapters import values
from tagtrail_ingest.adapters.contract import UNRESOLVED
from tagtrail_ingest.adapters.members import ItemRefusedError
from tagtrail_ingest.adapters.outcome import MAX_EXTRA_BYTES
from tagtrail_ingest.adapters.times import Chosen, Times, choose, plausible
from tagtrail_kernel.events.sightings import (
    Radio,
    TagPositionReported,
    TagRanged,
    TagSighted,
    TagZoneReported,
)

FORMAT: Final = "native"
ITEM_TYPES: Final = (TagSighted, TagRanged, TagPositionReported, TagZoneReported)
SET_BY_US: Final = frozenset({"tag_id", "adapter", "received_at", "extra"})
"""Members of the event classes that no item sets directly."""

_MEMBERS: Final[dict[type[Radio], frozenset[str]]] = {
    kind: frozenset(kind.__struct_fields__) - SET_BY_US for kind in ITEM_TYPES
}
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Sender:
    """What the batch says for all its items.

    Attributes:
        gateway_id: Of the topic, the batch or the key.
        site_id: Of the topic or the key.
        sent_at: When the gateway sent the batch.
        received_at: When ingest took it.
        fixed: The topic names the gateway, so items may not name another.
        retained: The broker replayed the message.
    """

    gateway_id: str | None
    site_id: str | None
    sent_at: datetime | None
    received_at: datetime
    fixed: bool
    retained: bool


def implausible(name: str) -> ItemRefusedError:
    """Return the refusal of a time."""
    return ItemRefusedError(
        "implausible_time", f"{name} is before 2010 or in the future; set the clock or leave it out"
    )


def check_id(event_id: UUID | None) -> None:
    """Refuse an event id that is not ordered by time.

    Raises:
        ItemRefusedError: it is neither a UUIDv7 nor a UUIDv8.
    """
    if event_id is not None and (event_id.int >> 76) & 0xF not in (7, 8):
        raise ItemRefusedError("bad_id", "id must be a UUID of version 7 or 8")


def check_sender(sender: Sender) -> None:
    """Refuse items of nobody, and replayed ones.

    Raises:
        ItemRefusedError: no gateway is named, or the message was retained.
    """
    if sender.gateway_id is None:
        raise ItemRefusedError("no_gateway", "name the gateway: gateway_id in the batch or the key")
    if sender.retained:
        raise ItemRefusedError("retained", "publish sightings without the retain flag")


class Item:
    """One item that may have every member.

    Args:
        members: Its members without `tag` and `tag_id`; consumed.
        sender: The batch.

    Attributes:
        id: The producer's event id.
        chosen: Event time.
        draft: The validated fact.

    Raises:
        ItemRefusedError: something does not fit.
    """

    def __init__(self, members: dict[str, Any], sender: Sender) -> None:
        gateway_id = self._gateway(members, sender)
        check_sender(sender if gateway_id is None else _named(sender, gateway_id))
        self.id = _uuid(members.pop("id", None))
        times = _times(members, sender)
        self.chosen: Chosen = choose(times, sender.received_at)
        kind = kind_of(members)
        named = {name: members.pop(name) for name in _MEMBERS[kind] & members.keys()}
        fields = {name: value for name, value in named.items() if value is not None}
        fields.setdefault("technology", _technology(kind, fields))
        fields.setdefault("site_id", sender.site_id)
        fields.update(
            tag_id=UNRESOLVED,
            gateway_id=gateway_id or sender.gateway_id,
            adapter=FORMAT,
            received_at=sender.received_at,
            extra=_extra(members),
            **times._asdict(),
        )
        _check_integers(fields)
        self.draft = _convert(fields, kind)

    @staticmethod
    def _gateway(members: dict[str, Any], sender: Sender) -> str | None:
        written = members.pop("gateway_id", None)
        if written is None:
            return None
        gateway_id = values.receiver(written)
        if gateway_id is None or (sender.fixed and gateway_id != sender.gateway_id):
            raise ItemRefusedError("bad_gateway", "gateway_id is no name, or not the topic's")
        return gateway_id


def kind_of(members: dict[str, Any]) -> type[Radio]:
    """Say which event an item becomes, by the members that it has.

    Raises:
        ItemRefusedError: it would be two, or half of one.
    """
    has = {name for name, value in members.items() if value is not None}
    pairs = [p for p in ({"x_m", "y_m"}, {"latitude_deg", "longitude_deg"}) if has & p]
    if any(not pair <= has for pair in pairs):
        raise ItemRefusedError("incomplete_position", "coordinates come in pairs")
    kinds: list[type[Radio]] = [TagPositionReported] if pairs else []
    kinds += [TagRanged] if "range_m" in has else []
    kinds += [TagZoneReported] if "zone" in has else []
    if len(kinds) > 1:
        raise ItemRefusedError(
            "ambiguous", "send a range, a position and a zone as items of their own"
        )
    return kinds[0] if kinds else TagSighted


def _named(sender: Sender, gateway_id: str) -> Sender:
    return Sender(
        gateway_id,
        sender.site_id,
        sender.sent_at,
        sender.received_at,
        sender.fixed,
        sender.retained,
    )


def _times(members: dict[str, Any], sender: Sender) -> Times:
    """Take the clocks of an item; unlike foreign gateways, native ones are held to them."""
    clocks: dict[str, datetime | None] = {}
    for name in ("tag_time_at", "at", "gateway_received_at", "gateway_sent_at"):
        written = members.pop(name, None)
        clocks[name] = _clock(name, written)
        if written is not None and not plausible(clocks[name], sender.received_at):
            raise implausible(name)
    return Times(
        clocks["tag_time_at"],
        clocks["at"] or clocks["gateway_received_at"],
        clocks["gateway_sent_at"] or sender.sent_at,
    )


def _technology(kind: type[Radio], fields: dict[str, Any]) -> str:
    if kind is TagRanged:
        return "uwb"
    if kind is TagPositionReported:
        return "gps" if "latitude_deg" in fields else "unknown"
    return "ble"


def _extra(members: dict[str, Any]) -> dict[str, Any] | None:
    """Keep what no member of the event class names."""
    given = members.pop("extra", None)
    if given is not None and not values.is_object(given):
        raise ItemRefusedError("bad_value", "extra must be an object")
    kept = values.keep_members({**(given or {}), **members})
    if kept and len(_encode(kept)) > MAX_EXTRA_BYTES:
        raise ItemRefusedError("too_large", f"unnamed members may have {MAX_EXTRA_BYTES} bytes")
    return kept or None


def _check_integers(fields: dict[str, Any]) -> None:
    """Refuse whole numbers that the log's JSON cannot hold."""
    for name, value in fields.items():
        if type(value) is int and values.integer(value) is None:
            raise ItemRefusedError("out_of_range", f"{name} has more than 63 bits")


def _clock(name: str, written: object) -> datetime | None:
    """Read an RFC 3339 time, which names its offset; None beyond what a datetime can hold."""
    if written is None:
        return None
    try:
        read = datetime.fromisoformat(written) if isinstance(written, str) else None
    except ValueError:
        read = None
    if read is None or read.tzinfo is None:
        raise ItemRefusedError("bad_value", f"{name} must be an RFC 3339 time with an offset")
    return values.moment(read)


def _uuid(written: object) -> UUID | None:
    if written is None:
        return None
    try:
        event_id = UUID(written) if isinstance(written, str) else None
    except ValueError:
        event_id = None
    if event_id is None:
        raise ItemRefusedError("bad_id", "id must be a UUID of version 7 or 8")
    check_id(event_id)
    return event_id


def _convert(fields: dict[str, Any], kind: type[Radio]) -> Radio:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise ItemRefusedError("out_of_range", str(error)) from error
