"""Decoders answer for any bytes, and quickly."""

from __future__ import annotations

import json
import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tagtrail_agent.benchmark import adverts_per_s
from tagtrail_agent.decoding import decode, unseal
from tagtrail_agent.decoding.apple import public_key

MUTATIONS = 200_000
FEWEST_PER_S = 60_000
"""Far below what is measured (docs: over 100,000), because tests share their cores."""

KEYS = (bytes(range(16)), bytes(range(12)))


def known_adverts(shared_data: Path) -> list[bytes]:
    vectors = json.loads((shared_data / "adverts.json").read_text())["vectors"]
    return [bytes.fromhex(v["ad_hex"]) for v in vectors]


def mutated(chance: random.Random, ad: bytes) -> bytes:
    """Change an advert as bad radios and bad people do."""
    changed = bytearray(ad)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(changed)) if changed else 0
        match chance.randrange(4):
            case 0 if changed:
                changed[at] = chance.randrange(256)
            case 1:
                del changed[at:]
            case 2:
                changed[at:at] = chance.randbytes(chance.randrange(1, 5))
            case _ if changed:
                changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


def test_200_000_mutated_adverts_raise_nothing(shared_data: Path) -> None:
    chance, adverts = random.Random(20261124), known_adverts(shared_data)
    opened = 0
    for number in range(MUTATIONS):
        decoded = decode(mutated(chance, adverts[number % len(adverts)]))
        public_key(decoded, "c0ffee000001")
        if decoded.sealed is not None and number % 5 == 0:
            unseal(decoded.sealed, KEYS[number % 2], "c0ffee000001")
            opened += 1

    assert opened > 1000


@given(ad=st.binary(max_size=64))
@settings(max_examples=300, deadline=None)
def test_any_bytes_decode(ad: bytes) -> None:
    decoded = decode(ad)

    assert all(i.count(":") >= 1 for i in decoded.identities)


@given(
    kind=st.sampled_from([0x16, 0xFF, 0x21, 0x0A]),
    number=st.sampled_from(
        [0xFE95, 0xFEAA, 0xFCD2, 0xFEED, 0xFEEC, 0xFD5A, 0xFD59, 0xFCB2, 0x004C, 0x0499]
    ),
    data=st.binary(max_size=40),
    key=st.sampled_from(KEYS),
)
@settings(max_examples=600, deadline=None)
def test_any_data_of_a_known_service_decodes_and_opens_or_not(
    kind: int, number: int, data: bytes, key: bytes
) -> None:
    body = bytes([kind]) + number.to_bytes(2, "little") + data
    decoded = decode(bytes([len(body)]) + body)
    if decoded.sealed is not None:
        unseal(decoded.sealed, key, "c0ffee000001", 1 << 20)
        unseal(decoded.sealed, key, "no address")


def test_what_is_cut_short_does_not_hide_what_came_before() -> None:
    whole = bytes.fromhex("0c16d2fc400161020c0903bf13")

    assert decode(whole + b"\x1e\xff\x4c").members["battery_pct"] == 97


def test_the_benchmark_counts_at_least_what_a_hall_needs() -> None:
    figures = adverts_per_s(seconds=0.6, addresses=1000)

    assert figures["adverts_per_s"] >= FEWEST_PER_S
    assert figures["decoded_per_s"] >= figures["adverts_per_s"]
