"""Where a gateway heard nothing, its level was below what it can hear; how far, the rest tells."""

from __future__ import annotations

import numpy as np

from tagtrail_locate.core.censored import expected
from tagtrail_locate.core.levels import excess_db

LIMIT_DBM = -97.0


def _gateway() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return levels, regressors and borders of 60 places up to 40 m away: exponent 2.6."""
    chance = np.random.default_rng(3)
    away_m = np.linspace(2.0, 40.0, 60)
    passed = np.minimum(np.floor(away_m / 12.0), 3.0)
    decades = -10.0 * np.log10(away_m)
    level = -57.0 + 2.6 * decades - 4.0 * passed + chance.normal(0.0, 2.0, 60)
    return level, decades, passed


def test_the_levels_of_silent_places_follow_the_law_of_those_that_were_heard() -> None:
    level, decades, passed = _gateway()
    silent = level < LIMIT_DBM

    found = expected(np.where(silent, LIMIT_DBM, level), silent, decades, passed, 4.0)

    assert 10 < np.count_nonzero(silent) < 50
    assert np.all(found[silent] <= LIMIT_DBM)
    assert np.array_equal(found[~silent], level[~silent])
    slope = np.polyfit(decades, found, 1)[0]
    assert abs(slope / np.polyfit(decades, level, 1)[0] - 1.0) < 0.15
    assert np.polyfit(decades, np.where(silent, LIMIT_DBM, level), 1)[0] < 0.8 * slope


def test_without_silence_nothing_is_changed() -> None:
    level, decades, passed = _gateway()

    found = expected(level, np.zeros(60, dtype=np.bool_), decades, passed, 4.0)

    assert np.array_equal(found, level)


def test_the_mean_of_a_weak_link_is_corrected_the_more_the_fewer_of_its_adverts_are_heard() -> None:
    chance = np.random.default_rng(5)
    for mean_dbm in (-93.0, -96.0, -98.0):
        sent = chance.normal(mean_dbm, 3.0, 20_000)
        heard = sent[sent > -96.0]

        found = heard.mean() - excess_db(float(heard.mean()), len(heard) / len(sent))

        assert abs(found - mean_dbm) < 0.4


def test_a_strong_link_that_loses_adverts_is_not_taken_for_a_weak_one() -> None:
    assert excess_db(-87.0, 0.5) == 0.0
    assert 0.0 < excess_db(-90.0, 0.5) < excess_db(-93.0, 0.5)
