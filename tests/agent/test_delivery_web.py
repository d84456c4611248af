"""HTTP and TLS: whom the agent trusts, what it does with answers."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.support.certificates import Authority

from tagtrail_agent.delivery.http import HttpLink
from tagtrail_agent.delivery.link import answer_of
from tagtrail_agent.delivery.web import Web
from tagtrail_agent.errors import ConfigError, RefusedError, UnreachableError


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
    pair = Authority(tmp_path).issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert_file, pair.key_file)
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
    web = Web(f"https://127.0.0.1:{secure.server_port}", ca_file=tmp_path / "ca.pem")
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
