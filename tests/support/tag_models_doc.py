"""Writes the server's tag_models.json from the agent's tag_models.yaml; a test compares.

Run `python -m tests.support.tag_models_doc` after a change of the YAML. The server installs without
the agent and reads no YAML.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from tagtrail_agent.models import BUILT_IN as AGENTS
from tagtrail_inventory.tag_models import BUILT_IN


def generate(source: Path = AGENTS) -> str:
    """Return the whole file. How adverts are read is left out: only the agent hears them."""
    models = yaml.safe_load(source.read_text(encoding="utf-8"))["models"]
    for model in models.values():
        model.pop("adverts", None)
    return json.dumps(models, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the file."""
    BUILT_IN.write_text(generate(), encoding="utf-8")


if __name__ == "__main__":
    main()
