"""What the numerics refuse.

* RejectedError (kernel)
  - TooFewRangesError        fewer ranges than unknowns
  - DegenerateGeometryError  the anchors (nearly) stand on one line, so a mirror image fits as well
  - RefusedCalibrationError  measurements do not fix the constants that were asked for
  - TooFewMarksError         a survey has too few places to judge by
  - UnusableRangeError       a range or its time is no finite number
  - UnusableBlinkError       arrival times are no finite numbers, or lie beyond any site
"""

from __future__ import annotations

from tagtrail_kernel.errors import RejectedError


class TooFewRangesError(RejectedError):
    """There are fewer ranges than a fix needs."""

    code, title = "too-few-ranges", "Too few ranges"


class DegenerateGeometryError(RejectedError):
    """The anchors stand so that the ranges do not fix one point."""

    code, title = "degenerate-geometry", "Degenerate anchor geometry"


class RefusedCalibrationError(RejectedError):
    """The measurements are too few, or contradict the coordinates they were taken at."""

    code, title = "refused-calibration", "Calibration refused"


class TooFewMarksError(RejectedError):
    """A survey has fewer marked places than a judgement needs."""

    code, title = "too-few-marks", "Too few marked places"


class UnusableRangeError(RejectedError):
    """A range, time or place that is no finite number, or a negative range."""

    code, title = "unusable-range", "Unusable range"


class UnusableBlinkError(RejectedError):
    """The times of a blink are no finite numbers, or lie beyond any site."""

    code, title = "unusable-blink", "Unusable blink"
