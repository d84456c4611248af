"""Routes about sources: which classes are taken, and how partners' clouds are."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final, Literal

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Query, Response

from tagtrail_ingest.answers import PROBLEM, Operator, json_answer
from tagtrail_ingest.sources.erasing import NAME
from tagtrail_ingest.sources.health import Health
from tagtrail_ingest.sources.policy import FOREIGN, SourceRules
from tagtrail_ingest.state import State
from tagtrail_kernel.access import Principal, requires
from tagtrail_kernel.envelope import Envelope
from tagtrail_kernel.errors import ConflictError
from tagtrail_kernel.events.operations import SightingsErased

CONFIRM: Final = "erase-all"
"""Value of the header without which nothing is erased."""

WAIT_S: Final = 20.0
"""Longest wait for an order to be carried out before the answer says that it goes on."""

Foreign = Literal["partner_network", "crowd_shared"]


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


class ErasureReply(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of `DELETE /v1/sources/{source_class}/sightings`.

    Attributes:
        event_id: The order in the log.
        position: Its position: everything of the class before it goes.
        done: Whether it is carried out; else it goes on, also over a restart.
        sightings: Sightings that are gone.
        withdrawn: Zone changes, presence and alerts that are gone with them.
        next: What to do now.
    """

    event_id: str
    position: int
    done: bool
    sightings: int
    withdrawn: int
    next: str


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

    _add_erasure(router, state)


def _add_erasure(router: APIRouter, state: State) -> None:
    @router.delete(
        "/sources/{source_class}/sightings",
        tags=["ingest"],
        summary="Erase all sightings of a class of sources",
        description="The order is recorded; then the bodies of the sightings go, and those of what was "
        "derived from them. Their hashes stay, so every proof still verifies. The class must be off.",
        responses={
            202: {"description": "Ordered, and still going on"},
            409: {"description": "Not confirmed, or the class is on", **PROBLEM},
        },
    )
    async def erase_sightings(
        who: Operator,
        source_class: Annotated[Foreign, Path(description="A class that is not one's own.")],
        reason: Annotated[str | None, Query(max_length=300, description="For people.")] = None,
        confirm: Annotated[
            str | None, Header(alias="Tagtrail-Confirm", description=f"Must be `{CONFIRM}`.")
        ] = None,
    ) -> Response:
        if confirm != CONFIRM:
            raise ConflictError(
                f"this would erase every sighting of the class {source_class} for good; repeat the "
                f"request with the header Tagtrail-Confirm: {CONFIRM} if that is wanted"
            )
        directory = state.intake.directory(who.log_id)
        if directory.sources.refused_class(source_class) is None:
            raise ConflictError(
                f"the class {source_class} is on, so more would come while this is erased; switch it "
                "off first with POST /v1/config/sources"
            )
        order = Envelope(
            id=state.ids.new(),
            subject=source_class,
            source="ingest",
            occurred_at=state.clock.now(),
            data=SightingsErased(source_class=source_class, reason=reason, by=who.key_id),
        )
        appended = await state.intake.append_facts(who.log_id, [order])
        position = appended.positions[0]
        done = await _carried_out(state, who.log_id, position)
        reply = ErasureReply(
            event_id=str(order.id),
            position=position,
            done=done,
            sightings=len(await state.log.erased(who.log_id, order=position)),
            withdrawn=len(await state.log.erased(who.log_id, order=position, again=True)),
            next="run `tagtrail rebuild --swap`, then start the services again: until then they "
            "still show what they had concluded",
        )
        return json_answer(reply, 200 if done else 202)


async def _carried_out(state: State, log_id: int, position: int) -> bool:
    """Wait until the consumer of orders has passed one; False if it takes too long."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while asyncio.get_running_loop().time() < deadline:
        if await state.partners.store.position(log_id, NAME) >= position:
            return True
        await asyncio.sleep(0.1)
    return False
