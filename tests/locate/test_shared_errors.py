from __future__ import annotations

import numpy as np
import pytest

from tagtrail_locate.core.shared_errors import faded, worth


def worth_of(counts: list[float], shared: float) -> float:
    """Return what readings of one mast are worth together."""
    told = np.zeros((1, 1), dtype=np.float32)
    mast = np.zeros((1, len(counts)), dtype=np.intp)
    share = np.array([shared], dtype=np.float32)
    return float(worth(told, share, mast, np.array([counts], dtype=np.float32)).sum())


@pytest.mark.parametrize("shared", [0.0, 0.3, 0.8])
def test_readings_that_share_an_error_are_worth_less_than_as_many(shared: float) -> None:
    for count in (1, 2, 10, 40):
        expected = count / (1.0 + shared * (count - 1))
        assert worth_of([1.0] * count, shared) == pytest.approx(expected, rel=1e-4)


def test_a_mean_is_worth_what_its_readings_are() -> None:
    assert worth_of([6.0], 0.4) == pytest.approx(worth_of([1.0] * 6, 0.4), rel=1e-4)
    assert worth_of([2.0, 3.0], 0.4) == pytest.approx(worth_of([1.0] * 5, 0.4), rel=1e-4)
    assert worth_of([0.0], 0.4) == 0.0


def test_another_mast_has_another_error() -> None:
    told, share = np.zeros((1, 2), dtype=np.float32), np.array([0.5], dtype=np.float32)
    weight = worth(told, share, np.array([[0, 1, 0]]), np.ones((1, 3), dtype=np.float32))

    assert weight[0, 0] == weight[0, 1] == 1.0
    assert weight[0, 2] < 0.5


def test_what_was_told_fades_sooner_for_a_moving_tag() -> None:
    told, still = np.full((2, 1), 0.8, dtype=np.float32), np.array([0.0, 1.0], dtype=np.float32)
    moving, resting = faded(told, still, np.array([4.0, 4.0]), 2.0, 120.0)[:, 0]

    assert moving == pytest.approx(0.8 / 3.0, rel=1e-5)
    assert resting > 0.77
