"""Routes about sources: which classes are taken, and how partners' clouds are."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Response

from tagtrail_ingest.answers import json_answer
from tagtrail_ingest.sources.health import Health
from tagtrail_ingest.sources.policy import FOREIGN, SourceRules
from tagtrail_ingest.state import State
from tagtrail_kernel.access import Principal, requires


class ClassReply(msgspec.Struct, frozen=True, kw_only=True):
    """What is taken of one class of sources.

    Attributes:
        source_class: The class.
        accepted: Whether anything is taken.
        asset_kinds: Only tags on assets of these kinds, or of `tag_prefixes`; all if both are empty.
        tag_prefixes: Only tags whose ids begin so.
    """

    source_class: str
    accepted: bool
    asset_kinds: tuple[str, ...] = ()
    tag_prefixes: tuple[str, ...] = ()


class SourcesReply(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of `GET /v1/sources`.

    Attributes:
        items: Classes that are not one's own; one's own are always taken.
        partners: Partners' clouds.
        degraded: Whether one that is asked does not answer as it should.
    """

    items: list[ClassReply]
    partners: list[Health]
    degraded: bool


def classes_of(rules: SourceRules) -> list[ClassReply]:
    """Return what is taken of each class that is not one's own."""
    found = []
    for source_class in sorted(FOREIGN):
        rule = rules.rule(source_class)
        if rule is not None:
            found.append(
                ClassReply(
                    source_class=source_class,
                    accepted=rule.accepted,
                    asset_kinds=rule.asset_kinds,
                    tag_prefixes=rule.tag_prefixes,
                )
            )
    return found


def add_sources(router: APIRouter, state: State) -> None:
    """Add the routes about sources."""

    @router.get(
        "/sources",
        tags=["ingest"],
        summary="Which classes of sources are taken, and how partners' clouds are",
        description="Decide about classes with POST /v1/config/sources, about a partner's cloud with "
        "POST /v1/config/partner.<name>. `degraded` is for a banner: what a partner told is older "
        "than it should be; everything of one's own goes on.",
    )
    async def get_sources(
        who: Annotated[Principal, Depends(requires("places:read"))],
    ) -> Response:
        partners = await state.partners.health(who.log_id)
        return json_answer(
            SourcesReply(
                items=classes_of(state.intake.directory(who.log_id).sources),
                partners=partners,
                degraded=any(p.state == "degraded" for p in partners),
            )
        )
