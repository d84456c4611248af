"""The commands of `tagtrail locate`."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from tagtrail.locating import plans
from tagtrail.locating.calibrating import Calibrated, calibrated, calibration_event
from tagtrail.locating.log_reader import Api, api_key
from tagtrail.locating.range_calibrating import (
    APPLIED,
    NOT_APPLIED,
    ranges_calibrated,
    ranges_json,
    ranges_lines,
)
from tagtrail.locating.walks import Walk, report_json, walk_of
from tagtrail_kernel.clock import SystemClock, TimeOrderedIds
from tagtrail_kernel.errors import DomainError, RejectedError
from tagtrail_locate.core.calibration_config import Calibration
from tagtrail_locate.core.survey import Limits, Report

app = typer.Typer(
    help="Survey, calibrate and score a site. The key is read from TAGTRAIL_API_KEY.",
    no_args_is_help=True,
)

NO_GO: Final = 1
"""Exit code of a site that is not fit for use, and of a calibration that does not help."""

REFUSED: Final = 2
"""Exit code where nothing could be judged."""

ApiUrl = Annotated[str, typer.Option(help="Address of the API.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object for programs.")]
SurveyId = Annotated[str, typer.Option("--survey", help="Id of a walk.")]
LOCAL = "http://127.0.0.1:8080"


@contextmanager
def _answering(url: str, *, quiet: bool) -> Iterator[Api]:
    """Lend a client; an expected failure ends the command with its sentence."""

    def progress(text: str) -> None:
        if not quiet and sys.stderr.isatty():
            typer.echo(f"\r{text}   ", err=True, nl=False)

    try:
        with Api(url, api_key(), progress) as api:
            yield api
    except DomainError as error:
        typer.echo(error.detail, err=True)
        raise typer.Exit(REFUSED) from error


@app.command()
def survey(
    site: Annotated[str, typer.Option(help="Site id.")],
    tag: Annotated[str, typer.Option(help="Id of the tag that is carried.")],
    plan: Annotated[
        Path,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="CSV of the stops: zone_id, and where known x_m,y_m,floor; with from_at,until_at "
            "the walk counts as walked.",
        ),
    ],
    api_url: ApiUrl = LOCAL,
    dwell: Annotated[float, typer.Option(min=5, help="Seconds to stay at each stop.")] = 30.0,
    survey_id: Annotated[str | None, typer.Option("--id", help="Name of the walk.")] = None,
    accuracy: Annotated[float, typer.Option(min=0, max=1, help="Share that must be right.")] = 0.9,
    zone_accuracy: Annotated[float, typer.Option(min=0, max=1, help="The same per zone.")] = 0.8,
    as_json: AsJson = False,
) -> None:
    """Walk with a tag, tap Enter at each stop, and learn whether the site is fit for use.

    Exit code 0 = go, 1 = no go, 2 = it could not be judged. The marks and the report are kept in
    the log; `tagtrail locate score` judges the same walk again, `calibrate` learns from it.
    """  # fmt: skip
    clock = SystemClock()
    name = survey_id or f"survey-{TimeOrderedIds(clock).new()}"
    with _answering(api_url, quiet=as_json) as api:
        stops = plans.planned_stops(plan)
        for number, stop in enumerate(stops, start=1):
            if stop.from_at is None or stop.until_at is None:
                began, ended = _stay(stop, number, len(stops), tag, dwell, clock.now)
            else:
                began, ended = stop.from_at, stop.until_at
            _mark(api, name, site, tag, stop, began, ended)
        if any(stop.from_at is None for stop in stops):
            time.sleep(2.0)  # what gateways send in batches is on its way
        walk = walk_of(api, name)
        limits = Limits(accuracy, zone_accuracy, interval_s=walk.interval_s())
        report = walk.report(limits)
        body = report_json(report, walk)
        kept = {"type": "site.surveyed", "subject": site, "data": _kept(body)}
        api.post([kept], key=f"{name}/{uuid.uuid5(uuid.NAMESPACE_OID, str(body))}")
    _show(body, _report_lines(report, walk), as_json=as_json)
    raise typer.Exit(0 if report.go else NO_GO)


def _stay(
    stop: plans.Planned,
    number: int,
    count: int,
    tag: str,
    dwell_s: float,
    now: Callable[[], datetime],
) -> tuple[datetime, datetime]:
    """Ask a person to carry the tag somewhere and to stay; returns from when to when."""
    where = f"zone {stop.zone_id}"
    if stop.x_m is not None and stop.y_m is not None:
        where += f" at ({stop.x_m:.1f}, {stop.y_m:.1f}) m"
    typer.echo(f"\n{number} of {count}: put {tag} down in {where}, then press Enter.", err=True)
    sys.stdin.readline()
    began = now()
    end = began + timedelta(seconds=dwell_s)
    while (left := (end - now()).total_seconds()) > 0:
        typer.echo(f"\rstay: {left:3.0f} s ", err=True, nl=False)
        time.sleep(min(left, 1.0))
    typer.echo("\rdone        ", err=True)
    return began, now()


def _mark(
    api: Api, name: str, site: str, tag: str, stop: plans.Planned, began: datetime, ended: datetime
) -> None:
    data: dict[str, Any] = {
        "survey_id": name, "site_id": site, "tag_id": tag, "zone_id": stop.zone_id,
        "x_m": stop.x_m, "y_m": stop.y_m, "z_m": stop.z_m, "floor": stop.floor,
        "from_at": began, "until_at": ended,
    }  # fmt: skip
    fact = {
        "type": "survey.marked",
        "subject": site,
        "occurred_at": ended,
        "data": {k: v for k, v in data.items() if v is not None},
    }
    api.post([fact], key=f"{name}/{began.isoformat()}")


def _kept(body: dict[str, Any]) -> dict[str, Any]:
    own = ("survey_id", "site_id", "verdict", "accuracy", "error_m", "reasons")
    data = {k: body[k] for k in own if body[k] is not None}
    data["right_share"] = data.pop("accuracy")
    return data | {"report": {k: v for k, v in body.items() if k not in own}}


@app.command()
def score(
    survey_id: SurveyId,
    api_url: ApiUrl = LOCAL,
    accuracy: Annotated[float, typer.Option(min=0, max=1, help="Share that must be right.")] = 0.9,
    zone_accuracy: Annotated[float, typer.Option(min=0, max=1, help="The same per zone.")] = 0.8,
    as_json: AsJson = False,
) -> None:
    """Judge a walk again by replay, with the configuration that the log holds now."""
    with _answering(api_url, quiet=as_json) as api:
        walk = walk_of(api, survey_id)
        report = walk.report(Limits(accuracy, zone_accuracy, interval_s=walk.interval_s()))
        body = report_json(report, walk)
    _show(body, _report_lines(report, walk), as_json=as_json)
    raise typer.Exit(0 if report.go else NO_GO)


@app.command()
def calibrate(
    site: Annotated[str, typer.Option(help="Site id.")],
    api_url: ApiUrl = LOCAL,
    survey_id: Annotated[str | None, typer.Option("--survey", help="Learn from this walk.")] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(help="TAG=X,Y[,Z]: a tag that hangs at a known place. Several times."),
    ] = None,
    ranges: Annotated[
        bool, typer.Option("--ranges", help="Learn from the ranges of the reference tags.")
    ] = False,
    anchors: Annotated[
        bool, typer.Option("--anchors", help="Learn from the ranges between the anchors.")
    ] = False,
    hours: Annotated[float, typer.Option(min=0.01, help="Latest hours of reference tags.")] = 1.0,
    floor: Annotated[float, typer.Option(help="Floor number.")] = 0.0,
    tag_height: Annotated[float, typer.Option(help="Usual height of a tag, metres.")] = 1.0,
    apply: Annotated[bool, typer.Option("--apply", help="Put it into the configuration.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Apply it even if zones get worse.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Learn a site's radio from a walk or from reference tags, and show what it would change.

    Nothing is changed without --apply. A calibration that is made of too few data, or in which a
    parameter is at its bound, is refused with the reason (exit code 2); one that makes the replayed
    walk worse is not applied (exit code 1) unless --force is given. With --ranges or --anchors the
    ranges of UWB anchors are calibrated instead; the rest of the site's calibration stays.
    """
    if ranges or anchors:
        of_anchors = None if anchors else reference or []
        _calibrate_ranges(
            api_url, site, of_anchors, hours, tag_height, apply=apply, as_json=as_json
        )
        return
    with _answering(api_url, quiet=as_json) as api:
        places = plans.references(reference or [])
        if (survey_id is None) == (not places):
            raise RejectedError("give either --survey or --reference")
        found = calibrated(
            api, site, survey_id=survey_id, places=places, hours=hours, floor=floor,
            tag_height_m=tag_height,
        )  # fmt: skip
        worse = found.before is not None and found.after is not None and (
            found.after.accuracy < found.before.accuracy
        )  # fmt: skip
        applied = apply and (force or not worse)
        if applied:
            _apply(api, site, found.known.calibration)
    _show(
        _calibrated_json(found, applied=applied),
        _calibrated_lines(found, applied=applied),
        as_json=as_json,
    )
    raise typer.Exit(NO_GO if apply and not applied else 0)


