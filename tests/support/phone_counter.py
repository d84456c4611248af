"""A counter that phones tap at: the endpoint, its clock, and a client of Anna's phone."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx2
from tests.support.agent_inputs import NOON, Hands, Listener, hearing, until

from tagtrail_agent.inputs.phone import PhoneOptions, Phones, PhonesOptions

TOKEN = "a-token-of-128-random-bits"
OTHER = "another-token-of-128-bits"


def digest(token: str) -> str:
    """Return what the configuration knows of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


ANNA = PhoneOptions(phone_id="anna", token_sha256=digest(TOKEN), actor_id="operator-7")
BEN = PhoneOptions(phone_id="ben", token_sha256=digest(OTHER))


@dataclass
class Counter:
    """The endpoint, its clock, what it has heard, and a client."""

    phones: Phones
    hands: Hands
    listener: Listener
    client: httpx2.AsyncClient
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {TOKEN}"})

    async def post(self, path: str, body: object = None, token: str = TOKEN) -> httpx2.Response:
        """Post to the endpoint."""
        return await self.client.post(
            f"/v1/phone/{path}", json=body, headers={"Authorization": f"Bearer {token}"}
        )

    async def send(self, *items: object, session_id: str | None = None) -> list[dict[str, Any]]:
        """Send items as Anna's phone; returns the verdicts."""
        answer = await self.post("items", {"items": items, "session_id": session_id})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["verdicts"])


@contextlib.asynccontextmanager
async def counter(request_s: float = 15.0, **changed: object) -> AsyncIterator[Counter]:
    """Run the endpoint, with changed options."""
    given: dict[str, object] = {"phones": (ANNA, BEN), "port": 0, **changed}
    hands = Hands()
    phones = Phones(
        PhonesOptions(**given),  # type: ignore[arg-type]
        hands.clocks,
        request_s=request_s,
    )
    async with hearing(phones) as listener:
        await until(lambda: phones.port)
        base = f"http://127.0.0.1:{phones.port}"
        async with httpx2.AsyncClient(base_url=base, trust_env=False) as client:
            yield Counter(phones, hands, listener, client)


def tap(number: int = 1, **changed: object) -> dict[str, Any]:
    """Return an item: a tap a minute ago."""
    return {
        "id": f"item-{number}",
        "at": (NOON - timedelta(seconds=60)).isoformat(),
        "kind": "nfc",
        "uid": "04:A2:B3:C4:D5:E6:80",
        "counter": 41,
        **changed,
    }
