from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests import setup_browser
from tests.setup_browser import BrowserMissingError, find_chromium, main


def _program(folder: Path, name: str, text: str = "") -> Path:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_program_that_the_variable_names_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _program(tmp_path, "my-browser")
    monkeypatch.setenv("CHROMIUM", str(path))

    assert find_chromium() == str(path)
    assert main() == 0
    assert str(path) in capsys.readouterr().out


def test_a_variable_that_names_nothing_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")

    assert main() == 1
    assert "correct or unset it" in capsys.readouterr().err


@pytest.mark.parametrize("name", setup_browser.NAMES)
def test_each_usual_name_on_the_path_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = _program(tmp_path, name)
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_chromium() == str(path)


def test_without_a_package_manager_the_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert main() == 1
    assert "no apt-get" in capsys.readouterr().err


def test_without_root_or_sudo_the_command_to_run_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path, "apt-get")
    _program(tmp_path, "sudo", "raise SystemExit(1)")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    with pytest.raises(BrowserMissingError, match="sudo apt-get install chromium"):
        setup_browser.installer()


def test_a_missing_browser_is_installed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "asked"
    chromium = tmp_path / "chromium"
    _program(
        tmp_path,
        "apt-get",
        "import sys, pathlib\n"
        f"pathlib.Path({str(asked)!r}).open('a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        "if sys.argv[1] == 'install':\n"
        f"    p = pathlib.Path({str(chromium)!r}); p.write_text('#!/bin/sh'); p.chmod(0o755)\n",
    )
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)

    assert main() == 0
    assert main() == 0

    lines = asked.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["update", "install"]
    assert "chromium" in lines[1]
    assert "apt-get install" in capsys.readouterr().out


def test_a_failing_package_manager_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _program(tmp_path, "apt-get", "import sys; sys.exit('E: no network')")
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)

    assert main() == 1
    assert "E: no network" in capsys.readouterr().err
