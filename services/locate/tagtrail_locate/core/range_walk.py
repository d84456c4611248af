"""The filter over one tag's ranges in order of time: start, hypotheses, gaps.

A `Walk` starts from the first round of ranges with every point that fits them (a mirror image
among them, where the anchors stand on a line), carries these as hypotheses until the motion rules
them out, and starts anew after a long gap or when the ranges stop fitting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import numpy as np

from tagtrail_locate.core.range_smoothing import Estimate
from tagtrail_locate.core.range_starts import agreed_place, possible_places
from tagtrail_locate.core.range_tracking import (
    Floats,
    RangeModel,
    Ranges,
    Step,
    begin,
    clear_slot,
    step,
    systematic_m2,
)

FEWEST_ANCHORS: Final = 3
"""With two, every tag has a mirror image from the first moment on."""

START_S: Final = 1.0
"""Ranges of this time are one round: a walker moves a metre in it, the anchors' slots less."""

RESTART_S: Final = 30.0
"""After this long without a believed range the motion says nothing any more."""

MISSES: Final = 24
"""So many ranges in a row that do not fit are not outliers: the track is lost."""

WORST_EVIDENCE: Final = -12.0
"""A hypothesis that is exp(12) times less likely than the best is dropped."""

MOMENT_S: Final = 0.05
"""Ranges within this time are of one moment: a walker moves seven centimetres in it."""

TURN_M2: Final = 0.01
"""Added to the variance of a predicted place: what a walker's turn adds beyond the model."""

LATELY_S: Final = 5.0
"""Anchors heard in this time count for the geometry of an answer."""


