"""Which classes of sources may put sightings into the log, decided by the tenant. Pure.

Gateways, phones and readers of one's own always may. What partners' networks and strangers' phones
heard is refused until somebody switches its class on, for all tags or for some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta

from tagtrail_kernel.errors import RejectedError
from tagtrail_kernel.events.sightings import Id, Radio, SourceClass

SECTION: Final = "sources"
"""Section of `config.changed` that holds the rules."""

FOREIGN: Final[frozenset[SourceClass]] = frozenset({"partner_network", "crowd_shared"})
"""Classes that are not one's own."""

_Names = Annotated[tuple[Id, ...], Meta(max_length=200)]


class ClassRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is taken of one class.

    Attributes:
        accepted: Whether anything is taken.
        asset_kinds: Kinds of assets whose tags are taken; with none named here nor in
            `tag_prefixes`, all tags are.
        tag_prefixes: Beginnings of the ids of tags that are taken.
    """

    accepted: bool = False
    asset_kinds: _Names = ()
    tag_prefixes: _Names = ()

    @property
    def limited(self) -> bool:
        """Whether only some tags are taken."""
        return bool(self.asset_kinds or self.tag_prefixes)


class Refused(NamedTuple):
    """Why a sighting is not taken.

    Attributes:
        reason: Stable code, with the class in it, for counting.
        detail: One sentence for the sender.
    """

    reason: str
    detail: str


class SourceRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The values of section `sources`; without any, nothing of others is taken.

    Attributes:
        partner_network: What partners' networks and clouds report.
        crowd_shared: What strangers' phones heard, and people pass on by a link or in words.
    """

    partner_network: ClassRule = ClassRule()
    crowd_shared: ClassRule = ClassRule()

    def rule(self, source_class: SourceClass) -> ClassRule | None:
        """Return the rule of a class; None for one's own."""
        match source_class:
            case "partner_network":
                return self.partner_network
            case "crowd_shared":
                return self.crowd_shared
            case _:
                return None

    def refused_class(self, source_class: SourceClass | None) -> Refused | None:
        """Return why nothing of a class is taken; None if something is."""
        rule = self.rule(source_class) if source_class in FOREIGN and source_class else None
        if rule is None or rule.accepted:
            return None
        return Refused(
            f"{source_class}_off",
            f"sightings of the class {source_class} are switched off and nothing of them is kept; "
            f"switch them on with POST /v1/config/{SECTION} if that is wanted",
        )

    def refused(self, draft: Radio, tag_id: str, kind: str | None) -> Refused | None:
        """Return why a sighting of a tag is not taken, its class being on; None if it is.

        Args:
            draft: The sighting.
            tag_id: Its tag.
            kind: Kind of the asset that carries the tag; None if none does.
        """
        source = draft.source_class
        rule = self.rule(source)
        if rule is None:
            return None
        if (
            rule.limited
            and kind not in rule.asset_kinds
            and not tag_id.startswith(rule.tag_prefixes)
        ):
            return Refused(
                f"{source}_off_for_tag",
                f"sightings of the class {source} are not taken for this tag; "
                f"POST /v1/config/{SECTION} says for which",
            )
        return _unsigned(draft) if source == "crowd_shared" else None


def _unsigned(draft: Radio) -> Refused | None:
    """Return what a sighting by strangers lacks: who passed it on, and from where."""
    if not (getattr(draft, "actor_id", None) or "").strip():
        return Refused(
            "crowd_shared_without_actor",
            "name the person who enters this place in actor_id: nobody else answers for it",
        )
    if not (getattr(draft, "shared_from", None) or "").strip():
        return Refused(
            "crowd_shared_without_source",
            "say in shared_from where this place is from: the link that was shared, or words",
        )
    return None


def rules_of(values: Mapping[str, Any]) -> SourceRules:
    """Read the values of section `sources`.

    Raises:
        RejectedError: they do not fit.
    """
    try:
        return msgspec.convert(dict(values), SourceRules)
    except msgspec.ValidationError as error:
        raise RejectedError(
            f"section {SECTION}: {error}; members are partner_network and crowd_shared, each with "
            "accepted, asset_kinds and tag_prefixes"
        ) from error


def folded(values: Mapping[str, Any]) -> SourceRules:
    """Return the rules that stand in the log; those that do not fit take nothing."""
    try:
        return rules_of(values)
    except RejectedError:
        return SourceRules()
