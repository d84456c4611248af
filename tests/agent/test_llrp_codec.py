"""LLRP bytes: those of a client and a reader that are known to work, and any others."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagtrail_agent.inputs.llrp import answers, requests
from tagtrail_agent.inputs.llrp.clock import ReaderClock
from tagtrail_agent.inputs.llrp.requests import Content, Inventory, Transmitter
from tagtrail_agent.inputs.llrp.wire import (
    HEAD_BYTES,
    MAX_MESSAGE_BYTES,
    Kind,
    Message,
    read_head,
    read_parameters,
    tlv,
)

INVENTORY = Inventory(
    [Transmitter(1, power_index=5), Transmitter(2, power_index=5)],
    session=2,
    population=4,
    report_every_n=1,
    report_timeout_ms=0,
    content=Content.ANTENNA
    | Content.CHANNEL
    | Content.PEAK_RSSI
    | Content.LAST_SEEN
    | Content.SEEN_COUNT,
)
"""What the client of the vectors asked for."""

MESSAGES = [
    requests.get_capabilities(1),
    requests.get_config(2),
    Message(Kind.ENABLE_EVENTS_AND_REPORTS, 3),
    requests.set_config(4, keepalive_ms=10_000),
    requests.numbered(Kind.DELETE_ACCESSSPEC, 5),
    requests.numbered(Kind.DELETE_ROSPEC, 6),
    requests.add_rospec(7, INVENTORY),
    requests.numbered(Kind.ENABLE_ROSPEC, 8, 1),
    requests.numbered(Kind.DELETE_ACCESSSPEC, 9),
    requests.numbered(Kind.DELETE_ROSPEC, 10),
]


@pytest.fixture
def vectors(shared_data: Path) -> dict[str, Any]:
    return dict(json.loads((shared_data / "llrp_vectors.json").read_text()))


@pytest.fixture
def reader_bytes(vectors: dict[str, Any]) -> dict[str, bytes]:
    return {v["name"]: bytes.fromhex(v["hex"]) for v in vectors["reader"]}


def body_of(raw: bytes, kind: Kind) -> bytes:
    head = read_head(raw)
    assert head is not None
    assert head.kind == kind
    assert head.body_bytes == len(raw) - HEAD_BYTES
    return raw[HEAD_BYTES:]


def test_every_request_is_the_bytes_of_a_client_that_works(vectors: dict[str, Any]) -> None:
    assert [m.encode().hex() for m in MESSAGES] == [v["hex"] for v in vectors["client"]]


def test_the_connection_event_is_read(reader_bytes: dict[str, bytes]) -> None:
    body = body_of(reader_bytes["READER_EVENT_NOTIFICATION"], Kind.READER_EVENT_NOTIFICATION)

    assert answers.read_event(body) == answers.Event(
        connection=answers.CONNECTED, utc_us=0x000660F728E023A2
    )


def test_the_capabilities_are_read(reader_bytes: dict[str, bytes]) -> None:
    body = body_of(
        reader_bytes["GET_READER_CAPABILITIES_RESPONSE"], Kind.GET_READER_CAPABILITIES_RESPONSE
    )

    can = answers.read_capabilities(body)

    assert answers.read_status(body) == answers.Status(0)
    assert (can.antennas, can.has_utc_clock, can.firmware) == (4, True, "sim-1")
    assert can.powers_dbm == {i: 10.0 + i for i in range(1, 21)}
    assert can.hop_tables == (1,)


def test_the_tag_report_is_read(vectors: dict[str, Any], reader_bytes: dict[str, bytes]) -> None:
    """All but the time: the vector's decoded one is of another report, two seconds before."""
    expected = vectors["reader"][2]["decoded_by_sllurp"]

    reads, faults = answers.read_report(
        body_of(reader_bytes["RO_ACCESS_REPORT"], Kind.RO_ACCESS_REPORT)
    )

    assert faults == 0
    assert reads == [
        answers.TagRead(
            epc=expected["EPC-96"].upper(),
            antenna=expected["AntennaID"],
            peak_rssi_dbm=expected["PeakRSSI"],
            last_utc_us=0x000660F728E023D6,
            seen=expected["TagSeenCount"],
        )
    ]


