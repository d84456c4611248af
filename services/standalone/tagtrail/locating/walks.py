"""A walk out of the log: what was marked, heard and answered, and the same with another calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tagtrail.locating.log_reader import Api
from tagtrail_kernel.clock import uuid8
from tagtrail_kernel.envelope import Envelope, Recorded, seal
from tagtrail_kernel.errors import NotFoundError
from tagtrail_kernel.events.places import TagZoneChanged
from tagtrail_kernel.events.registrations import ConfigChanged, GatewayRegistered, TagRegistered
from tagtrail_kernel.events.sightings import TagSighted
from tagtrail_kernel.events.surveys import SurveyMarked
from tagtrail_locate.core.calibration_config import SECTION, Calibration, Point, values_of
from tagtrail_locate.core.engine import Engine
from tagtrail_locate.core.survey import Answer, Limits, Reading, Report, Stop, judge

STEP_EVENTS: Final = 20
"""Events folded between two looks at the place: about a second of one tag."""

LEAD_IN_S: Final = 120.0
"""What was heard so long before the first mark is replayed too, so that the filter has settled."""


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk as the log holds it.

    Attributes:
        survey_id: Its id.
        site_id: Site.
        tag_id: The carried tag.
        stops: Where it was, in order of time.
        plan: Registrations and configuration, in position order.
        heard: Facts about the tag and the gateways, in position order.
    """

    survey_id: str
    site_id: str
    tag_id: str
    stops: list[Stop]
    plan: list[Recorded]
    heard: list[Recorded]

    def readings(self) -> list[Reading]:
        """Return what gateways heard of the tag."""
        found = []
        for event in self.heard:
            data = event.data
            if isinstance(data, TagSighted) and data.tag_id == self.tag_id and data.rssi_dbm:
                at_s = event.envelope.occurred_at.timestamp()
                found.append(Reading(at_s, data.gateway_id, data.rssi_dbm))
        return found

    def interval_s(self) -> float:
        """Return the tag's interval as registered; 1 s if it is not."""
        tag = self._last(TagRegistered, "tag_id", self.tag_id)
        return tag.interval_s if tag is not None and tag.interval_s is not None else 1.0

    def tag_rssi_1m_dbm(self) -> float | None:
        """Return the tag's power at 1 m as registered."""
        tag = self._last(TagRegistered, "tag_id", self.tag_id)
        return tag.rssi_1m_dbm if tag is not None else None

    def gateways(self, default_z_m: float) -> dict[str, tuple[float, float, float]]:
        """Return the position of the site's gateways that have one, metres."""
        found: dict[str, tuple[float, float, float]] = {}
        for event in self.plan:
            data = event.data
            if isinstance(data, GatewayRegistered) and data.site_id == self.site_id:
                found.pop(data.gateway_id, None)
                if data.x_m is not None and data.y_m is not None:
                    z_m = default_z_m if data.z_m is None else data.z_m
                    found[data.gateway_id] = (data.x_m, data.y_m, z_m)
        return found

    def _last(self, cls: type[TagRegistered], name: str, value: str) -> TagRegistered | None:
        found = None
        for event in self.plan:
            data = event.data
            if isinstance(data, cls) and getattr(data, name) == value:
                found = data
        return found

    def points(self) -> list[Point]:
        """Return the levels at the stops whose coordinates are known."""
        points = []
        readings = self.readings()
        for stop in self.stops:
            if stop.x_m is None or stop.y_m is None:
                continue
            levels: dict[str, list[float]] = {}
            for at_s, gateway_id, level in readings:
                if stop.from_s <= at_s <= stop.until_s:
                    levels.setdefault(gateway_id, []).append(level)
            points.append(
                Point(
                    x_m=stop.x_m, y_m=stop.y_m, z_m=stop.z_m, floor=stop.floor,
                    zone_id=stop.zone_id,
                    levels={g: _moments(v) for g, v in sorted(levels.items())},
                )
            )  # fmt: skip
        return points

    def answers(self, calibration: Calibration | None = None) -> list[Answer]:
        """Replay the walk through locate; returns what it says, in order of time.

        Args:
            calibration: Takes the place of the configured one; None = as configured.
        """
        engine = Engine()
        engine.apply(self.plan)
        if calibration is not None:
            engine.apply([self._configured(calibration)])
        engine.taken()
        answers: list[Answer] = []
        for start in range(0, len(self.heard), STEP_EVENTS):
            engine.apply(self.heard[start : start + STEP_EVENTS])
            effects = engine.taken()
            for fact in effects.facts:
                data = fact.data
                if isinstance(data, TagZoneChanged) and data.tag_id == self.tag_id:
                    at_s = fact.occurred_at.timestamp()
                    answers.append(Answer(at_s, data.zone_id, data.x_m, data.y_m))
            place = effects.places.get(self.tag_id)
            if place is not None:
                at_s = place.last_heard_at.timestamp()
                answers.append(Answer(at_s, place.zone_id, place.x_m, place.y_m))
        return sorted(answers, key=lambda answer: answer.at_s)

    def _configured(self, calibration: Calibration) -> Recorded:
        last = self.plan[-1]
        at = last.envelope.occurred_at
        data = ConfigChanged(section=SECTION + self.site_id, values=values_of(calibration))
        identity = uuid8(at, msgspec.json.encode(data))
        sealed = seal(
            Envelope(id=identity, subject=self.site_id, source="survey", occurred_at=at, data=data)
        )
        return Recorded(last.position, at, identity, self.site_id, sealed.type, sealed.body)

    def report(self, limits: Limits, calibration: Calibration | None = None) -> Report:
        """Judge the walk; see `answers` and `judge`."""
        return judge(self.stops, self.readings(), self.answers(calibration), limits)


