"""NDEF messages as labels hold them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tagtrail_agent.ndef import MOST_RECORDS, Record, read_ndef


def short(header: int, kind: bytes, payload: bytes) -> bytes:
    """Write a short record."""
    return bytes([header, len(kind), len(payload)]) + kind + payload


def test_an_address_is_put_together_with_its_prefix() -> None:
    assert read_ndef(short(0xD1, b"U", b"\x04shop.example/t/7")) == [
        Record("uri", "https://shop.example/t/7")
    ]
    assert read_ndef(short(0xD1, b"U", b"\x1eid.0614141")) == [
        Record("uri", "urn:epc:id:id.0614141")
    ]


def test_a_text_has_its_language_in_both_codings() -> None:
    utf8 = short(0xD1, b"T", b"\x02de" + "Käse".encode())
    utf16 = short(0xD1, b"T", b"\x82fr" + "é".encode("utf-16-be"))

    assert read_ndef(utf8) == [Record("text", "Käse", "de")]
    assert read_ndef(utf16) == [Record("text", "é", "fr")]
    assert read_ndef(short(0xD1, b"T", b"\x82fr" + "é".encode("utf-16")))[0].value == "é"


def test_several_records_keep_their_order_and_the_last_one_ends_the_message() -> None:
    message = (
        short(0x91, b"U", b"\x03a.example/x")
        + short(0x54, b"shop.example:crate", b"crate-7")
        + short(0x54, b"never:read", b"1")
    )

    assert read_ndef(message) == [
        Record("uri", "http://a.example/x"),
        Record("external", "crate-7", "shop.example:crate"),
    ]


def test_long_records_ids_and_chunks_are_understood() -> None:
    long = bytes([0xC1, 1]) + (300).to_bytes(4, "big") + b"U" + b"\x00" + b"x" * 299
    with_id = bytes([0xD9, 1, 3, 2]) + b"U" + b"id" + b"\x00ab"
    chunks = short(0xB1, b"U", b"\x03a.example/") + short(0x36, b"", b"b") + short(0x56, b"", b"c")

    assert len(read_ndef(long)[0].value) == 299
    assert read_ndef(with_id) == [Record("uri", "ab")]
    assert read_ndef(chunks) == [Record("uri", "http://a.example/bc")]


def test_the_wrapping_of_type_2_labels_is_taken_off() -> None:
    record = short(0xD1, b"U", b"\x03a.example/x")
    wrapped = b"\x01\x03\xa0\x0c\x34" + b"\x03" + bytes([len(record)]) + record + b"\xfe"

    assert read_ndef(wrapped) == [Record("uri", "http://a.example/x")]


def test_the_rest_is_kept_as_digits() -> None:
    assert read_ndef(short(0xD2, b"image/png", b"\x89P")) == [Record("other", "8950", "image/png")]
    assert read_ndef(short(0xD4, b"a.example:b", b"\xff\x00")) == [
        Record("external", "ff00", "a.example:b")
    ]


def test_a_record_that_is_cut_short_is_left_out() -> None:
    whole = short(0x91, b"U", b"\x03a.example/x") + short(0x51, b"U", b"\x03b.example/y")

    assert read_ndef(whole[:-1]) == [Record("uri", "http://a.example/x")]


@given(message=st.binary(max_size=200))
@settings(max_examples=1500, deadline=None)
def test_any_bytes_give_records_or_none(message: bytes) -> None:
    assert len(read_ndef(message)) <= MOST_RECORDS


@given(
    header=st.integers(0, 255),
    kind=st.sampled_from([b"U", b"T", b"Sp", b"a:b"]),
    payload=st.binary(max_size=60),
)
@settings(max_examples=500, deadline=None)
def test_any_payload_of_a_known_type_gives_text(header: int, kind: bytes, payload: bytes) -> None:
    for record in read_ndef(short(header | 0x10, kind, payload)):
        assert isinstance(record.value, str)
