"""The same log gives the same bytes on other processors, in other batches, after restarts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support.locate_log import digest, noisy_log

from tagtrail_kernel.envelope import Recorded
from tagtrail_locate.core.engine import Engine
from tagtrail_locate.core.state import pack, unpack

ROOT = Path(__file__).parents[2]


def _dispatched() -> list[str]:
    """Return the instruction sets that numpy uses here and can be told not to."""
    core = np._core._multiarray_umath  # type: ignore[attr-defined]
    return [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]


@pytest.fixture(scope="module")
def log() -> list[Recorded]:
    return noisy_log()


def test_a_processor_without_vector_units_gives_the_same_bytes(log: list[Recorded]) -> None:
    features = _dispatched()
    assert features
    plain = {"NPY_DISABLE_CPU_FEATURES": " ".join(features), "OPENBLAS_CORETYPE": "Nehalem"}

    run = subprocess.run(
        [sys.executable, "-m", "tests.support.locate_log"],
        env=os.environ | plain, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip

    assert run.stdout == digest(log)


@pytest.mark.parametrize("batch", [1, 7, 250, 100_000])
def test_a_noisy_hall_in_any_batches_gives_the_same_bytes(log: list[Recorded], batch: int) -> None:
    assert digest(log, batch=batch) == digest(log)


@pytest.mark.parametrize("lag_s", [1, 3, 10])
def test_a_lag_changes_nothing_about_that(lag_s: int) -> None:
    log = noisy_log(seconds=30.0, lag_s=lag_s)

    assert digest(log, batch=3) == digest(log)


def test_a_restart_in_the_middle_of_a_noisy_hall_shows_nowhere(log: list[Recorded]) -> None:
    whole, parts = Engine(), Engine()
    whole.apply(log)

    for start in range(0, len(log), 701):
        parts = Engine(unpack(pack(parts.state)))
        parts.apply(log[start : start + 701])

    assert pack(parts.state) == pack(whole.state)
