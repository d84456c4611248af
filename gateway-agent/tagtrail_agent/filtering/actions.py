"""What a gateway does about an alarm when nothing else is configured: it writes it down."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from tagtrail_agent.filtering.alarms import Alarm

_log = logging.getLogger(__name__)


class LogAndFile:
    """Logs every alarm, and keeps a file with the alarms that are open.

    The file is a JSON object, `open` being a list of alarms; it is replaced as a whole, so that a
    reader (a light, a script, a panel) never sees half of it.

    Args:
        path: The file; None = log only. Its folder MUST exist.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._open: dict[tuple[str, str], Alarm] = {}

    def alarm(self, alarm: Alarm) -> None:
        """Log an alarm and rewrite the file; a file that cannot be written is logged."""
        key = (alarm.alarm_id, alarm.tag)
        if alarm.state == "raised":
            self._open[key] = alarm
        else:
            self._open.pop(key, None)
        _log.warning(
            "alarm.raised" if alarm.state == "raised" else "alarm.cleared",
            extra={"alarm_id": alarm.alarm_id, "kind": alarm.kind, "online": alarm.online},
        )  # fmt: skip
        if self._path is None:
            return
        try:
            self._write(self._path)
        except OSError as error:
            _log.error("alarm.file_failed", extra={"code": error.errno})

    def _write(self, path: Path) -> None:
        body = json.dumps({"open": [a.figures() for a in self._open.values()]}, sort_keys=True)
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(body + "\n", encoding="utf-8")
        fresh.replace(path)
