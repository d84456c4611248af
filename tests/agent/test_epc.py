"""EPCs read and written as in GS1's examples and those of other programs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagtrail_agent.epc import Epc, EpcError, check_digit, from_key, parse_urn, read_epc

EXAMPLES = [
    ("3074257BF7194E4000001A85", "urn:epc:tag:sgtin-96:3.0614141.812345.6789",
     "(01)80614141123458(21)6789"),
    ("3674257BF6B7A659B2C2BF100000000000000000000000000000",
     "urn:epc:tag:sgtin-198:3.0614141.712345.32a%2Fb", "(01)70614141123451(21)32a/b"),
    ("36500001DB011169E5E5A70EC000000000000000000000000000",
     "urn:epc:tag:sgtin-198:2.00000950.01093.Serial", "(01)00000095010939(21)Serial"),
    ("3174257BF4499602D2000000", "urn:epc:tag:sscc-96:3.0614141.1234567890",
     "(00)106141412345678908"),
    ("31003932449F003039000000", "urn:epc:tag:sscc-96:0.061414123456.12345",
     "(00)106141412345623458"),
    ("3374257BF40C0E400000162E", "urn:epc:tag:grai-96:3.0614141.12345.5678",
     "(8003)006141411234525678"),
    ("3714257BF40C0E60C287118B266D1780000000000000",
     "urn:epc:tag:grai-170:0.0614141.12345.ABCD1234%2F", "(8003)00614141123452ABCD1234/"),
    ("3474257BF40000000000162E", "urn:epc:tag:giai-96:3.0614141.5678", "(8004)06141415678"),
    ("3814257BF58C1858D7C400000000000000000000000000000000",
     "urn:epc:tag:giai-202:0.0614141.1ABc%2FD", "(8004)06141411ABc/D"),
]  # fmt: skip
"""Bits, tag URI and element string: GS1's Tag Data Standard, epcpy, TagDataTranslation."""


@pytest.mark.parametrize(("digits", "uri", "elements"), EXAMPLES)
def test_an_epc_is_read_named_and_written_back(digits: str, uri: str, elements: str) -> None:
    epc = read_epc(digits)

    assert epc is not None
    assert epc.tag_uri == uri
    assert epc.element_string == elements
    assert epc.encode().hex().upper() == digits
    assert parse_urn(uri) == epc
    assert parse_urn(epc.urn, scheme=epc.scheme, filter_value=epc.filter) == epc
    assert read_epc(bytes.fromhex(digits)) == epc


def test_keys_lead_back_to_the_epc_and_their_check_digit_is_checked() -> None:
    assert from_key("80614141123458", 7, "6789", filter_value=3).encode().hex() == (
        "3074257bf7194e4000001a85"
    )
    assert from_key("106141412345678908", 7).urn == "urn:epc:id:sscc:0614141.1234567890"
    assert from_key("4006381333931", 7, "1").key == "04006381333931"
    with pytest.raises(EpcError, match="should be 8"):
        from_key("80614141123459", 7, "1")
    with pytest.raises(EpcError, match="neither"):
        from_key("12345", 7)


def test_check_digits_are_those_of_printed_codes() -> None:
    assert check_digit("400638133393") == "1"
    assert check_digit("10614141234567890") == "8"
    assert check_digit("7351353") == "7"


def test_a_long_serial_takes_the_long_coding() -> None:
    assert parse_urn("urn:epc:id:sgtin:0614141.112345.274877906943").scheme == "sgtin-96"
    assert parse_urn("urn:epc:id:sgtin:0614141.112345.274877906944").scheme == "sgtin-198"
    assert parse_urn("urn:epc:id:grai:0614141.12345.0400").scheme == "grai-170"


@pytest.mark.parametrize(
    "urn",
    [
        "urn:epc:id:sgln:0614141.12345.400",
        "urn:epc:id:sgtin:0614141.1123456.1",
        "urn:epc:id:sgtin:061414.1.1",
        "urn:epc:id:sgtin:0614141.112345",
        "urn:epc:tag:sgtin-96:8.0614141.112345.1",
        "urn:epc:tag:sgtin-96:x.0614141.112345.1",
        "urn:epc:id:sgtin:0614141.112345.café",
        "urn:epc:id:giai:0614141." + "1" * 40,
        "urn:epc:id:sscc:06141x1.1234567890",
        "nonsense",
        "",
    ],
)
def test_a_name_that_is_none_is_refused_with_a_reason(urn: str) -> None:
    with pytest.raises(EpcError):
        parse_urn(urn)


@pytest.mark.parametrize("digits", ["", "zz", "30", "7EDA9038051002710002C0AE", "30" + "FF" * 11])
def test_bits_of_another_scheme_or_out_of_range_are_no_epc(digits: str) -> None:
    assert read_epc(digits) is None


@given(
    head=st.sampled_from([0x30, 0x31, 0x33, 0x34, 0x36, 0x37, 0x38]), rest=st.binary(max_size=27)
)
@settings(max_examples=1500, deadline=None)
def test_any_bits_give_an_epc_or_none_and_what_is_read_can_be_written(
    head: int, rest: bytes
) -> None:
    epc = read_epc(bytes([head]) + rest)
    if epc is not None:
        again = read_epc(epc.encode())
        assert again == epc
        assert parse_urn(epc.tag_uri) == epc
        assert epc.element_string.startswith("(")


prefixes = st.integers(6, 12).flatmap(lambda n: st.from_regex(rf"[0-9]{{{n}}}", fullmatch=True))


@given(
    prefix=prefixes, serial=st.from_regex(r"[A-Za-z0-9/%!_-]{1,20}", fullmatch=True), data=st.data()
)
@settings(max_examples=200, deadline=None)
def test_every_sgtin_with_a_text_serial_survives_its_bits(
    prefix: str, serial: str, data: st.DataObject
) -> None:
    rest = 13 - len(prefix)
    reference = data.draw(st.from_regex(rf"[0-9]{{{rest}}}", fullmatch=True))
    epc = Epc("sgtin-198", 1, prefix, reference, serial)

    assert read_epc(epc.encode()) == epc
    assert parse_urn(epc.tag_uri) == epc
