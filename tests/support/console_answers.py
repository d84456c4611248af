"""Answers of locate about one tag, as the stand-in of the console's tests gives them.

Their shape is held to the real one by a test; `explained` of `tests.support.explained` gives real ones.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

Json = dict[str, Any]

INTERVAL_S = 10.0
OVERDUE_S = 30.0
MISSING_S = 120.0
CAUSES = {
    "missing": "silent_while_heard",
    "overdue": "adverts_lost",
    "unobservable": "gateways_down",
}
GONE = {"missing": 0.93, "overdue": 0.12, "unobservable": 0.31}


def at(when: datetime) -> str:
    """Return a time as the services write it."""
    return when.isoformat().replace("+00:00", "Z")


def explanation(place: Json, now: datetime) -> Json:
    """Return what locate answers about a tag that it knows by signal strength.

    Args:
        place: The tag's latest place.
        now: The services' clock.
    """
    heard_at = datetime.fromisoformat(place["last_heard_at"])
    winner = _source(place["method"], place["zone_id"], "most_probable", place["confidence"])
    return {
        "tag_id": place["tag_id"], "zone_id": place["zone_id"], "zone_since_at": place["since_at"],
        "method": place["method"], "confidence": place["confidence"], "reason": "only_source",
        "because": "signal strength 0 s ago: its zone is also the most probable one",
        "at": at(heard_at), "configuration": "7", "configuration_trouble": None,
        "evidence": ["e1", "e2", "e3"], "lag_s": 0, "settling": False, "late_readings": 0,
        "waiting_readings": 0, "sources": [winner], "conflict": [],
        "candidates": _candidates(place), "belief": _belief(heard_at), "fence": dict(FENCE),
        "links": [_link("gw-out", -58.4, -60.2), _link("gw-aisle", -79.0, -76.5)],
        "ranging": None, "not_heard": [_unheard(now)], "presence": silence(place, now),
        "age_s": (now - heard_at).total_seconds(), "as_of_position": place["position"],
    }  # fmt: skip


FENCE: Json = {
    "exit_tolerance_m": 1.5, "tolerance_timeout_ms": 45000, "exit_delay_ms": 3000,
    "timeout_ms": -1, "exit_evaluations": 3, "enter_probability": 0.3, "exit_probability": 0.4,
    "outside_since_at": None,
}  # fmt: skip


def _source(method: str, zone_id: str | None, reason: str, confidence: float | None) -> Json:
    return {
        "method": method, "zone_id": zone_id, "age_s": 0.0, "counts_for_s": None, "votes": True,
        "confidence": confidence, "source_class": "own", "reason": reason, "sentence": "its zone is the most probable one",
        "candidate": None, "position": None, "by": None,
    }  # fmt: skip


def _candidates(place: Json) -> list[Json]:
    sure = place["confidence"] or 0.0
    rest = round(1.0 - sure, 4)
    return [
        {"zone_id": place["zone_id"], "name": "its zone", "probability": sure,
         "ahead_of_holder": 0.0, "holds": True},
        {"zone_id": "aisle-a", "name": "Aisle A", "probability": rest,
         "ahead_of_holder": round(rest - sure, 4), "holds": False},
    ]  # fmt: skip


def _belief(heard_at: datetime) -> Json:
    return {
        "site_id": "hall", "at": at(heard_at), "age_s": 0.0, "x_m": 30.1, "y_m": 6.2,
        "radius_95_m": 4.4, "interval_s": INTERVAL_S, "placed": True,
        "recomputable_from": at(heard_at - timedelta(seconds=5)), "readings_kept": 7,
    }  # fmt: skip


def _link(gateway_id: str, smoothed_dbm: float, expected_dbm: float) -> Json:
    return {
        "gateway_id": gateway_id, "zone_id": None, "smoothed_dbm": smoothed_dbm,
        "expected_dbm": expected_dbm, "readings_ever": 214, "readings_kept": 4, "age_s": 1.5,
        "silence_counts": False, "event_id": "e1",
    }  # fmt: skip


def _unheard(now: datetime) -> Json:
    return {
        "gateway_id": "gw-pack", "why": "usual", "share_expected": 0.8, "silent_s": 95.0,
        "expected_within_s": 12.0, "gateway_alive": True, "gateway_heard_at": at(now),
    }  # fmt: skip


def silence(place: Json, now: datetime) -> Json:
    """Return how locate judges the silence of a tag."""
    state, heard_at = place["presence"], datetime.fromisoformat(place["last_heard_at"])
    silent_s = (now - heard_at).total_seconds()
    cause, gone = CAUSES.get(state), GONE.get(state, 0.0)
    return {
        "state": state, "grade": "heard" if state == "present" else state,
        "since_at": at(heard_at + timedelta(seconds=MISSING_S)), "last_heard_at": at(heard_at),
        "silent_s": silent_s, "observed_silence_s": silent_s * 0.9,
        "expected_interval_s": INTERVAL_S, "interval_learned": True, "overdue_after_s": OVERDUE_S,
        "missing_after_s": MISSING_S, "missing_probability_needed": 0.9, "lost_after_s": 86400.0,
        "cause": cause, "because": None, "gone_probability": gone,
        "silence_is_real_probability": 0.97, "heard_share": 0.95, "usual_gateways": ["gw-aisle"],
        "causes": [
            {"cause": cause or "adverts_lost", "probability": 0.93, "sentence": "one"},
            {"cause": "shadowed", "probability": 0.07, "sentence": "another"},
        ],
        "witnesses": [
            {"gateway_id": "gw-aisle", "heard_it_at": at(heard_at), "listened_s": silent_s,
             "adverts_missed": 102, "hears_share": 0.94, "learned_from_adverts": 44.0, "deaf": False}
        ],
        "battery": {"charge_pct": 62.0, "told_at": at(heard_at), "falls_pct_per_day": 0.21},
        "look_first": [
            {"zone_id": place["zone_id"], "reason": "last_zone", "sentence": "last here"},
            {"zone_id": "outbound", "reason": "exit", "sentence": "an exit"},
        ],
        "site_heard_at": at(now),
    }  # fmt: skip


def health_of(gateway: Json, health: dict[str, str], now: datetime) -> Json:
    """Return how a gateway is, as the list of gateways tells it.

    Args:
        gateway: Its registration.
        health: Word for those that are not healthy, by gateway; this list knows no "deaf".
        now: The services' clock.
    """
    word = health.get(gateway["gateway_id"], "healthy")
    heard_at = (
        None if word == "never_heard" else now - timedelta(seconds=605 if word == "silent" else 1)
    )
    quiet = word in ("silent", "deaf", "never_heard")
    return {
        "gateway_id": gateway["gateway_id"], "site_id": gateway["site_id"],
        "state": "healthy" if word == "deaf" else word, "tags_heard": 0 if quiet else 9,
        "sightings_per_min": 0 if quiet else 120,
        "clock_ahead_s": 95.0 if word == "clock_ahead" else None,
        "last_heard_at": None if heard_at is None else at(heard_at),
    }  # fmt: skip


def coverage_of(gateways: list[Json], health: dict[str, str], now: datetime) -> Json:
    """Return the coverage map of a site, as far as pages read it.

    Args:
        gateways: Registered gateways.
        health: The map's word for those that do not listen, by gateway.
        now: The services' clock.
    """
    return {
        "site_id": "hall", "at": at(now), "zones": [],
        "gateways": [
            {"gateway_id": g["gateway_id"], "zone_id": g["zone_id"],
             "state": health.get(g["gateway_id"], "listening"), "last_heard_at": at(now),
             "blind_without_it": [g["zone_id"]] if g["gateway_id"] == "gw-out" else []}
            for g in gateways
        ],
    }  # fmt: skip
