"""How far the time of a site has come, and which of its gateways have told up to when.

Gateways deliver in batches, one after the other, and some are late. A reading is used once every
gateway that speaks has told up to its time, so that all who heard one advert decide together; a
gateway that lags behind is waited for only as long as the site's messages are usually mixed up.
Everything here follows from event times in log order; the wall clock plays no part.
"""

from __future__ import annotations

import heapq
import math
from typing import Final

from tagtrail_kernel.envelope import Recorded
from tagtrail_locate.core import sources
from tagtrail_locate.core.state import LEAST_GATHER_S, GatewayState, SiteTimes, State
from tagtrail_locate.core.thresholds import Thresholds

IDLE_S: Final = 5.0
"""A gateway that is further behind the newest time of its site is not waited for."""

MOST_GATHER_S: Final = 1.5
"""Longest waiting time: gateways that send once a second, one after the other."""

SLACK_S: Final = 0.05
"""Clocks in step by NTP still differ by so much: readings of one advert do not carry one time."""

BASE_S: Final = 1.0
WINDOW_S: Final = 10.0
"""How often the common time of a site's gateways, and each one's distance from it, are taken."""

STEADY_S: Final = 4.0
"""A gateway whose distance varies more within a window catches up on a buffer, and is not judged."""

SKEWED_S: Final = 1.0
"""A distance up to this is the rhythm of messages; beyond it the gateway's clock is wrong."""

FEWEST_CLOCKS: Final = 3
"""With fewer gateways nothing tells which clock is the wrong one."""

FADE: Final = 0.999
"""Share of the learned disorder that remains after one more event: it is forgotten in seconds."""


