"""Whom TLS trusts, and what to do when it does not, in words."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from tagtrail_agent.errors import ConfigError

_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
_OTHER_HOST: Final = frozenset({62, 64})
_BESIDE_RFC_5280: Final = range(79, 96)
"""OpenSSL's X509_V_ERR_…: certificate has expired, is not yet valid, is of another host or address, or
has not the extensions that RFC 5280 asks for, which Python looks at from 3.13 on."""


def context_of(ca_file: Path | None) -> ssl.SSLContext:
    """Return what checks a server's certificate and name.

    Args:
        ca_file: PEM file of the authorities to trust; None = the system's.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except OSError as error:
        raise ConfigError(
            f"cannot read certificates in {ca_file} ({error}); correct ca_file"
        ) from error


class _ClosingSocket(ssl.SSLSocket):
    """A socket that is closed when its handshake fails: paho leaves it open, one each try."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def context_for_mqtt(ca_file: Path | None) -> ssl.SSLContext:
    """Return what checks a broker's certificate and name.

    Raises:
        ConfigError: the file cannot be read.
    """
    context = context_of(ca_file)
    context.sslsocket_class = _ClosingSocket
    return context


def words_of(error: BaseException, host: str, setting: str = "server.ca_file") -> str:
    """Return what a failure to connect means, and what to do.

    Args:
        error: What was raised.
        host: Whom the agent wanted to speak to.
        setting: What names the authorities to trust.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = _advice(error, setting)
        return f"the certificate of {host} is not trusted ({error.verify_message}); {advice}"
    return f"{host} does not answer: {error}"


def _advice(error: ssl.SSLCertVerificationError, setting: str) -> str:
    if error.verify_code == _EXPIRED:
        return "renew it at the server, or set this machine's clock if that is wrong"
    if error.verify_code == _NOT_YET_VALID:
        return "set this machine's clock"
    if error.verify_code in _OTHER_HOST:
        return "use the name that the certificate has"
    if error.verify_code in _BESIDE_RFC_5280:
        return "make it and its authority anew: they lack what RFC 5280 asks for"
    return f"name the file of its authority as {setting}"
