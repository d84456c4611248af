"""Rules are taken only when they carry the signature of the key that this gateway trusts."""

from __future__ import annotations

from typing import Final

from tagtrail_agent.filtering.errors import RulesSignatureError
from tagtrail_agent.filtering.rules import Rules, parse_rules

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
"""Sizes of Ed25519, RFC 8032 section 5.1."""


def verified_rules(document: bytes, signature: bytes, public_key: bytes) -> Rules:
    """Check the signature over the bytes as received, then read them.

    Nothing of the document is looked at before its signature has been found good.

    Args:
        document: The JSON document, byte for byte as it was signed.
        signature: Ed25519 signature over it, 64 bytes.
        public_key: Raw Ed25519 key, 32 bytes.

    Raises:
        RulesSignatureError: the signature is not of this key, or cannot be checked here.
        RulesDocumentError: well signed, but not readable by this agent.
    """
    if len(public_key) != KEY_BYTES:
        raise RulesSignatureError("the trusted key must have 32 bytes; enrol the gateway anew")
    if len(signature) != SIGNATURE_BYTES:
        raise RulesSignatureError("the signature must have 64 bytes; sign the document anew")
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  (optional)
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415
    except ImportError as error:
        raise RulesSignatureError(
            "signed rules need the package cryptography: pip install cryptography"
        ) from error
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public_key).verify(signature, document)
    except (InvalidSignature, ValueError) as error:
        raise RulesSignatureError(
            "the rules are not signed by the key that this gateway trusts; they were not applied"
        ) from error
    return parse_rules(document)
