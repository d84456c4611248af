"""How often the process looks for cyclic garbage."""

from __future__ import annotations

import gc


def collect_rarely() -> None:
    """Collect less often: batches make many short-lived objects, hardly any of them in cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
