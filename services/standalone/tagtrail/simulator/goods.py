"""Articles and what lies in crates."""

from __future__ import annotations

from typing import Final

import numpy as np

from tagtrail_kernel.events.registrations import SkuRegistered
from tagtrail_kernel.events.stock import Line

Contents = dict[str, int]
"""Units by SKU; never zero or negative."""

_NAMES: Final = (
    "Espresso beans 1 kg", "Filter coffee 500 g", "Green tea 100 bags", "Oat drink 1 l",
    "Olive oil 750 ml", "Pasta 500 g", "Rice 5 kg", "Tomatoes tinned 400 g", "Chickpeas 400 g",
    "Dark chocolate 100 g", "Honey 500 g", "Sea salt 1 kg", "Dish soap 1 l", "Paper towels 8",
    "Batteries AA 24", "LED bulb E27", "Work gloves L", "Packing tape 66 m", "Label roll 100 mm",
    "Stretch film 500 mm",
)  # fmt: skip


def gtin13(number: int) -> str:
    """Return a GTIN-13 with its check digit, from the range that is free for internal use.

    Args:
        number: 0 to 9,999,999,999.
    """
    digits = f"20{number:010d}"
    weighted = sum(int(d) * (3 if n % 2 else 1) for n, d in enumerate(digits))
    return f"{digits}{-weighted % 10}"


def catalogue(prefix: str) -> list[SkuRegistered]:
    """Return the articles of the simulated business."""
    return [
        SkuRegistered(sku=f"{prefix}SKU-{n + 1:03d}", name=name, gtin=gtin13(n + 1))
        for n, name in enumerate(_NAMES)
    ]


def fill(rng: np.random.Generator, skus: list[str]) -> Contents:
    """Return random contents: one to three articles, 4 to 60 units each."""
    chosen = rng.choice(len(skus), size=int(rng.integers(1, 4)), replace=False)
    return {skus[int(n)]: int(rng.integers(4, 61)) for n in sorted(chosen)}


def lines_of(contents: Contents) -> tuple[Line, ...]:
    """Return contents as lines of an event, in the order of the SKUs."""
    return tuple(Line(sku=sku, quantity=contents[sku]) for sku in sorted(contents))


def add(contents: Contents, more: Contents, sign: int = 1) -> Contents:
    """Return contents plus (or, with sign -1, minus) other contents.

    Raises:
        ValueError: more would be taken than is there.
    """
    total = dict(contents)
    for sku, units in more.items():
        total[sku] = total.get(sku, 0) + sign * units
        if total[sku] < 0:
            raise ValueError(f"{units} units of {sku} taken, fewer are there")
    return {sku: units for sku, units in total.items() if units}
