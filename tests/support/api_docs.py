"""Writes docs/openapi.json and docs/asyncapi.json from the code; a test compares.

Run `python -m tests.support.api_docs` after a change of a route, a wire format or an event type.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from tagtrail.composition import app_for
from tagtrail_ingest.adapters.native import native_schema
from tagtrail_ingest.adapters.native_schema import descriptions_of
from tagtrail_ingest.confirmations import Confirmation
from tagtrail_ingest.relay import NO_SITE, RELAYED
from tagtrail_kernel.events.registry import REGISTRY, Event
from tagtrail_kernel.openapi import App
from tagtrail_kernel.settings import KernelSettings
from tagtrail_kernel.wiring import VERSION

DOCS: Final = Path(__file__).parents[2] / "docs"
OPENAPI: Final = DOCS / "openapi.json"
ASYNCAPI: Final = DOCS / "asyncapi.json"
Json = dict[str, Any]

NOWHERE: Final = "postgresql://nobody@127.0.0.1:1/nowhere"
"""A database that is never asked: building an app connects to nothing."""


def all_in_one() -> App:
    """Return the app with all services, as no environment variable has changed it."""
    own = {name: value for name, value in os.environ.items() if name.startswith("TAGTRAIL_")}
    for name in own:
        del os.environ[name]
    try:
        app = app_for(KernelSettings(database_url=NOWHERE), [])
    finally:
        os.environ.update(own)
    assert isinstance(app, App)
    return app


@cache
def openapi() -> Json:
    """Return the OpenAPI document of the all-in-one process."""
    return all_in_one().openapi()


def _event_schemas() -> Json:
    types = [cls for _, cls in sorted(REGISTRY.items()) if cls.FAMILY & RELAYED]
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    for cls in types:
        _describe(cls, schemas[cls.__name__])
    return schemas


def _describe(cls: type[Event], schema: Json) -> None:
    words = {k: v for base in reversed(cls.__mro__[:-1]) for k, v in descriptions_of(base).items()}
    schema["description"] = _sentence(cls)
    for name, member in schema.get("properties", {}).items():
        if words.get(name):
            member["description"] = words[name]


def _sentence(cls: type[Event]) -> str:
    return re.sub(r"\s*\n\s*", " ", re.split(r"\n+Attributes:", inspect.getdoc(cls) or "")[0])


def _cloud_event(cls: type[Event]) -> Json:
    """Return the schema of a CloudEvent in JSON whose data are of one type."""
    time: Json = {"type": "string", "format": "date-time"}
    return {
        "type": "object",
        "required": ["specversion", "id", "source", "type", "subject", "time", "position", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "format": "uuid", "description": "The same id is the same event."},
            "source": {"type": "string", "description": "/logs/<log id>/<who says so>"},
            "type": {"const": cls.TYPE},
            "subject": {"type": "string"},
            "time": time | {"description": "When it happened."},
            "datacontenttype": {"const": "application/json"},
            "position": {"type": "integer", "minimum": 1, "description": "Place in the log."},
            "recordedtime": time | {"description": "When the log took it."},
            "timequality": {"type": "string"},
            "correlationid": {"type": ["string", "null"]},
            "causationid": {"type": ["string", "null"]},
            "dataversion": {"type": "integer", "minimum": 1, "maximum": cls.VERSION},
            "data": {"$ref": f"#/components/schemas/{cls.__name__}"},
        },
    }  # fmt: skip


def _messages() -> Json:
    found: Json = {
        "Sightings": {
            "summary": "A batch of sightings of one gateway; docs/wire-format.md.",
            "contentType": "application/json",
            "payload": {"$ref": "#/components/schemas/Batch"},
        },
        "GatewayStatus": {
            "summary": "Whether a gateway is online, and its figures.",
            "contentType": "application/json",
            "payload": {"$ref": "#/components/schemas/Status"},
        },
        "Confirmation": {
            "summary": "What became of a batch with a batch_id, after the commit.",
            "contentType": "application/json",
            "payload": {"$ref": "#/components/schemas/Confirmation"},
        },
        "ConfigurationNotice": {
            "summary": "There is something new at GET /v1/gateways/{gateway_id}/config.",
            "contentType": "application/json",
            "payload": {"$ref": "#/components/schemas/ConfigurationNotice"},
        },
    }
    for name, cls in sorted(REGISTRY.items()):
        if cls.FAMILY & RELAYED:
            found[cls.__name__] = {
                "name": name,
                "summary": _sentence(cls),
                "contentType": "application/cloudevents+json",
                "payload": {"$ref": f"#/components/schemas/{cls.__name__}CloudEvent"},
            }
    return found


def _schemas() -> Json:
    batch = {k: v for k, v in native_schema().items() if k != "$schema"}
    status = {
        "description": "The word online or offline (also as a last will), or an object; what is "
        "not named here is kept as figures.",
        "oneOf": [
            {"enum": ["online", "offline"]},
            {
                "type": "object",
                "properties": {
                    "online": {"type": "boolean"},
                    "at": {"type": "string", "format": "date-time"},
                },
            },
        ],
    }
    clouds = {
        f"{cls.__name__}CloudEvent": _cloud_event(cls)
        for cls in REGISTRY.values()
        if cls.FAMILY & RELAYED
    }
    _, answers = msgspec.json.schema_components([Confirmation])
    notice = {"type": "object", "properties": {"revision": {"type": "integer"}}}
    own = {"Batch": batch, "Status": status, "ConfigurationNotice": notice, **answers}
    return dict(sorted({**_event_schemas(), **clouds, **own}.items()))


_SITE: Final = {"description": "Id of the site, as registered."}
_GATEWAY: Final = {"description": "Id of the gateway, as it names itself."}
_TYPE: Final = {"description": "Wire name of the event; docs/events.md."}
_MQTT: Final = {"mqtt": {"qos": 1, "retain": False, "bindingVersion": "0.2.0"}}
_ANSWER: Final = {"mqtt": {"qos": 0, "retain": False, "bindingVersion": "0.2.0"}}
_NOTICE: Final = {"mqtt": {"qos": 0, "retain": True, "bindingVersion": "0.2.0"}}
_RETAINED: Final = {"mqtt": {"qos": 1, "retain": True, "bindingVersion": "0.2.0"}}


def _channel(address: str, messages: list[str], **parameters: Json) -> Json:
    return {
        "address": address,
        "parameters": parameters,
        "messages": {m: {"$ref": f"#/components/messages/{m}"} for m in messages},
    }


def _operation(channel: str, action: str, summary: str, bindings: Json) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "bindings": bindings,
    }


@cache
def asyncapi() -> Json:
    """Return the AsyncAPI document of the native MQTT topics."""
    relayed = [cls.__name__ for _, cls in sorted(REGISTRY.items()) if cls.FAMILY & RELAYED]
    root = "tagtrail/v1/{site}"
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tagtrail over MQTT",
            "version": VERSION,
            "description": "The native topics. Foreign gateways keep their own: docs/gateways.md.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "{host}:1883",
                "protocol": "mqtt",
                "protocolVersion": "3.1.1",
                "variables": {"host": {"default": "127.0.0.1", "description": "The broker."}},
            }
        },
        "channels": {
            "sightings": _channel(
                f"{root}/{{gateway}}/sightings", ["Sightings"], site=_SITE, gateway=_GATEWAY
            ),
            "status": _channel(
                f"{root}/{{gateway}}/status", ["GatewayStatus"], site=_SITE, gateway=_GATEWAY
            ),
            "confirmed": _channel(
                f"{root}/{{gateway}}/confirmed", ["Confirmation"], site=_SITE, gateway=_GATEWAY
            ),
            "config": _channel(
                f"{root}/{{gateway}}/config", ["ConfigurationNotice"], site=_SITE, gateway=_GATEWAY
            ),
            "events": _channel(
                f"{root}/events/{{type}}",
                relayed,
                site={"description": f"Id of the site; `{NO_SITE}` for what belongs to no single one."},
                type=_TYPE,
            ),
        },
        "operations": {
            "takeSightings": _operation(
                "sightings", "receive",
                "Tagtrail takes a batch; PUBACK comes after the commit of the log.", _MQTT,
            ),
            "takeStatus": _operation(
                "status", "receive", "Tagtrail takes a gateway's status, retained.", _RETAINED
            ),
            "confirmBatches": _operation(
                "confirmed", "send",
                "Tagtrail answers a batch that has a batch_id, after the commit.", _ANSWER,
            ),
            "announceConfigurations": _operation(
                "config", "send", "Tagtrail has something new for a gateway, retained.", _NOTICE
            ),
            "publishEvents": _operation(
                "events", "send",
                "Tagtrail publishes every confirmed event once or more, in the order of the log.",
                _MQTT,
            ),
        },
        "components": {"messages": _messages(), "schemas": _schemas()},
    }  # fmt: skip


def references(node: Any) -> Iterator[str]:
    """Yield every `$ref` of a document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def text_of(document: Json) -> str:
    """Return a document as it stands in docs/."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write both documents."""
    OPENAPI.write_text(text_of(openapi()), encoding="utf-8")
    ASYNCAPI.write_text(text_of(asyncapi()), encoding="utf-8")


if __name__ == "__main__":
    main()
