"""docs/dependencies.md names every direct dependency, with the licence that its metadata state."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ROW = re.compile(r"^\| `([A-Za-z0-9._-]+)` \| ([^|]+) \|", re.MULTILINE)
_COPYLEFT = re.compile(r"\bA?GPL|\bLGPL|General Public License", re.IGNORECASE)


def direct() -> list[str]:
    """Return the names of all direct dependencies: server, development, gateway agent."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    agent = tomllib.loads((ROOT / "gateway-agent" / "pyproject.toml").read_text(encoding="utf-8"))
    written = [*project["project"]["dependencies"], *groups["build"], *groups["dev"]]
    written += agent["project"]["dependencies"]
    return list(dict.fromkeys(found[0] for line in written if (found := _NAME.match(line))))


def locked() -> list[str]:
    """Return the names in the lock that are installed here."""
    text = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    names = re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", text, re.MULTILINE)
    installed = {d.name.lower().replace("_", "-") for d in metadata.distributions()}
    return [n for n in names if n.lower() in installed]


def stated_licence(name: str) -> str:
    """Return the licence that a distribution states, expression before classifiers."""
    stated = metadata.metadata(name)
    for member in ("License-Expression", "License"):
        for text in stated.get_all(member) or []:
            if 0 < len(text) < 100:
                return str(text)
    kinds = [c for c in stated.get_all("Classifier") or [] if c.startswith("License")]
    return " ".join(c.rpartition(" :: ")[2] for c in kinds)


def rows() -> dict[str, str]:
    """Return the licence column of the page by name."""
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    return {name: licence.strip() for name, licence in _ROW.findall(text)}


@pytest.mark.parametrize("name", direct())
def test_every_direct_dependency_is_explained_with_its_licence(name: str) -> None:
    assert name in rows(), f"docs/dependencies.md has no line for {name}"
    assert rows()[name] == stated_licence(name)


def test_the_page_names_nothing_that_is_not_used() -> None:
    assert sorted(set(rows()) - set(direct())) == []


def test_nothing_installed_is_under_a_gnu_licence() -> None:
    names = locked()

    assert len(names) > 50
    assert {n: stated_licence(n) for n in names if _COPYLEFT.search(stated_licence(n))} == {}


def test_the_dead_client_is_not_used_and_sqlalchemy_only_under_migrations() -> None:
    imports = re.compile(r"^\s*(?:import|from)\s+(httpx|sqlalchemy)\b", re.MULTILINE)
    using = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in (ROOT / "services").rglob("*.py")
        for name in imports.findall(path.read_text(encoding="utf-8"))
    }

    assert using == {("services/kernel/tagtrail_kernel/migrations.py", "sqlalchemy")}
