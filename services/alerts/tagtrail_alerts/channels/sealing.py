"""Seals what must not stand in the database as it is: addresses and signing secrets.

AES-256-GCM; the key comes from a setting, never from the database, and each ciphertext is bound to
the place where it belongs, so it cannot be moved to another channel or tenant.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tagtrail_kernel.errors import ConflictError

MIN_SECRET: Final = 16
NONCE_BYTES: Final = 12


class Sealer:
    """Seals and opens.

    Args:
        secret: The setting `channel_secret`; may be empty until something is to be sealed.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def seal(self, place: str, text: str) -> bytes:
        """Return a text sealed for a place.

        Raises:
            ConflictError: there is no secret to seal with.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher().encrypt(nonce, text.encode(), place.encode())

    def open(self, place: str, sealed: bytes) -> str:
        """Return a text that was sealed for a place.

        Raises:
            ConflictError: it was sealed with another secret or for another place.
        """
        nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return self._cipher().decrypt(nonce, text, place.encode()).decode()
        except InvalidTag as error:
            raise ConflictError(
                f"what is stored for {place} was sealed with another "
                "TAGTRAIL_ALERTS_CHANNEL_SECRET_FILE; give the earlier one, or remove the channel "
                "and set it again"
            ) from error

    def _cipher(self) -> AESGCM:
        if len(self._secret) < MIN_SECRET:
            raise ConflictError(
                f"set TAGTRAIL_ALERTS_CHANNEL_SECRET_FILE to a file with at least {MIN_SECRET} "
                "random characters first: the addresses of channels are stored sealed"
            )
        return AESGCM(
            hashlib.sha256(b"tagtrail channel address\x00" + self._secret.encode()).digest()
        )
