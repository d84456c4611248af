"""What the numerics refuse.

* RejectedError (kernel)
  - TooFewRangesError        fewer ranges than unknowns
  - DegenerateGeometryError  the anchors (nearly) stand on one line, so a mirror image fits as well
"""

from __future__ import annotations

from tagtrail_kernel.errors import RejectedError


class TooFewRangesError(RejectedError):
    """There are fewer ranges than a fix needs."""

    code, title = "too-few-ranges", "Too few ranges"


class DegenerateGeometryError(RejectedError):
    """The anchors stand so that the ranges do not fix one point."""

    code, title = "degenerate-geometry", "Degenerate anchor geometry"
