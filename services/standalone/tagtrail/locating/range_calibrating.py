"""Makes a calibration of ranges out of the log: from tags at known places, or between anchors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

import msgspec

from tagtrail.locating.log_reader import Api
from tagtrail.locating.plans import Reference
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.errors import NotFoundError, RejectedError
from tagtrail_kernel.events.registrations import ConfigChanged, GatewayRegistered, GatewayRetired
from tagtrail_kernel.events.sightings import TagRanged
from tagtrail_locate.core.calibration_config import (
    SECTION,
    AnchorFit,
    Calibration,
    RangeErrors,
    calibration_of,
)
from tagtrail_locate.core.errors import RefusedCalibrationError
from tagtrail_locate.core.range_offsets import (
    AnchorRange,
    RangeOffsets,
    ReferenceRange,
    from_anchors,
    from_references,
)
from tagtrail_locate.core.range_survey import Point, RangeSurvey, SurveyReport
from tagtrail_locate.core.range_survey import calibrate as surveyed
from tagtrail_locate.core.still_ranges import Reading

FEWEST_READINGS: Final = 5
"""Ranges of a link whose median counts; what is heard once by chance is the worst range of all."""

Source = Literal["reference_tags", "anchors"]

LATEST: Final = 5000
"""Ranges of a tag that are used, the newest: a median of more does not move."""

APPLIED: Final = "applied: it holds from now on, and in every replay from here"
NOT_APPLIED: Final = "nothing was changed; repeat with --apply to use it"


@dataclass(frozen=True, slots=True)
class RangesCalibrated:
    """A calibration of ranges, and what it is worth.

    Attributes:
        calibration: The site's whole calibration with the ranges' part replaced.
        links: Links it was learned from.
        offsets: Offsets by anchor and the error of ranges left out of the fit.
        survey: Errors by received power and of places left out; None where they are not learned.
        plain: Why not; None where they are.
    """

    calibration: Calibration
    links: int
    offsets: RangeOffsets
    survey: SurveyReport | None
    plain: str | None


def ranges_calibrated(
    api: Api, site_id: str, *, places: Sequence[Reference], hours: float, tag_height_m: float
) -> RangesCalibrated:
    """Calibrate the ranges of a site.

    Args:
        api: The server.
        site_id: Site.
        places: Tags that hang at known places; none = ranges between the anchors.
        hours: How far back ranges are read, hours before the newest of the tag.
        tag_height_m: Height of reference tags that state none, metres.

    Raises:
        NotFoundError: no anchor has a place, or a reference tag was never ranged.
        RefusedCalibrationError: see `from_references` and `from_anchors`.
    """
    plan = list(api.events(families="registry"))
    anchors = _anchors(plan, site_id, tag_height_m)
    if not anchors:
        raise NotFoundError(f"no gateway of site {site_id!r} has x_m and y_m; register the anchors")
    known = configured(plan, site_id)
    if not places:
        pairs = _between(api, anchors, hours)
        offsets, why = from_anchors(pairs), "anchors say nothing of what stands around tags"
        made = _with_ranges(known, offsets, None, "anchors")
        return RangesCalibrated(made, len(pairs), offsets, None, why)
    readings = {p.tag_id: _medians(api, p.tag_id, hours) for p in places}
    never = [t for t, own in readings.items() if not own]
    if never:
        raise NotFoundError(f"tag {never[0]!r} was never ranged; GET /v1/places lists tags")
    spots = {p.tag_id: (p.x_m, p.y_m, tag_height_m if p.z_m is None else p.z_m) for p in places}
    links = [
        ReferenceRange(t, t, r.anchor_id, math.dist(spots[t], anchors[r.anchor_id]), r.range_m)
        for t, own in sorted(readings.items())
        for r in own
        if r.anchor_id in anchors
    ]
    offsets = from_references(links, "anchor")
    survey, plain = _survey(RangeSurvey(anchors, spots, readings))
    made = _with_ranges(known, offsets, survey, "reference_tags")
    return RangesCalibrated(made, len(links), offsets, survey, plain)


def ranges_json(found: RangesCalibrated, *, applied: bool) -> dict[str, Any]:
    """Return what was learned, for programs."""
    survey = found.survey
    return {
        "links": found.links,
        "source": found.calibration.range_source,
        "anchors": {a: fit.offset_m for a, fit in found.calibration.anchors.items()},
        "left_out_range_error_m": found.offsets.left_out_m,
        "range_error_before_m": found.offsets.before_m,
        "left_out_place_error_m": None if survey is None else _mean(survey.held_out_m),
        "place_error_before_m": None if survey is None else _mean(survey.unsurveyed_m),
        "in_stated_area": None if survey is None else round(survey.covered, 3),
        "range_errors": survey is not None,
        "without_range_errors_because": found.plain,
        "applied": applied,
    }


def ranges_lines(body: Mapping[str, Any]) -> list[str]:
    """Return the same for people."""
    after_m, before_m = body["left_out_range_error_m"], body["range_error_before_m"]
    lines = [
        f"{body['links']} links, {len(body['anchors'])} anchors",
        f"{'':30}{'before':>10}{'after':>10}",
        f"{'error of a left-out range':30}{before_m:>8.2f} m{after_m:>8.2f} m",
    ]
    if body["range_errors"]:
        after_m, before_m = body["left_out_place_error_m"], body["place_error_before_m"]
        lines.append(f"{'error of a left-out place':30}{before_m:>8.2f} m{after_m:>8.2f} m")
    else:
        lines.append(
            f"errors by received power: not learned, {body['without_range_errors_because']}"
        )
    lines += [f"  {a}: {offset:+.3f} m" for a, offset in body["anchors"].items()]
    return [*lines, APPLIED if body["applied"] else NOT_APPLIED]


def _mean(errors: Mapping[str, float]) -> float:
    return round(statistics.fmean(errors.values()), 3)


def configured(plan: Sequence[Recorded], site_id: str) -> Calibration:
    """Return the calibration that holds for a site now; an empty one if there is none."""
    found = None
    for event in plan:
        data = event.data
        if isinstance(data, ConfigChanged) and data.section == SECTION + site_id:
            calibration, trouble = calibration_of(data.values)
            found = calibration if trouble is None else found
    return found or Calibration()


def with_radio(known: Calibration, radio: Calibration) -> Calibration:
    """Return a calibration of levels together with the ranges' part of another one."""
    names = ("anchors", "range_errors", "range_source", "range_error_m")
    return msgspec.structs.replace(radio, **{name: getattr(known, name) for name in names})


