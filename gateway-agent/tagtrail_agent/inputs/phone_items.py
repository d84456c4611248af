"""What a phone's browser saw: from its items to readings and adverts.

An item is an object with `id` (the phone's own, unlike all its others), `at` and `kind`:

- `nfc`: `uid` (serial number, hex digits), `url` or `ndef` (hex digits), and perhaps `counter`;
- `qr`: `text`, an address or `kind:value`;
- `ble`: `rssi_dbm`, and the advert as `ad` (hex digits) or as browsers give it,
  `manufacturer_data` and `service_data` (objects from number or UUID to hex digits); `address` where
  the phone knows it, which browsers do not.

Each may have a position, `latitude_deg`, `longitude_deg`, `accuracy_m` or `x_m`, `y_m`, `floor`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from tagtrail_agent.clock import EPOCH
from tagtrail_agent.identity import nfc_identity, normal_identity, uri_identity
from tagtrail_agent.inputs.formats import values
from tagtrail_agent.ndef import read_ndef

_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_UUID16: Final = re.compile(r"0000([0-9a-f]{4})-0000-1000-8000-00805f9b34fb")
_MOST_AD_BYTES: Final = 1_650
"""The longest advert of Bluetooth 5."""
_POSITIONS: Final = (
    (("latitude_deg", -90.0, 90.0), ("longitude_deg", -180.0, 180.0)),
    (("x_m", -1e6, 1e6), ("y_m", -1e6, 1e6)),
)
_BESIDE: Final = ("accuracy_m", "altitude_m", "floor", "z_m")


class ItemError(Exception):
    """An item is refused.

    Args:
        reason: One word for the verdict.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Scan(NamedTuple):
    """An item that can be read.

    Attributes:
        id: The phone's own.
        at: When, by the phone's clock, UTC.
        tags: Identities, best first; empty for an advert.
        ad: AD structures; None for taps and codes.
        address: Address of an advert, 12 lower-case hex digits.
        rssi_dbm: Power of an advert, dBm.
        members: Of the wire format, without position.
        position: Members of the position; empty without.
    """

    id: str
    at: datetime
    tags: tuple[str, ...]
    ad: bytes | None
    address: str
    rssi_dbm: int
    members: dict[str, Any]
    position: dict[str, Any]


@dataclass(slots=True)
class _Found:
    tags: tuple[str | None, ...] = ()
    ad: bytes | None = None
    address: str | None = None
    rssi_dbm: int = 0
    members: dict[str, Any] = field(default_factory=dict)


def read_item(item: object) -> Scan:
    """Read an item.

    Args:
        item: Any JSON value.

    Raises:
        ItemError: `no_object`, `bad_id`, `no_time`, `bad_kind`, `no_identity` or `no_signal`.
    """
    if not isinstance(item, dict):
        raise ItemError("no_object")
    name = item.get("id")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise ItemError("bad_id")
    at = values.moment(item, "at")
    if at is None:
        raise ItemError("no_time")
    read = _KINDS.get(item["kind"]) if isinstance(item.get("kind"), str) else None
    if read is None:
        raise ItemError("bad_kind")
    found = read(item)
    tags = tuple(t for t in found.tags if t is not None)
    if not tags and found.ad is None:
        raise ItemError("no_identity")
    address = found.address or _nobodys(name)
    return Scan(name, at, tags, found.ad, address, found.rssi_dbm, found.members, _position(item))


def _nfc(item: Mapping[str, Any]) -> _Found:
    uid, url, ndef = (values.text(item.get(n)) for n in ("uid", "url", "ndef"))
    written = [url] if url else []
    message = values.octets(item.get("ndef")) if ndef or item.get("ndef") else None
    written += [r.value for r in read_ndef(message or b"") if r.kind == "uri"]
    members = values.named(technology="nfc", counter=values.integer(item, "counter"))
    return _Found((nfc_identity(uid or ""), *map(uri_identity, written)), members=members)


def _qr(item: Mapping[str, Any]) -> _Found:
    text = values.text(item.get("text")) or ""
    known = uri_identity(text) if "://" in text else normal_identity(text)
    return _Found((known,), members={"technology": "optical"})


def _ble(item: Mapping[str, Any]) -> _Found:
    rssi_dbm = values.number(item, "rssi_dbm")
    if rssi_dbm is None or not -150 <= rssi_dbm <= 30:
        raise ItemError("no_signal")
    ad = values.octets(item.get("ad")) or _structures(item)
    if len(ad) > _MOST_AD_BYTES:
        raise ItemError("too_large")
    return _Found(ad=ad, address=values.mac(item.get("address")), rssi_dbm=round(rssi_dbm))


_KINDS: Final[Mapping[str, Callable[[Mapping[str, Any]], _Found]]] = {
    "nfc": _nfc,
    "qr": _qr,
    "ble": _ble,
}


def _structures(item: Mapping[str, Any]) -> bytes:
    """Put AD structures together again from what Web Bluetooth takes apart."""
    ad = b""
    for company, value in _pairs(item, "manufacturer_data"):
        if re.fullmatch("[0-9]{1,5}", company) and int(company) < 65_536 and len(value) <= 252:
            ad += bytes([len(value) + 3, 0xFF]) + int(company).to_bytes(2, "little") + value
    for uuid, value in _pairs(item, "service_data"):
        short = _UUID16.fullmatch(uuid.lower())
        if short and len(value) <= 252:
            ad += bytes([len(value) + 3, 0x16]) + bytes.fromhex(short[1])[::-1] + value
    return ad


def _pairs(item: Mapping[str, Any], name: str) -> list[tuple[str, bytes]]:
    given = item.get(name)
    if not isinstance(given, dict):
        return []
    return [(k, v) for k, w in given.items() if (v := values.octets(w)) is not None]


def _nobodys(name: str) -> str:
    """Return an address for an advert without one: another for each, so that none is linked."""
    return "02" + hashlib.sha256(name.encode()).hexdigest()[:10]


def _position(item: Mapping[str, Any]) -> dict[str, Any]:
    for pair in _POSITIONS:
        found = {name: values.number(item, name) for name, _, _ in pair}
        if all(
            value is not None and least <= value <= most
            for value, (_, least, most) in zip(found.values(), pair, strict=True)
        ):
            beside = {name: values.number(item, name) for name in _BESIDE}
            return {**found, **values.named(**beside)}
    return {}


def event_id(phone_id: str, item_id: str, at: datetime, part: str = "") -> str:
    """Return the event id of an item: its own if that is a UUID of version 7 or 8, else a UUIDv8.

    Args:
        phone_id: Whose item.
        item_id: The phone's own id of it.
        at: When it was.
        part: Tells several events of one item apart.
    """
    if not part:
        try:
            own = UUID(item_id)
        except ValueError:
            pass
        else:
            if own.version in (7, 8):
                return str(own)
    digest = hashlib.sha256(f"{phone_id}\n{item_id}\n{part}".encode()).digest()
    ms = max((at - EPOCH) // timedelta(milliseconds=1), 0) & ((1 << 48) - 1)
    random = int.from_bytes(digest[:10], "big")
    high = (ms << 16) | 0x8000 | (random >> 68)
    return str(UUID(int=(high << 64) | (0b10 << 62) | (random & ((1 << 62) - 1))))
