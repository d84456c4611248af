"""How fast this machine decodes adverts and finds their owners. Used by `tagtrail-agent bench`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, TypedDict, TypeVar

from tagtrail_agent.decoding import decode
from tagtrail_agent.identity import Enrolment, Resolver
from tagtrail_agent.readings import Advert

T = TypeVar("T")

HEARD: Final = (
    "020106151695fe5020aa01da219335342d580d1004fe004802",
    "0201061a1695fe5858480b685f12342d585a0b1841e2aa000e00a4964fb5",
    "02011a1aff4c000215e2c56db5dffb48d2b060d0f5a71096e000640000c5",
    "0201060303aafe1516aafe00e7edd1ebeac04e5defa0170123456789ab",
    "0201060303aafe1116aafe20000b1813000000146700002ac4",
    "0201060303aafe0d16aafe30e34549445f74657374",
    "02010616d2fc40000901610263090362190c5c0b",
    "0201060d16ecfe0200c58aaccd312f479e",
    "1eff4c001219102807ce0b3c33332ed37b5d9d8291b1d99d0b8615189700e0",
    "07ff4c0012025402",
    "02010403025afd17165afd12c24a037f21348d05197cc6be000000ed90dfa7",
    "0201061816aafe400000000000000000000000000000000000000000",
    "02010605ff4c0010020b00",
    "02011a020a0c0aff4c00100503181a2b3c",
    "0303b2fc0516b2fc0201",
    "1bff990405129e5b23c3c3000c0024040cad96c3e2f3cbb8334c884f",
)
"""Adverts of every kind that a hall sends: public test vectors, and phones' own chatter."""

ENROLLED_OF: Final = 5
"""Every so many adverts is an enrolled tag's; the rest are strangers."""


class Figures(TypedDict):
    """What was measured.

    Attributes:
        adverts_per_s: Adverts taken through decoding and identity, each second, on one core.
        decoded_per_s: Decoded alone.
        addresses: Different addresses that they came from.
    """

    adverts_per_s: float
    decoded_per_s: float
    addresses: int


def adverts_per_s(seconds: float = 2.0, addresses: int = 2000) -> Figures:
    """Measure on this thread; no cache of decoded adverts is used.

    Args:
        seconds: How long, about.
        addresses: How many senders.
    """
    adverts = _adverts(addresses)
    tags = [
        {"tag_id": f"tag-{n}", "identities": [f"mac:{advert.address}"]}
        for n, advert in enumerate(adverts)
        if n % ENROLLED_OF == 0
    ]
    resolver = Resolver(Enrolment.parse({"tags": tags}))
    return Figures(
        adverts_per_s=_rate(resolver.resolve, adverts, seconds / 2),
        decoded_per_s=_rate(decode, [advert.ad for advert in adverts], seconds / 2),
        addresses=addresses,
    )


def _adverts(addresses: int) -> list[Advert]:
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    return [
        Advert(
            f"{0xC0FFEE000000 + n:012x}", bytes.fromhex(HEARD[n % len(HEARD)]), -70, at, float(n)
        )
        for n in range(addresses)
    ]


def _rate(work: Callable[[T], object], items: Sequence[T], seconds: float) -> float:
    """Return how many items a second the work takes; the best of whole rounds within the time."""
    best, end = 0.0, time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        for item in items:
            work(item)
        now = time.perf_counter()
        best = max(best, len(items) / (now - start))
        if now >= end:
            return round(best, 1)
