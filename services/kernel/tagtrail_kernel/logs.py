"""Structured logs: one JSON object a line, from the standard library's logging."""

from __future__ import annotations

import contextvars
import json
import logging
from datetime import UTC, datetime
from typing import Any

import orjson

trace_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("trace_id", default=None)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record; `extra=` keys become members."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        line: dict[str, Any] = {
            **{k: v for k, v in vars(record).items() if k not in _STANDARD},
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "event": record.getMessage(),
            "trace_id": trace_id.get(),
        }
        if record.exc_info:
            line["exc"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:  # a number beyond 64 bits, or text that is not Unicode
            return json.dumps(line, default=str, skipkeys=True)


def configure(service: str, level: str = "INFO") -> None:
    """Send all logging to standard error as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("uvicorn.access", "httpx2", "httpcore2", "nats"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