def _apply(api: Api, site: str, calibration: Calibration) -> None:
    event = calibration_event(site, calibration)
    key = str(uuid.uuid5(uuid.NAMESPACE_OID, orjson.dumps(event).decode()))
    api.post([event], key=f"calibration/{site}/{key}")


def _calibrate_ranges(
    api_url: str,
    site: str,
    reference: list[str] | None,
    hours: float,
    tag_height_m: float,
    *,
    apply: bool,
    as_json: bool,
) -> None:
    """Learn what ranges have too much, from reference tags or (None) between the anchors."""
    with _answering(api_url, quiet=as_json) as api:
        places = plans.references(reference or [])
        if reference is not None and not places:
            raise RejectedError("--ranges needs --reference; --anchors does without")
        found = ranges_calibrated(api, site, places=places, hours=hours, tag_height_m=tag_height_m)
        if apply:
            _apply(api, site, found.calibration)
    body = ranges_json(found, applied=apply)
    _show(body, ranges_lines(body), as_json=as_json)


def _calibrated_json(found: Calibrated, *, applied: bool) -> dict[str, Any]:
    known = found.known
    return {
        "points": len(known.calibration.points),
        "gateways": {
            name: {"offset_db": f.offset_db, "exponent": f.exponent, "sigma_db": f.sigma_db}
            for name, f in sorted(known.calibration.gateways.items())
        },
        "left_out_error_m": round(known.error_m, 3),
        "plan_error_m": round(known.plan_error_m, 3),
        "zone_accuracy_before": None if found.before is None else round(found.before.accuracy, 4),
        "zone_accuracy_after": None if found.after is None else round(found.after.accuracy, 4),
        "applied": applied,
    }


