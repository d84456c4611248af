"""The endpoint for phones: who may send, how much, and what no request does to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from pathlib import Path

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.agent_inputs import Hands, Listener, until
from tests.support.certificates import Authority
from tests.support.phone_counter import ANNA, OTHER, TOKEN, counter, digest, tap

from tagtrail_agent.errors import AgentError
from tagtrail_agent.inputs import http
from tagtrail_agent.inputs.phone import PhoneOptions, Phones, PhonesOptions


@pytest.mark.parametrize("token", ["none", "wrong", TOKEN + "x", digest(TOKEN)])
async def test_without_the_phones_token_nothing_is_taken(token: str) -> None:
    async with counter() as at_counter:
        answer = await at_counter.client.post(
            "/v1/phone/items", json={"items": [tap()]}, headers={"Authorization": f"Bearer {token}"}
        )

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/unauthorized"
    assert at_counter.listener.heard == []


async def test_guessing_is_slowed_but_never_locks_a_phone_out() -> None:
    async with counter() as at_counter:
        guesses = [(await at_counter.post("items", {}, "guess")).status_code for _ in range(32)]
        own = await at_counter.post("items", {"items": []})

    assert guesses == [401] * 30 + [429] * 2
    assert own.status_code == 200


async def test_a_phone_that_sends_too_much_is_told_when_to_go_on() -> None:
    async with counter(items_per_min=60) as at_counter:
        first = await at_counter.post("items", {"items": [tap(n) for n in range(60)]})
        second = await at_counter.post("items", {"items": [tap(60), tap(61)]})
        other = await at_counter.post("items", {"items": [tap(60)]}, OTHER)
        at_counter.hands.passed_s = 2.0
        third = await at_counter.post("items", {"items": [tap(60), tap(61)]})

    assert [r.status_code for r in (first, second, other, third)] == [200, 429, 200, 200]
    assert second.headers["retry-after"] == "3"
    assert len(at_counter.listener.readings) == 63


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/phone/items", b"{", 400),
        ("POST", "/v1/phone/items", b"[]", 400),
        ("POST", "/v1/phone/items", b'{"items": 3}', 422),
        ("POST", "/v1/phone/items", json.dumps({"items": [1] * 501}).encode(), 422),
        ("POST", "/v1/phone/sessions", b'{"session_id": "a b"}', 422),
        ("POST", "/v1/phone/items", b" " * 262_145, 413),
        ("GET", "/v1/phone/items", b"", 405),
        ("GET", "/", b"", 404),
        ("DELETE", "/v1/phone/sessions/unknown-session", b"", 404),
    ],
)
async def test_bad_requests_get_a_problem(method: str, path: str, body: bytes, status: int) -> None:
    async with counter() as at_counter:
        answer = await at_counter.client.request(
            method, path, content=body, headers=at_counter.headers
        )

    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert answer.json()["detail"]


async def test_only_known_pages_may_send() -> None:
    async with counter(origins=("https://console.example",)) as at_counter:
        ours = await at_counter.client.options(
            "/v1/phone/items", headers={"Origin": "https://console.example"}
        )
        foreign = await at_counter.client.options(
            "/v1/phone/items", headers={"Origin": "https://evil.example"}
        )

    assert ours.status_code == 204
    assert ours.headers["access-control-allow-origin"] == "https://console.example"
    assert "access-control-allow-origin" not in foreign.headers


async def raw(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(5):
            answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 65 + b"\r\n", b"400"),
        (b"GET / HTTP/1.1\r\na: " + b"x" * 9_000 + b"\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
    ],
)
async def test_what_is_no_request_is_answered_and_closed(data: bytes, status: bytes) -> None:
    async with counter() as at_counter:
        answer = await raw(at_counter.phones.port, data)

    assert answer.startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    "slow", [b"", b"POST /v1", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n12"]
)
async def test_a_client_that_sends_slowly_is_cut_off(slow: bytes) -> None:
    async with counter(request_s=0.2) as at_counter:
        answer = await raw(at_counter.phones.port, slow)
        after = await at_counter.send(tap())

    assert answer == b""
    assert at_counter.phones.counts["cut"] == 1
    assert after[0]["verdict"] == "taken"


async def test_open_connections_are_bounded_and_come_free_again() -> None:
    async with counter(request_s=0.5) as at_counter:
        idle = [
            await asyncio.open_connection("127.0.0.1", at_counter.phones.port)
            for _ in range(http.MOST_PER_ADDRESS)
        ]
        await until(lambda: at_counter.phones.counts["cut"] == 0)
        refused = await raw(at_counter.phones.port, b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: at_counter.phones.counts["cut"] == http.MOST_PER_ADDRESS)
        after = await at_counter.send(tap())
        for _, writer in idle:
            writer.close()

    assert refused == b""
    assert at_counter.phones.counts["crowded"] == 1
    assert after[0]["verdict"] == "taken"


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_bytes_break_the_server(data: bytes) -> None:
    async def read() -> None:
        reader = asyncio.StreamReader(limit=http.MOST_HEAD_BYTES)
        reader.feed_data(data)
        reader.feed_eof()
        with contextlib.suppress(http.ProblemError, EOFError):
            await http._read_request(reader, "")

    asyncio.run(read())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"phones": (PhoneOptions(phone_id="a", token_sha256="x"),)}, "SHA-256 in hex digits"),
        ({"phones": (ANNA, PhoneOptions(phone_id="b", token_sha256=digest(TOKEN)))}, "its own"),
        ({"phones": (ANNA, PhoneOptions(phone_id="anna", token_sha256=digest("c")))}, "phone_id"),
        ({"phones": (ANNA,), "host": "0.0.0.0"}, "give cert_file and key_file"),  # noqa: S104
    ],
)
def test_unsafe_options_are_refused(changed: dict[str, object], words: str) -> None:
    with pytest.raises(AgentError, match=words):
        Phones(PhonesOptions(**changed), Hands().clocks)  # type: ignore[arg-type]


async def test_a_taken_port_is_told() -> None:
    async with counter() as at_counter:
        second = Phones(PhonesOptions(phones=(ANNA,), port=at_counter.phones.port), Hands().clocks)

        with pytest.raises(AgentError, match="choose another port"):
            await second.run(Listener())


async def test_it_speaks_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue()
    async with counter(cert_file=pair.cert_file, key_file=pair.key_file) as at_counter:
        trusting = ssl.create_default_context(cafile=str(authority.file))
        base = f"https://127.0.0.1:{at_counter.phones.port}"
        async with httpx2.AsyncClient(base_url=base, verify=trusting, trust_env=False) as client:
            answer = await client.post(
                "/v1/phone/items", json={"items": [tap()]}, headers=at_counter.headers
            )

    assert answer.json()["verdicts"] == [{"id": "item-1", "verdict": "taken"}]