class Heard(msgspec.Struct, array_like=True, frozen=True):
    """One range to one anchor.

    Attributes:
        at_s: Event time, seconds, less the latency of the ranging system.
        anchor_id: Which anchor.
        x_m: Where it stands, site frame, metres.
        y_m: Where it stands, metres.
        z_m: Height in the frame of `RangeModel.tag_height_m`, metres.
        range_m: Distance, less its known bias, metres, >= 0.
        noise_m: Standard deviation of its own noise, metres, > 0; None = the model's.
    """

    at_s: float
    anchor_id: str
    x_m: float
    y_m: float
    z_m: float
    range_m: float
    noise_m: float | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a tag was, as far as its ranges say.

    Attributes:
        at_s: Event time, seconds.
        x_m: East, metres.
        y_m: North, metres.
        vx_mps: Speed east, m/s.
        vy_mps: Speed north, m/s.
        covariance_m2: ((xx, xy), (xy, yy)) of all errors, square metres.
        accuracy_m: Root of the summed variances, metres.
        probability: Of this hypothesis, 0 to 1.
        others: Other places that fit (mirror images): x, y, probability.
    """

    at_s: float
    x_m: float
    y_m: float
    vx_mps: float
    vy_mps: float
    covariance_m2: tuple[tuple[float, float], tuple[float, float]]
    accuracy_m: float
    probability: float
    others: tuple[tuple[float, float, float], ...]


class Verdict(NamedTuple):
    """How a range fitted the track.

    Attributes:
        residual_m: Measured minus expected, metres.
        sigmas: The same in standard deviations.
        believed: Whether it was used at all.
    """

    residual_m: float
    sigmas: float
    believed: bool


@dataclass(slots=True)
class Walk:
    """The filter over ranges in order of time.

    Attributes:
        model: Motion and noise.
        record: Whether steps are kept for smoothing.
        at_s: Event time of the last step; None before the start.
        steps: The steps kept since the start.
        verdicts: How the newest range of each anchor fitted the likeliest hypothesis.
    """

    model: RangeModel
    record: bool = True
    at_s: float | None = None
    steps: list[Step] = field(default_factory=list)
    believed_s: float | None = None
    slots: list[str] = field(default_factory=list)
    slot_s: list[float] = field(default_factory=list)
    slot_m: list[tuple[float, float, float]] = field(default_factory=list)
    mean: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    covariance: Floats = field(default_factory=lambda: np.zeros((0, 0, 0)))
    evidence: list[float] = field(default_factory=list)
    misses: int = 0
    waiting: list[Heard] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def feed(self, heard: Heard) -> None:
        """Take a range; one from the past counts as of now."""
        if self.is_lost_by(heard.at_s):
            self._forget()
        if not self.evidence:
            self._wait(heard)
            return
        slot, cleared = self._slot_of(heard)
        count = len(self.evidence)
        noise = self.model.noise_m if heard.noise_m is None else heard.noise_m
        anchor = np.array([[heard.x_m, heard.y_m, heard.z_m]] * count)
        ranges = Ranges(
            np.full(count, slot),
            anchor,
            np.full(count, heard.range_m),
            np.full(count, noise),
        )
        done = self._advance(heard.at_s, ranges, cleared)
        self.slot_s[slot] = done.at_s
        self._judge(heard.anchor_id, done)
        if done.believed.any():
            self.believed_s, self.misses = done.at_s, 0
        else:
            self.misses += 1
        self._weigh(done)

    def feed_all(self, heard: Sequence[Heard]) -> None:
        """Take ranges in order of time; those of one moment the most credible first.

        A blocked range is not believed once its tag's place is known, but pulls the tag along if
        it comes first after a pause. So the place that most ranges of a moment agree on, and that
        the motion allows, decides the order in which they are taken.
        """
        begin_ = 0
        while begin_ < len(heard):
            end = begin_ + 1
            while end < len(heard) and heard[end].at_s - heard[begin_].at_s <= MOMENT_S:
                end += 1
            for range_ in self._ordered(heard[begin_:end]):
                self.feed(range_)
            begin_ = end

    def _ordered(self, group: Sequence[Heard]) -> Sequence[Heard]:
        if len(group) <= FEWEST_ANCHORS or not self.evidence or self.is_lost_by(group[-1].at_s):
            return group
        row, passed = self.best(), max(group[-1].at_s - (self.at_s or 0.0), 0.0)
        x, y, vx, vy = (float(v) for v in self.mean[row, :4])
        spread, walked = self.covariance[row], self.model.acceleration_m2s3 * passed**3 / 3.0
        sxx, sxy, syy = (
            float(spread[i, j] + 2.0 * passed * spread[i, j + 2] + passed**2 * spread[i + 2, j + 2])
            for i, j in ((0, 0), (0, 1), (1, 1))
        )
        prior = (sxx + walked + TURN_M2, sxy, syy + walked + TURN_M2)
        x, y = agreed_place(
            [(h.x_m, h.y_m, h.z_m - self.model.tag_height_m, h.range_m) for h in group],
            (x + vx * passed, y + vy * passed), prior,
        )  # fmt: skip
        return sorted(group, key=lambda h: (abs(self._miss(h, x, y)), h.anchor_id))

    def mark(self, at_s: float) -> int | None:
        """Let time pass up to a moment; returns the index of the step, None before the start."""
        if not self.evidence or self.is_lost_by(at_s):
            return None
        self._advance(at_s, None, None)
        return len(self.steps) - 1

    def best(self) -> int:
        """Return the row of the most likely hypothesis."""
        return self.evidence.index(max(self.evidence))

    def placed(self, estimate: Estimate, row: int) -> Placement:
        """Return an estimate of a hypothesis with all that is known about its error."""
        lately = [
            m for m, s in zip(self.slot_m, self.slot_s, strict=True) if s > estimate.at_s - LATELY_S
        ]
        xx, xy, yy = estimate.covariance_m2
        if lately:
            fixed = systematic_m2(np.array(lately), estimate.x_m, estimate.y_m, self.model)
            xx, xy, yy = xx + fixed[0], xy + fixed[1], yy + fixed[2]
        weights = [math.exp(max(e, 10.0 * WORST_EVIDENCE)) for e in self.evidence]
        total = sum(weights)
        others = tuple(
            (float(self.mean[i, 0]), float(self.mean[i, 1]), weights[i] / total)
            for i in range(len(weights))
            if i != row
        )
        return Placement(
            estimate.at_s,
            estimate.x_m,
            estimate.y_m,
            estimate.vx_mps,
            estimate.vy_mps,
            ((xx, xy), (xy, yy)),
            math.sqrt(xx + yy),
            weights[row] / total,
            others,
        )

    def is_lost_by(self, at_s: float) -> bool:
        """Tell whether the track has ended by a moment; the next range starts anew then."""
        if not self.evidence or self.believed_s is None:
            return False
        return at_s - self.believed_s > RESTART_S or self.misses >= MISSES

    def _forget(self) -> None:
        self.steps, self.evidence, self.waiting = [], [], []
        self.misses, self.believed_s = 0, None
        self.slots, self.slot_s, self.slot_m = [], [], []

    def start(self) -> bool:
        """Start from the ranges that wait, if they are of enough anchors; tells whether it did.

        A round that holds an unseen one can be started from too, so this is for the end of one.
        """
        if self.evidence or len(self.waiting) < FEWEST_ANCHORS:
            return False
        places, spread = possible_places(
            np.array([[w.x_m, w.y_m, w.z_m] for w in self.waiting]),
            np.array([w.range_m for w in self.waiting]),
            self.model.tag_height_m,
        )
        if not len(places):
            return False
        self.mean, self.covariance = begin(places, spread, self.model)
        self.evidence = [0.0] * len(places)
        self.at_s = self.believed_s = self.waiting[-1].at_s
        x, y = places[0].tolist()
        first, self.waiting = self.waiting, []
        # What fits best goes first: a blocked range is not believed once the place is known.
        for range_ in sorted(first, key=lambda w: (abs(self._miss(w, x, y)), w.anchor_id)):
            self.feed(range_)
        return True

    def _miss(self, heard: Heard, x_m: float, y_m: float) -> float:
        dx, dy, dz = heard.x_m - x_m, heard.y_m - y_m, heard.z_m - self.model.tag_height_m
        return heard.range_m - math.sqrt(dx * dx + dy * dy + dz * dz)

    def _wait(self, heard: Heard) -> None:
        """Collect the first round; start when an anchor speaks again or its time is up."""
        again = any(w.anchor_id == heard.anchor_id for w in self.waiting)
        over = bool(self.waiting) and heard.at_s - self.waiting[0].at_s > START_S
        if (again or over) and self.start():
            self.feed(heard)
            return
        self.waiting = [w for w in self.waiting if w.at_s > heard.at_s - START_S]
        self.waiting = [w for w in self.waiting if w.anchor_id != heard.anchor_id] + [heard]

    def _judge(self, anchor_id: str, done: Step) -> None:
        row = self.best()
        residual = float(done.innovation_m[row])
        sigmas = abs(residual) / math.sqrt(float(done.expected_m2[row]))
        self.verdicts[anchor_id] = Verdict(residual, sigmas, bool(done.believed[row]))

    def _slot_of(self, heard: Heard) -> tuple[int, int | None]:
        """Return the slot of an anchor, and it again if its range error had to be cleared."""
        place = (heard.x_m, heard.y_m, heard.z_m)
        if heard.anchor_id in self.slots:
            slot = self.slots.index(heard.anchor_id)
            self.slot_m[slot] = place
            return slot, None
        if len(self.slots) < self.model.slots:
            self.slots.append(heard.anchor_id)
            self.slot_s.append(heard.at_s)
            self.slot_m.append(place)
            return len(self.slots) - 1, None
        slot = self.slot_s.index(min(self.slot_s))
        self.slots[slot], self.slot_m[slot] = heard.anchor_id, place
        self.mean, self.covariance = self.mean.copy(), self.covariance.copy()
        clear_slot(self.mean, self.covariance, slot, self.model)
        return slot, slot

    def _advance(self, at_s: float, ranges: Ranges | None, cleared: int | None) -> Step:
        now = at_s if self.at_s is None else max(at_s, self.at_s)
        passed = 0.0 if self.at_s is None else now - self.at_s
        dt = np.full(len(self.evidence), passed)
        done = step(self.mean, self.covariance, now, dt, ranges, self.model, cleared=cleared)
        self.at_s, self.mean, self.covariance = now, done.mean, done.covariance
        if self.record:
            self.steps.append(done)
        return done

    def _weigh(self, done: Step) -> None:
        """Add to the evidence, and drop hypotheses that fell far behind."""
        if len(self.evidence) == 1:
            return
        scored = [e + self._likelihood(done, i) for i, e in enumerate(self.evidence)]
        best = max(scored)
        kept = [i for i, e in enumerate(scored) if e - best > WORST_EVIDENCE]
        self.evidence = [scored[i] - best for i in kept]
        if len(kept) == len(scored):
            return
        self.mean, self.covariance = self.mean[kept], self.covariance[kept]
        if self.record:
            none = step(
                self.mean, self.covariance, done.at_s, np.zeros(len(kept)), None, self.model,
                parent=np.array(kept),
            )  # fmt: skip
            self.steps.append(none)

    def _likelihood(self, done: Step, row: int) -> float:
        variance, miss = float(done.variance_m2[row]), abs(float(done.innovation_m[row]))
        huber = self.model.huber
        if miss * miss > huber * huber * variance:
            variance = (variance * huber / miss) ** 2
        sigmas = min(miss / math.sqrt(variance), self.model.gate)
        square = sigmas * sigmas if sigmas <= huber else huber * (2.0 * sigmas - huber)
        return -0.5 * (square + math.log(variance))
