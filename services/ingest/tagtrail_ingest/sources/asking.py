"""The task that asks partners' clouds, where the server's settings and the tenant allow it."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Sequence
from typing import Annotated, Final

import httpx2
import msgspec
from msgspec import Meta

from tagtrail_ingest.directory import Directory
from tagtrail_ingest.intake import Intake
from tagtrail_ingest.sources.breaker import FIRST_WAIT_S, LONGEST_WAIT_S
from tagtrail_ingest.sources.health import Health, Stored, health_of, obstacle
from tagtrail_ingest.sources.partner_rules import PartnerRules
from tagtrail_ingest.sources.poller import Partner, Poller
from tagtrail_ingest.sources.store import PartnerStore
from tagtrail_kernel.access import AccessStore
from tagtrail_kernel.clock import Clock
from tagtrail_kernel.errors import UnavailableError
from tagtrail_kernel.leadership import Leadership
from tagtrail_kernel.settings import SettingsError
from tagtrail_kernel.wiring import supervise

log = logging.getLogger(__name__)

LOOK_S: Final = 0.5
"""Time between two looks at the rules: a decision to stop is followed within it."""


class PartnerEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One partner, as in the setting `TAGTRAIL_INGEST_PARTNERS`."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    url: Annotated[str, Meta(pattern=r"^https?://[^\s]+$")]
    token: str = ""
    tenant: str = "default"
    timeout_s: Annotated[float, Meta(gt=0, le=120)] = 10.0
    first_wait_s: Annotated[float, Meta(gt=0, le=900)] = FIRST_WAIT_S
    longest_wait_s: Annotated[float, Meta(gt=0, le=86_400)] = LONGEST_WAIT_S


def partners_of(text: str) -> list[Partner]:
    """Read the setting.

    Raises:
        SettingsError: not a JSON list of partners, or a name stands twice.
    """
    try:
        entries = msgspec.json.decode(text, type=list[PartnerEntry])
    except msgspec.DecodeError as error:
        # without the cause: its text may quote a token
        fault = str(error) if isinstance(error, msgspec.ValidationError) else "not JSON"
        raise SettingsError(f"TAGTRAIL_INGEST_PARTNERS: {fault}") from None
    names = [(e.tenant, e.name) for e in entries]
    if len(set(names)) != len(names):
        raise SettingsError("TAGTRAIL_INGEST_PARTNERS: a tenant's partner is named twice")
    return [Partner(*msgspec.structs.astuple(entry)) for entry in entries]


class Partners:
    """All partners that this process may ask.

    Args:
        partners: Of the settings; with none, nothing ever leaves.
        intake: Takes sightings in, and knows what tenants decided.
        store: Cursors and health.
        clock: Time of receipt.
        access: Tenants.
        leadership: One process asks.
    """

    def __init__(
        self,
        partners: Sequence[Partner],
        *,
        intake: Intake,
        store: PartnerStore,
        clock: Clock,
        access: AccessStore,
        leadership: Leadership,
    ) -> None:
        self.partners = tuple(partners)
        self._intake = intake
        self.store = store
        self._clock = clock
        self._access = access
        self._leadership = leadership
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # its lines show whole addresses

    async def ask(self) -> None:
        """Ask all partners, for ever."""
        async with httpx2.AsyncClient(timeout=None) as http:
            tasks = [
                asyncio.create_task(
                    supervise("ingest.partner", functools.partial(self._follow, partner, http))
                )
                for partner in self.partners
            ]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._leadership.close()

    async def _follow(self, partner: Partner, http: httpx2.AsyncClient) -> None:
        """Ask one partner for as long as that is allowed."""
        log_id = await self._tenant(partner.tenant)
        poller = Poller(partner, self._intake, self.store, self._clock, http)
        directory, name = self._intake.directory(log_id), f"ingest.partner.{partner.name}"

        def going() -> bool:
            return _obstacle(directory, partner.name, known=True) is None

        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            leads = await self._leadership.acquire(name, log_id)
            if leads and going() and loop.time() >= due_s:
                rules = directory.partners[partner.name]
                try:
                    wait_s = await poller.round(log_id, rules, going)
                except UnavailableError as error:
                    log.warning("partner.waiting", extra={"cause": error.detail})
                    wait_s = partner.first_wait_s
                due_s = loop.time() + wait_s
            await asyncio.sleep(min(LOOK_S, max(due_s - loop.time(), 0.05)))

    async def _tenant(self, slug: str) -> int:
        while True:
            for tenant in await self._access.tenants():
                if tenant.slug == slug:
                    return tenant.log_id
            await asyncio.sleep(2)

    async def health(self, log_id: int) -> list[Health]:
        """Return how a tenant's partners are: those of the settings, and those it decided about."""
        directory, now = self._intake.directory(log_id), self._clock.now()
        slugs = {t.log_id: t.slug for t in await self._access.tenants()}
        known = {p.name for p in self.partners if p.tenant == slugs.get(log_id)}
        stored = await self.store.all(log_id)
        return [
            health_of(
                name,
                directory.partners.get(name, PartnerRules()),
                stored.get(name, Stored(name=name)),
                now,
                off=_obstacle(directory, name, known=name in known),
            )
            for name in sorted(known | set(directory.partners))
        ]


def _obstacle(directory: Directory, name: str, *, known: bool) -> str | None:
    return obstacle(
        directory.partners.get(name, PartnerRules()),
        known=known,
        class_off=directory.sources.refused_class("partner_network") is not None,
        kept="radio" in directory.retention,
    )
