"""The rules document: strict, versioned, signed; errors name the member."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tagtrail_agent.filtering import (
    RulesDocumentError,
    RulesError,
    RulesSignatureError,
    Traits,
    default_rules,
    parse_rules,
    verified_rules,
)

HEAD: dict[str, Any] = {"kind": "tagtrail.edge-rules", "version": 1, "revision": 3}


def document(**members: Any) -> bytes:
    return json.dumps({**HEAD, **members}).encode()


def test_a_document_may_say_nothing_but_its_version() -> None:
    rules = parse_rules(document())

    assert rules.revision == 3
    assert rules.overrides == default_rules().overrides


def test_a_later_profile_wins_member_by_member() -> None:
    rules = parse_rules(
        document(
            base={"heartbeat_s": 40},
            profiles=[
                {"match": {"mode": "storage"}, "set": {"heartbeat_s": 600, "outlier_db": 12}},
                {"match": {"model": ["ruuvi*"], "gateway": "dock-?"}, "set": {"heartbeat_s": 30}},
            ],
        )
    )

    at_dock = rules.profile_for("mac:1", "dock-1", Traits("ruuvi-df5", "storage"))
    elsewhere = rules.profile_for("mac:1", "hall", Traits("ruuvi-df5", "storage"))
    other = rules.profile_for("mac:1", None, Traits())
    assert (at_dock.heartbeat_s, at_dock.outlier_db) == (30, 12)
    assert elsewhere.heartbeat_s == 600
    assert other.heartbeat_s == 40


@pytest.mark.parametrize(
    ("members", "member", "words"),
    [
        ({"version": 2}, "version", "update the agent"),
        ({"version": True}, "version", "update the agent"),
        ({"kind": "other"}, "kind", "tagtrail.edge-rules"),
        ({"revision": 0}, "revision", "whole number from 1"),
        ({"colour": "red"}, "colour", "is unknown"),
        ({"base": []}, "base", "must be an object"),
        ({"base": {"heartbeats": 3}}, "base.heartbeats", "is unknown"),
        ({"base": {"heartbeat_s": 0}}, "base.heartbeat_s", "number from 1"),
        ({"base": {"heartbeat_s": True}}, "base.heartbeat_s", "number"),
        ({"base": {"heartbeat_s": "20"}}, "base.heartbeat_s", "number"),
        ({"base": {"heartbeat_s": 1.5}}, "base.first_spacing_s", "not be more than heartbeat_s"),
        ({"base": {"silence_s": 90}}, "base.lost_s", "more than silence_s"),
        ({"base": {"change_readings": 21}}, "base.change_readings", "from 1 to 20"),
        ({"base": {"pass_on": {"battery_pct": -1}}}, "base.pass_on.battery_pct", "number"),
        ({"base": {"pass_on": ["motion"]}}, "base.pass_on", "object"),
        ({"base": {"pass_always": [3]}}, "base.pass_always[0]", "text"),
        ({"profiles": {}}, "profiles", "must be a list"),
        ({"profiles": [{"set": {}}]}, "profiles[0].match", "is missing"),
        ({"profiles": [{"match": {}}]}, "profiles[0].set", "is missing"),
        ({"profiles": [{"match": {"name": "x"}, "set": {}}]}, "profiles[0].match.name", "unknown"),
        (
            {"profiles": [{"match": {}, "set": {}}, {"match": {}, "set": {"gate_dbm": 99}}]},
            "profiles[1].set.gate_dbm",
            "number from -150 to 30",
        ),
        ({"alarms": [{"kind": "silent"}]}, "alarms[0].id", "is missing"),
        ({"alarms": [{"id": "a", "kind": "loud"}]}, "alarms[0].kind", "one of silent, heard"),
        ({"alarms": [{"id": "a", "kind": "silent"}]}, "alarms[0].match", "is missing"),
        (
            {"alarms": [{"id": "a", "kind": "silent", "match": {}}]},
            "alarms[0].after_s",
            "is missing",
        ),
        (
            {"alarms": [{"id": "a", "kind": "silent", "match": {}, "between": ["1", "2"]}]},
            "alarms[0].between",
            "is unknown",
        ),
        (
            {"alarms": [{"id": "a", "kind": "heard", "match": {}, "between": ["24:00", "05:00"],
                         "timezone": "UTC"}]},
            "alarms[0].between[0]",
            "time of day",
        ),
        (
            {"alarms": [{"id": "a", "kind": "heard", "match": {}, "between": ["22:00", "05:00"]}]},
            "alarms[0].timezone",
            "is missing",
        ),
        (
            {"alarms": [{"id": "a", "kind": "heard", "match": {}, "timezone": "Mars/Base"}]},
            "alarms[0].timezone",
            "no time zone",
        ),
        (
            {"alarms": [{"id": "a", "kind": "heard", "match": {}}] * 2},
            "alarms[1].id",
            "used twice",
        ),
    ],
)  # fmt: skip
def test_a_wrong_document_is_refused_and_the_member_named(
    members: dict[str, Any], member: str, words: str
) -> None:
    with pytest.raises(RulesDocumentError, match=words) as refused:
        parse_rules(document(**members))

    assert refused.value.member == member
    assert str(refused.value).startswith(member)


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"nonsense", b"\xff\xfe", b"[" * 100_000, b'{"kind": NaN}', b" " * 300_000],
)
def test_what_is_no_document_is_refused(raw: bytes) -> None:
    with pytest.raises(RulesDocumentError):
        parse_rules(raw)


def test_a_member_that_stands_twice_is_refused() -> None:
    raw = document()[:-1] + b', "revision": 4}'

    with pytest.raises(RulesDocumentError, match="revision: stands twice"):
        parse_rules(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(["base", "profiles", "alarms", "revision", "version", "note"]), json_values)
def test_any_value_in_any_place_is_read_or_refused_by_name(member: str, value: Any) -> None:
    named = member
    try:
        parse_rules(document(**{member: value}))
    except RulesDocumentError as refused:
        named = refused.member

    assert named.startswith(member)


def test_rules_signed_by_the_trusted_key_are_taken() -> None:
    key = Ed25519PrivateKey.generate()
    raw = document()

    rules = verified_rules(raw, key.sign(raw), key.public_key().public_bytes_raw())
    assert rules.revision == 3


def test_one_changed_byte_is_noticed() -> None:
    key = Ed25519PrivateKey.generate()
    raw = document(revision=3)
    signature, trusted = key.sign(raw), key.public_key().public_bytes_raw()

    with pytest.raises(RulesSignatureError, match="not signed by the key"):
        verified_rules(raw.replace(b"3", b"4"), signature, trusted)


def test_the_signature_of_another_key_is_refused_before_the_document_is_read() -> None:
    other, key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    raw = b"not even JSON"

    with pytest.raises(RulesSignatureError):
        verified_rules(raw, other.sign(raw), key.public_key().public_bytes_raw())


def test_a_good_signature_does_not_excuse_a_bad_document() -> None:
    key = Ed25519PrivateKey.generate()
    raw = document(version=9)

    with pytest.raises(RulesDocumentError, match="update the agent"):
        verified_rules(raw, key.sign(raw), key.public_key().public_bytes_raw())


@pytest.mark.parametrize(("signature", "key"), [(b"", bytes(32)), (bytes(64), b"short")])
def test_a_signature_or_key_of_the_wrong_length_is_refused(signature: bytes, key: bytes) -> None:
    with pytest.raises(RulesError, match="must have"):
        verified_rules(document(), signature, key)
