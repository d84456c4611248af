"""Asks a partner's cloud for sightings, politely, and takes its pages in, each once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import httpx2

from tagtrail_ingest.adapters import Message
from tagtrail_ingest.intake import Intake
from tagtrail_ingest.sources.breaker import FIRST_WAIT_S, LONGEST_WAIT_S, Breaker, Pace
from tagtrail_ingest.sources.partner_feed import (
    MAX_ITEMS,
    Page,
    PartnerAnswerError,
    adapter_of,
    page_of,
)
from tagtrail_ingest.sources.partner_rules import PartnerRules
from tagtrail_ingest.sources.store import PartnerStore
from tagtrail_kernel.clock import Clock
from tagtrail_kernel.errors import DomainError, UnavailableError

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES: Final = 4_000_000
"""A page of a thousand sightings has a quarter of that."""

MOST_PAGES: Final = 500
"""Pages of one round; the rest waits for the next one, after a look at the rules."""


@dataclass(frozen=True, slots=True)
class Partner:
    """A partner's cloud, as the server's settings name it.

    Attributes:
        name: Its name in identities and sections.
        url: Where it is asked; query parameters are added.
        token: Sent as a bearer token; empty sends none.
        tenant: Slug of the tenant that it belongs to.
        timeout_s: Longest wait for a whole answer, seconds.
        first_wait_s: Wait after a first failure, seconds.
        longest_wait_s: Longest wait after many, unless the partner asks for more, seconds.
    """

    name: str
    url: str = field(repr=False)
    token: str = field(default="", repr=False)
    tenant: str = "default"
    timeout_s: float = 10.0
    first_wait_s: float = FIRST_WAIT_S
    longest_wait_s: float = LONGEST_WAIT_S


class _FailedError(Exception):
    """A question was not answered.

    Args:
        detail: One sentence, without the address.
        asked_s: Wait that the partner asked for, seconds.
    """

    def __init__(self, detail: str, asked_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.asked_s = asked_s


class Poller:
    """Asks one partner for one tenant; one process at a time does.

    Args:
        partner: The partner.
        intake: Takes its sightings in.
        store: Keeps the cursor.
        clock: Time of receipt.
        http: Client; redirects are not followed, so that nothing goes elsewhere.
    """

    def __init__(
        self,
        partner: Partner,
        intake: Intake,
        store: PartnerStore,
        clock: Clock,
        http: httpx2.AsyncClient,
    ) -> None:
        self._partner = partner
        self._intake = intake
        self._store = store
        self._clock = clock
        self._http = http
        self._adapter = adapter_of(partner.name)
        self.breaker = Breaker(partner.first_wait_s, partner.longest_wait_s)
        self._pace = Pace()

    async def round(self, log_id: int, rules: PartnerRules, going: Callable[[], bool]) -> float:
        """Take all pages that there are, or fail once; returns the wait until the next round, seconds.

        Args:
            log_id: The tenant's log.
            rules: What the tenant decided.
            going: Whether the partner may still be asked; looked at before every question.

        Raises:
            UnavailableError: the log or the database is out of reach; the page will come again.
        """
        loop = asyncio.get_running_loop()
        cursor = (await self._store.one(log_id, self._partner.name)).cursor
        for _ in range(MOST_PAGES):
            wait_s = self._pace.wait_s(loop.time(), per_minute=rules.requests_per_minute)
            await asyncio.sleep(max(wait_s, self.breaker.wait_s(loop.time())))
            if not going():
                return 0.0
            self._pace.last_s = loop.time()
            try:
                body, page = await self._ask(cursor)
                await self._take(log_id, body, page)
            except _FailedError as error:
                return await self._note(log_id, error)
            self.breaker.succeeded()
            stuck = page.next == cursor
            cursor = page.next
            if not page.more or stuck:
                break
        return rules.every_s

    async def _take(self, log_id: int, body: bytes, page: Page) -> None:
        """Put a page into the log, then move the cursor: a page that comes again changes nothing.

        Raises:
            _FailedError: the page as a whole cannot be taken.
        """
        now = self._clock.now()
        message = Message(payload=body, received_at=now, route="partner")
        try:
            prepared = self._intake.prepare(log_id, self._adapter, message)
            await self._intake.commit([prepared])
        except UnavailableError:
            raise
        except DomainError as error:
            raise _FailedError(f"its page cannot be taken: {error.detail}") from error
        taken = sum(verdict.status == "accepted" for verdict in prepared.verdicts)
        await self._store.succeeded(
            log_id, self._partner.name, now, cursor=page.next, sightings=taken
        )
        if page.sightings:
            extra = {"partner": self._partner.name, "count": len(page.sightings), "taken": taken}
            log.info("partner.page", extra=extra | {"log_id": log_id})

    async def _note(self, log_id: int, error: _FailedError) -> float:
        wait_s = self.breaker.failed(asyncio.get_running_loop().time(), asked_s=error.asked_s)
        now = self._clock.now()
        await self._store.failed(
            log_id,
            self._partner.name,
            now,
            error=error.detail,
            failures=self.breaker.failures,
            retry_at=now + timedelta(seconds=wait_s),
        )
        extra = {"partner": self._partner.name, "cause": error.detail, "wait_s": wait_s}
        log.warning("partner.failed", extra=extra | {"log_id": log_id})
        return wait_s

    async def _ask(self, cursor: str | None) -> tuple[bytes, Page]:
        """Ask once.

        Raises:
            _FailedError: no answer, or none of the form of a page.
        """
        params = {"limit": str(MAX_ITEMS)} | ({"after": cursor} if cursor is not None else {})
        headers = {"Accept": "application/json"}
        if self._partner.token:
            headers["Authorization"] = f"Bearer {self._partner.token}"
        try:
            async with asyncio.timeout(self._partner.timeout_s):
                body = await self._exchange(params, headers)
            return body, page_of(body)
        except TimeoutError as error:
            raise _FailedError(f"no answer within {self._partner.timeout_s:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise _FailedError(f"no answer ({type(error).__name__})") from error
        except PartnerAnswerError as error:
            raise _FailedError(error.detail) from error

    async def _exchange(self, params: dict[str, str], headers: dict[str, str]) -> bytes:
        async with self._http.stream(
            "GET", self._partner.url, params=params, headers=headers, follow_redirects=False
        ) as reply:
            if reply.status_code != 200:
                asked_s = _asked_s(reply.headers.get("retry-after"), self._clock.now())
                raise _FailedError(f"it answers {reply.status_code}", asked_s)
            body = b""
            async for part in reply.aiter_bytes():
                body += part
                if len(body) > MAX_ANSWER_BYTES:
                    raise _FailedError(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
            return body


def _asked_s(written: str | None, now: datetime) -> float | None:
    """Read `Retry-After`: seconds, or a date; None if there is none that can be read."""
    text = (written or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())
