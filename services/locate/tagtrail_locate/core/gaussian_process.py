"""Gaussian-process regression of levels around a log-distance path loss, for one gateway.

level(p) = offset - 10 n log10(d(p)) + pattern(direction of p) + shadow(p) + noise, with normal priors
on the offset and the exponent n (integrated out), a smooth pattern of the antenna and what it is
mounted on, a squared-exponential shadow and independent noise per survey point.
Few points, so plain Cholesky (Rasmussen and Williams 2006, chapters 2, 2.7 and 5.4.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

OFFSET_MEAN_DB: Final = -58.0
OFFSET_SD_DB: Final = 12.0
"""Level at 1 m: BLE tags send -12 to +4 dBm and lose about 40 to 60 dB over the first metre."""

EXPONENT_MEAN: Final = 2.0
EXPONENT_SD: Final = 0.6
"""Path loss exponent indoors; 0.9 to 2.3 were fitted per gateway in a measured office."""

NEAREST_M: Final = 0.5
"""Nearer than this the far-field law does not hold; the distance counts as this."""

PATTERN_RAD: Final = 1.0
"""Angle over which the pattern changes: small antennas on walls have few, broad lobes."""


class Shadowing(NamedTuple):
    """What a site's levels do around the path loss, the same for all its gateways.

    Attributes:
        length_m: Correlation length of the shadow, metres.
        shadow_db: Its standard deviation, dB.
        point_db: What the mean level of one point has of its own (small-scale fading), dB.
        pattern_db: Standard deviation of the pattern over the directions from the gateway, dB.
    """

    length_m: float
    shadow_db: float
    point_db: float
    pattern_db: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class LevelModel:
    """Levels of one gateway, learned at n points.

    Attributes:
        gateway_m: Position of the gateway, shape (3,), metres.
        points_m: Survey points, shape (n, 3), metres.
        shadowing: Shared by the gateways of the site.
        lower: Cholesky factor of the covariance of the observed means, shape (n, n).
        weights: Inverse covariance times the observations less their prior mean, shape (n,).
    """

    gateway_m: Floats
    points_m: Floats
    shadowing: Shadowing
    lower: Floats
    weights: Floats

    def predict(self, places_m: Floats) -> tuple[Floats, Floats]:
        """Return mean and variance of the smooth level (without point noise) at some places.

        Args:
            places_m: Shape (m, 3), metres.

        Returns:
            Mean, shape (m,), dB; variance, shape (m,), dB².
        """
        cross = _covariance(self.gateway_m, places_m, self.points_m, self.shadowing)
        half = np.linalg.solve(self.lower, cross.T)
        own = _variance(self.gateway_m, places_m, self.shadowing)
        mean = _prior_mean(self.gateway_m, places_m) + cross @ self.weights
        return mean, np.maximum(own - np.sum(half * half, axis=0), 0.01)

    def left_out(self) -> tuple[Floats, Floats]:
        """Return, per survey point, observed minus predicted mean without it, and that variance.

        Returns:
            Residual, shape (n,), dB; variance of it, noise included, shape (n,), dB².
        """
        inverse = np.linalg.inv(self.lower @ self.lower.T)
        own: Floats = np.diag(inverse).astype(np.float64)
        return self.weights / own, 1.0 / own


def fit(
    gateway_m: Floats, points_m: Floats, level_db: Floats, noise_db2: Floats, shadowing: Shadowing
) -> tuple[LevelModel, float]:
    """Condition on the mean levels of some points.

    Args:
        gateway_m: Shape (3,), metres.
        points_m: Shape (n, 3), metres; n >= 1.
        level_db: Mean level per point, shape (n,), dBm.
        noise_db2: Variance of each mean on top of `shadowing.point_db`, shape (n,), dB².
        shadowing: Hyperparameters.

    Returns:
        The model and the logarithm of the marginal likelihood.
    """
    covariance = _covariance(gateway_m, points_m, points_m, shadowing)
    covariance[np.diag_indices_from(covariance)] += shadowing.point_db**2 + noise_db2 + 1e-6
    lower = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    away = level_db - _prior_mean(gateway_m, points_m)
    half = np.linalg.solve(lower, away)
    weights = np.asarray(np.linalg.solve(lower.T, half), dtype=np.float64)
    evidence = -0.5 * float(half @ half) - float(np.log(np.diag(lower)).sum())
    return LevelModel(gateway_m, points_m, shadowing, lower, weights), evidence


def decades(gateway_m: Floats, places_m: Floats) -> Floats:
    """Return -10 log10 of the distance in metres: the regressor of the exponent, shape (m,)."""
    square = np.sum((places_m - gateway_m) ** 2, axis=1)
    lost: Floats = -5.0 * np.log10(np.maximum(square, NEAREST_M**2))
    return lost


def _prior_mean(gateway_m: Floats, places_m: Floats) -> Floats:
    return OFFSET_MEAN_DB + EXPONENT_MEAN * decades(gateway_m, places_m)


def _variance(gateway_m: Floats, places_m: Floats, shadowing: Shadowing) -> Floats:
    """Return the diagonal of `_covariance` of some places with themselves, shape (m,), dB²."""
    lost = decades(gateway_m, places_m)
    toward = _directions(gateway_m, places_m)
    alike = np.sum(toward * toward, axis=1)
    pattern = shadowing.pattern_db**2 * np.exp((alike - 1.0) / PATTERN_RAD**2)
    trend = OFFSET_SD_DB**2 + (EXPONENT_SD * lost) ** 2
    variance: Floats = shadowing.shadow_db**2 + pattern + trend
    return variance


def _directions(gateway_m: Floats, places_m: Floats) -> Floats:
    """Return unit vectors from the gateway, shape (m, 2); shorter, so alike, within `NEAREST_M`."""
    away = places_m[:, :2] - gateway_m[:2]
    far = np.maximum(np.sqrt(np.sum(away * away, axis=1)), NEAREST_M)
    toward: Floats = away / far[:, None]
    return toward


def _covariance(gateway_m: Floats, a_m: Floats, b_m: Floats, shadowing: Shadowing) -> Floats:
    square = np.sum((a_m[:, None, :2] - b_m[None, :, :2]) ** 2, axis=2)
    shadow = shadowing.shadow_db**2 * np.exp(-0.5 * square / shadowing.length_m**2)
    alike = _directions(gateway_m, a_m) @ _directions(gateway_m, b_m).T
    pattern = shadowing.pattern_db**2 * np.exp((alike - 1.0) / PATTERN_RAD**2)
    trend = np.outer(decades(gateway_m, a_m), decades(gateway_m, b_m)) * EXPONENT_SD**2
    covariance: Floats = shadow + pattern + trend + OFFSET_SD_DB**2
    return covariance
