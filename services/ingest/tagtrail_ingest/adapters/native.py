"""Tagtrail's own format: `tagtrail/v1/<site>/<gateway>/sightings` and `POST /v1/sightings`.

This is the hot path. A batch of plain items is decoded in one pass; a batch with anything else is
decoded item by item, so that one bad item costs only itself. docs/wire-format.md is the reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Meta

from tagtrail_ingest.adapters import native_items, values
from tagtrail_ingest.adapters.contract import (
    UNRESOLVED,
    Decoded,
    Message,
    Reading,
    Refusal,
    UnreadableError,
)
from tagtrail_ingest.adapters.identities import normal_identity
from tagtrail_ingest.adapters.members import ItemRefusedError
from tagtrail_ingest.adapters.native_items import Item, Sender
from tagtrail_ingest.adapters.native_schema import native_schema
from tagtrail_ingest.adapters.outcome import GatewayKind, Outcome
from tagtrail_ingest.adapters.packing import GZIP, unpacked
from tagtrail_ingest.adapters.times import EARLIEST, TOLERANCE, Times, choose
from tagtrail_kernel.events.sightings import Aware, Metres, Rssi, TagSighted

__all__ = ["FORMAT", "native_schema", "read"]

FORMAT: Final = native_items.FORMAT
_Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class _Plain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The members that nearly every sighting has only some of."""

    tag: str | None = None
    tag_id: str | None = None
    id: UUID | None = None
    at: Aware | None = None
    rssi_dbm: Rssi | None = None
    rssi_1m_dbm: Rssi | None = None
    tx_power_dbm: Rssi | None = None
    distance_m: Metres | None = None
    interval_ms: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    battery_pct: Annotated[float, Meta(ge=0, le=100)] | None = None
    battery_mv: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    temperature_c: Annotated[float, Meta(ge=-273.15, le=1000)] | None = None
    humidity_pct: float | None = None
    motion: bool | None = None
    sequence: _Integer | None = None


