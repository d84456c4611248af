"""When something that left is back: one rule, used by the plain fold and by the SQL."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

RETURN_GRACE_S: Final = 300
"""For so long after a departure or delivery a zone of the site that an asset left says nothing about
where it is, seconds. While a truck stands at the dock and drives off, its tags are still heard there,
and a zone is confirmed up to two minutes after the sightings that decide it began. A real return
within five minutes is rare, and shows with the next zone change."""


class News(NamedTuple):
    """What a witness says last about where its asset is.

    Attributes:
        bound: When the witness was put on the asset: time and position.
        zone_at: When it came into its zone.
        site_id: Site of that zone, None if not known.
        left_site_id: Site of its last zone before the asset left, None if not known. A delivery left
            when its shipment departed; without that fact, when it was handed over.
    """

    bound: tuple[datetime, int]
    zone_at: datetime
    site_id: str | None
    left_site_id: str | None


def is_back(gone: tuple[datetime, int], news: News) -> bool:
    """Say whether later news of a witness in a zone ends a departure or delivery.

    It does if it began after the grace, is from another site than the one that the asset left, or
    if the witness was put on the asset since: somebody held it.

    Args:
        gone: Time and position of the departure or delivery.
        news: What the witness says, later than that.

    Example:
        >>> from datetime import UTC
        >>> at = datetime(2026, 5, 4, 12, tzinfo=UTC)
        >>> left = News((at, 1), at + timedelta(seconds=90), "here", "here")
        >>> is_back((at, 7), left), is_back((at, 7), left._replace(site_id="shop"))
        (False, True)
    """
    elsewhere = None not in (news.site_id, news.left_site_id) and news.site_id != news.left_site_id
    late = news.zone_at >= gone[0] + timedelta(seconds=RETURN_GRACE_S)
    return late or elsewhere or news.bound > gone


def is_back_sql(zone: str, *, bound: str, gone: str, left: str) -> str:
    """Return `is_back` as an SQL condition, never null.

    Args:
        zone: Time and site of the witness's zone: two columns, comma between.
        bound: Time and position of its binding, likewise.
        gone: Time and position of the departure or delivery, likewise.
        left: Column with the site of the witness's last zone before it left.
    """
    zone_at, site_id = zone.split(", ")
    gone_at, _ = gone.split(", ")
    return (
        f"({zone_at} >= {gone_at} + interval '{RETURN_GRACE_S} seconds'"
        f" or coalesce({site_id} <> {left}, false) or ({bound}) > ({gone}))"
    )
