"""MQTT out: confirmed events on `tagtrail/v1/<site>/events/<type>`, QoS 1, in log order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
import paho.mqtt.client as paho

from tagtrail_ingest.mqtt import client_of
from tagtrail_kernel.consumers import Context, Projection
from tagtrail_kernel.database import Connection
from tagtrail_kernel.envelope import Envelope, Recorded
from tagtrail_kernel.errors import UnavailableError
from tagtrail_kernel.events.registry import Family

RELAYED = Family.PLACE | Family.STOCK | Family.SHIPMENT | Family.ALERT

NO_SITE = "_"
"""Level of the topic for events that belong to no single site."""


def cloud_event(log_id: int, event: Recorded) -> dict[str, Any]:
    """Return a fact as a CloudEvents 1.0 JSON object with our positions as extensions."""
    envelope = event.envelope
    return {
        "specversion": "1.0",
        "id": str(event.id),
        "source": f"/logs/{log_id}/{envelope.source}",
        "type": event.type,
        "subject": event.subject,
        "time": envelope.occurred_at,
        "datacontenttype": "application/json",
        "position": event.position,
        "recordedtime": event.recorded_at,
        "timequality": envelope.time_quality,
        "correlationid": envelope.correlation_id,
        "causationid": envelope.causation_id,
        "dataversion": envelope.data.VERSION,
        "data": envelope.data,
    }


class Relay(Projection):
    """Publishes each event once per position; after a crash some are published again.

    A receiver recognises a repetition by the CloudEvents id.
    """

    name = "relay"
    families = RELAYED

    def __init__(self, url: str, client_id: str, ca_file: str = "") -> None:
        self._url, self._ca_file = url, ca_file
        self._client_id = client_id
        self._client: paho.Client | None = None

    async def apply(
        self, tx: Connection, context: Context, events: Sequence[Recorded]
    ) -> Sequence[Envelope]:
        """Publish events and wait for the broker's acknowledgement."""
        if not context.live:
            return ()
        client = await self._connected()
        infos = []
        for event in events:
            site = getattr(event.data, "site_id", None) or NO_SITE
            safe = "".join(c if c not in "+#/\x00" else "_" for c in site)
            infos.append(
                client.publish(
                    f"tagtrail/v1/{safe}/events/{event.type}",
                    msgspec.json.encode(cloud_event(context.log_id, event)),
                    qos=1,
                )
            )
        for _ in range(1000):
            if all(i.is_published() for i in infos):
                return ()
            if not client.is_connected():
                break
            await asyncio.sleep(0.005)
        raise UnavailableError("the MQTT broker does not acknowledge; trying again")

    async def _connected(self) -> paho.Client:
        if self._client is None:
            self._client = client_of(self._url, f"{self._client_id}-relay", ca_file=self._ca_file)
            try:
                self._client.connect_async(*_address(self._url), keepalive=30)
            except OSError as error:
                self._client = None
                raise UnavailableError("the MQTT broker is out of reach") from error
            self._client.loop_start()
        for _ in range(100):
            if self._client.is_connected():
                return self._client
            await asyncio.sleep(0.05)
        raise UnavailableError("the MQTT broker is out of reach")

    async def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            client, self._client = self._client, None
            client.disconnect()
            await asyncio.get_running_loop().run_in_executor(None, client.loop_stop)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 1883
