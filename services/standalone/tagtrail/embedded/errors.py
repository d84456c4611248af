"""What can go wrong with the embedded infrastructure.

* EmbeddedError       PostgreSQL or NATS could not be set up, started or stopped
  - HomeInUseError    another process runs on the same home
"""

from __future__ import annotations

from tagtrail_kernel.errors import TagtrailError


class EmbeddedError(TagtrailError):
    """PostgreSQL or NATS could not be set up, started or stopped; the message says what to do."""


class HomeInUseError(EmbeddedError):
    """Another process runs on the same home."""
