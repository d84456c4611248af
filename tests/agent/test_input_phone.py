"""Phones: taps, codes and scans by a local endpoint that takes each item once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.agent_inputs import NOON, Hands, Listener, hearing, until

from tagtrail_agent.errors import AgentError
from tagtrail_agent.inputs import http
from tagtrail_agent.inputs.phone import PhoneOptions, Phones, PhonesOptions
from tagtrail_agent.inputs.phone_items import ItemError, event_id, read_item
from tagtrail_agent.readings import Advert

TOKEN = "a-token-of-128-random-bits"
OTHER = "another-token-of-128-bits"


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


ANNA = PhoneOptions(phone_id="anna", token_sha256=digest(TOKEN), actor_id="operator-7")
BEN = PhoneOptions(phone_id="ben", token_sha256=digest(OTHER))


@dataclass
class Counter:
    """A counter that taps come to: the endpoint, its clock, and a client of Anna's phone."""

    phones: Phones
    hands: Hands
    listener: Listener
    client: httpx2.AsyncClient
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {TOKEN}"})

    async def post(self, path: str, body: object = None, token: str = TOKEN) -> httpx2.Response:
        return await self.client.post(
            f"/v1/phone/{path}", json=body, headers={"Authorization": f"Bearer {token}"}
        )

    async def send(self, *items: object, session_id: str | None = None) -> list[dict[str, Any]]:
        answer = await self.post("items", {"items": items, "session_id": session_id})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["verdicts"])


@contextlib.asynccontextmanager
async def counter(request_s: float = 15.0, **changed: object) -> AsyncIterator[Counter]:
    given: dict[str, object] = {"phones": (ANNA, BEN), "port": 0, **changed}
    hands = Hands()
    phones = Phones(
        PhonesOptions(**given),  # type: ignore[arg-type]
        hands.clocks,
        request_s=request_s,
    )
    async with hearing(phones) as listener:
        await until(lambda: phones.port)
        base = f"http://127.0.0.1:{phones.port}"
        async with httpx2.AsyncClient(base_url=base, trust_env=False) as client:
            yield Counter(phones, hands, listener, client)


def tap(number: int = 1, **changed: object) -> dict[str, Any]:
    return {
        "id": f"item-{number}",
        "at": (NOON - timedelta(seconds=60)).isoformat(),
        "kind": "nfc",
        "uid": "04:A2:B3:C4:D5:E6:80",
        "counter": 41,
        **changed,
    }


async def test_a_tap_is_heard_with_its_person_counter_and_time() -> None:
    async with counter() as at_counter:
        verdicts = await at_counter.send(tap())

    (reading,) = at_counter.listener.readings
    assert verdicts == [{"id": "item-1", "verdict": "taken"}]
    assert (reading.tag, reading.gateway_id) == ("nfc:04a2b3c4d5e680", "phone-anna")
    assert (reading.at, reading.elapsed_s) == (NOON - timedelta(seconds=60), 940.0)
    assert UUID(reading.members.pop("id")).version == 8
    assert reading.members == {
        "technology": "nfc",
        "counter": 41,
        "source_class": "own_phone",
        "actor_id": "operator-7",
    }


async def test_fifty_scans_sent_again_and_again_are_fifty_readings() -> None:
    queue = [tap(n, uid=f"04a2b3c4d5e6{n:02x}") for n in range(50)]
    chance = random.Random(1)
    async with counter() as at_counter:
        for _ in range(8):
            await at_counter.send(*chance.sample(queue, 30))
        last = await at_counter.send(*queue, queue[0])

    assert len({r.tag for r in at_counter.listener.readings}) == 50
    assert len(at_counter.listener.readings) == 50
    assert last[-1] == {"id": "item-0", "verdict": "repeated"}


async def test_an_endpoint_that_restarted_gives_the_same_event_ids() -> None:
    ids = []
    for _ in range(2):
        async with counter() as at_counter:
            await at_counter.send(tap())
        ids.append(at_counter.listener.readings[0].members["id"])

    assert ids[0] == ids[1]


async def test_the_same_id_of_two_phones_is_two_items() -> None:
    async with counter() as at_counter:
        await at_counter.send(tap())
        await at_counter.post("items", {"items": [tap()]}, OTHER)

    first, second = at_counter.listener.readings
    assert first.members["id"] != second.members["id"]
    assert "actor_id" not in second.members


