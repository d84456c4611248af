"""HTTP and TLS: whom the agent trusts, what it does with answers."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tagtrail_agent.delivery.http import HttpLink
from tagtrail_agent.delivery.link import answer_of
from tagtrail_agent.delivery.web import Web
from tagtrail_agent.errors import ConfigError, RefusedError, UnreachableError


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a key and a certificate of 127.0.0.1 that nobody else signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tagtrail test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_file, cert_file = folder / "key.pem", folder / "cert.pem"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    cert_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return key_file, cert_file


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer with the status that the path names."""
        self.rfile.read(int(self.headers["content-length"]))
        status = int(self.server.status)  # type: ignore[attr-defined]
        body = b'{"detail": "because", "received_at": "2026-11-24T12:00:00Z", "accepted": 1}'
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def plain() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    yield from _served(server)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    key_file, cert_file = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    yield from _served(server)


def _served(server: HTTPServer) -> Iterator[HTTPServer]:
    server.status = 200  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(secure: HTTPServer) -> None:
    web = Web(f"https://127.0.0.1:{secure.server_port}")

    with pytest.raises(UnreachableError, match=r"not trusted .* server\.ca_file"):
        web.request("POST", "/", b"")


def test_the_file_of_its_authority_makes_it_trusted(secure: HTTPServer, tmp_path: Path) -> None:
    web = Web(f"https://127.0.0.1:{secure.server_port}", ca_file=tmp_path / "cert.pem")
    reply = web.request("POST", "/", b"")
    web.close()

    assert reply.status == 200


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RefusedError), (413, RefusedError), (422, RefusedError),
        (401, UnreachableError), (403, UnreachableError), (409, UnreachableError),
        (429, UnreachableError), (500, UnreachableError), (503, UnreachableError),
    ],
)  # fmt: skip
async def test_only_what_will_never_be_taken_counts_as_refused(
    status: int, error: type[Exception], plain: HTTPServer
) -> None:
    plain.status = status  # type: ignore[attr-defined]
    link = HttpLink(f"http://127.0.0.1:{plain.server_port}", key="tt_x", gateway_id="g")
    try:
        with pytest.raises(error, match="because"):
            await link.deliver("g", "b", b"{}")
        connected = link.connected
    finally:
        await link.close()

    assert connected == (error is RefusedError)


async def test_an_answer_after_the_commit_is_the_confirmation(plain: HTTPServer) -> None:
    link = HttpLink(f"http://127.0.0.1:{plain.server_port}", key="tt_x", gateway_id="g")
    answer = await link.deliver("g", "b", b"{}")
    await link.close()

    assert answer.accepted == 1
    assert link.sent_bytes == 2


def test_nobody_there_is_told_as_such() -> None:
    with pytest.raises(UnreachableError, match="does not answer"):
        Web("http://127.0.0.1:1").request("GET", "/")


@pytest.mark.parametrize("url", ["ftp://x", "https://", "http://x:port"])
def test_an_address_that_is_none_is_a_mistake_of_the_configuration(url: str) -> None:
    with pytest.raises(ConfigError):
        Web(url)


@pytest.mark.parametrize("members", [None, [], {}, {"received_at": 7}, {"received_at": "now"}])
def test_an_answer_that_cannot_be_read_is_none(members: object) -> None:
    with pytest.raises(UnreachableError, match="cannot be read"):
        answer_of(members)
