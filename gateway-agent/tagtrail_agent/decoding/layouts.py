"""Adverts described as data: a further technology needs an entry in a file, no code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tagtrail_agent.decoding.decoded import Decoded

_TYPES: Final[Mapping[str, tuple[int, bool]]] = {
    "uint8": (1, False), "int8": (1, True), "uint16": (2, False), "int16": (2, True),
    "uint24": (3, False), "uint32": (4, False), "int32": (4, True),
}  # fmt: skip
_MOST_BYTES: Final = 64
_KEYS: Final = frozenset({"frame", "company", "service", "prefix", "identity", "members"})
_TAKES: Final = frozenset({"at", "type", "big_endian", "factor", "offset", "mask", "boolean"})


class LayoutError(ValueError):
    """A description of adverts cannot be read; the text names the part."""


def _whole(given: Mapping[str, Any], name: str, low: int, high: int, default: int = -1) -> int:
    value = given.get(name, default)
    if type(value) is not int or not low <= value <= high:
        raise LayoutError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
    return value


def _number(given: Mapping[str, Any], name: str, default: float) -> float:
    value = given.get(name, default)
    if type(value) not in (int, float):
        raise LayoutError(f"{name} must be a number, not {value!r}")
    return float(value)


class _Take:
    """One member and where it lies."""

    def __init__(self, name: str, given: object) -> None:
        if not isinstance(given, Mapping) or not set(given) <= _TAKES:
            raise LayoutError(f"{name}: describe it by {', '.join(sorted(_TAKES))}")
        kind = str(given.get("type"))
        if kind not in _TYPES:
            raise LayoutError(f"{name}: type must be one of {', '.join(_TYPES)}, not {kind!r}")
        self.name = name
        self.at = _whole(given, "at", 0, 255)
        length, self.signed = _TYPES[kind]
        self.stop = self.at + length
        self.order: Any = "big" if given.get("big_endian") else "little"
        self.factor = _number(given, "factor", 1)
        self.offset = _number(given, "offset", 0)
        self.mask = _whole(given, "mask", 1, 2**32 - 1, 2**32 - 1) if "mask" in given else None
        self.boolean = given.get("boolean") is True

    def read(self, data: bytes) -> float | bool | None:
        """Return the value; None if the data end before it."""
        if len(data) < self.stop:
            return None
        number = int.from_bytes(data[self.at : self.stop], self.order, signed=self.signed)
        if self.mask is not None:
            number &= self.mask
        if self.boolean:
            return number != 0
        if self.factor == 1 and self.offset == 0:
            return number
        return round(number * self.factor + self.offset, 6)


class Layout:
    """How the adverts of one technology are read.

    Args:
        given: `frame` (name); `company` (16 bits) or `service` (16 bits, or a UUID as text);
            `prefix` (hex digits that the data begin with, after company or service);
            `identity` (`kind`, `at`, `length`, `reversed`): octets that name the tag;
            `members`: members of the native item with `at`, `type`, `big_endian`, `factor`,
            `offset`, `mask`, `boolean`.

    Raises:
        LayoutError: something in it cannot be read.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        strange = set(given) - _KEYS
        if strange:
            raise LayoutError(f"unknown: {', '.join(sorted(map(str, strange)))}")
        self.frame = given.get("frame")
        if not isinstance(self.frame, str) or not self.frame:
            raise LayoutError("frame must be a name")
        self.by_company = "company" in given
        if self.by_company == ("service" in given):
            raise LayoutError(f"{self.frame}: give company or service, not both")
        self.number = (
            _whole(given, "company", 0, 0xFFFF) if self.by_company else _service(given["service"])
        )
        self._prefix = _hex(given.get("prefix", ""))
        members = given.get("members") or {}
        if not isinstance(members, Mapping):
            raise LayoutError(f"{self.frame}: members must be a mapping")
        self._takes = tuple(_Take(str(name), take) for name, take in members.items())
        self._identity(given.get("identity"))

    def _identity(self, given: object) -> None:
        self._kind: str | None = None
        if given is None:
            return
        if not isinstance(given, Mapping) or not isinstance(given.get("kind"), str):
            raise LayoutError(f"{self.frame}: identity needs kind, at and length")
        self._kind = given["kind"]
        self._at = _whole(given, "at", 0, 255)
        self._stop = self._at + _whole(given, "length", 1, _MOST_BYTES)
        self._reversed = given.get("reversed") is True

    def read(self, decoded: Decoded, data: bytes) -> None:
        """Take from the data of a company or service what is described."""
        if not data.startswith(self._prefix):
            return
        decoded.frames.append(str(self.frame))
        if self._kind is not None and len(data) >= self._stop:
            octets = data[self._at : self._stop]
            octets = octets[::-1] if self._reversed else octets
            decoded.identities.append(f"{self._kind}:{octets.hex()}")
        for take in self._takes:
            value = take.read(data)
            if value is not None:
                decoded.members[take.name] = value


def _hex(text: object) -> bytes:
    try:
        return bytes.fromhex(text if isinstance(text, str) else "?")
    except ValueError:
        raise LayoutError(f"prefix must be hex digits in quotes, not {text!r}") from None


def _service(given: object) -> int:
    if isinstance(given, str):
        digits = given.replace("-", "")
        if len(digits) == 32 and all(c in "0123456789abcdefABCDEF" for c in digits):
            return int(digits, 16)
    elif type(given) is int and 0 <= given <= 0xFFFF:
        return given
    raise LayoutError(f"service must be 16 bits or a UUID in quotes, not {given!r}")