class _PlainBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A batch in which every item is plain."""

    sightings: list[_Plain]
    batch_id: str | None = None
    gateway_id: str | None = None
    sent_at: Aware | None = None


_decode_plain = msgspec.json.Decoder(_PlainBatch).decode
_decode_one = msgspec.json.Decoder(_Plain).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class _Topic(NamedTuple):
    site_id: str | None
    gateway_id: str | None
    leaf: str


def read(message: Message) -> Decoded:
    """Read a batch of sightings, or a gateway's status.

    Raises:
        UnreadableError: it is no JSON object with a list of sightings.
    """
    topic = _split(message)
    if message.payload.startswith(GZIP):
        message = _unpacked(message)
    if message.topic is not None:
        message = msgspec.structs.replace(message, site_id=topic.site_id)
    if topic.leaf == "status":
        return _status(message, topic)
    try:
        batch = _decode_plain(message.payload)
    except msgspec.ValidationError:
        return _read_slowly(message, topic)
    except RecursionError as error:
        raise UnreadableError("the JSON is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UnreadableError(f"not JSON: {error}") from error
    sender = _sender(message, topic, batch.gateway_id, batch.sent_at)
    readings, refused = _read_plain(batch.sightings, sender)
    return Decoded(tuple(readings), (), tuple(refused), _batch_id(batch.batch_id))


def _unpacked(message: Message) -> Message:
    try:
        return msgspec.structs.replace(message, payload=unpacked(message.payload))
    except ValueError as error:
        raise UnreadableError(str(error)) from error


def _split(message: Message) -> _Topic:
    if message.topic is None:
        return _Topic(message.site_id, None, message.route or "sightings")
    levels = message.topic.split("/")
    if len(levels) != 5:
        raise UnreadableError("publish to tagtrail/v1/<site>/<gateway>/sightings or …/status")
    site_id, gateway_id = values.receiver(levels[2]), values.receiver(levels[3])
    if site_id is None or gateway_id is None:
        raise UnreadableError("the topic's site and gateway must be printable names")
    return _Topic(site_id, gateway_id, levels[4])


def _sender(message: Message, topic: _Topic, named: str | None, sent_at: datetime | None) -> Sender:
    gateway_id = values.receiver(named)
    if named is not None and gateway_id is None:
        raise UnreadableError("gateway_id must be a printable name of 1 to 200 characters")
    if topic.gateway_id and gateway_id and gateway_id != topic.gateway_id:
        raise UnreadableError("gateway_id contradicts the topic; leave it out on MQTT")
    return Sender(
        gateway_id=topic.gateway_id or gateway_id or message.gateway_id,
        site_id=message.site_id,
        sent_at=values.moment(sent_at),
        received_at=message.received_at,
        fixed=topic.gateway_id is not None,
        retained=message.retained,
    )


def _batch_id(written: object) -> str | None:
    if written is None:
        return None
    batch_id = values.text(written)
    if batch_id is None or len(batch_id) > values.MAX_ID:
        raise UnreadableError("batch_id must be printable text of 1 to 200 characters")
    return batch_id


def _read_plain(items: list[_Plain], sender: Sender) -> tuple[list[Reading], list[Refusal]]:
    readings: list[Reading] = []
    refused: list[Refusal] = []
    for index, item in enumerate(items):
        try:
            readings.append(_plain(item, index, sender))
        except ItemRefusedError as error:
            refused.append(Refusal(error.reason, index, error.detail))
    return readings, refused


def _plain(item: _Plain, index: int, sender: Sender) -> Reading:
    """Make a reading of a plain item: positional speed for the common case."""
    identities, tag_id = _named(item.tag, item.tag_id)
    native_items.check_sender(sender)
    native_items.check_id(item.id)
    at = item.at
    if at is None:
        occurred_at, quality, own = choose(Times(None, None, sender.sent_at), sender.received_at)
    elif EARLIEST <= at <= sender.received_at + TOLERANCE:
        occurred_at, quality, own = at.astimezone(UTC), "gateway_receive", True
    else:
        raise native_items.implausible("at")
    heard_at = occurred_at if at is not None else None
    return Reading(
        draft=_sighting(item, heard_at, sender),
        identities=identities,
        tag_id=tag_id,
        occurred_at=occurred_at,
        time_quality=quality,
        has_own_time=own,
        dedupe=b"" if item.id is not None else _content(sender, item, index, own=own),
        event_id=item.id,
        index=index,
    )


def _sighting(item: _Plain, heard_at: datetime | None, sender: Sender) -> TagSighted:
    return TagSighted(
        tag_id=UNRESOLVED,
        gateway_id=sender.gateway_id or "",
        site_id=sender.site_id,
        adapter=FORMAT,
        gateway_received_at=heard_at,
        gateway_sent_at=sender.sent_at,
        received_at=sender.received_at,
        sequence=item.sequence,
        rssi_dbm=item.rssi_dbm,
        rssi_1m_dbm=item.rssi_1m_dbm,
        tx_power_dbm=item.tx_power_dbm,
        distance_m=item.distance_m,
        interval_ms=item.interval_ms,
        motion=item.motion,
        battery_pct=item.battery_pct,
        battery_mv=item.battery_mv,
        temperature_c=item.temperature_c,
        humidity_pct=item.humidity_pct,
    )


def _content(sender: Sender, item: object, index: int, *, own: bool) -> bytes:
    return _encode((sender.site_id, sender.gateway_id, item, None if own else index))


def _named(tag: str | None, tag_id: str | None) -> tuple[tuple[str, ...], str | None]:
    if tag is not None and tag_id is None:
        identity = normal_identity(tag)
        if identity is not None:
            return (identity,), None
        raise ItemRefusedError(
            "no_identity", 'tag must be "<kind>:<value>", such as "mac:<12 hex>"'
        )
    if tag_id and tag is None and len(tag_id) <= values.MAX_ID and tag_id.isprintable():
        return (), tag_id
    raise ItemRefusedError("no_identity", "give either tag or tag_id, printable, not empty")


def _read_slowly(message: Message, topic: _Topic) -> Decoded:
    """Read a batch item by item."""
    try:
        members = _decode_members(message.payload)
        items = _decode_items(members.pop("sightings", b""))
    except RecursionError as error:
        raise UnreadableError("the JSON is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UnreadableError(f'expected {{"sightings": [...]}}: {error}') from error
    head = _head(members)
    sent_at = head.pop("sent_at", None)
    named = head.pop("gateway_id", None)
    if named is not None and not isinstance(named, str):
        raise UnreadableError("gateway_id must be text")
    if sent_at is not None and values.moment(sent_at) is None:
        raise UnreadableError("sent_at must be an RFC 3339 time")
    batch_id = _batch_id(head.pop("batch_id", None))
    sender = _sender(message, topic, named, values.moment(sent_at))
    out = Outcome(message, FORMAT)
    if head:
        _extras(out, sender, head)
    readings, refused = _each(items, sender)
    rest = out.done()
    return Decoded(tuple(readings), rest.gateway_facts, (*rest.refused, *refused), batch_id)


def _extras(out: Outcome, sender: Sender, head: Mapping[str, Any]) -> None:
    """Keep what the batch says beside its sightings as figures of the gateway."""
    with out.item(0):
        figures = values.keep_members(dict(head))
        out.gateway("telemetry", sender.gateway_id, figures=figures, sent_at=sender.sent_at)


def _each(items: list[msgspec.Raw], sender: Sender) -> tuple[list[Reading], list[Refusal]]:
    readings: list[Reading] = []
    refused: list[Refusal] = []
    for index, raw in enumerate(items):
        try:
            readings.append(_item(raw, index, sender))
        except ItemRefusedError as error:
            refused.append(Refusal(error.reason, index, error.detail))
    return readings, refused


def _head(members: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    try:
        return {name: _any(raw) for name, raw in members.items()}
    except ItemRefusedError as error:
        raise UnreadableError(error.detail) from error


def _item(raw: msgspec.Raw, index: int, sender: Sender) -> Reading:
    """Read one item; a plain one as in a plain batch, so that its id is the same in both."""
    try:
        plain = _decode_one(raw)
    except msgspec.ValidationError:
        return _general(_any(raw), index, sender)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ItemRefusedError("bad_value", f"not readable: {error}") from error
    return _plain(plain, index, sender)


def _any(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ItemRefusedError("bad_value", f"not readable: {error}") from error


def _general(members: Any, index: int, sender: Sender) -> Reading:
    if not values.is_object(members):
        raise ItemRefusedError("bad_value", "a sighting must be an object")
    written = dict(members)
    identities, tag_id = _named(_text(members, "tag"), _text(members, "tag_id"))
    item = Item(members, sender)
    chosen = item.chosen
    return Reading(
        draft=item.draft,
        identities=identities,
        tag_id=tag_id,
        occurred_at=chosen.at,
        time_quality=chosen.quality,
        has_own_time=chosen.own,
        dedupe=b"" if item.id else _content(sender, written, index, own=chosen.own),
        event_id=item.id,
        index=index,
    )


def _text(members: dict[str, Any], name: str) -> str | None:
    value = members.pop(name, None)
    if value is not None and not isinstance(value, str):
        raise ItemRefusedError("no_identity", f"{name} must be text")
    return value


def _status(message: Message, topic: _Topic) -> Decoded:
    """Read a gateway's status: the word online or offline (also as a last will), or an object."""
    out = Outcome(message, FORMAT)
    if not message.payload.lstrip().startswith(b"{"):
        word = values.parse_text(message.payload).strip().strip('"').lower()
        if word not in ("online", "offline"):
            raise UnreadableError('a status is "online", "offline" or a JSON object')
        with out.item(0):
            out.gateway("status", topic.gateway_id, online=word == "online")
        return out.done()
    members = values.parse_object(message.payload)
    online = values.flag(members.pop("online", None))
    sent_at = values.moment(members.pop("at", members.pop("sent_at", None)))
    kind: GatewayKind = "telemetry" if online is None else "status"
    with out.item(0):
        figures = values.keep_members(members)
        kind = "status" if online is not None else "telemetry"
        out.gateway(kind, topic.gateway_id, online=online, figures=figures or None, sent_at=sent_at)
    return out.done()