def test_an_epc_of_another_length_is_read_from_its_bits() -> None:
    sixty_four_bits = tlv(241, b"\x00\x40", bytes.fromhex("e280116060000200"))
    uptime = b"\x83" + (5_000_000).to_bytes(8) + b"\x85" + (6_000_000).to_bytes(8)
    report = tlv(240, sixty_four_bits, b"\x81\x00\x03\x86\xc4", uptime, tlv(1023, b"vendor's own"))

    reads, faults = answers.read_report(report)

    assert faults == 0
    assert reads == [
        answers.TagRead(
            "E280116060000200",
            antenna=3,
            peak_rssi_dbm=-60,
            first_uptime_us=5_000_000,
            last_uptime_us=6_000_000,
        )
    ]


@pytest.mark.parametrize(
    "broken",
    [
        tlv(240, b"\x81\x00\x01"),
        tlv(240, tlv(241, b"\x00\x60", b"\x01")),
        tlv(240, tlv(241, b"\x00\x00")),
        tlv(240, b"\x8d" + bytes(12) + b"\x81"),
        b"\x00\xf0\x00\xff",
    ],
    ids=["no EPC", "EPC cut", "EPC of no bits", "member cut", "report cut"],
)
def test_a_broken_tag_report_is_counted_and_spares_its_neighbours(broken: bytes) -> None:
    whole = tlv(240, b"\x8d" + bytes(12))

    reads, faults = answers.read_report(whole + broken)

    assert len(reads) == 1
    assert faults == 1


def test_a_refusal_keeps_the_readers_words() -> None:
    body = tlv(287, b"\x00\x64\x00\x05", b"nope!")

    assert answers.read_status(body) == answers.Status(100, "nope!")


@pytest.mark.parametrize(
    ("head", "read"),
    [
        ("043e0000000a00000007", True),
        ("083e0000000a00000007", True),
        ("0c3e0000000a00000007", False),
        ("043e0000000900000007", False),
        (f"043e{MAX_MESSAGE_BYTES:08x}00000007", True),
        (f"043e{MAX_MESSAGE_BYTES + 1:08x}00000007", False),
        ("485454502f312e312034", False),
        ("043e", False),
    ],
)
def test_only_versions_1_and_2_of_bounded_length_are_messages(head: str, read: bool) -> None:
    assert (read_head(bytes.fromhex(head)) is not None) is read


def everything(body: bytes) -> None:
    read_head(body)
    read_parameters(body)
    answers.read_status(body)
    answers.read_event(body)
    answers.read_capabilities(body)
    reads, faults = answers.read_report(body)
    assert len(reads) <= len(body)
    assert faults <= len(body)


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_no_bytes_raise(body: bytes) -> None:
    everything(body)


def test_no_mutation_of_real_messages_raises(reader_bytes: dict[str, bytes]) -> None:
    chance = random.Random(20)
    originals = [raw[HEAD_BYTES:] for raw in reader_bytes.values()]

    for _ in range(20_000):
        body = bytearray(chance.choice(originals))
        for _ in range(chance.randint(1, 6)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        everything(bytes(body[: chance.randint(1, len(body))]))


def test_a_message_too_long_for_a_reader_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than any reader takes"):
        Message(Kind.ADD_ROSPEC, 1, bytes(MAX_MESSAGE_BYTES)).encode()


def test_reports_under_way_for_different_times_keep_the_order_of_the_reads() -> None:
    clock = ReaderClock()
    clock.elapsed_s(5_000.0, 100.0)

    first = clock.elapsed_s(5_001.0, 101.9)
    second = clock.elapsed_s(5_001.5, 101.6)

    assert first == pytest.approx(101.0, abs=0.01)
    assert second == pytest.approx(101.5, abs=0.01)


def test_a_reader_whose_clock_is_set_is_followed_at_once() -> None:
    clock = ReaderClock()
    clock.elapsed_s(5_000.0, 100.0)

    assert clock.elapsed_s(9_000.0, 101.0) == 101.0
    assert clock.elapsed_s(1_000.0, 102.0) == 102.0


def test_a_drifting_clock_is_followed() -> None:
    clock = ReaderClock()
    for n in range(3_600):
        read_s = clock.elapsed_s(n * (1 - 200e-6), float(n))

    assert 3_599.0 - read_s < 0.01
