"""Strict reading of a JSON document: every error names the member."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from tagtrail_agent.filtering.errors import RulesDocumentError

T = TypeVar("T")
Reader = Callable[[str, Any], Any]
"""Takes (path, raw value), returns the value; raises RulesDocumentError."""


def below(path: str, name: str) -> str:
    """Return the path of a member of a member."""
    return f"{path}.{name}" if path else name


def table(path: str, raw: Any, allowed: Iterable[str]) -> dict[str, Any]:
    """Return an object whose members are all known.

    Raises:
        RulesDocumentError: it is no object, or has a member that the schema does not know.
    """
    if not isinstance(raw, dict):
        raise RulesDocumentError(path, "must be an object")
    known = sorted(allowed)
    for name in raw:
        if name not in known:
            raise RulesDocumentError(
                below(path, str(name)), f"is unknown; known are {', '.join(known)}"
            )
    return raw


def required(path: str, raw: Mapping[str, Any], name: str) -> Any:
    """Return a member that must be there. Raises RulesDocumentError without it."""
    if name not in raw:
        raise RulesDocumentError(below(path, name), "is missing")
    return raw[name]


def items(path: str, raw: Any, read: Callable[[str, Any], T]) -> tuple[T, ...]:
    """Return the items of a list, each read. Raises RulesDocumentError if it is no list."""
    if not isinstance(raw, list):
        raise RulesDocumentError(path, "must be a list")
    return tuple(read(f"{path}[{n}]", item) for n, item in enumerate(raw))


def number(low: float, high: float) -> Reader:
    """Return a reader of finite numbers within bounds, both included."""

    def read(path: str, raw: Any) -> float:
        good = isinstance(raw, (int, float)) and not isinstance(raw, bool) and math.isfinite(raw)
        if not good or not low <= raw <= high:
            raise RulesDocumentError(path, f"must be a number from {low:g} to {high:g}")
        return float(raw)

    return read


def whole(low: int, high: int) -> Reader:
    """Return a reader of whole numbers within bounds, both included."""

    def read(path: str, raw: Any) -> int:
        if not isinstance(raw, int) or isinstance(raw, bool) or not low <= raw <= high:
            raise RulesDocumentError(path, f"must be a whole number from {low} to {high}")
        return raw

    return read


def optional(read: Reader) -> Reader:
    """Return a reader that also takes null."""

    def read_or_none(path: str, raw: Any) -> Any:
        return None if raw is None else read(path, raw)

    return read_or_none


def word(path: str, raw: Any) -> str:
    """Read a text of 1 to 200 characters. Raises RulesDocumentError."""
    if not isinstance(raw, str) or not 1 <= len(raw) <= 200:
        raise RulesDocumentError(path, "must be a text of 1 to 200 characters")
    return raw


def flag(path: str, raw: Any) -> bool:
    """Read true or false. Raises RulesDocumentError."""
    if not isinstance(raw, bool):
        raise RulesDocumentError(path, "must be true or false")
    return raw


def one_of(*choices: str) -> Reader:
    """Return a reader of one of some words."""

    def read(path: str, raw: Any) -> str:
        if raw not in choices:
            raise RulesDocumentError(path, f"must be one of {', '.join(choices)}")
        return str(raw)

    return read


def words(path: str, raw: Any) -> tuple[str, ...]:
    """Read a text or a list of texts. Raises RulesDocumentError."""
    return (word(path, raw),) if isinstance(raw, str) else items(path, raw, word)


def steps(path: str, raw: Any) -> dict[str, float]:
    """Read an object of member names and steps >= 0. Raises RulesDocumentError."""
    if not isinstance(raw, dict):
        raise RulesDocumentError(path, "must be an object of member names and steps")
    read = number(0.0, 1e6)
    return {word(path, name): read(below(path, name), step) for name, step in raw.items()}
