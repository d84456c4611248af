"""One POST to a channel, and what can be known when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

import httpx2

from tagtrail_alerts.channels import guard
from tagtrail_alerts.channels.contract import Outcome, Reply

MAX_ANSWER: Final = 4096
"""Bytes of an answer that are read: channels answer with a word."""

_NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


def keep_addresses_out_of_logs() -> None:
    """Silence the HTTP client's own request lines, which show whole addresses."""
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)


async def post(
    http: httpx2.AsyncClient,
    url: str,
    body: bytes,
    *,
    timeout_s: float,
    allow_loopback: bool,
    headers: Mapping[str, str] | None = None,
    resolve: guard.Resolve = guard.resolve,
) -> Reply | Outcome:
    """POST JSON.

    Args:
        http: Client; redirects are not followed.
        url: The channel's address, a secret: it is in no error and no log line.
        body: JSON, sent as it is.
        timeout_s: Longest wait for the whole exchange, seconds.
        allow_loopback: Whether this machine is allowed.
        headers: More headers.
        resolve: Gives the IP addresses of a host.

    Returns:
        The answer, or an outcome if there is none.
    """
    try:
        async with asyncio.timeout(timeout_s):
            target = await guard.target_of(url, allow_loopback=allow_loopback, resolve=resolve)
    except guard.AddressRefusedError as error:
        return Outcome("permanent", error.detail)
    except (guard.UnresolvedError, TimeoutError):
        return Outcome("retry", "the channel's host name cannot be resolved")
    request = _request(http, target, body, headers or {}, timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(http, request)
    except _NOT_SENT as error:
        return Outcome("retry", f"no connection to the channel ({type(error).__name__})")
    except (httpx2.HTTPError, TimeoutError) as error:
        return Outcome(
            "ambiguous", f"sent, but no answer ({type(error).__name__}); it may have arrived"
        )


def _request(
    http: httpx2.AsyncClient,
    target: guard.Target,
    body: bytes,
    headers: Mapping[str, str],
    timeout_s: float,
) -> httpx2.Request:
    return http.build_request(
        "POST",
        target.url,
        content=body,
        headers={
            "Host": target.host,
            "Content-Type": "application/json; charset=utf-8",
            "Connection": "close",
            **headers,
        },
        timeout=httpx2.Timeout(timeout_s, connect=timeout_s / 2, pool=timeout_s / 2),
        extensions={"sni_hostname": target.name},
    )


async def _exchange(http: httpx2.AsyncClient, request: httpx2.Request) -> Reply:
    response = await http.send(request, stream=True, follow_redirects=False)
    try:
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) >= MAX_ANSWER:
                break
        return Reply(response.status_code, body[:MAX_ANSWER], response.headers.get("retry-after"))
    finally:
        await response.aclose()
