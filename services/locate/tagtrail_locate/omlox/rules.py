"""Locating rules: which of a trackable's providers says where it is.

An expression compares members of a location with constants, joined by AND, OR, NOT and brackets:
`type = 'uwb' AND accuracy < 5`. Members: accuracy, provider_id, type, source, floor, speed,
timestamp_diff (age in milliseconds).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from tagtrail_kernel.errors import RejectedError

MEMBERS: Final = frozenset(
    {"accuracy", "provider_id", "type", "source", "floor", "speed", "timestamp_diff"}
)
LONGEST: Final = 1000
"""Characters of an expression: rules are written by people."""

Predicate = Callable[[Mapping[str, Any]], bool]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>-?\d+(?:\.\d+)?)|'(?P<text>[^']*)'|(?P<op><=|>=|!=|<>|=|<|>)"
    r"|(?P<bracket>[()])|(?P<word>[A-Za-z_]+))"
)
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq, "!=": operator.ne, "<>": operator.ne, "<": operator.lt,
    ">": operator.gt, "<=": operator.le, ">=": operator.ge,
}  # fmt: skip


def compile_rule(expression: str) -> Predicate:
    """Return the predicate of an expression.

    Raises:
        RejectedError: it cannot be read; the detail says where.
    """
    if len(expression) > LONGEST:
        raise RejectedError(f"a locating rule has at most {LONGEST} characters")
    return _Parser(expression).whole()


def best_of(
    rules: Iterable[Mapping[str, Any]], candidates: Sequence[Mapping[str, Any]]
) -> int | None:
    """Return the index of the location that the rules prefer; None without candidates.

    The highest priority among the rules that a candidate fulfils counts; then the newer wins.

    Args:
        rules: With `expression` and `priority`.
        candidates: Values of `MEMBERS` each; `timestamp_diff` in milliseconds.
    """
    known = [(compile_rule(str(r["expression"])), float(r.get("priority", 0))) for r in rules]
    best, key = None, (float("-inf"), float("-inf"))
    for index, candidate in enumerate(candidates):
        priority = max((p for holds, p in known if holds(candidate)), default=float("-inf"))
        own = (priority, -float(candidate["timestamp_diff"]))
        if best is None or own > key:
            best, key = index, own
    return best


class _Parser:
    """Recursive descent: or, and, not, comparison."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0
        self._next()

    def whole(self) -> Predicate:
        found = self._either()
        if self._kind != "end":
            raise self._wrong("AND, OR or the end")
        return found

    def _next(self) -> None:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            self._kind, self._value = "end", ""
            if self._text[self._at :].strip():
                self._kind = "junk"
            return
        self._at = match.end()
        self._kind = str(match.lastgroup)
        self._value = match[self._kind]

    def _word(self, word: str) -> bool:
        if self._kind == "word" and self._value.upper() == word:
            self._next()
            return True
        return False

    def _either(self) -> Predicate:
        found = self._both()
        while self._word("OR"):
            found = _joined(found, self._both(), any)
        return found

    def _both(self) -> Predicate:
        found = self._single()
        while self._word("AND"):
            found = _joined(found, self._single(), all)
        return found

    def _single(self) -> Predicate:
        self._depth += 1
        if self._depth > 100:
            raise RejectedError("a locating rule is nested too deeply")
        if self._word("NOT"):
            inner = self._single()
            return lambda values: not inner(values)
        if self._kind == "bracket" and self._value == "(":
            self._next()
            found = self._either()
            if (self._kind, self._value) != ("bracket", ")"):
                raise self._wrong("a closing bracket")
            self._next()
            return found
        return self._comparison()

    def _comparison(self) -> Predicate:
        member = self._value
        if self._kind != "word" or member not in MEMBERS:
            raise self._wrong(f"one of {', '.join(sorted(MEMBERS))}")
        self._next()
        compare = _OPERATORS.get(self._value) if self._kind == "op" else None
        if compare is None:
            raise self._wrong("a comparison")
        self._next()
        if self._kind not in ("number", "text"):
            raise self._wrong("a number or a 'text'")
        constant: float | str = float(self._value) if self._kind == "number" else self._value
        self._next()
        return lambda values: _holds(compare, values.get(member), constant)

    def _wrong(self, wanted: str) -> RejectedError:
        return RejectedError(
            f"locating rule {self._text[:80]!r}: {wanted} is expected before character "
            f"{self._at + 1}, for example type = 'uwb' AND accuracy < 5"
        )


def _joined(left: Predicate, right: Predicate, join: Callable[[Iterable[bool]], bool]) -> Predicate:
    return lambda values: join((left(values), right(values)))


def _holds(compare: Callable[[Any, Any], bool], value: Any, constant: float | str) -> bool:
    if value is None or isinstance(value, str) is not isinstance(constant, str):
        return False
    return compare(value, constant)
