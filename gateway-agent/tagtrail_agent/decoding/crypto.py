"""AES as radio tags use it. The library is loaded with the first key, not with the agent.

Sources: NIST SP 800-38C (CCM); Bellare, Rogaway, Wagner: The EAX mode of operation (2004).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM

KEPT_KEYS: Final = 512
"""Prepared keys held in memory; preparing one takes about 5 µs."""


@lru_cache(maxsize=KEPT_KEYS)
def block_cipher(key: bytes) -> Callable[[bytes], bytes]:
    """Return AES of single blocks under a key of 16 or 32 octets."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415

    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # noqa: S305 - one block


@lru_cache(maxsize=KEPT_KEYS)
def _ccm(key: bytes, tag_length: int) -> AESCCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM  # noqa: PLC0415

    return AESCCM(key, tag_length)


def ccm_open(
    key: bytes, nonce: bytes, sealed: bytes, *, tag_length: int = 4, associated: bytes | None = None
) -> bytes | None:
    """Open AES-CCM; None if key, nonce or content are not genuine.

    Args:
        key: 16 octets.
        nonce: 7 to 13 octets.
        sealed: Ciphertext and tag.
        tag_length: Octets of the tag.
        associated: Authenticated, not encrypted.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415

    if len(sealed) < tag_length:
        return None
    try:
        return _ccm(key, tag_length).decrypt(nonce, sealed, associated)
    except InvalidTag:
        return None


def ccm_unverified(key: bytes, nonce: bytes, sealed: bytes) -> bytes:
    """Decrypt AES-CCM without its tag: for old frames that carry too short a one.

    Args:
        key: 16 octets.
        nonce: 13 octets, so the counter has two.
        sealed: Ciphertext alone.
    """
    return _counter_mode(key, b"\x01" + nonce + b"\x00\x01", sealed)


def eax_open(
    key: bytes, nonce: bytes, sealed: bytes, tag: bytes, header: bytes = b""
) -> bytes | None:
    """Open AES-EAX; None if it is not genuine.

    Args:
        key: 16 octets.
        nonce: Any length.
        sealed: Ciphertext.
        tag: Its first octets, two or more.
        header: Authenticated, not encrypted.
    """
    start, beside, content = (_omac(key, k, part) for k, part in enumerate((nonce, header, sealed)))
    expected = bytes(a ^ b ^ c for a, b, c in zip(start, beside, content, strict=True))
    return _counter_mode(key, start, sealed) if expected[: len(tag)] == tag else None


def _omac(key: bytes, number: int, part: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import algorithms  # noqa: PLC0415
    from cryptography.hazmat.primitives.cmac import CMAC  # noqa: PLC0415

    code = CMAC(algorithms.AES(key))
    code.update(number.to_bytes(16, "big") + part)
    return code.finalize()


def _counter_mode(key: bytes, start: bytes, data: bytes) -> bytes:
    """Add the key stream that begins at a 16-octet counter."""
    encrypt, first = block_cipher(key), int.from_bytes(start, "big")
    blocks = (len(data) + 15) // 16
    stream = b"".join(
        encrypt(((first + n) % (1 << 128)).to_bytes(16, "big")) for n in range(blocks)
    )
    return bytes(a ^ b for a, b in zip(data, stream, strict=False))