def _survey(survey: RangeSurvey) -> tuple[SurveyReport | None, str | None]:
    """Learn errors by received power; returns them, or why they are not learned."""
    own = [r for readings in survey.readings.values() for r in readings]
    if not any(math.isfinite(r.rssi_dbm) for r in own):
        return None, "the ranges carry no received power"
    try:
        return surveyed(survey), None
    except RefusedCalibrationError as error:
        return None, error.detail


def _with_ranges(
    known: Calibration, offsets: RangeOffsets, survey: SurveyReport | None, source: Source
) -> Calibration:
    fits = {a: offsets.constant_m + own for a, own in offsets.anchors_m.items()}
    errors = None
    if survey is not None:
        model = survey.model
        fits = dict(model.offsets_m)
        errors = msgspec.convert(
            {"gates": model.gates, "means_m": model.means_m, "scales_m": model.scales_m},
            RangeErrors,
        )
    return msgspec.structs.replace(
        known,
        anchors={a: AnchorFit(offset_m=round(fits[a], 4)) for a in sorted(fits)},
        range_errors=errors,
        range_source=source,
        range_error_m=offsets.left_out_m,
    )


def _anchors(plan: Sequence[Recorded], site_id: str, height_m: float) -> dict[str, Point]:
    found: dict[str, Point] = {}
    for event in plan:
        data = event.data
        if isinstance(data, (GatewayRegistered, GatewayRetired)):
            found.pop(data.gateway_id, None)
        if not isinstance(data, GatewayRegistered) or data.site_id != site_id:
            continue
        if data.x_m is not None and data.y_m is not None:
            z_m = height_m if data.z_m is None else data.z_m
            found[data.gateway_id] = (data.x_m, data.y_m, z_m)
    return found


def _between(api: Api, anchors: Mapping[str, Point], hours: float) -> list[AnchorRange]:
    """Return the median ranges between anchors: of tags that bear an anchor's id."""
    found: dict[tuple[str, str], list[float]] = {}
    for anchor_id in sorted(anchors):
        for reading in _medians(api, anchor_id, hours):
            if reading.anchor_id in anchors and reading.anchor_id != anchor_id:
                first, second = sorted((anchor_id, reading.anchor_id))
                found.setdefault((first, second), []).append(reading.range_m)
    if not found:
        raise RejectedError(
            "no range between two anchors is in the log; register each anchor as a tag under its "
            "gateway id, and let the anchors range with each other"
        )
    return [
        AnchorRange(a, b, math.dist(anchors[a], anchors[b]), statistics.fmean(values))
        for (a, b), values in sorted(found.items())
    ]


def _medians(api: Api, tag_id: str, hours: float) -> tuple[Reading, ...]:
    """Return the median range and powers of each anchor that measured a tag often enough."""
    events = [
        e for e in api.events(families="radio", subject=tag_id) if isinstance(e.data, TagRanged)
    ]
    if not events:
        return ()
    since = max(e.envelope.occurred_at for e in events) - timedelta(hours=hours)
    ranges: dict[str, list[TagRanged]] = {}
    for data in _ranged([e for e in events if e.envelope.occurred_at >= since][-LATEST:]):
        ranges.setdefault(data.gateway_id, []).append(data)
    return tuple(
        Reading(
            anchor_id,
            statistics.median(d.range_m for d in own),
            _median([d.rssi_dbm for d in own]),
            _median([d.first_path_dbm for d in own]),
        )
        for anchor_id, own in sorted(ranges.items())
        if len(own) >= FEWEST_READINGS
    )


def _ranged(events: Sequence[Recorded]) -> Iterator[TagRanged]:
    for event in events:
        if isinstance(event.data, TagRanged):
            yield event.data


def _median(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return statistics.median(known) if known else math.nan
