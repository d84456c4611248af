"""A scripted walk gives the known confusion; dead spots, advice and verdict follow from it (S12)."""

from __future__ import annotations

import pytest

from tagtrail_locate.core.errors import TooFewMarksError
from tagtrail_locate.core.survey import Answer, Limits, Reading, Stop, judge

LIMITS = Limits(accuracy=0.9, zone_accuracy=0.8, settle_s=10.0, interval_s=1.0)


def _walk(zones: str, stay_s: float = 60.0) -> list[Stop]:
    """One stop after the other, in zones named by letters, 10 m apart."""
    return [
        Stop(zone, n * 100.0, n * 100.0 + stay_s, 10.0 * n + 5.0, 5.0)
        for n, zone in enumerate(zones)
    ]


def _heard(stops: list[Stop], *, but: int | None = None, share: float = 1.0) -> list[Reading]:
    """Two gateways hear every advert, but only a share of them at one stop."""
    readings = []
    for n, stop in enumerate(stops):
        for second in range(int(stop.until_s - stop.from_s)):
            if n == but and second % 100 >= 100 * share:
                continue
            at_s = stop.from_s + second
            readings += [Reading(at_s, "g1", -60.0 - n), Reading(at_s, "g2", -70.0 + n)]
    return readings


def test_s12_a_scripted_walk_gives_the_known_confusion_matrix() -> None:
    stops = _walk("abc")
    answers = [
        Answer(5.0, "a", 5.5, 5.0),
        Answer(105.0, "b", 15.0, 5.0),
        Answer(140.0, "a", 6.0, 5.0),
        Answer(150.0, None),
        Answer(205.0, "c", 25.0, 8.0),
    ]

    report = judge(stops, _heard(stops), answers, LIMITS)

    assert report.confusion_s == {
        "a": {"a": 50.0},
        "b": {"b": 30.0, "a": 10.0, "unknown": 10.0},
        "c": {"c": 50.0},
    }
    assert report.accuracy == pytest.approx(130 / 150)
    assert report.zone_accuracy["b"] == pytest.approx(0.6)
    assert report.error_m == pytest.approx(3.0)
    assert not report.go
    assert [a.zone_id for a in report.advice] == ["b"]


def test_s12_a_planted_dead_zone_is_listed_with_the_place_for_a_gateway() -> None:
    stops = _walk("abcd")
    answers = [Answer(s.from_s + 1, s.zone_id, s.x_m, s.y_m) for s in stops]

    report = judge(stops, _heard(stops, but=2, share=0.2), answers, LIMITS)

    assert [d.stop.zone_id for d in report.dead] == ["c"]
    [advice] = report.advice
    assert (advice.zone_id, advice.x_m, advice.y_m) == ("c", 25.0, 5.0)
    assert "33%" in advice.reason
    assert not report.go
    assert "dead spot in zone c" in report.reasons[-1]


def test_a_place_that_no_gateway_hears_is_dead() -> None:
    stops = _walk("abc")
    answers = [Answer(s.from_s + 1, s.zone_id) for s in stops]

    report = judge(stops, _heard(stops, but=0, share=0.0), answers, LIMITS)

    assert report.dead[0].reasons == ("no gateway hears the tag there",)


def test_zones_that_look_alike_are_said_to() -> None:
    stops = _walk("aabb")
    readings = _heard(stops)
    answers = [Answer(s.from_s + 1, "a") for s in stops]

    report = judge(stops, readings, answers, LIMITS)

    assert "taken for a 100% of the time" in report.advice[0].reason
    assert "differ by 2.0 dB only" in report.advice[0].reason


@pytest.mark.parametrize(("right_s", "go"), [(45.0, True), (44.0, False)])
def test_the_verdict_changes_at_the_limit(right_s: float, go: bool) -> None:
    stops = _walk("aaa")
    answers = []
    for stop in stops:
        answers += [
            Answer(stop.from_s, "a"),
            Answer(stop.from_s + LIMITS.settle_s + right_s, "b"),
        ]

    report = judge(stops, _heard(stops), answers, LIMITS)

    assert report.go is go


def test_too_few_stops_give_no_verdict() -> None:
    stops = [*_walk("ab"), Stop("c", 900.0, 915.0)]

    with pytest.raises(TooFewMarksError, match="2 of 3 stops"):
        judge(stops, [], [], LIMITS)
