"""HTTP with the standard library: few needs, no further packages on a small box."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tagtrail_agent.delivery.trust import context_of, words_of
from tagtrail_agent.errors import ConfigError, UnreachableError

MOST_BYTES: Final = 67_108_864
"""Largest answer that is read: updates are the largest, and have a few megabytes."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        status: Status code.
        headers: Header fields, names in lower case.
        body: Body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def detail(self) -> str:
        """What the server says about its refusal (RFC 9457), or the status."""
        problem = self.json()
        detail = problem.get("detail") if isinstance(problem, dict) else None
        return str(detail or f"HTTP status {self.status}")


class Web:
    """Requests to one server, each over a connection that is kept for the next.

    Not for several threads at a time.

    Args:
        url: http://host:port or https://host:port, perhaps with a path.
        ca_file: Certificates to trust instead of the system's.
        headers: Sent with every request.
        timeout_s: For connecting, and for each read, seconds.

    Raises:
        ConfigError: the address or the file cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"{url}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{url!r} must read https://host:port")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, port
        self._base, self._headers, self._timeout_s = parts.path.rstrip("/"), headers, timeout_s
        self._context = context_of(ca_file) if self._secure else None
        self._connection: http.client.HTTPConnection | None = None
        self._ended = False

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            if self._context is not None:
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=self._timeout_s, context=self._context
                )
            else:
                self._connection = http.client.HTTPConnection(
                    self._host, self._port, timeout=self._timeout_s
                )
        return self._connection

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Make a request and read the whole answer; blocks.

        Raises:
            UnreachableError: no answer; the request may have been carried out.
        """
        kept = self._connection is not None
        try:
            return self._once(method, path, body, headers)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            self.close()
            if not kept or self._ended:
                raise UnreachableError(words_of(error, self._host)) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise UnreachableError(words_of(error, self._host)) from error
        try:  # the server had ended the kept connection in the meantime
            return self._once(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise UnreachableError(words_of(error, self._host)) from error

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> Reply:
        connection = self._connected()
        try:
            return self._asked(connection, method, path, body, headers)
        finally:
            if self._ended:  # `end` came from another thread meanwhile
                connection.close()

    def _asked(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str] | None,
    ) -> Reply:
        sent = {**(self._headers or {}), **(headers or {})}
        connection.request(method, self._base + path, body=body, headers=sent)
        with connection.getresponse() as response:
            content = response.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise http.client.HTTPException(f"the answer has more than {MOST_BYTES} bytes")
            found = {name.lower(): value for name, value in response.getheaders()}
        if response.will_close:
            self.close()
        return Reply(response.status, found, content)

    def end(self) -> None:
        """End the connection for good, even if another thread is just using it."""
        self._ended = True
        self.close()

    def close(self) -> None:
        """End the connection; the next request makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