def _moments(values: Sequence[float]) -> tuple[float, float, int]:
    mean = sum(values) / len(values)
    spread = (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5
    return round(mean, 2), round(spread, 2), len(values)


def walk_of(api: Api, survey_id: str) -> Walk:
    """Read a walk from the log.

    Raises:
        NotFoundError: nothing was marked under this id.
    """
    marks = [
        event.data
        for event in api.events(families="operation", types="survey.marked")
        if isinstance(event.data, SurveyMarked) and event.data.survey_id == survey_id
    ]
    if not marks:
        raise NotFoundError(
            f"no mark of survey {survey_id!r} is in the log; `tagtrail locate survey` makes them"
        )
    stops = sorted((_stop(mark) for mark in marks), key=lambda stop: stop.from_s)
    plan = list(api.events(families="registry"))
    tag_id = marks[0].tag_id
    radio = list(api.events(families="radio", subject=tag_id))
    state = list(api.events(families="gateway"))
    earliest, latest = stops[0].from_s - LEAD_IN_S, stops[-1].until_s + LEAD_IN_S
    heard = [
        event
        for event in sorted([*radio, *state], key=lambda e: e.position)
        if earliest <= event.envelope.occurred_at.timestamp() <= latest
    ]
    return Walk(survey_id, marks[0].site_id, tag_id, stops, plan, heard)


def _stop(mark: SurveyMarked) -> Stop:
    return Stop(
        mark.zone_id, mark.from_at.timestamp(), mark.until_at.timestamp(), mark.x_m, mark.y_m,
        mark.z_m, mark.floor,
    )  # fmt: skip


def report_json(report: Report, walk: Walk) -> dict[str, Any]:
    """Return a report as JSON values: the content of `site.surveyed`."""
    return {
        "survey_id": walk.survey_id,
        "site_id": walk.site_id,
        "tag_id": walk.tag_id,
        "verdict": "go" if report.go else "no_go",
        "accuracy": round(report.accuracy, 4),
        "error_m": None if report.error_m is None else round(report.error_m, 3),
        "zone_accuracy": {z: round(a, 4) for z, a in sorted(report.zone_accuracy.items())},
        "confusion_s": {
            zone: {name: round(s, 1) for name, s in sorted(row.items())}
            for zone, row in sorted(report.confusion_s.items())
        },
        "dead_spots": [
            {
                "zone_id": d.stop.zone_id,
                "x_m": d.stop.x_m,
                "y_m": d.stop.y_m,
                "heard_share": round(d.share, 3),
                "reasons": list(d.reasons),
            }
            for d in report.dead
        ],
        "advice": [
            {"zone_id": a.zone_id, "x_m": a.x_m, "y_m": a.y_m, "reason": a.reason}
            for a in report.advice
        ],
        "reasons": list(report.reasons),
    }
