"""The hashes of the log against published values and the definition of RFC 6962."""

from __future__ import annotations

import asyncio
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagtrail_kernel.adapters.memory_log import MemoryLog
from tagtrail_kernel.chaining import chain_value, merkle_root
from tagtrail_kernel.clock import SystemClock
from tagtrail_kernel.envelope import leaf_hash
from tagtrail_kernel.log import NO_CHAIN
from tagtrail_kernel.testing.log_contract import chain_of, pages, sighted, sightings

# Inputs and roots of Certificate Transparency's own reference tests.
INPUTS = (
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


@pytest.mark.parametrize("count", range(1, 9))
def test_the_root_is_the_published_one(count: int) -> None:
    leaves = [leaf_hash(bytes.fromhex(text)) for text in INPUTS[:count]]

    assert merkle_root(leaves).hex() == ROOTS[count - 1]


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70))
def test_pairing_by_levels_gives_the_recursive_tree(leaves: list[bytes]) -> None:
    def tree(part: list[bytes]) -> bytes:
        if len(part) == 1:
            return part[0]
        split = 1 << (len(part) - 1).bit_length() - 1
        return sha256(b"\x01" + tree(part[:split]) + tree(part[split:])).digest()

    assert merkle_root(leaves) == tree(leaves)


def test_a_batch_without_leaves_has_no_root() -> None:
    with pytest.raises(ValueError, match="at least one"):
        merkle_root([])


def test_the_chain_covers_every_part_of_a_batch() -> None:
    root = bytes(range(32))
    values = {
        chain_value(NO_CHAIN, 1, 2, root),
        chain_value(root, 1, 2, root),
        chain_value(NO_CHAIN, 2, 2, root),
        chain_value(NO_CHAIN, 1, 3, root),
        chain_value(NO_CHAIN, 1, 2, NO_CHAIN),
    }

    assert len(values) == 5


@given(st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=6), min_size=1, max_size=12))
def test_any_mix_of_new_and_repeated_facts_keeps_first_positions(calls: list[list[int]]) -> None:
    """A plain list of first occurrences is the model."""
    model: list[int] = []
    batches: list[list[int]] = []

    async def run() -> None:
        log = MemoryLog(SystemClock())
        for call in calls:
            before = list(model)
            appended = await log.append(1, [sighted(n) for n in call], writer="w")
            model.extend(n for n in dict.fromkeys(call) if n not in before)
            batches.append(model[len(before) :])
            assert list(appended.positions) == [model.index(n) + 1 for n in call]
            assert appended.duplicates == {
                i for i, n in enumerate(call) if n in before or n in call[:i]
            }
            assert appended.last == len(model)
        found = await pages(log)
        facts = sightings(1, 12)
        assert [e.id for page in found for e in page.events] == [facts[n - 1].id for n in model]
        assert (await log.head(1)).chain == chain_of(
            [[facts[n - 1] for n in batch] for batch in batches if batch]
        )

    asyncio.run(run())
