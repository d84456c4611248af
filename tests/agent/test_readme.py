"""The README of the agent names everything that can be set, and its defaults."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tagtrail_agent.config import _SECTIONS

README = Path(__file__).resolve().parents[2] / "gateway-agent" / "README.md"


def test_every_key_of_the_configuration_is_in_the_readme() -> None:
    table = README.read_text().partition("## agent.toml")[2].partition("\n## ")[0]

    missing = [
        f"{name}.{field.name}"
        for name, cls in _SECTIONS.items()
        for field in dataclasses.fields(cls)
        if f"`{field.name}`" not in table or f"[{name}]" not in table
    ]
    assert missing == []
