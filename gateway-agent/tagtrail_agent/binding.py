"""From a TOML file to frozen dataclasses: every mistake is told with its line and what to do."""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from tagtrail_agent.errors import ConfigError

T = TypeVar("T")

_HEADER: Final = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.\-\" ]+?)\s*\]\]?\s*(#.*)?$")
_KEY: Final = re.compile(r"^\s*\"?([A-Za-z0-9_\-]+)\"?\s*=")
_LINE: Final = re.compile(r"at line (\d+)")


@dataclass(frozen=True, slots=True)
class Range:
    """Limits of a number, both allowed.

    Attributes:
        least: Smallest; None = none.
        most: Largest; None = none.
    """

    least: float | None = None
    most: float | None = None


class Document:
    """A TOML text that remembers where its tables and keys stand.

    Args:
        text: The file.
        path: Its name, for messages.

    Raises:
        ConfigError: it is not TOML.
    """

    def __init__(self, text: str, path: str) -> None:
        self.path = path
        try:
            self.tables: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = _LINE.search(str(error))
            line = int(found[1]) if found else None
            raise ConfigError(f"this is not TOML: {error}", line=line, path=path) from error
        self._lines: dict[tuple[str, ...], int] = {}
        self._note_lines(text)

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read a file.

        Raises:
            ConfigError: it cannot be read, or is not TOML.
        """
        try:
            return cls(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError as error:
            raise ConfigError(
                f"there is no {path}; make it with `tagtrail-agent enrol`, or name another "
                "with --config"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from error

    def _note_lines(self, text: str) -> None:
        place: tuple[str, ...] = ()
        counts: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            header = _HEADER.match(line)
            key = _KEY.match(line)
            if header:
                name = header[2].replace('"', "")
                place = tuple(p.strip() for p in name.split("."))
                if header[1] == "[[":
                    place = (*place, str(counts.get(name, 0)))
                    counts[name] = counts.get(name, 0) + 1
                self._lines.setdefault(place, number)
            elif key:
                self._lines.setdefault((*place, key[1]), number)

    def line_of(self, place: Sequence[str]) -> int | None:
        """Return the line of a key, or of the table around it."""
        for end in range(len(place), 0, -1):
            line = self._lines.get(tuple(place[:end]))
            if line is not None:
                return line
        return None

    def fault(self, place: Sequence[str], what: str) -> ConfigError:
        """Return the error for something at a place."""
        return ConfigError(f"{'.'.join(place)} {what}", line=self.line_of(place), path=self.path)

    def table(self, *place: str) -> Mapping[str, Any]:
        """Return a table; empty if it is not there.

        Raises:
            ConfigError: it is something else.
        """
        found: Any = self.tables
        for name in place:
            found = found.get(name, {})
            if not isinstance(found, dict):
                raise self.fault(place, "must be a table: write [" + ".".join(place) + "]")
        return found  # type: ignore[no-any-return]


def bind(cls: type[T], document: Document, table: Mapping[str, Any], place: Sequence[str]) -> T:
    """Make a dataclass of a table.

    Args:
        cls: A dataclass; a path in it counts from the folder of the file. Its fields are `str`, `int`, `float`, `bool`, `Path`, `Literal`, tuples
            of these, nested dataclasses, or one of them and None; `Annotated` with a `Range`.
        document: Where the table stands.
        table: The table.
        place: Its place in the document.

    Raises:
        ConfigError: a key is unknown, missing, or its value does not fit.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for name in table:
        if name not in fields:
            raise document.fault((*place, name), _unknown(name, sorted(fields)))
    values = {
        name: _value(hints[name], document, value, (*place, name)) for name, value in table.items()
    }
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in values:
            raise document.fault((*place, name), "is missing; add it")
    try:
        return cls(**values)
    except ConfigError as error:
        raise document.fault(place, error.what) from error
    except ValueError as error:
        raise document.fault(place, str(error)) from error


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"is unknown; {hint}"


def _value(hint: Any, document: Document, value: Any, place: Sequence[str]) -> Any:
    limits = Range()
    if typing.get_origin(hint) is Annotated:
        hint, *more = typing.get_args(hint)
        limits = next((m for m in more if isinstance(m, Range)), limits)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
        return _value(hint, document, value, place)
    if origin is Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            raise document.fault(place, f"is {value!r}; allowed are {_listed(allowed)}")
        return value
    if origin in (tuple, list, Sequence):
        return _tuple(typing.get_args(hint)[0], document, value, place)
    if origin in (dict, Mapping):
        return _table(document, value, place)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return bind(hint, document, _table(document, value, place), place)
    return _plain(hint, limits, document, value, place)


def _listed(allowed: Sequence[Any]) -> str:
    return ", ".join(repr(a) for a in allowed)


def _table(document: Document, value: Any, place: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise document.fault(place, "must be a table")
    return value


def _tuple(hint: Any, document: Document, value: Any, place: Sequence[str]) -> Any:
    if not isinstance(value, list):
        raise document.fault(place, "must be a list, as in [1, 2]")
    return tuple(_value(hint, document, v, (*place, str(i))) for i, v in enumerate(value))


_KINDS: Final[Mapping[Any, tuple[str, Callable[[Any], bool]]]] = {
    str: ('text in quotes, as in "dock-1"', lambda v: isinstance(v, str)),
    bool: ("true or false", lambda v: isinstance(v, bool)),
    int: ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    float: ("a number", lambda v: isinstance(v, int | float) and not isinstance(v, bool)),
    Path: ("a path in quotes", lambda v: isinstance(v, str)),
}


def _plain(hint: Any, limits: Range, document: Document, value: Any, place: Sequence[str]) -> Any:
    if hint not in _KINDS:
        return value
    words, fits = _KINDS[hint]
    if not fits(value):
        raise document.fault(place, f"is {value!r}; it must be {words}")
    if limits.least is not None and value < limits.least:
        raise document.fault(place, f"is {value}; it must be at least {limits.least:g}")
    if limits.most is not None and value > limits.most:
        raise document.fault(place, f"is {value}; it must be at most {limits.most:g}")
    if hint is Path:
        return Path(document.path).parent / value
    return hint(value)
