"""What the live filter remembers of a tag, as bytes: stored with the tag, and used as stored."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.rest_filter import Tags
from tagtrail_locate.core.rests import HEAD, LINKS, MOVED

Bytes = npt.NDArray[np.uint8]

_MOVED: Final = struct.Struct("=d")


def rows_of(parts: Sequence[bytes]) -> Bytes:
    """Return the memories of b tags of one site as the rows of a table."""
    return np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(len(parts), -1)


def tags_of(rows: Bytes, gateways: int) -> Tags:
    """Return what rows remember; it shares their memory.

    Args:
        rows: As `rows_of` or `stored` gave them, shape (b, width).
        gateways: Of the site.
    """
    begin = 8 * HEAD
    edge = begin + 8 * LINKS * gateways
    head = np.ascontiguousarray(rows[:, :begin]).view(np.float64)
    links = np.ascontiguousarray(rows[:, begin:edge]).view(np.float64)
    return Tags(head, links.reshape(len(rows), LINKS, gateways), rows[:, edge:])


def moved_s(memory: bytes) -> float:
    """Return when a tag was last moved by its memory, seconds since 1970; 0 = never."""
    found: float = _MOVED.unpack_from(memory, 8 * MOVED)[0]
    return found


def stored(tags: Tags) -> Bytes:
    """Return memories as rows."""
    count = len(tags.head)
    links = np.ascontiguousarray(tags.links).reshape(count, -1).view(np.uint8)
    return np.concatenate(
        [np.ascontiguousarray(tags.head).view(np.uint8), links, tags.base], axis=1
    )


def parts_of(rows: Bytes) -> list[bytes]:
    """Return the rows as one memory each."""
    whole, width = rows.tobytes(), rows.shape[1]
    return [whole[at : at + width] for at in range(0, len(whole), width)]
