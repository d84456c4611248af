"""What the live filter remembers of a tag, as bytes: stored with the tag, and used as stored.

A belief is kept as the square root of the share of its greatest cell, in 255 steps: what is below 4
millionths of the greatest is gone. Only square roots and roundings of IEEE arithmetic occur, so the
bytes are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.rest_filter import HEAD, LINKS, SCALE, Tags

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.intp]

STEPS: Final = 255.0


def rows_of(parts: Sequence[bytes]) -> Bytes:
    """Return the memories of b tags of one site as the rows of a table."""
    return np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(len(parts), -1)


def tags_of(rows: Bytes, gateways: int) -> Tags:
    """Return what rows remember.

    Args:
        rows: As `rows_of` or `stored` gave them, shape (b, width).
        gateways: Of the site.
    """
    begin = 8 * HEAD
    edge = begin + 8 * LINKS * gateways
    head = np.ascontiguousarray(rows[:, :begin]).view(np.float64)
    links = np.ascontiguousarray(rows[:, begin:edge]).view(np.float64)
    base = rows[:, edge:].astype(np.float32)
    base *= base
    base *= head[:, SCALE, None].astype(np.float32)
    return Tags(head, links.reshape(len(rows), LINKS, gateways), base)


def stored(tags: Tags, carried: Indices, before: Bytes | None = None) -> Bytes:
    """Return memories as rows.

    Args:
        tags: What is remembered of b tags.
        carried: Rows whose `base` is new.
        before: Rows from which the others' base is taken; None if all are new.
    """
    count, gateways = len(tags.head), tags.links.shape[2]
    begin = 8 * HEAD
    edge = begin + 8 * LINKS * gateways
    rows = (
        np.zeros((count, edge + tags.base.shape[1]), np.uint8) if before is None else before.copy()
    )
    head = tags.head
    if carried.size:
        base = tags.base[carried].astype(np.float64)
        most = np.maximum(np.maximum.reduce(base, axis=1), 1e-30)
        head = head.copy()
        head[carried, SCALE] = most / (STEPS * STEPS)
        rows[carried, edge:] = np.rint(np.sqrt(base / most[:, None]) * STEPS).astype(np.uint8)
    rows[:, :begin] = np.ascontiguousarray(head).view(np.uint8)
    rows[:, begin:edge] = np.ascontiguousarray(tags.links).reshape(count, -1).view(np.uint8)
    return rows


def parts_of(rows: Bytes) -> list[bytes]:
    """Return the rows as one memory each."""
    whole, width = rows.tobytes(), rows.shape[1]
    return [whole[at : at + width] for at in range(0, len(whole), width)]
