"""LLRP on the wire: messages, and the parameters nested in them.

A message is a head of 10 bytes (3 reserved bits, 3 bits of version, 10 of type; length; id) and
parameters. A parameter is either TLV (6 reserved bits, 10 of type; length with the head) or, below
type 128 with the first bit set, one byte of type and a value of fixed length (TV).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

HEAD_BYTES: Final = 10
MAX_MESSAGE_BYTES: Final = 1 << 20
"""A report of 10,000 tags has 350 kB; a longer message is a stream out of step."""

_HEAD: Final = struct.Struct(">HII")
_TLV_HEAD: Final = struct.Struct(">HH")
_VERSIONS: Final = (1, 2)
"""1.0.1 and 1.1. We speak the first, which readers of the second understand."""

TV_BYTES: Final = {
    1: 2, 2: 8, 3: 8, 4: 8, 5: 8, 6: 1, 7: 2, 8: 2, 9: 4, 10: 2, 11: 2, 12: 2, 13: 12, 14: 2,
    15: 2, 16: 4, 17: 2, 18: 4,
}  # fmt: skip
"""Length of the value of each TV parameter, bytes."""


class Kind(IntEnum):
    """Message types that this client sends or understands."""

    GET_READER_CAPABILITIES = 1
    GET_READER_CONFIG = 2
    SET_READER_CONFIG = 3
    CLOSE_CONNECTION_RESPONSE = 4
    GET_READER_CAPABILITIES_RESPONSE = 11
    GET_READER_CONFIG_RESPONSE = 12
    SET_READER_CONFIG_RESPONSE = 13
    CLOSE_CONNECTION = 14
    ADD_ROSPEC = 20
    DELETE_ROSPEC = 21
    START_ROSPEC = 22
    STOP_ROSPEC = 23
    ENABLE_ROSPEC = 24
    ADD_ROSPEC_RESPONSE = 30
    DELETE_ROSPEC_RESPONSE = 31
    START_ROSPEC_RESPONSE = 32
    STOP_ROSPEC_RESPONSE = 33
    ENABLE_ROSPEC_RESPONSE = 34
    DELETE_ACCESSSPEC = 41
    DELETE_ACCESSSPEC_RESPONSE = 51
    RO_ACCESS_REPORT = 61
    KEEPALIVE = 62
    READER_EVENT_NOTIFICATION = 63
    ENABLE_EVENTS_AND_REPORTS = 64
    KEEPALIVE_ACK = 72
    ERROR_MESSAGE = 100


ANSWER_OF: Final = {
    kind: Kind[f"{kind.name}_RESPONSE"]
    for kind in Kind
    if f"{kind.name}_RESPONSE" in Kind.__members__
}
"""Which message answers which."""


class Head(NamedTuple):
    """The head of a message.

    Attributes:
        kind: Message type, 0 to 1023; not only those of `Kind`.
        id: Number that an answer repeats.
        body_bytes: How many bytes follow.
    """

    kind: int
    id: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        kind: Message type.
        id: Its number.
        body: What follows the head.
    """

    kind: int
    id: int
    body: bytes = b""

    def encode(self) -> bytes:
        """Return its bytes, as version 1.0.1.

        Raises:
            ValueError: longer than `MAX_MESSAGE_BYTES`.
        """
        length = HEAD_BYTES + len(self.body)
        if length > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {length} bytes is longer than any reader takes")
        return _HEAD.pack(1 << 10 | self.kind, length, self.id) + self.body


class Parameters(NamedTuple):
    """Parameters of one level.

    Attributes:
        items: Type and value of each, in order; a TLV's value may hold further parameters.
        whole: Whether all bytes belonged to a well-formed parameter; what follows the first that
            is not is left out.
    """

    items: list[tuple[int, bytes]]
    whole: bool


def read_head(head: bytes) -> Head | None:
    """Read the head of a message; None if no reader speaks like that.

    Args:
        head: Any bytes; the first 10 count.
    """
    if len(head) < HEAD_BYTES:
        return None
    first, length, number = _HEAD.unpack_from(head)
    if first >> 10 not in _VERSIONS or not HEAD_BYTES <= length <= MAX_MESSAGE_BYTES:
        return None
    return Head(first & 0x3FF, number, length - HEAD_BYTES)


def read_parameters(body: bytes) -> Parameters:
    r"""Read the parameters of one level, of any bytes.

    Example:
        >>> read_parameters(bytes.fromhex("810001 86d3"))
        Parameters(items=[(1, b'\x00\x01'), (6, b'\xd3')], whole=True)
        >>> read_parameters(b"\x81")
        Parameters(items=[], whole=False)
    """
    items: list[tuple[int, bytes]] = []
    at, end = 0, len(body)
    while at < end:
        kind, start, stop = _extent(body, at)
        if stop > end or stop <= at:
            return Parameters(items, whole=False)
        items.append((kind, body[start:stop]))
        at = stop
    return Parameters(items, whole=True)


def _extent(body: bytes, at: int) -> tuple[int, int, int]:
    """Return type, start and end of the value at a place; an end of 0 where there is none."""
    first = body[at]
    if first & 0x80:
        size = TV_BYTES.get(first & 0x7F)
        return first & 0x7F, at + 1, 0 if size is None else at + 1 + size
    if at + _TLV_HEAD.size > len(body):
        return 0, 0, 0
    kind, length = _TLV_HEAD.unpack_from(body, at)
    if length < _TLV_HEAD.size:
        return 0, 0, 0
    return kind & 0x3FF, at + _TLV_HEAD.size, at + length


def tlv(kind: int, *values: bytes) -> bytes:
    """Return a TLV parameter of the joined values.

    Raises:
        ValueError: longer than 65,535 bytes.
    """
    value = b"".join(values)
    length = _TLV_HEAD.size + len(value)
    if length > 0xFFFF:
        raise ValueError(f"a parameter of {length} bytes is longer than the format allows")
    return _TLV_HEAD.pack(kind, length) + value
