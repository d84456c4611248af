"""What a rule can be told: one strict structure per rule, with working defaults."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from tagtrail_kernel.errors import NotFoundError, RejectedError
from tagtrail_kernel.events.alerts import Severity
from tagtrail_kernel.events.places import CopySign
from tagtrail_kernel.events.registrations import ZoneKind

MISSING_TAG: Final = "missing_tag"
LEFT_OUTBOUND: Final = "left_outbound_without_pod"
CLONE_SUSPECTED: Final = "clone_suspected"
SECTION: Final = "rule/"
"""Prefix of the `config.changed` section that holds a rule's parameters."""

MAX_S: Final = 31_536_000.0
"""Longest duration of a parameter, seconds: one year."""

Seconds = Annotated[float, Meta(ge=0, le=MAX_S)]
Names = Annotated[tuple[str, ...], Meta(max_length=1000)]
Silence = Literal["missing", "unobservable"]


class RuleParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every rule has.

    Attributes:
        enabled: Whether the rule looks at events at all.
        severity: Severity of its alerts.
        asset_kinds: Kinds of assets it is about; empty for all.
    """

    enabled: bool = True
    severity: Severity = "warning"
    asset_kinds: Names = ()


class MissingTagParameters(RuleParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of `missing_tag`: a tag is silent although it should have been heard.

    Attributes:
        min_silence_s: Fire only after this much silence, seconds, even if locate calls the tag
            missing earlier; 0 follows locate.
        excluded_zone_ids: Last zones in which silence is normal.
        excluded_zone_kinds: Kinds of last zones in which silence is normal. Goods that leave the
            outbound zone fall silent; the rule `left_outbound_without_pod` watches those.
        only_bound: Only tags that are on an asset.
        ignore_shipped: Not for assets that were shipped or delivered since they came into their
            last zone.
    """

    min_silence_s: Seconds = 0.0
    excluded_zone_ids: Names = ()
    excluded_zone_kinds: tuple[ZoneKind, ...] = ("outbound",)
    only_bound: bool = True
    ignore_shipped: bool = True


class LeftOutboundParameters(RuleParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of `left_outbound_without_pod`: goods went out and nobody proved the hand-over.

    Attributes:
        severity: Severity of its alerts.
        grace_s: A POD counts up to this long after leaving, seconds.
        lateness_s: Wait this much longer before deciding, seconds, for a POD that happened in
            time and reaches the log a little late.
        lookback_s: A POD before leaving counts from the moment the asset came into the outbound
            zone; where that moment is unknown, this long before leaving, seconds.
        zone_kinds: Kinds of zones that are watched.
        inside_kinds: Kinds of zones that prove an asset is still here: one that had gone out
            and is found in such a zone has returned.
        moves_inside_count: Whether going from a watched zone straight into an inside zone counts
            as leaving too (the literal reading of the rule). Only coming back to a watched zone
            ends that.
        silence_states: Presence states that count as leaving, for a tag last seen in a watched
            zone. Not `unobservable` by default: where the gateways are silent too, silence says
            nothing about the tag.
    """

    severity: Severity = "critical"
    grace_s: Seconds = 1800.0
    lateness_s: Seconds = 120.0
    lookback_s: Seconds = 43_200.0
    zone_kinds: Annotated[tuple[ZoneKind, ...], Meta(min_length=1)] = ("outbound",)
    inside_kinds: tuple[ZoneKind, ...] = ("storage", "inbound", "staging")
    moves_inside_count: bool = True
    silence_states: tuple[Silence, ...] = ("missing",)


class CloneSuspectedParameters(
    RuleParameters, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Parameters of `clone_suspected`: two reads of a label cannot both be of one label.

    Attributes:
        severity: Severity of its alerts.
        asset_kinds: Kinds of assets it is about; empty for all, and for labels on no asset.
        signs: What counts as a sign of a copy, of those of `tag.read_contradicted`.
        excluded_zone_ids: Zones in which labels are tried out, so that copies are normal.
    """

    severity: Severity = "critical"
    signs: tuple[CopySign, ...] = ("counter_repeated", "counter_went_back", "impossible_travel")
    excluded_zone_ids: Names = ()


RULES: Final[dict[str, type[RuleParameters]]] = {
    MISSING_TAG: MissingTagParameters,
    LEFT_OUTBOUND: LeftOutboundParameters,
    CLONE_SUSPECTED: CloneSuspectedParameters,
}


def parameters_of(rule_id: str, values: dict[str, Any]) -> RuleParameters:
    """Read the parameters of a rule; what is not given has its default.

    Raises:
        NotFoundError: there is no such rule.
        RejectedError: a value does not fit; says which.
    """
    cls = RULES.get(rule_id)
    if cls is None:
        raise NotFoundError(
            f"no rule {rule_id!r}; rules are {', '.join(sorted(RULES))}", rule_id=rule_id
        )
    try:
        return msgspec.convert(values, cls, strict=True)
    except msgspec.ValidationError as error:
        raise RejectedError(f"parameters of {rule_id}: {error}", rule_id=rule_id) from error


def values_of(parameters: RuleParameters) -> dict[str, Any]:
    """Return all parameters as plain JSON values, defaults included."""
    values: dict[str, Any] = msgspec.to_builtins(parameters)
    return values
