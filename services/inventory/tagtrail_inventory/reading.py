"""Consistent reads of the books: one snapshot, and the position that it shows."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from tagtrail_inventory.stock import When
from tagtrail_kernel.database import Connection, Database
from tagtrail_kernel.errors import ConflictError, RejectedError

POSITION: Final = "select position from consumer where name = 'books' and log_id = $1"


@contextlib.asynccontextmanager
async def snapshot(database: Database, log_id: int) -> AsyncIterator[tuple[Connection, int]]:
    """Lend a connection that sees one state of the books, and the position of that state.

    Raises:
        RejectedError: a text asked for holds what no stored text can hold (U+0000).
    """
    try:
        async with (
            database.connection() as c,
            c.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield c, int(await c.fetchval(POSITION, log_id) or 0)
    except asyncpg.exceptions.CharacterNotInRepertoireError as error:
        raise RejectedError("text may not hold the character U+0000; leave it out") from error


def within(when: When, position: int) -> When:
    """Check that the books reach as far as a question.

    Raises:
        ConflictError: they do not yet.
    """
    if when.position is not None and when.position > position:
        raise ConflictError(
            f"the books stand at position {position}, not yet at {when.position}; ask again in a "
            "moment, or for an earlier position",
            as_of_position=position,
        )
    return when