class Clock:
    """The time of one site.

    Attributes:
        site_id: The site; "" for gateways without one.
        newest_s: Newest event time of anything its gateways said.
        lasts: Newest event time per gateway, in the order of `names`; 0 for those that do not
            hear tags by radio.
        resumed: Start of its present stretch without a pause, likewise.
        lonely: Whether it hears so few tags that its silence is theirs, likewise.
        names: Gateways of the site, in the order in which they appeared.
        base_s: Common time of the gateways by their own clocks, at most `BASE_S` old.
        window_s: When the present window began.
        due: (time of the first reading that waits, tag id): a heap.
        checks: (time at which silence must be judged, tag id): a heap.
        expiries: (time at which a zone may be given up for want of evidence, tag id): a heap.
        expected: Of each tag, the entry of `expiries` that holds; later ones are void.
    """

    __slots__ = (
        "base_s",
        "checks",
        "due",
        "expected",
        "expiries",
        "gateways",
        "gather_s",
        "lasts",
        "lonely",
        "names",
        "newest_s",
        "resumed",
        "site_id",
        "window_s",
    )  # fmt: skip

    def __init__(self, site_id: str, newest_s: float, times: SiteTimes) -> None:
        self.site_id = site_id
        self.newest_s = newest_s
        self.gather_s = times.gather_s
        self.base_s = times.base_s
        self.window_s = times.window_s
        self.gateways: list[GatewayState | None] = []
        self.lasts: list[float] = []
        self.resumed: list[float] = []
        self.lonely: list[bool] = []
        self.names: list[str] = []
        self.due: list[tuple[float, str]] = []
        self.checks: list[tuple[float, str]] = []
        self.expiries: list[tuple[float, str]] = []
        self.expected: dict[str, float] = {}

    def join(self, gateway: GatewayState) -> int:
        """Take in a gateway; returns its index in `lasts`."""
        self.names.append(gateway.gateway_id)
        self.gateways.append(gateway)
        self.lasts.append(gateway.last_s if gateway.hears else 0.0)
        self.resumed.append(gateway.resumed_s)
        self.lonely.append(gateway.lonely)
        return len(self.names) - 1

    def leave(self, index: int) -> None:
        """Let a gateway go: nobody waits for it any longer."""
        self.names[index], self.lasts[index], self.gateways[index] = "", 0.0, None

    def told(self, post: Post, at_s: float, thresholds: Thresholds) -> None:
        """Note that a gateway told something newer than before.

        Args:
            post: The gateway; its `last_s` is older than `at_s`.
            at_s: Event time by the site's clock, seconds.
            thresholds: Silences after which a gateway begins a new stretch.
        """
        gateway, index, newest_s = post.gateway, post.index, self.newest_s
        pause_s = at_s - gateway.last_s
        if pause_s > thresholds.silence_grace_s:
            gateway.resumed_s = self.resumed[index] = at_s
            if pause_s > thresholds.gateway_timeout_s:
                gateway.alive_since_s = at_s
        gateway.last_s = at_s
        if gateway.hears:
            self.lasts[index] = at_s
        late_s = newest_s - at_s
        if late_s <= 0.0:
            self.newest_s = at_s
            if at_s - self.base_s >= BASE_S:
                self._find_base()
        elif late_s <= MOST_GATHER_S:
            gather_s = self.gather_s * FADE
            if gather_s < late_s:
                gather_s = late_s
            self.gather_s = max(LEAST_GATHER_S, gather_s)

    def is_ready(self, at_s: float) -> bool:
        """Tell whether a reading need not wait any longer.

        Args:
            at_s: Its event time, seconds.
        """
        newest_s = self.newest_s
        if at_s > newest_s - SLACK_S:
            return False
        if at_s <= newest_s - self.gather_s:
            return True
        lasts, oldest_s = self.lasts, newest_s - IDLE_S
        low_s = min(lasts, default=0.0)
        if low_s <= oldest_s:
            low_s = min([last_s for last_s in lasts if last_s > oldest_s], default=newest_s)
        return at_s <= low_s - SLACK_S

    def expect(self, tag_id: str, at_s: float) -> None:
        """Have a tag come up in `expired` at a time, seconds, unless it does so before."""
        if at_s < self.expected.get(tag_id, math.inf):
            self.expected[tag_id] = at_s
            heapq.heappush(self.expiries, (at_s, tag_id))

    def expired(self) -> str | None:
        """Return the next tag whose zone may have to be given up by now; None if none is left."""
        while self.expiries and self.expiries[0][0] <= self.newest_s:
            at_s, tag_id = heapq.heappop(self.expiries)
            if self.expected.get(tag_id) == at_s:
                del self.expected[tag_id]
                return tag_id
        return None

    def _find_base(self) -> None:
        """Take the common time of the gateways, and each one's distance from it."""
        since_s, newest_s = self.base_s - BASE_S, self.newest_s
        told = [
            g for g in self.gateways
            if g is not None and g.last_s and g.last_s + g.skew_s > since_s
        ]  # fmt: skip
        if newest_s - self.window_s >= WINDOW_S:
            self.window_s = newest_s
            for index, gateway in enumerate(self.gateways):
                if gateway is not None:
                    self._judge(index, gateway, len(told) >= FEWEST_CLOCKS)
        times = sorted(g.last_s + g.skew_s for g in told) or [newest_s]
        middle = len(times) // 2
        median = times[middle] if len(times) % 2 else 0.5 * (times[middle - 1] + times[middle])
        self.base_s = median if abs(newest_s - median) < 2.0 * WINDOW_S else newest_s
        for gateway in told:
            off_s = gateway.last_s + gateway.skew_s - self.base_s
            gateway.off_low_s = min(gateway.off_low_s, off_s)
            gateway.off_high_s = max(gateway.off_high_s, off_s)

    def _judge(self, index: int, gateway: GatewayState, judged: bool) -> None:
        """Take a gateway's distance from the common time over a window as its clock's error."""
        low_s, high_s = gateway.off_low_s, gateway.off_high_s
        gateway.off_low_s, gateway.off_high_s = math.inf, -math.inf
        if not judged or high_s - low_s > STEADY_S or high_s < low_s:
            return
        found_s = 0.5 * (low_s + high_s)
        skew_s = found_s if abs(found_s) > SKEWED_S else 0.0
        if abs(skew_s - gateway.skew_s) <= 0.5 * SKEWED_S:
            return
        moved_s = skew_s - gateway.skew_s
        gateway.skew_s = skew_s
        if gateway.last_s:
            gateway.last_s -= moved_s
            gateway.resumed_s -= moved_s
            self.resumed[index] = gateway.resumed_s
            if gateway.hears:
                self.lasts[index] = gateway.last_s


class Post:
    """A gateway with its place in its site's clock, and what is looked up for each reading.

    Attributes:
        gateway: What is remembered of it.
        name: Its id.
        clock: Of its site.
        site_id: The site; None for gateways without one.
        index: In the clock.
        counts: Whether what it hears says something about zones; None = to be looked up.
        shift_db: What is added to its readings, see `levels.shift_of`.
    """

    __slots__ = ("clock", "counts", "gateway", "index", "name", "shift_db", "site_id")

    def __init__(self, gateway: GatewayState, clock: Clock) -> None:
        self.gateway = gateway
        self.name = gateway.gateway_id
        self.clock = clock
        self.site_id = gateway.site_id
        self.index = clock.join(gateway)
        self.counts: bool | None = None
        self.shift_db = 0.0


