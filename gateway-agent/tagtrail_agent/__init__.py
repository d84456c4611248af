"""The edge agent: hears tags, forwards what is news, loses nothing. docs/wire-format.md is the wire."""

from typing import Final

VERSION: Final = "0.1.0"
"""Version of the agent, as in pyproject.toml and in heartbeats."""
