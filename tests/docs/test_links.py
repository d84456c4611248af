"""Every page of documentation: its links lead somewhere, and it names nothing of one machine."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
AWAY = frozenset({"node_modules", "build", "dist"})
PAGES = sorted(
    p.relative_to(ROOT)
    for p in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in AWAY for part in p.relative_to(ROOT).parts)
)
_FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+?)\s*#*$", re.MULTILINE)
_MACHINE = re.compile(r"(?<![\w.~/-])/(?:root|work|home/[a-z]+|Users)/")
_REGISTRIES = (
    "pypi." + "org",
    "python" + "hosted",
    "registry.npm" + "js",
    "registry-1." + "docker",
)


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return _FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and GitLab make them."""
    found = set()
    for title in _HEADING.findall(prose(page)):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    wrong = []
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        to = (ROOT / page).parent / path if path else ROOT / page
        inside = to.resolve().is_relative_to(ROOT)
        if (
            path.startswith("/")
            or not inside
            or not to.exists()
            or (
                anchor
                and to.suffix == ".md"
                and anchor not in anchors(to.resolve().relative_to(ROOT))
            )
        ):
            wrong.append(target)
    return wrong


def test_there_are_pages() -> None:
    assert Path("README.md") in PAGES
    assert len(PAGES) > 10


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_page_names_a_folder_of_somebodys_machine_or_a_registry(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")

    assert _MACHINE.findall(text) == []
    assert [r for r in _REGISTRIES if r in text] == []


def test_every_page_that_the_code_names_exists() -> None:
    named = {
        (path.relative_to(ROOT).as_posix(), page)
        for path in _code()
        for page in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8"))
    }

    assert len(named) > 5
    assert sorted((code, page) for code, page in named if not (ROOT / page).is_file()) == []


def _code() -> list[Path]:
    found = [ROOT / "Makefile", ROOT / "pyproject.toml", *ROOT.glob("docker-compose.yml")]
    for folder in ("services", "infra", "gateway-agent"):
        for kind in ("*.py", "*.sql", "*.sh", "*.conf", "*.Dockerfile", "*.service", "*.json"):
            found += (ROOT / folder).rglob(kind)
    return sorted(found)


def test_every_decision_is_in_the_list_and_has_its_parts() -> None:
    folder = ROOT / "docs" / "adr"
    listed = (folder / "index.md").read_text(encoding="utf-8")
    decisions = sorted(p for p in folder.glob("[0-9]*.md"))

    numbers = [int(p.name[:4]) for p in decisions]
    assert numbers == list(range(1, len(numbers) + 1))
    for page in decisions:
        text = page.read_text(encoding="utf-8")
        title = text.partition("\n")[0].removeprefix("# ")
        assert title.startswith(page.name[:4]), page.name
        assert f"[{page.name[:4]}]({page.name}) | {title[5:]} |" in listed, page.name
        assert re.search(r"^Status: .+ · Area: .+ · Date: \d{4}-\d\d-\d\d$", text, re.MULTILINE), (
            page.name
        )
        for part in ("Context", "Decision", "Consequences", "Alternatives", "References"):
            assert f"\n## {part}" in text, f"{page.name} lacks {part}"


def test_every_service_has_a_page_that_the_index_names() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    packages = sorted((ROOT / "services").glob("*/*/__init__.py"))
    pages = [f"services/{p.parents[1].name}/README.md" for p in packages]

    assert len(pages) >= 7
    for page in pages:
        assert (ROOT / page).is_file(), f"{page} is missing"
        assert f"../{page}" in index, f"docs/index.md does not name {page}"
