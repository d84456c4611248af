#!/usr/bin/env python3
"""Exit with 0 if every address answers: `healthcheck http://127.0.0.1:8101/readyz tcp://127.0.0.1:1883`.

Needs nothing but Python, and imports little: containers run it every few seconds.
"""

from __future__ import annotations

import http.client
import socket
import sys

TIMEOUT_S = 4.0


def fault_of(address: str) -> str | None:
    """Return what is wrong with an address, None if it answers well."""
    kind, _, rest = address.partition("://")
    place, _, path = rest.partition("/")
    host, _, port = place.rpartition(":")
    try:
        if kind == "tcp":
            socket.create_connection((host, int(port)), TIMEOUT_S).close()
            return None
        connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_S)
        connection.request("GET", f"/{path}")
        reply = connection.getresponse()
        text = reply.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{address}: {error}"
    return None if reply.status == http.client.OK else f"{address}: {reply.status} {text}"


def main(addresses: list[str]) -> int:
    """Print what is wrong; return the exit code."""
    faults = [fault for address in addresses if (fault := fault_of(address))]
    sys.stdout.write("\n".join(faults))
    return 1 if faults or not addresses else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
