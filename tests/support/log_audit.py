"""An audit of the log from its tables alone, written apart from the code that fills them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import asyncpg

ZERO = bytes(32)


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle tree hash of RFC 6962, section 2.1, as it is defined there."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\x01" + tree_hash(leaves[:half]) + tree_hash(leaves[half:])).digest()


async def audited(database_url: str, log_id: int) -> list[asyncpg.Record]:
    """Recompute every leaf, root and chain value of a log; returns its events in order.

    Of an erased event only the leaf is left, and there must be an order behind it.

    Raises:
        AssertionError: a position is missing or doubled, an id stands twice, a hash differs, or a
            body is gone without an order.
    """
    connection: Any = await asyncpg.connect(database_url)
    try:
        events = await connection.fetch(
            "select position, event_id, type, body, leaf from log.event where log_id = $1 "
            "order by position",
            log_id,
        )
        orders = await connection.fetch(
            "select position, order_position from log.erasure where log_id = $1", log_id
        )
        batches = await connection.fetch(
            "select * from log.batch where log_id = $1 order by last_position", log_id
        )
    finally:
        await connection.close()
    assert [e["position"] for e in events] == list(range(1, len(events) + 1))
    ordered = {row["position"]: row["order_position"] for row in orders}
    kept = [e for e in events if e["body"]]
    assert len({e["event_id"] for e in kept}) == len(kept)
    assert {e["position"] for e in events if not e["body"]} == set(ordered)
    for position, order in ordered.items():
        assert order > position
        assert events[order - 1]["type"] == "sightings.erased"
    chain, end = ZERO, 0
    for batch in batches:
        first, last = batch["first_position"], batch["last_position"]
        assert first == end + 1, f"batch {first} to {last} does not follow {end}"
        leaves = [
            sha256(b"\x00" + e["body"]).digest() if e["body"] else e["leaf"]
            for e in events[first - 1 : last]
        ]
        assert leaves == [e["leaf"] for e in events[first - 1 : last]]
        assert batch["root"] == tree_hash(leaves), f"root of {first} to {last}"
        assert batch["prev"] == chain
        span = first.to_bytes(8, "big") + (last - first + 1).to_bytes(4, "big")
        chain = sha256(b"\x02" + chain + span + batch["root"]).digest()
        assert batch["chain"] == chain, f"chain at {last}"
        end = last
    assert end == len(events)
    return list(events)
