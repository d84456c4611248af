"""The list of tags and the key file, and the spelling of identities."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagtrail_agent.identity import Enrolment, TagListError, nfc_identity, normal_identity
from tagtrail_agent.identity.limits import LIMITS
from tagtrail_agent.identity.spelling import uri_identity
from tagtrail_ingest.adapters import identities as at_server
from tagtrail_inventory.core import identities as at_inventory

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = {"key": "00" * 16, "clock_s": 5, "clock_at": "2026-11-24T12:00:00Z"}


def parse(keys: dict[str, Any] | None = None, **members: Any) -> Enrolment:
    tag = {"tag_id": "t1", "identities": ["MAC:58:B1:29:44:94:D3"], **members}
    return Enrolment.parse({"tags": [tag]}, {"t1": keys} if keys is not None else None)


def test_a_tag_of_the_servers_list_is_taken_with_what_the_filter_needs() -> None:
    tag = parse(model="xiaomi-tag", mode="transit", interval_s=2, label="x", retired=False).tags[0]

    assert tag.identities == ("mac:58b1294494d3",)
    assert (tag.name, tag.model, tag.mode, tag.interval_s) == (
        "mac:58b1294494d3", "xiaomi-tag", "transit", 2.0,
    )  # fmt: skip
    assert tag.keys.irk is None


def test_keys_are_read_from_their_own_file() -> None:
    keys = parse({"mibeacon": "aa" * 12, "bthome": "bb" * 16, "eddystone": KEY}).tags[0].keys

    assert keys.mibeacon == b"\xaa" * 12
    assert keys.bthome == b"\xbb" * 16
    assert keys.eddystone is not None
    assert keys.eddystone.exponent == 10
    assert keys.eddystone.clock_at == datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"irk": "aa" * 15}, "must be 32 hex digits"),
        ({"mibeacon": "zz" * 16}, "must be 32 or 24 hex digits"),
        ({"bthome": 7}, "must be 32 hex digits"),
        ({"eddystone": {**KEY, "exponent": 16}}, "exponent is 0 to 15"),
        ({"eddystone": {**KEY, "clock_s": -1}}, "clock_s is the tag's clock"),
        ({"eddystone": {**KEY, "clock_at": "2026-11-24T12:00:00"}}, "clock_at is a time"),
        ({"eddystone": "00" * 16}, "must be an object"),
        ({"eddystone": {"clock_s": 1}}, "must be 32 hex digits"),
        ({"fmdn": KEY}, "must be 64 hex digits"),
        ({"bindkey": "aa" * 16}, "unknown bindkey"),
    ],
)
def test_a_key_that_cannot_be_read_is_named_but_not_shown(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(TagListError, match=re.escape(words)) as caught:
        parse(keys)

    assert "t1" in str(caught.value)
    assert "aaaa" not in str(caught.value)


def test_one_bad_tag_does_not_make_the_gateway_deaf() -> None:
    good = {"tag_id": "t2", "identities": ["mac:c0ffee000001"]}
    for bad in ({"tag_id": "t1", "identities": ["nonsense"]}, {"tag_id": "t1"}, "t1", {
        "tag_id": "t1", "identities": []
    }):  # fmt: skip
        enrolment = Enrolment.parse({"tags": [bad, good]})

        assert [t.tag_id for t in enrolment.tags] == ["t2"]
        assert len(enrolment.faults) == 1


def test_an_identity_claimed_twice_is_reported_without_it() -> None:
    tags = [{"tag_id": t, "identities": ["mac:c0ffee000001"]} for t in ("t1", "t2")]
    faults = Enrolment.parse({"tags": tags}).faults

    assert len(faults) == 1
    assert "'t1' and 't2'" in faults[0]
    assert "c0ffee" not in faults[0]


@pytest.mark.parametrize("document", [{"tags": "t1"}, {"ranges": ["epc"]}, {"ranges": ["epc:*"]}])
def test_a_document_that_is_none_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(TagListError):
        Enrolment.parse(document)


KINDS = ("mac", "epc", "tid", "irk", "ibeacon", "eddystone", "nfc", "key")

written = st.one_of(
    st.sampled_from([*KINDS, "MAC", "x"])
    .flatmap(lambda k: st.from_regex(rf"{k}:[0-9a-fA-F:-]{{1,40}}", fullmatch=True)),
    st.from_regex(r"([0-9a-fA-F]{2}[:-]?){6}", fullmatch=True),
    st.text(max_size=30),
)  # fmt: skip


@given(identity=written)
@example("mac:58:b1:29:44:94:d3")
@example("ibeacon:F7826DA6-4FA2-4E98-8024-BC5B71E0893E:7:42")
@example("eddystone:00010203040506070809:000102030405")
@settings(max_examples=200, deadline=None)  # tests/inventory/test_identities.py looks closer
def test_the_agent_spells_identities_as_the_server_does(identity: str) -> None:
    ours = normal_identity(identity)

    if ours is not None:
        assert at_server.normal_identity(identity) == ours
        if ours.partition(":")[0] in KINDS:
            assert at_inventory.normal_identity(ours) == ours


def test_nfc_labels_are_named_by_their_chip_or_the_page_on_them() -> None:
    assert nfc_identity(bytes.fromhex("04a2b3c4d5e680")) == "nfc:04a2b3c4d5e680"
    assert nfc_identity("04 A2 B3 C4 D5 E6 80") == "nfc:04a2b3c4d5e680"
    assert nfc_identity("04a2") is None
    assert uri_identity("HTTPS://Shop.Example/T/7/?tt=1#x") == "nfc:shop.example/T/7"
    assert uri_identity("https://found.apple.com/airtag?pid=5500&b=00") is None
    assert uri_identity("https://shop.example/") is None
    assert uri_identity("http://[broken") is None


def test_the_limits_are_those_of_the_wire_format() -> None:
    page = (REPOSITORY / "docs" / "wire-format.md").read_text()
    rows = re.findall(r"\| `(\w+)` \| number (-?[\d.,]+) to (-?[\d.,]+) \|", page)
    rows += re.findall(r"\| `(\w+)` \| integer (-?[\d.,]+) to (-?[\d.,]+) \|", page)
    stated = {n: (float(lo.replace(",", "")), float(hi.replace(",", ""))) for n, lo, hi in rows}

    for name, limits in LIMITS.items():
        assert stated[name] == limits, name
