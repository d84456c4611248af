"""What a broker remembers, forgotten: no test shall meet what another one left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import paho.mqtt.client as paho

from tagtrail_ingest.mqtt import client_of

WITHIN_S: Final = 30.0
"""A broker that answers later than this, seconds, is out of order."""


def forget_retained(url: str) -> list[str]:
    """Remove every retained message that an account may read and write.

    Works in the calling thread and is done when the broker has confirmed every removal. An empty
    store costs about 5 ms.

    Args:
        url: mqtt://user:password@host:port of the services' account.

    Returns:
        Topics of what was removed.

    Raises:
        TimeoutError: the broker did not answer.
    """
    # no client id: NATS makes one that comes again wait, and answers nothing meanwhile
    client = _connected(url, "")
    listed: list[bool] = []
    topics: list[str] = []
    client.on_message = lambda _client, _data, message: topics.append(message.topic)
    client.on_unsubscribe = lambda *_: listed.append(True)
    # one connection is served in order: what is retained comes before the second answer
    client.subscribe("#", 1)
    client.unsubscribe("#")
    _pump(client, lambda: bool(listed))
    removals = [client.publish(topic, b"", qos=1, retain=True) for topic in topics]
    _pump(client, lambda: all(removal.is_published() for removal in removals))
    client.disconnect()
    return topics


def forget_session(url: str, client_id: str) -> None:
    """End a persistent session and drop what waits in it.

    Raises:
        TimeoutError: the broker did not answer.
    """
    _connected(url, client_id).disconnect()


def _connected(url: str, client_id: str) -> paho.Client:
    client = client_of(url, client_id, clean=True)
    connected: list[bool] = []
    client.on_connect = lambda *_: connected.append(True)
    address = urlsplit(url)
    client.connect(address.hostname or "", address.port or 0)
    _pump(client, lambda: bool(connected))
    return client


def _pump(client: paho.Client, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the broker did not answer within {WITHIN_S:g} s")
        client.loop(0.1)
