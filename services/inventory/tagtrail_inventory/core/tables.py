"""Reads CSV as people have it: UTF-8 with or without a mark, comma, semicolon or tab."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tagtrail_inventory.core.checks import Fault, FaultCode
from tagtrail_inventory.core.identities import normal_identity
from tagtrail_kernel.errors import RejectedError, TooLargeError

MAX_TEXT: Final = 512
MAX_ID: Final = 200
_SPLIT: Final = re.compile(r"[|\s]+")


class CellError(Exception):
    """A cell that cannot be read.

    Args:
        code: Code of the fault.
        detail: One sentence that says what is expected.
    """

    def __init__(self, code: FaultCode, detail: str) -> None:
        super().__init__(detail)
        self.code: FaultCode = code
        self.detail = detail


Parse = Callable[[str, bool], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a kind of import knows.

    Attributes:
        name: Its header, the field's name.
        parse: Reads a cell that is not empty; gets the text and whether the comma is decimal.
        required: Whether each row must fill it.
    """

    name: str
    parse: Parse
    required: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it was read.

    Attributes:
        line: Number of the row's last line in the file; the header is line 1.
        values: Values by column; None for an empty cell. Columns that the file lacks are missing.
        faults: What is wrong with its cells.
    """

    line: int
    values: Mapping[str, Any]
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A file as it was read.

    Attributes:
        columns: Its columns that the kind knows.
        rows: Its rows; blank lines are left out.
        faults: What is wrong with its header.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    faults: tuple[Fault, ...]


def text(cell: str, _: bool = False) -> str:
    """Read a text of at most 512 characters."""
    if len(cell) > MAX_TEXT:
        raise CellError("too_long", f"has {len(cell)} characters, at most {MAX_TEXT} fit")
    return cell


def identifier(cell: str, _: bool = False) -> str:
    """Read an id of at most 200 characters."""
    if len(cell) > MAX_ID:
        raise CellError("too_long", f"has {len(cell)} characters, at most {MAX_ID} fit")
    return cell


def number(cell: str, decimal_comma: bool) -> float:
    """Read a finite number; with semicolons between the cells a comma is a decimal comma."""
    plain = cell.replace(",", ".") if decimal_comma else cell
    try:
        value = float(plain)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CellError("bad_value", f"{cell[:40]!r} is not a number")
    return value


def whole(cell: str, _: bool = False) -> int:
    """Read a whole number from 0 to a thousand million."""
    if not cell.isascii() or not cell.isdigit() or len(cell) > 10 or int(cell) > 1_000_000_000:
        raise CellError("bad_value", f"{cell[:40]!r} is not a whole number from 0 to 1000000000")
    return int(cell)


def choice(*allowed: str) -> Parse:
    """Return what reads one of some words."""

    def parse(cell: str, _: bool) -> str:
        if cell.lower() not in allowed:
            raise CellError("bad_value", f"{cell[:40]!r} is none of {', '.join(allowed)}")
        return cell.lower()

    return parse


def identities(cell: str, _: bool = False) -> list[str]:
    """Read identities, separated by spaces or |."""
    try:
        return list(dict.fromkeys(normal_identity(i) for i in _SPLIT.split(cell) if i))
    except RejectedError as error:
        raise CellError("bad_value", error.detail) from error


def outline(cell: str, decimal_comma: bool) -> list[list[float]]:
    """Read a polygon: corners `x y`, separated by |, at least three."""
    corners = [[number(v, decimal_comma) for v in c.split()] for c in cell.split("|") if c.strip()]
    if len(corners) < 3 or any(len(c) != 2 for c in corners):
        raise CellError("bad_value", "write at least three corners: 0 0|10 0|10 5")
    return corners


def mapping(cell: str, _: bool = False) -> dict[str, str]:
    """Read pairs `name=value`, separated by |."""
    pairs = [p.partition("=") for p in cell.split("|") if p.strip()]
    if not all(name.strip() and sign and value.strip() for name, sign, value in pairs):
        raise CellError("bad_value", "write name=value pairs: grai=…|erp=…")
    return {name.strip(): text(value.strip()) for name, _, value in pairs}


def read_table(raw: bytes, columns: Sequence[Column], max_rows: int) -> Table:
    """Read a file.

    Args:
        raw: UTF-8, with or without a byte order mark.
        columns: Columns that the kind knows.
        max_rows: Most rows.

    Raises:
        RejectedError: it is not UTF-8, empty, or no CSV.
        TooLargeError: it has more rows.
    """
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RejectedError(
            f'the file is not UTF-8 (byte {error.start}); save it as "CSV UTF-8"'
        ) from error
    first = content.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, [c.strip() for c in cells]) for cells in reader]
    except csv.Error as error:
        raise RejectedError(f"line {reader.line_num} is not CSV: {error}") from error
    if not lines or not any(lines[0][1]):
        raise RejectedError("the file is empty; its first line must name the columns")
    if len(lines) - 1 > max_rows:
        raise TooLargeError(f"the file has {len(lines) - 1} rows, at most {max_rows} fit; split it")
    header = [name.lower() for name in lines[0][1]]
    faults = _check_header(header, columns)
    known = {c.name: c for c in columns}
    rows = [
        _row(line, header, cells, known, decimal_comma=delimiter == ";")
        for line, cells in lines[1:]
        if any(cells)
    ]
    return Table(tuple(h for h in header if h in known), tuple(rows), tuple(faults))


def _check_header(header: Sequence[str], columns: Sequence[Column]) -> list[Fault]:
    known = [c.name for c in columns]
    faults = [
        Fault("unknown_column", name, f"no such column; this import knows {', '.join(known)}")
        for name in header
        if name not in known
    ]
    faults += [
        Fault("duplicate", name, "the column stands twice; remove one")
        for name in dict.fromkeys(header)
        if header.count(name) > 1
    ]
    faults += [
        Fault("missing_column", c.name, "add this column; each row must fill it")
        for c in columns
        if c.required and c.name not in header
    ]
    return faults


def _row(
    line: int,
    header: Sequence[str],
    cells: Sequence[str],
    known: Mapping[str, Column],
    *,
    decimal_comma: bool,
) -> Row:
    if len(cells) != len(header):
        detail = f"has {len(cells)} cells, the header has {len(header)}; quote texts with commas"
        return Row(line, {}, (Fault("bad_row", "", detail),))
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, cell in zip(header, cells, strict=True):
        column = known.get(name)
        if column is None:
            continue
        values[name] = None
        if not cell:
            if column.required:
                faults.append(Fault("missing_value", name, "fill this cell"))
            continue
        try:
            values[name] = column.parse(cell, decimal_comma)
        except CellError as error:
            faults.append(Fault(error.code, name, error.detail))
    return Row(line, values, tuple(faults))
