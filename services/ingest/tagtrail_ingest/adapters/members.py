"""Taking the members of one JSON object one by one; what nobody takes is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from tagtrail_ingest.adapters import values

T = TypeVar("T")


class ItemRefusedError(Exception):
    """One item of a message is not acceptable; the rest of the message is.

    Args:
        reason: Stable code.
        detail: One sentence for the sender.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class Members:
    """The members of one object.

    The readers take the first of the named members whose value can be read. A value that cannot
    be read stays and ends in `rest`, so that nothing is lost without a trace.
    """

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._rest = dict(members)

    def __contains__(self, name: str) -> bool:
        return name in self._rest

    def take(self, read: Callable[[object], T | None], *names: str) -> T | None:
        """Take a value by a reader of `values`."""
        for name in names:
            found = read(self._rest.get(name))
            if found is not None:
                del self._rest[name]
                return found
        return None

    def number(self, *names: str) -> float | None:
        """Take a finite number."""
        return self.take(values.number, *names)

    def strict_number(self, *names: str) -> float | None:
        """Take a finite number that MUST be one where it is given.

        Raises:
            ItemRefusedError: a member is there and not null, but is no finite number.
        """
        found = self.take(values.number, *names)
        if found is None:
            for name in names:
                if self._rest.get(name) is not None:
                    raise ItemRefusedError("bad_value", f"{name} is not a finite number")
        return found

    def integer(self, *names: str) -> int | None:
        """Take a whole number."""
        return self.take(values.integer, *names)

    def text(self, *names: str) -> str | None:
        """Take printable text."""
        return self.take(values.text, *names)

    def moment(self, *names: str) -> datetime | None:
        """Take a time."""
        return self.take(values.moment, *names)

    def mac(self, *names: str) -> str | None:
        """Take a radio address as 12 lower-case digits."""
        return self.take(values.mac, *names)

    def octets(self, *names: str) -> bytes | None:
        """Take bytes written in hexadecimal."""
        return self.take(values.octets, *names)

    def nested(self, name: str) -> Members:
        """Take a nested object; an empty one if there is none."""
        found = self._rest.get(name)
        if values.is_object(found):
            del self._rest[name]
            return Members(found)
        return Members({})

    def items(self, name: str) -> list[Any]:
        """Take a list; an empty one if there is none."""
        found = self._rest.get(name)
        if isinstance(found, list):
            del self._rest[name]
            return found
        return []

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members not yet taken, in their order."""
        return tuple(self._rest)

    def peek(self, name: str) -> object:
        """Look at a member without taking it; None if it is not there."""
        return self._rest.get(name)

    def rename(self, old: str, new: str) -> None:
        """Give a member the name under which it is kept."""
        if old in self._rest:
            self._rest[new] = self._rest.pop(old)

    def drop(self, *names: str) -> None:
        """Take members away unread: identities, raw adverts, personal names."""
        for name in names:
            self._rest.pop(name, None)

    @property
    def rest(self) -> dict[str, Any]:
        """What nobody took, fit for the log (see `values.keep`)."""
        return values.keep_members(self._rest)
