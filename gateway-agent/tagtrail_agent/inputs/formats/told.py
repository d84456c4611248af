"""What a message of another gateway tells."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tagtrail_agent.readings import Advert, Reading


@dataclass(slots=True)
class Sound:
    """One tag heard by one gateway.

    Attributes:
        gateway_id: Who heard it; None = not told.
        rssi_dbm: Received power, dBm; None = not told.
        address: Address it came from, 12 lower-case digits.
        ad: AD structures as they were on the air; None = only decoded values came.
        random_address: Whether the address is of the random kind; None = not told.
        tags: Identities that the message names, best first; the address comes after them.
        members: Of the wire format's item, without `rssi_dbm`.
        own: When, by the gateway's clock; None = not told.
    """

    gateway_id: str | None = None
    rssi_dbm: float | None = None
    address: str | None = None
    ad: bytes | None = None
    random_address: bool | None = None
    tags: tuple[str, ...] = ()
    members: dict[str, Any] = field(default_factory=dict)
    own: datetime | None = None

    @property
    def candidates(self) -> tuple[str, ...]:
        """All identities, best first."""
        return (*self.tags, f"mac:{self.address}") if self.address else self.tags

    def heard(self, at: datetime, elapsed_s: float, tag: str) -> Advert | Reading:
        """Return the advert, or a reading where only decoded values came.

        Args:
            at: When, UTC.
            elapsed_s: When, by the monotonic clock, seconds.
            tag: Which of the candidates a reading names.
        """
        if self.ad is not None and self.address is not None and self.rssi_dbm is not None:
            return Advert(
                address=self.address,
                ad=self.ad,
                rssi_dbm=round(self.rssi_dbm),
                at=at,
                elapsed_s=elapsed_s,
                random_address=self.random_address,
                gateway_id=self.gateway_id,
            )
        members = dict(self.members)
        if self.rssi_dbm is not None:
            members["rssi_dbm"] = self.rssi_dbm
        return Reading(tag, at, elapsed_s, members, self.gateway_id)


@dataclass(slots=True)
class Told:
    """All that one message tells.

    Attributes:
        sounds: Tags that were heard.
        faults: What was left out, by reason.
        state: The message tells of a gateway, not of tags: it goes on unchanged.
        about: Identities of the tag that the message tells of without hearing it (a place, an
            absence): it goes on unchanged if the tag is enrolled.
    """

    sounds: list[Sound] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    state: bool = False
    about: tuple[str, ...] = ()
