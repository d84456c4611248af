"""Minew's binary bodies: BB01 "Binary / Long" (G1) and BB02 "Minew Connect" (G2)."""

from __future__ import annotations

import struct
from typing import Final

from tagtrail_ingest.adapters.adverts import read_advert
from tagtrail_ingest.adapters.ble import hear
from tagtrail_ingest.adapters.contract import UnreadableError
from tagtrail_ingest.adapters.outcome import Outcome

_LONG_HEAD: Final = struct.Struct(">2sI6sH")
_CONNECT_HEAD: Final = struct.Struct("<2s4xII2sI")
_CONNECT_MARK: Final = b"\x84\x3e"
_FRAME_HEAD: Final = struct.Struct("<HBB6sbB")
_TAIL: Final = b"\xdd"
_RANDOM_ADDRESS: Final = 0b110
"""Bits of the response byte that say the address is a random one."""


def read(out: Outcome, body: bytes, fallback: str | None) -> None:
    """Read a binary body.

    Args:
        out: Where to.
        body: The bytes.
        fallback: Gateway for BB02, which does not carry its address.

    Raises:
        UnreadableError: unknown kind, or its lengths do not fit.
    """
    if body[:2] == b"\xbb\x01":
        _long(out, body)
    elif body[:2] == b"\xbb\x02":
        _connect(out, body, fallback)
    else:
        raise UnreadableError('binary form not known; set the gateway to "Binary / Long" or JSON')


def _long(out: Outcome, body: bytes) -> None:
    if len(body) < _LONG_HEAD.size + 1:
        raise UnreadableError("BB01 cut short")
    _, length, gateway, transmitters = _LONG_HEAD.unpack_from(body)
    if length != len(body) or body[-1:] != _TAIL:
        raise UnreadableError(f"BB01 says {length} bytes, {len(body)} came")
    end, at, index = len(body) - 1, _LONG_HEAD.size, 0
    for _ in range(transmitters):
        if at + 8 > end:
            raise UnreadableError("BB01 lacks transmitters that it announces")
        address = body[at : at + 6].hex()
        packets = int.from_bytes(body[at + 6 : at + 8], "big")
        at += 8
        for _ in range(packets):
            at = _long_packet(out, body[:end], at, index, (gateway.hex(), address))
            index += 1


def _long_packet(out: Outcome, body: bytes, at: int, index: int, pair: tuple[str, str]) -> int:
    size = body[at] if at < len(body) else 0
    if at + 3 + size > len(body):
        raise UnreadableError("BB01 lacks packets that it announces")
    advert = body[at + 1 : at + 1 + size]
    response, rssi_dbm = struct.unpack_from(">Bb", body, at + 1 + size)
    with out.item(index):
        _heard(out, pair[0], pair[1], advert, rssi_dbm, bool(response & _RANDOM_ADDRESS))
    return at + 3 + size


def _connect(out: Outcome, body: bytes, fallback: str | None) -> None:
    """Read BB02: little-endian lengths, then frames; angle-of-arrival data are passed over."""
    if len(body) < _CONNECT_HEAD.size:
        raise UnreadableError("BB02 cut short")
    _, total, inner, mark, content = _CONNECT_HEAD.unpack_from(body)
    size = len(body)
    if (total, inner, content, mark) != (size, size - 14, size - 20, _CONNECT_MARK):
        raise UnreadableError(f"BB02 says {total} bytes, {size} came")
    at, index = _CONNECT_HEAD.size, 0
    while at < size:
        if at + _FRAME_HEAD.size > size:
            raise UnreadableError("BB02 ends inside a frame")
        length, _, _, address, rssi_dbm, payload = _FRAME_HEAD.unpack_from(body, at)
        begin = at + _FRAME_HEAD.size
        if length < _FRAME_HEAD.size - 2 + payload or at + 2 + length > size:
            raise UnreadableError("BB02 has a frame whose lengths do not fit")
        with out.item(index):
            _heard(out, fallback, address.hex(), body[begin : begin + payload], rssi_dbm, None)
        at, index = at + 2 + length, index + 1


def _heard(
    out: Outcome,
    gateway_id: str | None,
    address: str,
    advert: bytes,
    rssi_dbm: int,
    random: bool | None,
) -> None:
    hear(
        out,
        gateway_id=gateway_id,
        address=address,
        advert=read_advert(advert),
        fields={"rssi_dbm": rssi_dbm},
        rest={} if random is None else {"address_random": random},
        content=advert,
    )
