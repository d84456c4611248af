"""The way to a channel over TLS: to the judged address, under the host's own name."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.fake_slack import SECRET_PATH, FakeSlack

from tagtrail_alerts.channels.contract import Outcome, Reply
from tagtrail_alerts.channels.transport import post

HOST = "hooks.tagtrail.test"


def certificate(folder: Path, *names: x509.GeneralName) -> Path:
    """Write a self-signed certificate with its key; returns the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + built.public_bytes(serialization.Encoding.PEM)
    )
    return file


async def to_loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.mark.parametrize(
    ("name", "delivered"),
    [
        (x509.DNSName(HOST), True),
        (x509.DNSName("evil.tagtrail.test"), False),
        (x509.IPAddress(ipaddress.ip_address("127.0.0.1")), False),
    ],
)
async def test_the_certificate_must_be_the_hosts_although_the_address_is_pinned(
    tmp_path: Path, name: x509.GeneralName, *, delivered: bool
) -> None:
    file = certificate(tmp_path, name)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    trusting = ssl.create_default_context(cafile=str(file))
    async with FakeSlack().running(tls=tls) as slack, httpx2.AsyncClient(verify=trusting) as http:
        url = f"https://{HOST}:{slack.port}{SECRET_PATH}"
        answer = await post(
            http, url, b'{"text": "hello"}', timeout_s=5, allow_loopback=True, resolve=to_loopback
        )

    assert len(slack.delivered) == int(delivered)
    if delivered:
        assert answer == Reply(200, b"ok")
    else:
        assert isinstance(answer, Outcome)
        assert answer.result == "retry"


async def test_a_name_that_does_not_resolve_is_tried_again_later() -> None:
    async with httpx2.AsyncClient() as http:
        answer = await post(
            http, "https://nothing.invalid/x", b'{"text": "x"}', timeout_s=5, allow_loopback=False
        )

    assert answer == Outcome("retry", "the channel's host name cannot be resolved")


async def test_an_endless_answer_is_cut() -> None:
    slack = FakeSlack()
    slack.script.append("500:" + "x" * 100_000)
    async with slack.running(), httpx2.AsyncClient() as http:
        answer = await post(http, slack.url, b'{"text": "x"}', timeout_s=5, allow_loopback=True)

    assert isinstance(answer, Reply)
    assert len(answer.body) == 4096