def test_an_event_id_of_the_phones_own_is_kept() -> None:
    own = "0193588a-7c00-7abc-8def-0123456789ab"

    assert event_id("anna", own, NOON) == own
    assert event_id("anna", own, NOON, "position") != own
    assert event_id("anna", "0193588a-7c00-4abc-8def-0123456789ab", NOON)[14] == "8"


@pytest.mark.parametrize(
    ("item", "tag"),
    [
        (tap(uid=None, url="https://shop.example/t/crate-7?c=1"), "nfc:shop.example/t/crate-7"),
        (tap(uid=None, ndef="d1010b5504736d616c6c2e6578616d"), None),
        (tap(uid=None, ndef="d1010c5504736d616c6c2e65782f3761"), "nfc:small.ex/7a"),
        (tap(kind="qr", text="epc:30140f4c"), "epc:30140F4C"),
        (tap(kind="qr", text="https://shop.example/t/9"), "nfc:shop.example/t/9"),
    ],
)
def test_labels_are_named_by_what_is_on_them(item: dict[str, Any], tag: str | None) -> None:
    if tag is None:
        with pytest.raises(ItemError, match="no_identity"):
            read_item(item)
    else:
        assert read_item(item).tags == (tag,)


async def test_a_scan_of_a_browser_is_put_together_again() -> None:
    scan = {
        "id": "s1",
        "at": NOON.isoformat(),
        "kind": "ble",
        "rssi_dbm": -61,
        "manufacturer_data": {"76": "0215" + "f7826da64fa24e988024bc5b71e0893e0007002ac5"},
        "service_data": {"0000fe95-0000-1000-8000-00805f9b34fb": "5020aa01"},
    }
    async with counter() as at_counter:
        await at_counter.send(scan, scan | {"id": "s2"})

    first, second = at_counter.listener.adverts
    assert first.ad.hex() == (
        "1aff4c000215f7826da64fa24e988024bc5b71e0893e0007002ac5" + "071695fe5020aa01"
    )
    assert (first.rssi_dbm, first.gateway_id) == (-61, "phone-anna")
    assert first.address != second.address, "adverts without address are not linked"


async def test_a_scan_with_address_and_bytes_is_taken_as_it_is() -> None:
    scan = {"id": "s1", "at": NOON.isoformat(), "kind": "ble", "rssi_dbm": -61,
            "ad": "020106", "address": "58:B1:29:44:94:D3"}  # fmt: skip
    async with counter() as at_counter:
        await at_counter.send(scan)

    assert at_counter.listener.heard == [
        Advert("58b1294494d3", b"\x02\x01\x06", -61, NOON, 1000.0, None, "phone-anna")
    ]


HERE = {"latitude_deg": 52.52, "longitude_deg": 13.4, "accuracy_m": 8.0}


async def test_no_position_leaves_outside_a_session() -> None:
    async with counter() as at_counter:
        verdicts = await at_counter.send(
            tap(1, **HERE), tap(2, x_m=3.0, y_m=4.0), tap(3), session_id="never-opened"
        )

    assert [v.get("position") for v in verdicts] == ["left_out", "left_out", None]
    assert len(at_counter.listener.readings) == 3
    assert not any(
        "_deg" in str(r.members) or "x_m" in r.members for r in at_counter.listener.readings
    )


async def test_in_a_session_a_position_leaves_without_the_person() -> None:
    now = NOON.isoformat()
    async with counter() as at_counter:
        opened = await at_counter.post("sessions", {"session_id": "round-of-tuesday"})
        await at_counter.send(tap(1, at=now, **HERE), session_id="round-of-tuesday")

    tapped, placed = at_counter.listener.readings
    assert opened.status_code == 201
    assert tapped.members["actor_id"] == "operator-7"
    assert "latitude_deg" not in tapped.members
    assert (placed.tag, placed.gateway_id) == (tapped.tag, "phones")
    assert UUID(placed.members.pop("id")).version == 8
    assert placed.members == {**HERE, "source_class": "own_phone"}


