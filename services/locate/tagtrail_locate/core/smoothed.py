"""Fixed-lag smoothing: where a tag was a while ago, in the light of what was heard since.

Within a rest the newest belief is also the best one about its past, because its evidence is that of
all its readings. So the place of a while ago is the last belief of the rest that it lies in; on the
way from one rest to the next it is the first belief from then on.
"""

from __future__ import annotations

import numpy as np

from tagtrail_locate.core.site_model import Answers
from tagtrail_locate.core.state import Past, Track


def smoothed(track: Track, told: Answers, lag_s: float) -> Answers:
    """Return what was the case a lag before a track's newest belief.

    Args:
        track: Its past is continued.
        told: What the newest belief says.
        lag_s: Seconds, > 0.
    """
    now = Past(
        track.head_s, told.moved_s, told.best, told.data, told.x_m, told.y_m, told.radius_95_m
    )
    wanted_s = track.head_s - lag_s
    past = [one for one in track.past if wanted_s <= one.at_s < now.at_s]
    past.append(now)
    track.past = past
    if now.moved_s <= wanted_s:
        return told
    resting = [one for one in past if one.moved_s <= wanted_s]
    found = resting[-1] if resting else past[0]
    if found is now:
        return told
    zones: list[float] = np.frombuffer(found.zones, dtype=np.float32).tolist()
    return Answers(
        found.best, zones, found.zones, found.x_m, found.y_m, found.radius_95_m, None,
        told.nearest_id, found.moved_s,
    )  # fmt: skip
