"""Makes a calibration out of the log, and tries it on the walk it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from tagtrail.locating.log_reader import Api
from tagtrail.locating.plans import Reference, grid_of
from tagtrail.locating.range_calibrating import configured, with_radio
from tagtrail.locating.walks import Walk, walk_of
from tagtrail_kernel.errors import NotFoundError
from tagtrail_kernel.events.sightings import TagSighted
from tagtrail_locate.core.calibration_config import SECTION, Calibration, Point, values_of
from tagtrail_locate.core.radio_calibration import Known, calibrate
from tagtrail_locate.core.survey import Limits, Report, Stop

GATEWAY_HEIGHT_M = 2.3
"""Where a gateway states no height: above doors and shelves, as most are hung."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration, and the walk judged without and with it.

    Attributes:
        known: The calibration and its error at places left out.
        before: The walk as configured now; None without a walk.
        after: The walk with the calibration.
    """

    known: Known
    before: Report | None
    after: Report | None


def calibrated(
    api: Api,
    site_id: str,
    *,
    survey_id: str | None,
    places: Sequence[Reference],
    hours: float,
    floor: float,
    tag_height_m: float,
) -> Calibrated:
    """Calibrate a site from a walk, or from tags that hang at known places.

    Args:
        api: The server.
        site_id: Site.
        survey_id: The walk; None = reference tags.
        places: Reference tags.
        hours: How far back reference tags are read, hours before the newest of their sightings.
        floor: Floor of the points.
        tag_height_m: Usual height of a tag, metres.

    Raises:
        NotFoundError: there is no such walk, or a reference tag was never heard.
        RefusedCalibrationError: see `calibrate`.
    """
    walk = walk_of(api, survey_id) if survey_id else _hanging(api, site_id, places, hours)
    points = [p for p in _points(walk, places) if p.floor == floor]
    known = calibrate(
        grid_of(walk.plan, site_id, floor),
        walk.gateways(GATEWAY_HEIGHT_M),
        points,
        source="survey" if survey_id else "reference_tags",
        tag_height_m=tag_height_m,
        tag_rssi_1m_dbm=walk.tag_rssi_1m_dbm() if survey_id else None,
    )
    kept = with_radio(configured(walk.plan, site_id), known.calibration)
    known = replace(known, calibration=kept)
    if survey_id is None:
        return Calibrated(known, None, None)
    limits = Limits(interval_s=walk.interval_s())
    return Calibrated(known, walk.report(limits), walk.report(limits, known.calibration))


def _points(walk: Walk, places: Sequence[Reference]) -> list[Point]:
    if not places:
        return walk.points()
    points = []
    for place in places:
        end = max(
            (e.envelope.occurred_at.timestamp() for e in walk.heard if e.subject == place.tag_id),
            default=None,
        )
        if end is None:
            raise NotFoundError(f"tag {place.tag_id!r} was never heard; GET /v1/places lists tags")
        stop = Stop("", end - 86_400.0 * 365, end, place.x_m, place.y_m, place.z_m)
        own = [e for e in walk.heard if e.subject == place.tag_id]
        points += Walk("", walk.site_id, place.tag_id, [stop], walk.plan, own).points()
    return points


def _hanging(api: Api, site_id: str, places: Sequence[Reference], hours: float) -> Walk:
    heard = []
    for place in places:
        own = [
            e
            for e in api.events(families="radio", subject=place.tag_id)
            if isinstance(e.data, TagSighted)
        ]
        if own:
            since = max(e.envelope.occurred_at for e in own) - timedelta(hours=hours)
            heard += [e for e in own if e.envelope.occurred_at >= since]
    plan = list(api.events(families="registry"))
    heard.sort(key=lambda event: event.position)
    return Walk("", site_id, places[0].tag_id, [], plan, heard)


def calibration_event(site_id: str, calibration: Calibration) -> dict[str, Any]:
    """Return the fact that puts a calibration into the configuration."""
    return {
        "type": "config.changed",
        "subject": site_id,
        "data": {"section": SECTION + site_id, "values": values_of(calibration)},
    }