async def test_a_session_counts_by_when_the_position_was_measured() -> None:
    def item(number: int, after_s: float) -> dict[str, Any]:
        return tap(number, at=(NOON + timedelta(seconds=after_s)).isoformat(), **HERE)

    async with counter() as at_counter:
        session_id = (await at_counter.post("sessions")).json()["session_id"]
        at_counter.hands.passed_s = 100.0
        closed = await at_counter.client.delete(
            f"/v1/phone/sessions/{session_id}", headers=at_counter.headers
        )
        at_counter.hands.passed_s = 1_000.0
        verdicts = await at_counter.send(
            item(1, -1), item(2, 0), item(3, 100), item(4, 101), session_id=session_id
        )

    assert closed.status_code == 204
    assert ["position" in v for v in verdicts] == [True, False, False, True]


async def test_a_session_ends_by_itself_and_belongs_to_one_phone() -> None:
    late = tap(1, at=(NOON + timedelta(seconds=61)).isoformat(), **HERE)
    async with counter(session_max_s=60.0) as at_counter:
        await at_counter.post("sessions", {"session_id": "session-1"})
        foreign = await at_counter.post(
            "items",
            {"items": [tap(9, at=NOON.isoformat(), **HERE)], "session_id": "session-1"},
            OTHER,
        )
        stolen = await at_counter.post("sessions", {"session_id": "session-1"}, OTHER)
        at_counter.hands.passed_s = 61.0
        verdicts = await at_counter.send(late, session_id="session-1")
        again = await at_counter.post("sessions", {"session_id": "session-1"})

    assert foreign.json()["verdicts"][0]["position"] == "left_out"
    assert stolen.status_code == again.status_code == 422
    assert verdicts[0]["position"] == "left_out"


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("text", "no_object"),
        ({}, "bad_id"),
        (tap(id="no spaces"), "bad_id"),
        (tap(at=None), "no_time"),
        (tap(at="2009-12-31T00:00:00Z"), "implausible_time"),
        (tap(at=(NOON + timedelta(minutes=6)).isoformat()), "implausible_time"),
        (tap(kind="barcode"), "bad_kind"),
        (tap(kind=["nfc"]), "bad_kind"),
        (tap(uid="12"), "no_identity"),
        (tap(kind="ble", rssi_dbm=None), "no_signal"),
        (tap(kind="ble", rssi_dbm=-60, ad="00" * 1651), "too_large"),
    ],
)
async def test_a_bad_item_is_refused_alone(item: object, reason: str) -> None:
    async with counter() as at_counter:
        verdicts = await at_counter.send(item, tap(2))

    assert verdicts[0]["reason"] == reason
    assert verdicts[1]["verdict"] == "taken"
    assert at_counter.phones.counts[reason] == 1


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


ITEMS = st.dictionaries(
    st.sampled_from(["id", "at", "kind", "uid", "url", "ndef", "text", "rssi_dbm", "ad", "x_m"])
    | st.sampled_from(["manufacturer_data", "service_data", "latitude_deg", "y_m", "address"]),
    st.sampled_from(["nfc", "qr", "ble", "item-1", NOON.isoformat(), "0x00", "https://["])
    | st.none()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2)
    | st.lists(st.integers(), max_size=2),
)


@given(ITEMS)
@settings(max_examples=300, deadline=None)
def test_no_item_raises_anything_but_its_refusal(item: dict[str, Any]) -> None:
    with contextlib.suppress(ItemError):
        read_item({"id": "x", "at": NOON.isoformat(), "kind": "nfc"} | item)


async def test_memory_for_repeats_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagtrail_agent.inputs.phone.REMEMBERED", 10)
    async with counter() as at_counter:
        await at_counter.send(*(tap(n) for n in range(30)))
        verdicts = await at_counter.send(tap(29), tap(0))

    assert [v["verdict"] for v in verdicts] == ["repeated", "taken"]
    first, *_, again = at_counter.listener.readings
    assert first.members["id"] == again.members["id"]


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
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
               "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
               "-keyout", str(key), "-out", str(cert)]  # fmt: skip
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    async with counter(cert_file=cert, key_file=key) as at_counter:
        trusting = ssl.create_default_context(cafile=str(cert))
        base = f"https://127.0.0.1:{at_counter.phones.port}"
        async with httpx2.AsyncClient(base_url=base, verify=trusting, trust_env=False) as client:
            answer = await client.post(
                "/v1/phone/items", json={"items": [tap()]}, headers=at_counter.headers
            )

    assert answer.json()["verdicts"] == [{"id": "item-1", "verdict": "taken"}]
