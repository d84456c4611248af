"""What the command line offers, and what it loads for it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tagtrail.cli import APART, app


def test_the_help_lists_every_command() -> None:
    shown = CliRunner().invoke(app, ["--help"])

    assert shown.exit_code == 0
    for name in (*APART, "serve", "demo", "migrate", "rebuild", "replay", "doctor", "events"):
        assert f" {name} " in shown.output
    assert "what stock there is" in shown.output


def test_an_unknown_command_is_refused() -> None:
    refused = CliRunner().invoke(app, ["sevre"])

    assert refused.exit_code == 2
    assert "No such command 'sevre'" in refused.output
    assert "serve" in refused.output


@pytest.mark.parametrize("name", sorted(APART))
def test_a_command_that_only_calls_a_server_loads_no_service(name: str) -> None:
    program = (
        "import sys; from tagtrail.cli import app\n"
        f"app([{name!r}, '--help'], standalone_mode=False)\n"
        "sys.stderr.write(' '.join({'fastapi', 'alembic', 'sqlalchemy'} & sys.modules.keys()))"
    )

    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert f"{name} [OPTIONS]" in found.stdout
    assert found.stderr == ""
