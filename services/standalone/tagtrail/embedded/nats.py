"""The embedded NATS server: JetStream and the MQTT 3.1.1 listener, loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from typing import Final

from tagtrail.embedded.child import Server
from tagtrail.embedded.home import Home
from tagtrail.embedded.programs import nats_program

SERVICE_USER: Final = "tagtrail"
"""Used by the services, over NATS and MQTT; may do everything."""
GATEWAY_USER: Final = "gateway"
"""Used by gateways, over MQTT only; may not touch the log's fan-out or the server's own subjects."""

_ANSWER_WITHIN_S: Final = 5.0
_CONNACK_ACCEPTED: Final = b"\x20\x02\x00\x00"

_SETTINGS: Final = """\
# Written by Tagtrail at every start.
server_name: tagtrail
host: 127.0.0.1
port: {port}
max_payload: 1MB
max_connections: 4096
write_deadline: "10s"

jetstream {{
  store_dir: {store}
  max_memory_store: 64MB
  max_file_store: {max_store}
  sync_interval: {sync_interval}
}}

mqtt {{
  host: 127.0.0.1
  port: {mqtt_port}
  ack_wait: "5s"
  # Per subscription and per session: more than one busy subscription in a session makes the server
  # hold messages back and deliver them only after ack_wait. Ingest therefore has one, for `#`.
  # Those of one session may add up to 65535; beyond that it refuses a subscription.
  max_ack_pending: 8000
}}

authorization {{
  timeout: 5
  users: [
    {{ user: {service_user}, password: {service_password} }}
    {{
      user: {gateway_user}
      password: {gateway_password}
      allowed_connection_types: ["MQTT"]
      permissions: {{
        publish: {{
          deny: ["$TAGTRAIL.>", "$SYS.>", "$JS.>", "$KV.>", "$O.>", "$MQTT.>", "$G.>", "_INBOX.>"]
        }}
        # $MQTT.sub.>: where the server itself delivers QoS 1; it lets no client subscribe there.
        subscribe: {{ allow: ["tagtrail.v1.>", "$MQTT.sub.>"] }}
      }}
    }}
  ]
}}
"""


def nats_server(
    home: Home, port: int, mqtt_port: int, *, sync_interval: str = "2m", max_store: str = "1GB"
) -> Server:
    """Write a home's NATS settings and say how to run the server.

    Args:
        home: Where its data and settings lie.
        port: Of the NATS listener.
        mqtt_port: Of the MQTT listener.
        sync_interval: How often JetStream and MQTT sessions are forced to disk: a duration such
            as "2m", or "always". Power loss can take what was acknowledged since.
        max_store: Most that JetStream and MQTT sessions keep on disk, for example "1GB".

    Raises:
        EmbeddedError: the program is not installed.
    """
    program = nats_program(home)
    folder = home.private("nats")
    settings = folder / "nats.conf"
    content = _SETTINGS.format(
        port=port,
        store=json.dumps(str(folder / "store")),
        max_store=max_store,
        sync_interval=json.dumps(sync_interval),
        mqtt_port=mqtt_port,
        service_user=SERVICE_USER,
        service_password=json.dumps(home.secrets.nats),
        gateway_user=GATEWAY_USER,
        gateway_password=json.dumps(home.secrets.gateway),
    )
    home.write_private(settings, content)
    return Server(
        name="nats",
        command=(str(program), "-c", str(settings)),
        stop=signal.SIGTERM,
        probe=lambda: _probe(mqtt_port, home.secrets.nats),
        before_start=lambda: None,
    )


async def _probe(mqtt_port: int, password: str) -> None:
    """Sign in by MQTT: that listener opens last and needs JetStream.

    Raises:
        OSError: the server cannot be used yet.
    """
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", mqtt_port)
            try:
                writer.write(_connect_packet(SERVICE_USER, password))
                answer = await reader.readexactly(len(_CONNACK_ACCEPTED))
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (TimeoutError, asyncio.IncompleteReadError) as error:
        raise OSError("no MQTT answer yet") from error
    if answer != _CONNACK_ACCEPTED:
        raise OSError(f"MQTT sign-in refused with code {answer[3]}")


def _connect_packet(user: str, password: str) -> bytes:
    """Return an MQTT 3.1.1 CONNECT (section 3.1): clean session, user and password, no will."""
    fields = (b"tagtrail-probe", user.encode(), password.encode())
    body = b"\x00\x04MQTT\x04\xc2\x00\x0a"
    body += b"".join(len(field).to_bytes(2, "big") + field for field in fields)
    return b"\x10" + bytes([len(body)]) + body  # < 128 bytes: the length is one byte
