"""The console has a word for everything that locate says, and its stand-in answers as locate does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from tests.support.console_answers import explanation, silence
from tests.support.console_world import NOW, World
from tests.support.explained import KINDS, explained

import tagtrail_console
from tagtrail_console.assets import Assets
from tagtrail_console.pages import Pages
from tagtrail_kernel.events.places import Method, SilenceCause
from tagtrail_locate.core import explain, fusion, search, silence_report
from tagtrail_locate.core.errors import DegenerateGeometryError, TooFewRangesError
from tagtrail_locate.core.presence import Grade, Presence
from tagtrail_locate.reading import gateway_state

SCRIPTS = Path(tagtrail_console.__file__).parent / "static/js"
TEXTS = Pages(Assets()).texts


@pytest.mark.parametrize(
    ("prefix", "codes"),
    [
        ("reason", explain.SENTENCES),
        ("cause", silence_report.SENTENCES),
        ("cause", get_args(SilenceCause)),
        ("look", search.REASONS),
        ("class", fusion.FOREIGN),
        ("method", fusion.WORDS),
        ("method", get_args(Method)),
        ("state", get_args(Grade)),
        ("state", get_args(Presence)),
        ("trouble", (TooFewRangesError.code, DegenerateGeometryError.code)),
    ],
)
def test_every_code_of_locate_has_a_text(prefix: str, codes: Any) -> None:
    assert {f"{prefix}.{code}" for code in codes} <= TEXTS.keys()


@pytest.mark.parametrize("online", [True, False, None])
@pytest.mark.parametrize("registered", [True, False])
@pytest.mark.parametrize("ahead_s", [None, 90.0])
@pytest.mark.parametrize("silence_s", [None, 1.0, 1000.0])
def test_every_health_of_a_gateway_has_a_text_and_the_troubled_ones_an_advice(
    online: bool | None, registered: bool, ahead_s: float | None, silence_s: float | None
) -> None:
    item = {"online": online, "registered": registered, "clock_ahead_s": ahead_s}

    word = gateway_state(item, silence_s, 60.0)

    assert f"health.{word}" in TEXTS
    assert (f"advice.{word}" in TEXTS) is (word != "healthy")


def test_texts_that_are_chosen_between_are_in_the_catalogue_too() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS.glob("*.js"))
    families = {key.partition(".")[0] for key in TEXTS}
    literal = set(re.findall(r'"([a-z_]+\.[a-z_.]+)"', sources))
    asked = {
        key for key in literal if key.partition(".")[0] in families and not key.endswith(".js")
    }

    missing = {key for key in asked - TEXTS.keys() if f"{key}.one" not in TEXTS}

    assert len(asked) > 100
    assert missing == set()


def _shape(value: Any) -> Any:
    """Return the members of a JSON value, of lists those of the first element."""
    if isinstance(value, dict):
        return {key: _shape(member) for key, member in value.items()}
    return _shape(value[0]) if isinstance(value, list) and value else None


def _missing(ours: Any, real: Any, path: str = "") -> set[str]:
    """Return the members that the real shape lacks; a member without a value has any shape."""
    if not isinstance(ours, dict) or not isinstance(real, dict):
        return set()
    found = {f"{path}.{key}" for key in ours.keys() - real.keys()}
    for key in ours.keys() & real.keys():
        found |= _missing(ours[key], real[key], f"{path}.{key}")
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_stand_in_explains_in_the_shape_of_locate(world: World, kind: str) -> None:
    for tag_id in ("tag-05", "tag-09", "tag-20"):
        told = explanation(world.places[tag_id], NOW)

        assert _missing(_shape(told), _shape(explained(kind))) == set()


def test_the_stand_ins_silence_has_the_shape_of_locates(world: World) -> None:
    told = silence(world.places["tag-09"], NOW)

    real = explained("battery empty")["presence"]
    assert _missing(_shape(told), _shape(real)) == set()
