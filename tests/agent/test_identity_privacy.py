"""Strangers stay strangers: no frame of theirs is linked, and no address is kept or written."""

from __future__ import annotations

import ast
import logging
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import tagtrail_agent.decoding
import tagtrail_agent.identity
from tagtrail_agent.identity import Enrolment, Resolver
from tagtrail_agent.identity.resolver import MOST_ADDRESSES
from tagtrail_agent.readings import Advert

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
SMARTTAG = "02010403025afd17165afd12c24a037f21348d05197cc6be000000ed90dfa7"
FOREIGN = {
    "findmy": "1eff4c001219102807ce0b3c33332ed37b5d9d8291b1d99d0b8615189700e0",
    "fmdn": "0201061816aafe4100112233445566778899aabbccddeeff01020304",
    "smarttag": SMARTTAG,
    "dult": "0b16b2fc01000102030405060708",
}
"""One unchanging frame of each network: a real one would change with its address."""

IRK = {"irk": "ec0234a357c8ad05341010a60a397d9b"}


def tracking_resolver() -> Resolver:
    """A resolver with every kind of key, so that every way of linking is open."""
    clock = {"clock_s": 0, "clock_at": AT.isoformat()}
    keys = {
        "t1": IRK,
        "t2": {"eddystone": {"key": "11" * 16, **clock}},
        "t3": {"fmdn": {"key": "22" * 32, **clock}},
    }
    tags = [{"tag_id": t, "identities": [f"key:{t}"]} for t in keys]
    tags.append({"tag_id": "t4", "identities": ["mac:c0ffee000001"]})
    return Resolver(Enrolment.parse({"tags": tags}, keys))


def texts(value: object, seen: set[int]) -> Iterator[str]:
    """Yield every text and every run of octets that an object holds, however deep."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes | bytearray):
        yield value.hex()
    elif isinstance(value, dict):
        for pair in value.items():
            yield from texts(pair, seen)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from texts(part, seen)
    else:
        slots = [
            getattr(value, s) for s in getattr(type(value), "__slots__", ()) if hasattr(value, s)
        ]
        yield from texts(slots, seen)
        yield from texts(vars(value) if hasattr(value, "__dict__") else {}, seen)


def addresses(count: int) -> list[str]:
    chance = random.Random(7)
    return [f"{chance.getrandbits(46) | 0x400000000000:012x}" for _ in range(count)]


@pytest.mark.parametrize("network", FOREIGN)
def test_the_same_foreign_frame_over_rotating_addresses_is_never_linked(
    network: str, caplog: pytest.LogCaptureFixture
) -> None:
    desk, heard_from = tracking_resolver(), addresses(500)
    ad = bytes.fromhex(FOREIGN[network])
    with caplog.at_level(logging.DEBUG):
        for number, address in enumerate(heard_from):
            at = AT + timedelta(seconds=number)
            assert desk.resolve(Advert(address, ad, -60, at, float(number), True)) is None

    state = "\n".join(texts(desk, set()))
    assert not [a for a in heard_from if a in state]
    assert ad.hex()[-24:] not in state
    assert "7f21348d05197cc6" not in state
    assert desk.counts.totals == {f"anonymous_{network}": 500}
    assert caplog.text == ""


def test_an_anonymous_frame_is_not_linked_even_from_an_enrolled_address() -> None:
    desk = tracking_resolver()

    heard = desk.resolve(Advert("c0ffee000001", bytes.fromhex(SMARTTAG), -60, AT, 1.0))

    assert heard is None
    assert desk.counts.totals == {"anonymous_smarttag": 1}


def test_unknown_addresses_are_forgotten_and_no_reading_or_count_holds_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk, heard_from = tracking_resolver(), addresses(MOST_ADDRESSES + 500)
    with caplog.at_level(logging.DEBUG):
        for address in heard_from:
            assert desk.resolve(Advert(address, b"\x02\x01\x06", -60, AT, 1.0, True)) is None

    state = set(texts(desk, set()))
    held = [a for a in heard_from if a in state]
    assert len(held) <= MOST_ADDRESSES
    assert heard_from[0] not in state
    assert not set(texts(desk.counts, set())) & set(heard_from)
    assert caplog.text == ""


def test_without_a_key_that_could_explain_them_no_unknown_address_is_held_at_all() -> None:
    desk = Resolver(
        Enrolment.parse({"tags": [{"tag_id": "t", "identities": ["mac:c0ffee000001"]}]})
    )
    heard_from = addresses(200)
    for address in heard_from:
        desk.resolve(Advert(address, b"\x02\x01\x06", -60, AT, 1.0, True))

    assert not set(texts(desk, set())) & set(heard_from)


def test_keys_never_show_in_what_is_printed() -> None:
    enrolment = Enrolment.parse({"tags": [{"tag_id": "t1", "identities": ["key:a"]}]}, {"t1": IRK})

    assert enrolment.tags[0].keys.irk is not None
    assert IRK["irk"] not in repr(enrolment)
    assert repr(enrolment.tags[0].keys.irk) not in repr(enrolment)


@pytest.mark.parametrize("package", [tagtrail_agent.decoding, tagtrail_agent.identity])
def test_decoding_and_identity_can_neither_write_nor_log(package: object) -> None:
    forbidden = {"logging", "pathlib", "os", "io", "sqlite3", "socket", "tempfile", "sys", "shelve"}
    files = sorted(Path(str(getattr(package, "__file__", ""))).parent.glob("*.py"))
    for file in files:
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            named = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {n.partition(".")[0] for n in named} & forbidden, file.name
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("open", "print"), file.name
    assert len(files) >= 5
