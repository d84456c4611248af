"""EPCs of RAIN RFID labels: SGTIN, SSCC, GRAI and GIAI, from bits to names and back.

Source: GS1 EPC Tag Data Standard 2.1, sections 6, 7 and 14 (partition tables, 7-bit strings).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

_PREFIX_BITS: Final = (40, 37, 34, 30, 27, 24, 20)
"""Bits of the company prefix by partition value; its digits are 12 less the partition."""

_SAFE: Final = "!'()*+,-.:;=_"
_TEXT: Final = re.compile(r"[!\"%&'()*+,\-./0-9:;<=>?A-Z_a-z]*")
"""Characters of a GS1 serial (character set 82)."""


class EpcError(ValueError):
    """Not an EPC of a scheme that is known here, or its parts contradict one another."""


@dataclass(frozen=True, slots=True)
class _Scheme:
    """How one coding is laid out.

    Attributes:
        name: As in a tag URI, such as "sgtin-96".
        header: Its first octet.
        bits: All of it.
        digits: Digits of prefix and reference together; 0 = the reference has no fixed length.
        reference_bits: Bits of the reference by partition value.
        serial_bits: Bits of the serial; 0 = none.
        text: Whether what comes last is 7-bit text; else it is a number.
    """

    name: str
    header: int
    bits: int
    digits: int
    reference_bits: tuple[int, ...]
    serial_bits: int
    text: bool = False

    @property
    def kind(self) -> str:
        """The scheme without its size, such as "sgtin"."""
        return self.name.partition("-")[0]


def _upwards(first: int) -> tuple[int, ...]:
    """Bits of what follows the prefix where both together always have the same number."""
    return tuple(first + 40 - bits for bits in _PREFIX_BITS)


_SCHEMES: Final = (
    _Scheme("sgtin-96", 0x30, 96, 13, _upwards(4), 38),
    _Scheme("sgtin-198", 0x36, 198, 13, _upwards(4), 140, text=True),
    _Scheme("sscc-96", 0x31, 96, 17, _upwards(18), 0),
    _Scheme("grai-96", 0x33, 96, 12, _upwards(4), 38),
    _Scheme("grai-170", 0x37, 170, 12, _upwards(4), 112, text=True),
    _Scheme("giai-96", 0x34, 96, 0, _upwards(42), 0),
    _Scheme("giai-202", 0x38, 202, 0, _upwards(148), 0, text=True),
)
_BY_HEADER: Final[Mapping[int, _Scheme]] = {s.header: s for s in _SCHEMES}
_BY_NAME: Final[Mapping[str, _Scheme]] = {s.name: s for s in _SCHEMES}


@dataclass(frozen=True, slots=True)
class Epc:
    """One EPC.

    Attributes:
        scheme: "sgtin-96", "sgtin-198", "sscc-96", "grai-96", "grai-170", "giai-96", "giai-202".
        filter: Filter value, 0 to 7 (for example 2 = a full case).
        prefix: GS1 company prefix, 6 to 12 digits.
        reference: Item reference with its indicator digit in front (SGTIN), serial reference with
            its extension digit in front (SSCC), asset type (GRAI), individual asset (GIAI).
        serial: Serial number; empty for SSCC and GIAI.
    """

    scheme: str
    filter: int
    prefix: str
    reference: str
    serial: str = ""

    @property
    def kind(self) -> str:
        """Scheme without size: "sgtin", "sscc", "grai" or "giai"."""
        return self.scheme.partition("-")[0]

    @property
    def urn(self) -> str:
        """Pure identity, `urn:epc:id:…`."""
        return f"urn:epc:id:{self.kind}:{self._body()}"

    @property
    def tag_uri(self) -> str:
        """Tag URI with size and filter, `urn:epc:tag:…`."""
        return f"urn:epc:tag:{self.scheme}:{self.filter}.{self._body()}"

    @property
    def key(self) -> str:
        """The GS1 key that people know, with its check digit.

        GTIN-14, SSCC-18, GRAI (13 digits, then the serial) or GIAI.
        """
        if self.kind == "giai":
            return self.prefix + self.reference
        if self.kind == "grai":
            return _checked(self.prefix + self.reference) + self.serial
        return _checked(self.reference[0] + self.prefix + self.reference[1:])

    @property
    def element_string(self) -> str:
        """With application identifiers in brackets, such as `(01)…(21)…`."""
        identifier = {"sgtin": "(01)", "sscc": "(00)", "grai": "(8003)0", "giai": "(8004)"}
        serial = f"(21){self.serial}" if self.kind == "sgtin" else ""
        return f"{identifier[self.kind]}{self.key}{serial}"

    def encode(self) -> bytes:
        """Return the bits as a label holds them, filled up to whole 16-bit words.

        Raises:
            EpcError: a part does not fit its field.
        """
        scheme = _BY_NAME[self.scheme]
        partition = 12 - len(self.prefix)
        number = (scheme.header << 3 | self.filter) << 3 | partition
        number = number << _PREFIX_BITS[partition] | int(self.prefix)
        left = scheme.bits - 14 - _PREFIX_BITS[partition]
        for text, bits, is_text in _fields(scheme, self.reference, self.serial, partition):
            number = number << bits | (_from_text if is_text else _from_digits)(text, bits)
            left -= bits
        words = -(-scheme.bits // 16)
        return (number << left + 16 * words - scheme.bits).to_bytes(2 * words, "big")

    def _body(self) -> str:
        parts = [self.prefix, _escaped(self.reference)]
        if _BY_NAME[self.scheme].serial_bits:
            parts.append(_escaped(self.serial))
        return ".".join(parts)


def check_digit(digits: str) -> str:
    """Return the GS1 check digit of a key without one: weights 3 and 1 from the right.

    Example:
        >>> check_digit("0061414112345")
        '2'
    """
    total = sum(int(d) * (3 if n % 2 == 0 else 1) for n, d in enumerate(reversed(digits)))
    return str(-total % 10)


def _checked(digits: str) -> str:
    return digits + check_digit(digits)


def _escaped(text: str) -> str:
    return quote(text, safe=_SAFE)


Field = tuple[str, int, bool]


def _fields(scheme: _Scheme, reference: str, serial: str, partition: int) -> list[Field]:
    """Return what follows the prefix: text, bits, and whether it is written as 7-bit text."""
    bits = scheme.reference_bits[partition]
    reference_is_text = scheme.text and not scheme.serial_bits
    fields: list[Field] = [(reference or "0", bits, reference_is_text)]
    if scheme.serial_bits:
        fields.append((serial, scheme.serial_bits, scheme.text))
    return fields


def _from_digits(text: str, bits: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text) >> bits:
        raise EpcError(f"{text[:40]!r} is no number of {bits} bits")
    return int(text)


def _from_text(text: str, bits: int) -> int:
    if not _TEXT.fullmatch(text) or 7 * len(text) > bits:
        raise EpcError(f"{text[:40]!r} is no text of {bits // 7} GS1 characters")
    number = 0
    for character in text:
        number = number << 7 | ord(character)
    return number << (bits - 7 * len(text))


def read_epc(epc: bytes | str) -> Epc | None:
    """Read an EPC as a reader reports it; None if it is of no scheme known here. Never raises.

    Args:
        epc: The EPC memory bank after its header words, octets or hex digits.

    Example:
        >>> epc = read_epc("3074257BF7194E4000001A85")
        >>> epc.urn, epc.key
        ('urn:epc:id:sgtin:0614141.812345.6789', '80614141123458')
    """
    octets = _octets(epc)
    scheme = _BY_HEADER.get(octets[0]) if octets else None
    if scheme is None or len(octets) * 8 < scheme.bits:
        return None
    number = int.from_bytes(octets, "big") >> (len(octets) * 8 - scheme.bits)
    take = _taker(number, scheme.bits)
    take(8)
    filter_value, partition = take(3), take(3)
    if partition > 6:
        return None
    digits = 12 - partition
    prefix = take(_PREFIX_BITS[partition])
    reference = _reference(scheme, take(scheme.reference_bits[partition]), partition)
    serial = _serial(scheme, take(scheme.serial_bits)) if scheme.serial_bits else ""
    if prefix >= 10**digits or reference is None or serial is None:
        return None
    return Epc(scheme.name, filter_value, f"{prefix:0{digits}d}", reference, serial)


def _octets(epc: bytes | str) -> bytes:
    if isinstance(epc, bytes):
        return epc
    try:
        return bytes.fromhex(epc)
    except ValueError:
        return b""


def _taker(number: int, bits: int) -> Callable[[int], int]:
    left = bits

    def take(count: int) -> int:
        nonlocal left
        left -= count
        return number >> left & (1 << count) - 1

    return take


def _reference(scheme: _Scheme, value: int, partition: int) -> str | None:
    """Read the reference; None if it has more digits than the prefix leaves."""
    if not scheme.digits:
        bits = scheme.reference_bits[partition]
        text = _to_text(value, bits) if scheme.text else str(value)
        return text or None
    digits = scheme.digits - (12 - partition)
    if not digits:
        return None if value else ""
    return f"{value:0{digits}d}" if value < 10**digits else None


def _serial(scheme: _Scheme, value: int) -> str | None:
    return (_to_text(value, scheme.serial_bits) or None) if scheme.text else str(value)


def _to_text(value: int, bits: int) -> str | None:
    """Read 7-bit text that zeros fill up; None if something follows the zeros."""
    shifts = range(bits - 7, -1, -7)
    text = "".join(chr(value >> shift & 0x7F) for shift in shifts).rstrip("\0")
    return text if _TEXT.fullmatch(text) else None


def parse_urn(urn: str, *, scheme: str | None = None, filter_value: int = 0) -> Epc:
    """Read a name of an EPC.

    Args:
        urn: `urn:epc:id:…` or `urn:epc:tag:…`.
        scheme: Coding of a pure identity; None = 96 bits if it fits, else the long one.
        filter_value: Filter of a pure identity, 0 to 7.

    Raises:
        EpcError: it is none of SGTIN, SSCC, GRAI, GIAI, or a part does not fit.
    """
    form, _, rest = urn.removeprefix("urn:epc:").partition(":")
    name, _, body = rest.partition(":")
    if form == "tag":
        written, _, body = body.partition(".")
        filter_value = int(written) if written.isascii() and written.isdigit() else -1
        scheme = name
    elif form != "id":
        raise EpcError(f"{urn[:60]!r} begins with neither urn:epc:id: nor urn:epc:tag:")
    names = [scheme] if scheme else [s.name for s in _SCHEMES if s.kind == name]
    fault = EpcError(f"{urn[:60]!r} is of no scheme known here")
    for candidate in names:
        try:
            return _parsed(candidate, filter_value, body)
        except EpcError as error:
            fault = error
    raise fault


def _parsed(name: str, filter_value: int, body: str) -> Epc:
    scheme = _BY_NAME.get(name)
    if scheme is None:
        raise EpcError(f"{name!r} is no coding known here; use {', '.join(_BY_NAME)}")
    expected = 2 if scheme.serial_bits else 1
    parts = [unquote(part) for part in body.split(".", expected)]
    prefix = parts[0]
    if len(parts) != expected + 1 or not re.fullmatch(r"[0-9]{6,12}", prefix):
        raise EpcError(f"{body[:60]!r}: a company prefix of 6 to 12 digits comes first")
    if not 0 <= filter_value <= 7:
        raise EpcError("the filter value is 0 to 7")
    if scheme.digits and len(prefix) + len(parts[1]) != scheme.digits:
        raise EpcError(f"{body[:60]!r}: prefix and reference have {scheme.digits} digits together")
    epc = Epc(name, filter_value, prefix, parts[1], parts[2] if expected == 2 else "")
    if read_epc(epc.encode()) != epc:
        raise EpcError(f"{body[:60]!r} cannot be written as {name}")
    return epc


def from_key(key: str, prefix_digits: int, serial: str = "", *, filter_value: int = 0) -> Epc:
    """Make the EPC of a GS1 key.

    Args:
        key: GTIN (8, 12, 13 or 14 digits) or SSCC (18 digits), check digit included.
        prefix_digits: Length of the company prefix, 6 to 12: the key alone does not tell.
        serial: Serial number, for a GTIN.
        filter_value: 0 to 7.

    Raises:
        EpcError: the check digit is wrong, or a part does not fit.
    """
    if not key.isascii() or not key.isdigit() or len(key) not in (8, 12, 13, 14, 18):
        raise EpcError(f"{key[:40]!r} is neither a GTIN nor an SSCC")
    whole = key if len(key) == 18 else key.zfill(14)
    if check_digit(whole[:-1]) != whole[-1]:
        raise EpcError(f"the check digit of {key} should be {check_digit(whole[:-1])}")
    prefix, rest = whole[1 : 1 + prefix_digits], whole[1 + prefix_digits : -1]
    body = f"{prefix}.{whole[0]}{rest}"
    if len(key) == 18:
        return parse_urn(f"urn:epc:id:sscc:{body}", filter_value=filter_value)
    return parse_urn(f"urn:epc:id:sgtin:{body}.{_escaped(serial)}", filter_value=filter_value)
