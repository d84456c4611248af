"""Hashes of the log: the Merkle root of one batch, and the chain over the batches.

The chain is a trip-wire: whoever stores `(position, chain)` notices a log that was restored from
an older copy, forked or edited. Proofs for auditors come from one RFC 6962 tree over all leaves
(a later sealer writes it), never from this chain.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

_NODE: Final = b"\x01"
_LINK: Final = b"\x02"
_SPAN: Final = struct.Struct(">qi")


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the RFC 6962 tree hash over leaf hashes, 32 bytes.

    Pairing level by level and carrying an odd last node upwards gives the same tree as the
    recursive definition of RFC 6962 section 2.1.

    Args:
        leaves: Leaf hashes, 32 bytes each; n >= 1.

    Raises:
        ValueError: there are no leaves.
    """
    if not leaves:
        raise ValueError("a batch has at least one leaf")
    level = list(leaves)
    while len(level) > 1:
        odd = level.pop() if len(level) & 1 else None
        nodes = iter(level)
        level = [sha256(_NODE + left + right).digest() for left, right in zip(nodes, nodes)]  # noqa: B905 - pairs of one iterator, and the count is even
        if odd is not None:
            level.append(odd)
    return level[0]


def chain_value(prev: bytes, first: int, count: int, root: bytes) -> bytes:
    """Return the chain value of a batch, 32 bytes.

    Args:
        prev: Chain value of the batch before it, `NO_CHAIN` for the first.
        first: Position of its first event.
        count: Its number of events.
        root: Its Merkle root.
    """
    return sha256(_LINK + prev + _SPAN.pack(first, count) + root).digest()
