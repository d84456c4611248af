"""Takes over what exists: sites, zones, gateways, tags, and the configuration."""

from __future__ import annotations

from typing import Final

from tagtrail_kernel.envelope import Recorded
from tagtrail_kernel.events.registrations import (
    ConfigChanged,
    GatewayRegistered,
    GatewayRetired,
    TagRegistered,
    TagRetired,
    ZoneRetired,
)
from tagtrail_locate.core import answers, sources
from tagtrail_locate.core.clocks import Clocks
from tagtrail_locate.core.effects import Effects
from tagtrail_locate.core.silence import Silence
from tagtrail_locate.core.state import State

REGISTRATIONS: Final = frozenset(
    {
        "site.registered", "zone.registered", "zone.retired", "gateway.registered",
        "gateway.retired", "tag.registered", "tag.retired", "config.changed",
    }
)  # fmt: skip
"""The types of family REGISTRY that locate folds."""


class Registering:
    """How registrations change the memory; nothing may be under way meanwhile.

    Args:
        state: The memory.
        clocks: The time of each site.
        silence: The presence of all tags.
    """

    def __init__(self, state: State, clocks: Clocks, silence: Silence) -> None:
        self._state = state
        self._clocks = clocks
        self._silence = silence

    def take(self, event: Recorded, effects: Effects) -> None:
        """Take over one registration."""
        data, state = event.data, self._state
        if isinstance(data, TagRegistered):
            self._note_label(event, data)
        state.registry.fold(event.position, data)
        self._clocks.look_up_again()
        if not isinstance(data, (TagRegistered, TagRetired)):
            for tag in state.tags.values():
                tag.calm.rouse()
        if isinstance(data, (TagRegistered, TagRetired, ConfigChanged)):
            self._take_tag(data, effects)
        elif isinstance(data, GatewayRetired):
            self._clocks.forget(data.gateway_id)
            state.ears.pop(data.gateway_id, None)
            if state.gateways.pop(data.gateway_id, None) is not None:
                effects.gateways[data.gateway_id] = None
        elif isinstance(data, ZoneRetired):
            state.coverage.pop(data.zone_id, None)
            for tag in state.tags.values():
                sources.forget_zone(tag, data.zone_id)
        elif isinstance(data, GatewayRegistered):
            gateway = self._clocks.stand(data.gateway_id, data.site_id, 0.0).gateway
            gateway.position = event.position
            answers.write_gateway(state, effects, gateway)

    def _note_label(self, event: Recorded, data: TagRegistered) -> None:
        """Let a tag's label count anew if it is another one."""
        tag, before = self._state.tags.get(data.tag_id), self._state.registry.tags.get(data.tag_id)
        labels = {name for name in data.identities if name.startswith("nfc:")}
        if tag is not None and before is not None and before.labels != labels:
            tag.labelled_s = event.envelope.occurred_at.timestamp()
            tag.touches = [touch for touch in tag.touches if touch.at_s >= tag.labelled_s]

    def _take_tag(self, data: TagRegistered | TagRetired | ConfigChanged, effects: Effects) -> None:
        state = self._state
        if isinstance(data, TagRetired):
            if state.tags.pop(data.tag_id, None) is not None:
                effects.places[data.tag_id] = effects.presence[data.tag_id] = None
        elif isinstance(data, TagRegistered):
            known = state.tags.get(data.tag_id)
            if known is not None:
                self._silence.expect_anew(known)
        else:
            for tag in state.tags.values():
                sources.refresh(state, tag)
