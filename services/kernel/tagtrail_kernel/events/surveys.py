"""Site surveys: where a tag was carried, and what was found. `subject` is the site id."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from tagtrail_kernel.events.registry import Event, Family, event
from tagtrail_kernel.events.sightings import Aware, Id, Metres, Text


@event("survey.marked", version=1, family=Family.OPERATION)
class SurveyMarked(Event, frozen=True, kw_only=True):
    """A person said where a tag was for a while. True by definition: everything is scored by it.

    Attributes:
        survey_id: The walk it belongs to.
        site_id: Site.
        tag_id: The tag that was carried.
        zone_id: The zone it was in.
        x_m: East in the site frame, metres, where the place was measured.
        y_m: North, metres.
        z_m: Height above the floor, metres.
        floor: Floor number.
        from_at: When the tag had come to rest there.
        until_at: When it was taken up again.
    """

    survey_id: Id
    site_id: Id
    tag_id: Id
    zone_id: Id
    x_m: float | None = None
    y_m: float | None = None
    z_m: float | None = None
    floor: float = 0.0
    from_at: Aware
    until_at: Aware


@event("site.surveyed", version=1, family=Family.OPERATION)
class SiteSurveyed(Event, frozen=True, kw_only=True):
    """A walk was judged.

    Attributes:
        survey_id: The walk.
        site_id: Site.
        verdict: Whether the site is fit for use.
        right_share: Share of the time at the marks in which the zone was right.
        error_m: Median error of x/y where marks have coordinates, metres.
        reasons: Why not, for people.
        report: The whole report: confusion by zone, dead spots, advice.
    """

    survey_id: Id
    site_id: Id
    verdict: Literal["go", "no_go"]
    right_share: Annotated[float, Meta(ge=0, le=1)]
    error_m: Metres | None = None
    reasons: tuple[Text, ...] = ()
    report: dict[str, Any] | None = None
