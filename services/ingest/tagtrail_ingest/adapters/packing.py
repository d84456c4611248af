"""Packed native batches: gzip, told by its first bytes, so that topic and route stay the same."""

from __future__ import annotations

import zlib
from typing import Final

GZIP: Final = b"\x1f\x8b"
"""First bytes of a gzip member (RFC 1952, 2.3.1); no JSON text begins with them."""

MOST_UNPACKED_BYTES: Final = 8_388_608
"""As much as an HTTP body may have unpacked; gzip can blow a message up a thousandfold."""


def unpacked(payload: bytes) -> bytes:
    """Return the text of a batch, unpacked if it is packed.

    Raises:
        ValueError: the packing is damaged or cut off, or the text has more than
            `MOST_UNPACKED_BYTES`.
    """
    if not payload.startswith(GZIP):
        return payload
    reader = zlib.decompressobj(wbits=31)
    try:
        text = reader.decompress(payload, MOST_UNPACKED_BYTES)
    except zlib.error as error:
        raise ValueError(f"the gzip packing is damaged: {error}") from error
    if reader.unconsumed_tail:
        raise ValueError(f"unpacked it has more than {MOST_UNPACKED_BYTES} bytes; send less")
    if not reader.eof or reader.unused_data:
        raise ValueError("the gzip packing must be one whole member")
    return text
