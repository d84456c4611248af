"""`python -m bench.locate --set NAME --calibrate DIR --evaluate DIR --as LABEL --delay S --out F`.

Runs locate's own cores over a measured set and writes `set,run,t,x,y,zone`, a fix at least every
0.3 s. Only `--calibrate` teaches; of `--evaluate` only the measurements are read. A fix for time t
uses measurements up to t + delay.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from bench.locate.output import Fix, write

MODULES: Final[dict[str, dict[str, str]]] = {
    "ble_tetam": {"ble": "ble_tetam"},
    "hybrid_apartment": {"ble": "apartment", "uwb": "apartment_uwb"},
    "uwb_industrial": {"uwb": "industrial"},
    "uwb_room": {"uwb": "room"},
    "uwb_vehicle": {"uwb": "vehicle"},
}
"""Module per set and radio; the first radio is the one meant when none is named."""


class Predict(Protocol):
    """What every set's module offers under the name `predict`."""

    def __call__(
        self, calibrate: Path, evaluate: Path, label: str, *, delay_s: float, radio: str | None
    ) -> Iterator[Fix]:
        """Yield the fixes of every run in `evaluate`, calibrated from `calibrate` only."""
        ...


def predictor(name: str, radio: str | None) -> Predict:
    """Return the `predict` of a set's module, which is only then imported.

    Raises:
        SystemExit: the set has no such radio.
    """
    by_radio = MODULES[name]
    chosen = radio or next(iter(by_radio))
    if chosen not in by_radio:
        raise SystemExit(f"{name} has no radio {chosen}: choose one of {', '.join(by_radio)}")
    module = importlib.import_module(f"bench.locate.{by_radio[chosen]}")
    predict: Predict = module.predict
    return predict


def main() -> None:
    """Read the command line, run the set, write its fixes."""
    parser = argparse.ArgumentParser(prog="python -m bench.locate", description=__doc__)
    parser.add_argument("--set", required=True, choices=sorted(MODULES), dest="name")
    parser.add_argument("--calibrate", required=True, type=Path, metavar="DIR")
    parser.add_argument("--evaluate", required=True, type=Path, metavar="DIR")
    parser.add_argument("--as", required=True, dest="label", metavar="LABEL")
    parser.add_argument("--delay", required=True, type=float, metavar="SECONDS")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE")
    parser.add_argument("--radio", choices=("ble", "uwb"))
    asked = parser.parse_args()
    predict = predictor(asked.name, asked.radio)
    fixes = predict(
        asked.calibrate, asked.evaluate, asked.label, delay_s=asked.delay, radio=asked.radio
    )
    count = write(asked.out, fixes)
    sys.stdout.write(f"{count} fixes written to {asked.out}\n")


if __name__ == "__main__":
    main()
