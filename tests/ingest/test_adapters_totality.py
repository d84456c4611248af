"""Whatever arrives, an adapter answers: with readings, refusals, or that it cannot read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.gateway_samples import RECEIVED_AT, Sample, samples

from tagtrail_ingest.adapters import (
    ADAPTERS,
    DEFAULT_RULES,
    Adapter,
    Decoded,
    Message,
    Router,
    UnreadableError,
    event_id_of,
    to_event,
)
from tagtrail_kernel.envelope import Envelope, open_body, seal

TOPICS = (
    "espresense/devices/a/b", "espresense/rooms/r/x", "espresense/companion/a/attributes",
    "espresense/settings/a/config", "home/g/BTtoMQTT/AABBCCDDEEFF", "home/g/LWT",
    "home/g/trackersync", "ruuvi/AA:BB:CC:DD:EE:FF/AA:BB:CC:DD:EE:00", "ruuvi/x/gw_status",
    "tagtrail/v1/s/g/sightings", "tagtrail/v1/s/g/status", "x/events/rpc", "aa:bb:cc:dd:ee:ff",
    "owntracks/u/d", "up/aa:bb:cc:dd:ee:ff/scan", "room-assistant/entity/a/b/c", "", "/", "a",
)  # fmt: skip
FAST = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.sampled_from([10**30, -(10**18), 1e308, -0.0, float("nan"), float("inf"), "NaN", "1e999",
                     "\x00", "\ud800", "aa:bb:cc:dd:ee:ff", "9999-12-31T23:59:59-12:00",
                     "0001-01-01T00:00:00+14:00", 2**63, -(2**63), "0x", "77%"]),
)  # fmt: skip


def survives(adapter: Adapter, message: Message) -> Decoded | None:
    """Decode; what comes out must be storable. Only UnreadableError may come instead."""
    try:
        decoded = adapter.decode(message)
    except UnreadableError as error:
        if error.detail.startswith("adapter fault"):
            raise
        return None
    for reading in decoded.readings:
        fact = to_event(reading, "tag-1")
        body = seal(
            Envelope(
                id=event_id_of(reading),
                subject="tag-1",
                source=f"ingest/{adapter.name}",
                occurred_at=reading.occurred_at,
                time_quality=reading.time_quality,
                data=fact,
            )
        ).body
        assert open_body(body).data == msgspec.convert(msgspec.to_builtins(fact), type(fact))
        assert reading.identities or reading.tag_id
    for gateway_fact in decoded.gateway_facts:
        body = msgspec.json.encode(gateway_fact.event)
        assert msgspec.json.decode(body, type=type(gateway_fact.event)).gateway_id
        event_id_of(gateway_fact)
    assert all(r.index >= 0 for r in decoded.refused)
    return decoded


@pytest.fixture(scope="module")
def wire(shared_data: Path) -> list[Sample]:
    return samples(shared_data / "gateway-samples")


@pytest.mark.parametrize("name", sorted(ADAPTERS))
@given(payload=st.binary(max_size=200), topic=st.none() | st.sampled_from(TOPICS))
@FAST
def test_random_bytes_never_escape_an_adapter(name: str, payload: bytes, topic: str | None) -> None:
    survives(ADAPTERS[name], Message(payload=payload, received_at=RECEIVED_AT, topic=topic))


@given(data=st.data())
@settings(FAST, max_examples=800)
def test_mutated_samples_never_escape_an_adapter(wire: list[Sample], data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from(wire))
    mutated = data.draw(mutations(sample.message.payload))
    message = msgspec.structs.replace(
        sample.message, payload=mutated, retained=data.draw(st.booleans())
    )

    survives(sample.adapter, message)


@given(data=st.data())
@settings(FAST, max_examples=400)
def test_swapped_types_never_escape_an_adapter(wire: list[Sample], data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from([s for s in wire if s.message.payload[:1] in b"[{"]))
    tree = json.loads(sample.message.payload)
    for _ in range(data.draw(st.integers(1, 3))):
        tree = swap(tree, data)
    message = msgspec.structs.replace(sample.message, payload=json_bytes(tree))

    survives(sample.adapter, message)


HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**30, 2**63, -(2**63), 1e308, -1e300, 1e17, 253402300800, "", "x",
    "NaN", "1e99", "77%", "\x00", "a" * 600, "٣", [], {}, [1], {"a": 1}, "aa:bb:cc:dd:ee:ff",
    "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00",
)  # fmt: skip


def test_no_hostile_value_in_any_place_of_any_sample_escapes_an_adapter(wire: list[Sample]) -> None:
    tried = 0
    for sample in wire:
        if sample.message.payload[:1] not in (b"[", b"{"):
            continue
        tree = json.loads(sample.message.payload)
        for changed in (replaced(tree, path, v) for path in paths(tree) for v in HOSTILE):
            payload = json.dumps(changed).encode()
            survives(sample.adapter, msgspec.structs.replace(sample.message, payload=payload))
            tried += 1

    assert tried > 10_000


def paths(tree: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every node of a JSON tree, the root included."""
    yield ()
    children = tree.items() if isinstance(tree, dict) else ()
    for key, child in enumerate(tree) if isinstance(tree, list) else children:
        yield from ((key, *rest) for rest in paths(child))


