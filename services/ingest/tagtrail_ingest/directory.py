"""Which identities belong to which tag, folded from the log and kept in memory.

Addresses of tags that nobody enrolled never reach disk: they live here for a while, so that a
person can enrol what a gateway hears, and are counted by the hour without the address.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from tagtrail_ingest.sources import policy
from tagtrail_ingest.sources.partner_rules import PartnerRules, folded, partner_of
from tagtrail_ingest.sources.policy import Refused, SourceRules
from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.gateways import (
    GatewayConfigured,
    UpdateExtended,
    UpdatePublished,
    UpdateStopped,
)
from tagtrail_kernel.events.registrations import (
    AssetRegistered,
    ConfigChanged,
    GatewayRegistered,
    GatewayRetired,
    RetentionSet,
    TagBound,
    TagRegistered,
    TagRetired,
    TagUnbound,
    ZoneRegistered,
)
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.sightings import Radio

MOST_UNENROLLED: Final = 2000
"""Identities remembered per tenant: enough for a busy site, small enough for memory."""


@dataclass(slots=True)
class Heard:
    """An identity that no tag is enrolled for.

    Attributes:
        identity: Normalised identity, `kind:value`.
        gateway_id: Gateway that heard it last.
        rssi_dbm: Power of the last reception, dBm.
        first_at: First heard since the start of this process.
        last_at: Last heard.
        count: Receptions since then.
    """

    identity: str
    gateway_id: str
    rssi_dbm: float | None
    first_at: datetime
    last_at: datetime
    count: int = 1


def derived_tag_id(log_id: int, identity: str) -> str:
    """Return the tag id that open enrolment gives to an identity: a hash, bound to the tenant."""
    digest = hashlib.sha256(f"tagtrail/tag/{log_id}/{identity}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


@dataclass(slots=True)
class Directory:
    """The registry of one tenant, as far as ingest needs it.

    Attributes:
        log_id: The tenant's log.
        position: Last position folded.
        tag_of: Tag by identity.
        retention: Whether a retention rule exists, by event class.
        open_enrolment: Whether unknown identities become tags by themselves.
        unenrolled: Identities heard without a tag, least recent first.
        sites: Site by zone, for outgoing topics.
        registered: Enrolled tags, by id.
        site_of_gateway: Site by registered gateway.
        configurations: What was decided for gateways, by id.
        update: The update of the agent that is open; None if none is.
        update_for_all: Whether gateways may take it that are none of the first.
        configured_at: Position of the last event that changed what gateways are to know.
        sources: Which classes of sources are taken.
        partners: What was decided for partners' clouds, by name.
        kind_of_asset: Kind by asset.
        asset_of_tag: Asset by the tag that it carries.
    """

    log_id: int
    position: int = 0
    tag_of: dict[str, str] = field(default_factory=dict)
    retention: dict[str, int] = field(default_factory=dict)
    open_enrolment: bool = False
    unenrolled: OrderedDict[str, Heard] = field(default_factory=OrderedDict)
    sites: dict[str, str] = field(default_factory=dict)
    registered: dict[str, TagRegistered] = field(default_factory=dict)
    site_of_gateway: dict[str, str] = field(default_factory=dict)
    configurations: dict[str, GatewayConfigured] = field(default_factory=dict)
    update: UpdatePublished | None = None
    update_for_all: bool = False
    configured_at: int = 0
    sources: SourceRules = field(default_factory=SourceRules)
    partners: dict[str, PartnerRules] = field(default_factory=dict)
    kind_of_asset: dict[str, str] = field(default_factory=dict)
    asset_of_tag: dict[str, str] = field(default_factory=dict)

    def fold(self, events: Iterable[Recorded], last: int) -> None:
        """Take in registry events up to a position; events already folded change nothing."""
        for event in events:
            if event.position > self.position:
                self.apply(event.data)
                if isinstance(event.data, _CONFIGURING):
                    self.configured_at = event.position
        self.position = max(self.position, last)

    def apply(self, data: Event) -> None:
        """Take in one fact."""
        match data:
            case TagRegistered():
                self._forget(data.tag_id)
                self.registered[data.tag_id] = data
                for identity in data.identities:
                    self.tag_of[identity] = data.tag_id
                    self.unenrolled.pop(identity, None)
            case TagRetired():
                self._forget(data.tag_id)
            case ConfigChanged():
                self._configure(data)
            case RetentionSet():
                self.retention[data.event_class] = data.keep_days
            case GatewayRegistered():
                self.site_of_gateway[data.gateway_id] = data.site_id
            case GatewayRetired():
                self.site_of_gateway.pop(data.gateway_id, None)
            case GatewayConfigured():
                self.configurations[data.gateway_id] = data
            case ZoneRegistered():
                self.sites[data.zone_id] = data.site_id
            case _:
                self._bind(data)
                self._update(data)

    def _configure(self, data: ConfigChanged) -> None:
        name = partner_of(data.section)
        if data.section == "enrolment":
            self.open_enrolment = data.values.get("mode") == "open"
        elif data.section == policy.SECTION:
            self.sources = policy.folded(data.values)
        elif name is not None:
            self.partners[name] = folded(data.values)

    def _bind(self, data: Event) -> None:
        match data:
            case AssetRegistered():
                self.kind_of_asset[data.asset_id] = data.kind
            case TagBound():
                self.asset_of_tag[data.tag_id] = data.asset_id
            case TagUnbound():
                self.asset_of_tag.pop(data.tag_id, None)

    def refused(self, draft: Radio, tag_id: str) -> Refused | None:
        """Return why a sighting of a tag is not taken although its class is; None if it is."""
        if draft.source_class not in policy.FOREIGN:
            return None
        kind = self.kind_of_asset.get(self.asset_of_tag.get(tag_id, ""))
        return self.sources.refused(draft, tag_id, kind)

    def _update(self, data: Event) -> None:
        if isinstance(data, UpdatePublished):
            self.update, self.update_for_all = data, False
        elif isinstance(data, UpdateExtended | UpdateStopped):
            if self.update is None or self.update.update_id != data.update_id:
                return
            if isinstance(data, UpdateExtended):
                self.update_for_all = True
            else:
                self.update = None

    def update_of(self, gateway_id: str) -> UpdatePublished | None:
        """Return the update that a gateway may take now."""
        update = self.update
        if update is None or self.update_for_all or gateway_id in update.canaries:
            return update
        return None

    def _forget(self, tag_id: str) -> None:
        before = self.registered.pop(tag_id, None)
        for identity in before.identities if before is not None else ():
            if self.tag_of.get(identity) == tag_id:
                del self.tag_of[identity]

    def has_gateway(self, gateway_id: str) -> bool:
        """Return whether a gateway is registered."""
        return gateway_id in self.site_of_gateway

    def knows(self, tag_id: str) -> bool:
        """Return whether a tag id is enrolled."""
        return tag_id in self.registered or self.open_enrolment

    def resolve(self, identities: Sequence[str]) -> str | None:
        """Return the tag of the first identity that has one; None if nobody is enrolled."""
        tag_of = self.tag_of
        for identity in identities:
            tag_id = tag_of.get(identity)
            if tag_id is not None:
                return tag_id
        if self.open_enrolment and identities:
            return derived_tag_id(self.log_id, identities[0])
        return None

    def remember(
        self, identity: str, gateway_id: str, rssi_dbm: float | None, at: datetime
    ) -> None:
        """Note that an identity was heard that no tag has."""
        heard = self.unenrolled.pop(identity, None)
        if heard is None:
            heard = Heard(identity, gateway_id, rssi_dbm, at, at)
        else:
            heard.gateway_id, heard.rssi_dbm, heard.last_at = gateway_id, rssi_dbm, at
            heard.count += 1
        self.unenrolled[identity] = heard
        while len(self.unenrolled) > MOST_UNENROLLED:
            self.unenrolled.popitem(last=False)


_CONFIGURING: Final = (
    TagRegistered, TagRetired, GatewayRegistered, GatewayConfigured,
    UpdatePublished, UpdateExtended, UpdateStopped,
)  # fmt: skip
"""What gateways are told of."""