def _calibrated_lines(found: Calibrated, *, applied: bool) -> list[str]:
    body = _calibrated_json(found, applied=applied)
    lines = [
        f"{body['points']} places, {len(body['gateways'])} gateways",
        f"{'':24}{'before':>10}{'after':>10}",
        f"{'error of a left-out place':24}{body['plan_error_m']:>8.2f} m{body['left_out_error_m']:>8.2f} m",
    ]
    if found.before is not None and found.after is not None:
        lines.append(
            f"{'right zone, by replay':24}{found.before.accuracy:>10.1%}{found.after.accuracy:>10.1%}"
        )
    lines += [
        f"  {name}: {f['offset_db']:.1f} dBm at 1 m, exponent {f['exponent']:.2f}, ±{f['sigma_db']:.1f} dB"
        for name, f in body["gateways"].items()
    ]
    return [*lines, APPLIED if applied else NOT_APPLIED]


def _report_lines(report: Report, walk: Walk) -> list[str]:
    zones = sorted(report.confusion_s)
    named = sorted({name for row in report.confusion_s.values() for name in row} | set(zones))
    width = max(len(name) for name in named) + 2
    lines = [f"{walk.survey_id}: {walk.site_id}, {len(walk.stops)} stops with {walk.tag_id}", ""]
    lines.append("share of the time at the stops, true zone by line".ljust(width))
    lines.append(" " * width + "".join(f"{name:>{width}}" for name in named))
    for zone in zones:
        row = report.confusion_s[zone]
        total = sum(row.values())
        cells = "".join(f"{row.get(name, 0.0) / total:>{width}.0%}" for name in named)
        lines.append(f"{zone:{width}}{cells}")
    lines += ["", f"right zone: {report.accuracy:.1%}"]
    if report.error_m is not None:
        lines.append(f"error of x/y: {report.error_m:.1f} m (median of the stops)")
    lines += [
        f"put a gateway{_there(a.x_m, a.y_m)} in {a.zone_id}: {a.reason}" for a in report.advice
    ]
    lines += ["", "GO" if report.go else "NO GO"]
    lines += [f"  {reason}" for reason in report.reasons]
    return lines


def _there(x_m: float | None, y_m: float | None) -> str:
    return "" if x_m is None or y_m is None else f" near ({x_m:.1f}, {y_m:.1f}) m"


def _show(body: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    typer.echo(orjson.dumps(body).decode() if as_json else "\n".join(lines))
