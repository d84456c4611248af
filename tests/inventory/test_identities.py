"""Registering spells identities as ingest and the agent do, so that what was enrolled is heard."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagtrail_agent.identity import normal_identity as at_agent
from tagtrail_ingest.adapters.identities import normal_identity as at_ingest
from tagtrail_inventory.core.identities import normal_identity
from tagtrail_kernel.errors import RejectedError

KINDS = ("mac", "epc", "tid", "irk", "ibeacon", "eddystone", "nfc", "key", "a0000000000")
WRITTEN = st.one_of(
    st.sampled_from([*KINDS, "MAC", "x"])
    .flatmap(lambda k: st.from_regex(rf"{k}:[0-9a-fA-F:. -]{{1,40}}", fullmatch=True)),
    st.from_regex(r"([0-9a-fA-F]{1,2}[:.-]?){6,12}", fullmatch=True),
    st.text(max_size=30),
).map(str.strip)  # fmt: skip
"""Identities, nearly identities, and anything."""


def at_inventory(written: str) -> str | None:
    """Return what a registration would store; None if it is refused."""
    try:
        return normal_identity(written)
    except RejectedError:
        return None


@given(written=WRITTEN)
@example("A0000000000:0")
@example("a0:00:00-00:00:00")
@example("58b1.2944.94d3")
@example("mac: 58b1294494d3")
@example("mac :58b1294494d3")
@example("epc:0x3014")
@example("tid:0XE280")
@example("epc: 3014")
@example("irk:0x" + "0f" * 15)
@settings(max_examples=1000, deadline=None)
def test_a_registration_spells_identities_as_the_agent_and_ingest_do(written: str) -> None:
    stored = at_inventory(written)

    assert stored == at_agent(written) == at_ingest(written)
    if stored is not None:
        assert at_ingest(stored) == stored


@pytest.mark.parametrize("written", ["A0:00:00:00:00:00", "a0-00-00-00-00-00", " A00000000000 "])
def test_a_bare_address_is_read_in_its_usual_forms(written: str) -> None:
    assert at_inventory(written) == "mac:a00000000000"


@pytest.mark.parametrize("written", ["A0.00.00.00.00.00", "a000.0000.0000", "A0 00 00 00 00 00"])
def test_an_address_in_another_form_is_refused_with_the_form_that_is_expected(written: str) -> None:
    with pytest.raises(RejectedError, match="mac:58b1294494d3"):
        normal_identity(written)


def test_separators_elsewhere_make_no_address() -> None:
    assert at_inventory("A0000000000:0") == "a0000000000:0"
