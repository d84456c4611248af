"""Registry, codec and upcasting of event types.

One decorated class per type and one golden file per version are all that a new type needs; the
tests over `REGISTRY` demand the rest.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import msgspec

from tagtrail_kernel.errors import RejectedError, UnknownEventTypeError

Data = dict[str, Any]
Upcaster = Callable[[Data], Data]


class Family(enum.IntFlag):
    """Groups of event types by reach.

    A batch of the log says which families it holds, so that a consumer of business facts skips
    batches of sightings unread. The bit values are stored: never renumber.
    """

    RADIO = 1
    """Raw radio facts: many, short-lived, sensitive."""
    GATEWAY = 2
    """State of gateways, and claims they make (absence, zones)."""
    REGISTRY = 4
    """Sites, zones, gateways, tags, assets, SKUs, bindings, configuration."""
    PLACE = 8
    """Confirmed zone changes and position snapshots."""
    STOCK = 16
    """Contents, counts."""
    SHIPMENT = 32
    """Departures, deliveries, documents."""
    ALERT = 64
    """Alerts and what people did about them."""
    OPERATION = 128
    """Acts of operators: parking, erasure, re-drives."""


ALL_FAMILIES = Family(255)
BUSINESS_FAMILIES = ALL_FAMILIES & ~Family.RADIO


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The data of a fact. Class names are past tense; the wire name never changes.

    Fields that are None by default are left out of the stored bytes. A field never uses a
    sentinel; units are in the names.
    """

    TYPE: ClassVar[str]
    VERSION: ClassVar[int]
    FAMILY: ClassVar[Family]
    UPCASTERS: ClassVar[Mapping[int, Upcaster]] = {}


E = TypeVar("E", bound=Event)
REGISTRY: dict[str, type[Event]] = {}


def event(type_: str, *, version: int, family: Family) -> Callable[[type[E]], type[E]]:
    """Make a class an event type and register it.

    Args:
        type_: Wire name, `noun.past_participle`, for example "tag.sighted".
        version: Version that is written today, >= 1.
        family: The reach of this type.

    Raises:
        TypeError: the name is taken, or an upcaster is missing.
    """

    def register(cls: type[E]) -> type[E]:
        cls.TYPE, cls.VERSION, cls.FAMILY = type_, version, family
        missing = set(range(1, version)) - set(cls.UPCASTERS)
        if missing:
            raise TypeError(f"{type_} v{version} lacks upcasters from {sorted(missing)}")
        if type_ in REGISTRY:
            raise TypeError(f"{type_} is registered twice")
        REGISTRY[type_] = cls
        return cls

    return register


def type_of(name: str) -> type[Event]:
    """Return the class of a wire name.

    Raises:
        UnknownEventTypeError: no such type is registered.
    """
    cls = REGISTRY.get(name)
    if cls is None:
        raise UnknownEventTypeError(
            f"no event type is called {name!r}; docs/events.md lists them", type=name
        )
    return cls


def decode_data(name: str, version: int, data: bytes | msgspec.Raw) -> Event:
    """Decode the stored data of one event, upcasting older versions.

    Args:
        name: Wire name.
        version: Version beside the data, >= 1.
        data: JSON object.

    Raises:
        UnknownEventTypeError: no such type, or a version newer than this code knows.
        RejectedError: the data do not fit the type; the detail says where.
    """
    cls = type_of(name)
    if not 1 <= version <= cls.VERSION:
        raise UnknownEventTypeError(
            f"{name} is known up to version {cls.VERSION}, not {version}; upgrade this service",
            type=name,
            version=version,
        )
    try:
        if version == cls.VERSION:
            return msgspec.json.decode(data, type=cls)
        return msgspec.convert(_upcast(cls, version, msgspec.json.decode(data, type=Data)), cls)
    except msgspec.ValidationError as error:
        raise RejectedError(f"{name} v{version}: {error}", type=name, version=version) from error
    except msgspec.DecodeError as error:
        raise RejectedError(f"{name}: not JSON: {error}", type=name) from error


def _upcast(cls: type[Event], version: int, data: Data) -> Data:
    for step in range(version, cls.VERSION):
        try:
            data = cls.UPCASTERS[step](data)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise RejectedError(
                f"{cls.TYPE} v{version} does not have the members of version {step}: "
                f"{type(error).__name__}: {error}",
                type=cls.TYPE,
                version=version,
            ) from error
    return data
