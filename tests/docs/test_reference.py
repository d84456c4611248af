"""The pages about events and settings say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.reference_docs import (
    DOCS,
    EPCIS,
    FAMILIES,
    SETTINGS,
    events_page,
    settings_page,
)

from tagtrail_kernel.events.registry import ALL_FAMILIES, REGISTRY

ADVICE = "run `python -m tests.support.reference_docs`"


def test_the_page_of_events_is_what_the_types_say() -> None:
    assert (DOCS / "events.md").read_text(encoding="utf-8") == events_page(), ADVICE


def test_the_page_of_settings_is_what_the_classes_say() -> None:
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == settings_page(), ADVICE


def test_no_family_and_no_settings_class_is_left_out() -> None:
    families = sum(FAMILIES)
    modules = {cls.__module__ for _, cls in SETTINGS}
    files = (DOCS.parent / "services").glob("*/*/settings.py")

    assert families == ALL_FAMILIES
    assert {_module(path) for path in files} == modules


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_member_of_an_event_has_a_meaning(name: str) -> None:
    section = events_page().split(f"### `{name}`\n")[1].split("\n##")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]

    assert rows
    assert [row for row in rows if row.endswith("|  |")] == []


@pytest.mark.parametrize("title", [title for title, _ in SETTINGS])
def test_every_setting_has_a_meaning(title: str) -> None:
    section = settings_page().split(f"## {title}\n")[1].split("\n## ")[0]

    assert "|  |" not in section


def _module(path: Path) -> str:
    return f"{path.parent.name}.settings"


def test_only_events_that_exist_are_told_in_the_words_of_epcis() -> None:
    assert set(EPCIS) <= set(REGISTRY)
    assert {action for _, action, _, _ in EPCIS.values()} == {
        "ADD", "DELETE", "OBSERVE", "DELETE, then ADD",
    }  # fmt: skip
