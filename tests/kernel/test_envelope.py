"""The envelope: canonical bytes, their hash, their limit, and what survives a round trip."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagtrail_kernel.clock import uuid7
from tagtrail_kernel.envelope import (
    MAX_BODY_BYTES,
    Envelope,
    Recorded,
    leaf_hash,
    open_body,
    seal,
    seal_all,
)
from tagtrail_kernel.errors import RejectedError, TooLargeError, UnknownEventTypeError
from tagtrail_kernel.events.alerts import AlertAcknowledged
from tagtrail_kernel.events.gateways import GatewayReported
from tagtrail_kernel.events.places import TagPositioned
from tagtrail_kernel.events.registrations import SiteRegistered, TagBound
from tagtrail_kernel.events.registry import Event, Family
from tagtrail_kernel.events.sightings import TagSighted
from tagtrail_kernel.events.stock import CratePacked, Line

AT = datetime(2026, 3, 2, 8, 15, 30, 125000, tzinfo=UTC)
ID = UUID("019cad9d-dd6d-7000-8000-000000000001")


def envelope(data: Event, **members: Any) -> Envelope:
    defaults: dict[str, Any] = {"id": ID, "subject": "s", "source": "test", "occurred_at": AT}
    return Envelope(**(defaults | members), data=data)


def padded(size: int) -> Envelope:
    """Return a fact whose body has exactly so many bytes."""
    empty = len(
        seal(envelope(GatewayReported(gateway_id="g", kind="status", values={"pad": ""}))).body
    )
    values = {"pad": "x" * (size - empty)}
    return envelope(GatewayReported(gateway_id="g", kind="status", values=values))


def test_the_bytes_are_one_compact_json_object_in_a_fixed_order() -> None:
    sealed = seal(envelope(TagBound(tag_id="t", asset_id="a"), correlation_id="c", causation_id=ID))

    assert sealed.body == (
        b'{"id":"019cad9d-dd6d-7000-8000-000000000001","type":"tag.bound","version":1,'
        b'"subject":"s","source":"test","occurred_at":"2026-03-02T08:15:30.125000Z",'
        b'"time_quality":"stated","correlation_id":"c",'
        b'"causation_id":"019cad9d-dd6d-7000-8000-000000000001",'
        b'"data":{"tag_id":"t","asset_id":"a"}}'
    )


def test_the_same_fact_gives_the_same_bytes_however_it_was_made() -> None:
    one = envelope(
        CratePacked(asset_id="c", lines=(Line(sku="a", quantity=1), Line(sku="b", quantity=2)))
    )
    two = open_body(seal(one).body)

    assert two is not one
    assert seal(one) == seal(two)


def test_members_without_a_value_are_left_out() -> None:
    body = seal(envelope(TagSighted(tag_id="t", gateway_id="g"))).body

    assert b"null" not in body
    assert b"correlation_id" not in body


def test_the_leaf_is_that_of_rfc_6962() -> None:
    sealed = seal(envelope(TagBound(tag_id="t", asset_id="a")))

    assert sealed.leaf == hashlib.sha256(b"\x00" + sealed.body).digest()
    assert (
        leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    )


def test_a_sealed_fact_says_what_it_is_without_being_decoded() -> None:
    sealed = seal(envelope(TagSighted(tag_id="t", gateway_id="g"), subject="t"))

    assert (sealed.id, sealed.subject, sealed.type) == (ID, "t", "tag.sighted")
    assert sealed.family is Family.RADIO


def test_a_body_of_65535_bytes_is_accepted() -> None:
    assert len(seal(padded(MAX_BODY_BYTES)).body) == 65_535


def test_a_body_of_65536_bytes_is_too_large() -> None:
    with pytest.raises(TooLargeError, match="65535 bytes, this one has 65536") as caught:
        seal(padded(MAX_BODY_BYTES + 1))

    assert caught.value.context == {"bytes": 65_536}


def test_the_limit_counts_bytes_and_not_characters() -> None:
    with pytest.raises(TooLargeError):
        seal(envelope(GatewayReported(gateway_id="g", kind="status", values={"pad": "ä" * 33_000})))


def test_unknown_members_are_ignored_in_the_envelope_and_in_the_data() -> None:
    body = seal(envelope(TagBound(tag_id="t", asset_id="a"))).body
    newer = body.replace(b'"type":', b'"trust":{"level":[1,2]},"type":').replace(
        b'"asset_id":', b'"glue":"strong","asset_id":'
    )

    assert newer.count(b"trust") == newer.count(b"glue") == 1
    assert open_body(newer) == open_body(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"id":"x"}',
        seal(envelope(TagBound(tag_id="t", asset_id="a"))).body[:-1],
        seal(envelope(TagBound(tag_id="t", asset_id="a"))).body.replace(b'"s"', b'""', 1),
        seal(envelope(TagBound(tag_id="t", asset_id="a"))).body.replace(b"125000Z", b"125000"),
        seal(envelope(TagBound(tag_id="t", asset_id="a"))).body.replace(b"stated", b"guessed"),
    ],
)
def test_bytes_that_are_not_an_envelope_are_rejected(body: bytes) -> None:
    with pytest.raises(RejectedError):
        open_body(body)


def test_an_unknown_type_is_refused_when_it_is_decoded() -> None:
    body = seal(envelope(TagBound(tag_id="t", asset_id="a"))).body.replace(
        b"tag.bound", b"tag.eaten"
    )

    with pytest.raises(UnknownEventTypeError):
        open_body(body)


def test_a_business_fact_that_readers_could_not_decode_is_refused_before_it_is_stored() -> None:
    with pytest.raises(RejectedError, match=r"tag\.positioned v1: .*x_m"):
        seal(envelope(TagPositioned(tag_id="t", site_id="s", x_m=math.nan, y_m=0.0)))


def test_a_business_fact_outside_its_bounds_is_refused_before_it_is_stored() -> None:
    with pytest.raises(RejectedError, match="quantity"):
        seal(envelope(CratePacked(asset_id="c", lines=(Line(sku="a", quantity=0),))))


def test_an_envelope_outside_its_bounds_is_refused_before_it_is_stored() -> None:
    with pytest.raises(RejectedError, match="subject"):
        seal(envelope(TagBound(tag_id="t", asset_id="a"), subject=""))


def test_text_with_nul_is_refused_because_no_table_could_hold_it() -> None:
    with pytest.raises(RejectedError, match=r"U\+0000"):
        seal(envelope(SiteRegistered(site_id="s", name="Hall\x00B")))


@pytest.mark.parametrize("note", ["\\u0000", "\\\\u0000", "u0000", "\x01"])
def test_text_that_only_looks_like_nul_is_accepted(note: str) -> None:
    stored = open_body(seal(envelope(AlertAcknowledged(alert_id="a", note=note))).body)

    assert stored.data == AlertAcknowledged(alert_id="a", note=note)


@pytest.mark.parametrize("note", ["\\\x00", "\\\\\x00", "\x00\\u0000"])
def test_nul_is_found_behind_backslashes(note: str) -> None:
    with pytest.raises(RejectedError, match=r"U\+0000"):
        seal(envelope(AlertAcknowledged(alert_id="a", note=note)))


def test_several_facts_are_sealed_in_their_order() -> None:
    facts = [envelope(TagBound(tag_id=f"t{i}", asset_id="a"), subject=f"t{i}") for i in range(3)]

    assert [s.subject for s in seal_all(facts)] == ["t0", "t1", "t2"]


def test_a_recorded_fact_is_decoded_once() -> None:
    sealed = seal(envelope(TagBound(tag_id="t", asset_id="a")))
    recorded = Recorded(7, AT, sealed.id, sealed.subject, sealed.type, sealed.body)

    assert recorded.envelope is recorded.envelope
    assert recorded.data == TagBound(tag_id="t", asset_id="a")
    assert recorded.family is Family.REGISTRY
    assert repr(recorded) == f"<7 tag.bound {ID}>"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ids = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=40
)
times = st.datetimes(
    min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29),  # noqa: DTZ001 - the strategy adds the zone
    timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))),
)  # fmt: skip
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
sightings = st.builds(
    TagSighted,
    tag_id=ids,
    gateway_id=ids,
    rssi_dbm=st.none() | st.floats(-150, 30),
    tag_time_at=st.none() | times,
    gateway_received_at=st.none() | times,
    sequence=st.none() | st.integers(-(2**63), 2**63 - 1),
    extra=st.none() | st.dictionaries(texts, values, max_size=4),
    motion=st.none() | st.booleans(),
)
envelopes = st.builds(
    Envelope,
    id=st.builds(uuid7, st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1)),
    subject=ids,
    source=ids,
    occurred_at=times,
    data=sightings,
    time_quality=st.sampled_from(
        ["tag", "gateway_receive", "gateway_send", "server_receive", "stated"]
    ),
    correlation_id=st.none() | texts,
    causation_id=st.none() | st.uuids(),
)


@settings(max_examples=100, deadline=None)
@given(fact=envelopes)
def test_what_is_sealed_is_read_back_equal_and_sealed_again_to_the_same_bytes(
    fact: Envelope,
) -> None:
    sealed = seal(fact)

    opened = open_body(sealed.body)
    assert opened == fact
    assert seal(opened) == sealed
    assert msgspec.json.decode(sealed.body)["type"] == "tag.sighted"