class Clocks:
    """The clocks of all sites, and the posts of all gateways.

    Args:
        state: Its gateways, watermarks, tags that wait and tags whose silence is watched give
            the clocks that an engine would have that never stopped.

    Attributes:
        believed_s: Times up to this one are believed of a gateway whose clock was right so far.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.posts: dict[str, Post] = {}
        self.sites: dict[str, Clock] = {}
        self.believed_s = self._recorded_s = 0.0
        for gateway in state.gateways.values():
            self.posts[gateway.gateway_id] = Post(gateway, self.of(gateway.site_id or ""))
        for tag in state.tags.values():
            if tag.check_s is not None:
                self.of(tag.site_id or "").checks.append((tag.check_s, tag.tag_id))
            if tag.waits_s is not None:
                self.of(tag.waits_at).due.append((tag.waits_s, tag.tag_id))
        for clock in self.sites.values():
            heapq.heapify(clock.checks)
            heapq.heapify(clock.due)
        self.timeout_s: float | None = None
        self.look_up_again()

    def of(self, site_id: str) -> Clock:
        """Return the clock of a site; a new one begins at the site's watermark."""
        clock = self.sites.get(site_id)
        if clock is None:
            newest_s = self._state.watermarks_s.get(site_id, 0.0)
            times = self._state.times.get(site_id) or SiteTimes()
            clock = self.sites[site_id] = Clock(site_id, newest_s, times)
        return clock

    def post(self, gateway: GatewayState) -> Post:
        """Give a gateway a post at its site; the one it had elsewhere is left."""
        site_id = gateway.site_id or ""
        post = self.posts.get(gateway.gateway_id)
        if post is not None:
            if post.clock.site_id == site_id:
                return post
            post.clock.leave(post.index)
        post = self.posts[gateway.gateway_id] = Post(gateway, self.of(site_id))
        return post

    def stand(self, gateway_id: str, site_id: str | None, at_s: float) -> Post:
        """Return the post of a gateway at its registered site, else where it says it is.

        Args:
            gateway_id: The gateway; it need not be known.
            site_id: Where it says it is.
            at_s: When it began to live, if it is new, seconds.
        """
        known = self._state.registry.gateways.get(gateway_id)
        gateway = self._state.gateways.get(gateway_id)
        if gateway is None:
            gateway = GatewayState(gateway_id, alive_since_s=at_s)
            self._state.gateways[gateway_id] = gateway
        gateway.site_id = known.site_id if known is not None else site_id or gateway.site_id
        return self.post(gateway)

    def look_up_again(self) -> None:
        """Look up what follows from the configuration, or have it looked up when it is needed.

        Nothing may be under way: zones are given up after other times from now on.
        """
        self.believed_s = 0.0
        for post in self.posts.values():
            post.counts = None
        timeout_s = self._state.registry.thresholds.least_timeout_s
        if timeout_s == self.timeout_s:
            return
        self.timeout_s = timeout_s
        for clock in self.sites.values():
            clock.expiries, clock.expected = [], {}
        for tag in self._state.tags.values() if timeout_s is not None else ():
            if tag.track is not None and timeout_s is not None:
                self.of(tag.track.site_id).expect(tag.tag_id, tag.sought_s + timeout_s)

    def believed(self, event: Recorded, post: Post, at_s: float) -> float:
        """Return the event time by the site's clock.

        A gateway whose clock is a few seconds off is corrected by what was learned of it. If it is
        far ahead, of the recording and of every other gateway, the time of recording counts; an
        accelerated replay is ahead of the recording too, but there all gateways agree.

        Args:
            event: Says when it was recorded.
            post: Of its gateway.
            at_s: Event time as the gateway says, seconds.
        """
        gateway = post.gateway
        limit = self._state.registry.thresholds.clock_ahead_s
        if at_s - self._recorded_s > limit:  # times of recording never decrease
            self._recorded_s = event.recorded_at.timestamp()
        self.believed_s = self._recorded_s + limit
        if at_s - self._recorded_s > limit:
            others = [g.last_s for g in self._state.gateways.values() if g is not gateway]
            newest_s = max(others, default=0.0)
            if newest_s and at_s - newest_s > limit:
                gateway.ahead_s = at_s - self._recorded_s
                sources.count(self._state, "clock_ahead")
                return self._recorded_s
        if gateway.ahead_s is not None or gateway.skew_s:
            gateway.ahead_s = gateway.skew_s or None
        return at_s - gateway.skew_s

    def forget(self, gateway_id: str) -> None:
        """Take away the post of a gateway that was retired."""
        post = self.posts.pop(gateway_id, None)
        if post is not None:
            post.clock.leave(post.index)

    def store(self) -> None:
        """Write the watermarks and waiting times into the state."""
        told = [(s, c) for s, c in sorted(self.sites.items()) if c.newest_s > 0.0]
        self._state.watermarks_s = {s: c.newest_s for s, c in told}
        self._state.times = {s: SiteTimes(c.gather_s, c.base_s, c.window_s) for s, c in told}