def replaced(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of a JSON tree with one node replaced."""
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = replaced(tree[path[0]], path[1:], value)
    return copy


@given(data=st.data())
@FAST
def test_swapped_types_in_messagepack_never_escape(data: st.DataObject) -> None:
    frame = bytes.fromhex("00123b6a1a64cfaa0201061aff4c000215b5b182c7eab14988aa99b5c1517008d9")
    tree: Any = {"v": "1.5.0", "time": 12, "mac": "123B6A1A64CF", "devices": [frame, frame]}
    tree = swap(tree, data)
    payload = data.draw(mutations(msgspec.msgpack.encode(packable(tree))))
    message = Message(payload=payload, received_at=RECEIVED_AT, route="aprilbrother")

    survives(ADAPTERS["aprilbrother"], message)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"data":' + b"[" * 500 + b"]" * 500 + b"}",
        b"\x91" * 100_000,
        b"1" * 5000,
        b'{"rssi":' + b"9" * 4000 + b"}",
        b'{"rssi":1e999}',
        b'{"d":"\\ud800","id":"\\ud800"}',
        b"\xff\xfe",
        b"",
        b"null",
        b"\xbb\x01",
        b"\xbb\x02" + b"\xff" * 40,
        b"BB01zz",
    ],
    ids=lambda p: repr(p[:12]),
)
def test_hostile_payloads_never_escape_an_adapter(name: str, payload: bytes) -> None:
    for topic in (None, *TOPICS):
        survives(ADAPTERS[name], Message(payload=payload, received_at=RECEIVED_AT, topic=topic))


def test_a_fault_of_an_adapter_becomes_an_unreadable_message() -> None:
    def broken(_message: Message) -> Decoded:
        raise KeyError("rssi")

    with pytest.raises(UnreadableError, match="adapter fault: KeyError in broken"):
        Adapter("broken", broken).decode(Message(payload=b"", received_at=RECEIVED_AT))


@given(topic=st.text(max_size=30))
@FAST
def test_any_topic_finds_an_adapter_or_none(topic: str) -> None:
    match = Router().for_topic(topic)

    assert match is None or match.adapter.name in {rule.adapter for rule in DEFAULT_RULES}


def mutations(payload: bytes) -> st.SearchStrategy[bytes]:
    """Flip, cut, repeat or insert bytes."""
    length = len(payload)
    at = st.integers(0, max(length - 1, 0))

    def flip(places: list[tuple[int, int]]) -> bytes:
        changed = bytearray(payload)
        for place, value in places:
            if changed:
                changed[place] = value
        return bytes(changed)

    return st.one_of(
        st.lists(st.tuples(at, st.integers(0, 255)), min_size=1, max_size=5).map(flip),
        at.map(lambda n: payload[:n]),
        at.map(lambda n: payload[n:]),
        st.tuples(at, st.binary(max_size=8)).map(
            lambda x: payload[: x[0]] + x[1] + payload[x[0] :]
        ),
    )


def swap(tree: Any, data: st.DataObject) -> Any:
    """Replace one node somewhere in a JSON tree."""
    if isinstance(tree, dict) and tree and data.draw(st.booleans() | st.just(True)):
        key = data.draw(st.sampled_from(sorted(tree)))
        return {**tree, key: swap(tree[key], data)}
    if isinstance(tree, list) and tree and data.draw(st.booleans() | st.just(True)):
        index = data.draw(st.integers(0, len(tree) - 1))
        return [*tree[:index], swap(tree[index], data), *tree[index + 1 :]]
    return data.draw(scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(), scalars))


def json_bytes(tree: Any) -> bytes:
    """Encode even what JSON cannot hold, as a careless sender would."""
    plain: Callable[[Any], Any] = lambda b: b.hex()  # noqa: E731
    return json.dumps(tree, default=plain).encode("utf-8", "surrogatepass")


def packable(tree: Any) -> Any:
    """Cut down what MessagePack cannot hold."""
    if isinstance(tree, dict):
        return {k.encode("utf-8", "replace").decode(): packable(v) for k, v in tree.items()}
    if isinstance(tree, list):
        return [packable(v) for v in tree]
    if isinstance(tree, str):
        return tree.encode("utf-8", "replace").decode()
    if type(tree) is int and not -(2**63) <= tree < 2**64:
        return float(tree)
    return tree
