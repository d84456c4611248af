"""Empties a broker's store of retained messages, so that no test meets what another one left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import paho.mqtt.client as paho

from tagtrail_ingest.mqtt import client_of

WITHIN_S: Final = 10.0
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
    client = client_of(url, "")
    connected: list[bool] = []
    listed: list[bool] = []
    topics: list[str] = []
    client.on_connect = lambda *_: connected.append(True)
    client.on_message = lambda _client, _data, message: topics.append(message.topic)
    client.on_unsubscribe = lambda *_: listed.append(True)
    host, _, port = url.rpartition("@")[2].partition(":")
    client.connect(host, int(port))
    _pump(client, lambda: bool(connected))
    # one connection is served in order: what is retained comes before the second answer
    client.subscribe("#", 1)
    client.unsubscribe("#")
    _pump(client, lambda: bool(listed))
    removals = [client.publish(topic, b"", qos=1, retain=True) for topic in topics]
    _pump(client, lambda: all(removal.is_published() for removal in removals))
    client.disconnect()
    return topics


def _pump(client: paho.Client, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the broker did not answer within {WITHIN_S:g} s")
        client.loop(0.1)
