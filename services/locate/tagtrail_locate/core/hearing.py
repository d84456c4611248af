"""What is remembered of who hears what: plain structs, stored in the snapshot with the rest."""

from __future__ import annotations

import msgspec


class Reception(msgspec.Struct, array_like=True):
    """How many adverts of a tag a gateway heard lately, of those that it could have heard.

    Attributes:
        heard: Adverts heard; older ones fade.
        expected: Adverts that the tag sent while the gateway listened; they fade alike.
    """

    heard: float = 0.0
    expected: float = 0.0


class Battery(msgspec.Struct, array_like=True):
    """How full a tag's battery is, and how that fell.

    Attributes:
        at_s: Event time of the newest reading.
        share: Charge then, 0 to 1.
        mid_s: Time of an earlier reading, within the last tenth of charge or two.
        mid_share: Charge then.
        from_s: Time of one about a tenth of charge before that.
        from_share: Charge then.
    """

    at_s: float
    share: float
    mid_s: float
    mid_share: float
    from_s: float
    from_share: float


class Habits(msgspec.Struct, array_like=True):
    """How a tag is usually heard, and what its silence was last taken for.

    Attributes:
        since_s: Newest hearing that `rates` knows; None before the first.
        counts: Readings since then, by gateway.
        rates: By gateway.
        battery: None if it never told.
        cause: Why it was last said to be silent; None while it is present.
        lost: Whether it was said to be lost.
    """

    since_s: float | None = None
    counts: dict[str, int] = {}
    rates: dict[str, Reception] = {}
    battery: Battery | None = None
    cause: str | None = None
    lost: bool = False


class ZoneHearing(msgspec.Struct, array_like=True):
    """Which gateways hear the tags of one zone.

    Attributes:
        site_id: Its site.
        expected: Adverts that tags confirmed to be here have sent; older ones fade.
        at_s: Newest of them.
        heard: Of those, heard by a gateway.
        dark: Of those, sent while a gateway was not listening.
        heard_s: When a gateway last heard one from here.
    """

    site_id: str
    expected: float = 0.0
    at_s: float = 0.0
    heard: dict[str, float] = {}
    dark: dict[str, float] = {}
    heard_s: dict[str, float] = {}


class Ear(msgspec.Struct, array_like=True):
    """What a gateway told of itself.

    Attributes:
        told_s: Event time of the newest report.
        adverts: Adverts of any device that it heard since its start; None if it does not say.
        uptime_s: Time since its start, seconds.
        skew_s: How far its clock is ahead of the server's, seconds.
        adverts_per_s: Between its last two reports; None before the second.
        usual_per_s: The same, smoothed, while it heard any; 0 before.
        heard_s: Newest report of having heard any.
        restarts: How often its figures began anew.
        restarted_s: When they did last; None if never.
    """

    told_s: float
    adverts: float | None = None
    uptime_s: float | None = None
    skew_s: float | None = None
    adverts_per_s: float | None = None
    usual_per_s: float = 0.0
    heard_s: float = 0.0
    restarts: int = 0
    restarted_s: float | None = None
