"""NDEF messages of NFC labels. Total: what cannot be read is left out.

Sources: NFC Forum, NFC Data Exchange Format 1.0, URI and Text record type definitions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

MOST_RECORDS: Final = 64
MOST_BYTES: Final = 8192
"""Larger than any label's memory; bounds the work for a hostile one."""

_PREFIXES: Final = (
    "", "http://www.", "https://www.", "http://", "https://", "tel:", "mailto:",
    "ftp://anonymous:anonymous@", "ftp://ftp.", "ftps://", "sftp://", "smb://", "nfs://", "ftp://",
    "dav://", "news:", "telnet://", "imap:", "rtsp://", "urn:", "pop:", "sip:", "sips:", "tftp:",
    "btspp://", "btl2cap://", "btgoep://", "tcpobex://", "irdaobex://", "file://", "urn:epc:id:",
    "urn:epc:tag:", "urn:epc:pat:", "urn:epc:raw:", "urn:epc:", "urn:nfc:",
)  # fmt: skip
_WELL_KNOWN, _EXTERNAL = 1, 4


class Record(NamedTuple):
    """One record of a message.

    Attributes:
        kind: "uri", "text", or "external"; "other" for the rest.
        value: The address or text; of other kinds, the payload in hex digits.
        name: Language of a text, type name of an external or other record.
    """

    kind: str
    value: str
    name: str = ""


def read_ndef(message: bytes) -> list[Record]:
    """Read a message, with or without the TLV wrapping of Type 2 labels.

    Reads up to the first damaged record; chunked records are joined.

    Example:
        >>> read_ndef(bytes.fromhex("d1010b5504736d616c6c2e6578616d"))
        [Record(kind='uri', value='https://small.exam', name='')]
    """
    return [_record(*raw) for raw in _raw_records(_unwrapped(message[:MOST_BYTES]))]


def _unwrapped(message: bytes) -> bytes:
    """Take the message out of its TLV block: 0x03, length, message."""
    at = 0
    while at + 1 < len(message) and message[at] in (0x00, 0x01, 0x02, 0x03):
        kind = message[at]
        if kind == 0x00:
            at += 1
            continue
        length, start = message[at + 1], at + 2
        if length == 0xFF and len(message) >= at + 4:
            length, start = int.from_bytes(message[at + 2 : at + 4], "big"), at + 4
        if kind == 0x03:
            return message[start : start + length]
        at = start + length
    return message


def _raw_records(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield format, type and payload of each record."""
    at, pending = 0, (0, b"", b"")
    for _ in range(MOST_RECORDS):
        parts = _one(data, at)
        if parts is None:
            return
        header, kind, payload, at = parts
        if header & 0x07 == 6:  # the next chunk of a record
            pending = (pending[0], pending[1], pending[2] + payload)
        else:
            pending = (header & 0x07, kind, payload)
        if not header & 0x20:
            yield pending
        if header & 0x40:
            return


def _one(data: bytes, at: int) -> tuple[int, bytes, bytes, int] | None:
    """Cut out one record: its header, type, payload, and where the next one begins."""
    if at + 3 > len(data):
        return None
    header, kind_length = data[at], data[at + 1]
    at += 2
    size = 1 if header & 0x10 else 4
    if at + size > len(data):
        return None
    length = int.from_bytes(data[at : at + size], "big")
    at += size
    id_length = 0
    if header & 0x08:
        if at >= len(data):
            return None
        id_length = data[at]
        at += 1
    start = at + kind_length + id_length
    if start + length > len(data):
        return None
    return header, data[at : at + kind_length], data[start : start + length], start + length


def _record(form: int, kind: bytes, payload: bytes) -> Record:
    name = kind.decode("ascii", "replace")
    if form == _WELL_KNOWN and kind == b"U" and payload:
        prefix = _PREFIXES[payload[0]] if payload[0] < len(_PREFIXES) else ""
        return Record("uri", prefix + payload[1:].decode("utf-8", "replace"))
    if form == _WELL_KNOWN and kind == b"T" and payload:
        return _text(payload)
    if form == _EXTERNAL:
        return Record("external", _printable(payload), name)
    return Record("other", payload.hex(), name)


def _text(payload: bytes) -> Record:
    length = payload[0] & 0x3F
    language = payload[1 : 1 + length].decode("ascii", "replace")
    text = payload[1 + length :]
    coding = "utf-8"
    if payload[0] & 0x80:
        coding = "utf-16" if text[:2] in (b"\xfe\xff", b"\xff\xfe") else "utf-16-be"
    return Record("text", text.decode(coding, "replace"), language)


def _printable(payload: bytes) -> str:
    """Return a payload as text where it is text, else as hex digits."""
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        return payload.hex()
    return text if text.isprintable() else payload.hex()
