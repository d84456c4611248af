"""The command line: `tagtrail --help`.

Commands that only call a running server, or play a simulation, do not load the services: they are
there in a fifth of the time, which is seconds on a small machine.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

APART: Final = {
    "gateways": "tagtrail.gateways_cli",
    "locate": "tagtrail.locating.cli",
    "simulate": "tagtrail.simulator.cli",
    "sources": "tagtrail.sources_cli",
}
"""Modules of commands that need nothing of the services; each has an `app`."""

SERVICES: Final = "tagtrail.commands"
"""Module of all other commands."""


class Commands(TyperGroup):
    """Commands whose modules are loaded when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Load all commands and return their names."""
        self._load_services()
        for name in APART:
            self._load(name)
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; None if there is none of this name."""
        if cmd_name in APART:
            self._load(cmd_name)
        else:
            self._load_services()
        return super().get_command(ctx, cmd_name)

    def _load(self, name: str) -> None:
        if name not in self.commands:
            command = typer.main.get_command(import_module(APART[name]).app)
            command.name = name
            self.add_command(command)

    def _load_services(self) -> None:
        if not self.commands.keys() <= APART.keys():
            return
        group = typer.main.get_command(import_module(SERVICES).app)
        assert isinstance(group, TyperGroup)  # noqa: S101 - it has several commands
        for name, command in group.commands.items():
            self.add_command(command, name)


app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


@app.callback()
def tagtrail() -> None:
    """Tagtrail: where goods are, what stock there is, and the proof of both."""
