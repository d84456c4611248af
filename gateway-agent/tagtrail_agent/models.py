"""The catalogue of tag models: capabilities as data, from `tag_models.yaml` and files of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from tagtrail_agent.decoding import Decoded, Decoder, Layout, LayoutError
from tagtrail_agent.errors import AgentError

BUILT_IN: Final = Path(__file__).with_name("tag_models.yaml")
MOST_BYTES: Final = 1_000_000
"""A catalogue is a few kilobytes; a larger file is a mistake."""

_IDENTITIES: Final = ("fixed", "rotating", "label")
_PRECISIONS: Final = ("touch", "read-point", "zone", "position")
_RADIOS: Final = ("ble", "uwb", "nfc", "rfid", "wifi", "gps")
_MODES: Final = ("transit", "storage")
_REQUIRED: Final = frozenset(
    {"name", "identity", "kinds", "frames", "radios", "uwb", "battery", "precision", "cadence"}
)
_OPTIONAL: Final = frozenset({"section", "network", "api", "impossible", "adverts"})


class ModelError(AgentError):
    """A catalogue of tag models cannot be read; the text names file, model and member."""


@dataclass(frozen=True, slots=True)
class TagModel:
    """What tags of one model can do.

    Attributes:
        key: Key in the catalogue, as in `tag.registered`.
        name: What people call it.
        section: Heading of docs/tags.md that explains it; None for a model of one's own.
        identity: "fixed", "rotating" or "label".
        kinds: Kinds of identity that it can be enrolled by.
        frames: Kinds of adverts that it sends.
        radios: Radios it has.
        uwb: Whether its ranges can be measured by anchors of one's own.
        battery: Kind of cell; None if it has none.
        battery_life_months: As stated by makers or reviewers; None if it has none.
        precision: "touch", "read-point", "zone" or "position".
        cadence_s: Expected seconds between adverts by mode; None: only when it is read.
        network: Finding networks that it can join.
        api: What its maker offers a business.
        impossible: What cannot be done with it, a sentence each.
    """

    key: str
    name: str
    section: str | None
    identity: str
    kinds: tuple[str, ...]
    frames: tuple[str, ...]
    radios: tuple[str, ...]
    uwb: bool
    battery: str | None
    battery_life_months: float | None
    precision: str
    cadence_s: Mapping[str, float | None]
    network: tuple[str, ...]
    api: str | None
    impossible: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Tag models, and how adverts are read that the code does not know.

    Attributes:
        models: By key.
        layouts: Descriptions of adverts.
    """

    models: Mapping[str, TagModel]
    layouts: tuple[Layout, ...] = ()

    def decoder(self) -> Decoder:
        """Return a decoder that also reads the adverts described as data."""
        return Decoder(self.layouts)

    def models_of(self, decoded: Decoded) -> tuple[str, ...]:
        """Return the keys of the models that send such adverts; several networks share theirs."""
        heard = set(decoded.frames)
        return tuple(key for key, model in self.models.items() if heard & set(model.frames))


def load_models(*paths: Path) -> Catalogue:
    """Read the catalogue that comes with the agent, then further files; a later entry wins.

    Raises:
        ModelError: a file cannot be read; says which, and what is wrong in it.
    """
    models: dict[str, TagModel] = {}
    layouts: dict[str, list[Layout]] = {}
    for path in (BUILT_IN, *paths):
        for key, given in _entries(path):
            place = f"{path.name}: model {key!r}"
            models[key] = _model(place, key, given)
            layouts[key] = _layouts(place, given.get("adverts", []))
    return Catalogue(models, tuple(one for several in layouts.values() for one in several))


def _entries(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > MOST_BYTES:
            raise ModelError(f"{path}: larger than {MOST_BYTES} characters")
        document = yaml.safe_load(text)
    except (OSError, UnicodeError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ModelError(f"{path}: not YAML: {error}") from error
    entries = document.get("models") if isinstance(document, dict) else None
    if not isinstance(entries, dict):
        raise ModelError(f"{path}: begin with `models:` and entries by key below it")
    for key, given in entries.items():
        if not isinstance(key, str) or not isinstance(given, dict):
            raise ModelError(f"{path}: model {key!r} must be a mapping")
    return list(entries.items())


def _model(place: str, key: str, given: Mapping[str, Any]) -> TagModel:
    missing, strange = _REQUIRED - set(given), set(given) - _REQUIRED - _OPTIONAL
    if missing or strange:
        what = f"missing {', '.join(sorted(missing))}" if missing else ""
        raise ModelError(f"{place}: {what or 'unknown ' + ', '.join(sorted(map(str, strange)))}")
    if not isinstance(given["uwb"], bool):
        raise ModelError(f"{place}: uwb is true or false")
    battery, life = _battery(place, given["battery"])
    return TagModel(
        key=key,
        name=str(given["name"]),
        section=_text(given.get("section")),
        identity=_one_of(place, "identity", given["identity"], _IDENTITIES),
        kinds=_names(place, given, "kinds"),
        frames=_names(place, given, "frames"),
        radios=tuple(
            _one_of(place, "radios", radio, _RADIOS) for radio in _names(place, given, "radios")
        ),
        uwb=given["uwb"],
        battery=battery,
        battery_life_months=life,
        precision=_one_of(place, "precision", given["precision"], _PRECISIONS),
        cadence_s=_cadence(place, given["cadence"]),
        network=_names(place, given, "network"),
        api=_text(given.get("api")),
        impossible=_names(place, given, "impossible"),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _one_of(place: str, name: str, value: object, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ModelError(f"{place}: {name} is one of {', '.join(allowed)}, not {value!r}")
    return str(value)


def _names(place: str, given: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = given.get(name) or ()
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
        raise ModelError(f"{place}: {name} is a list of texts")
    return tuple(values)


def _battery(place: str, given: object) -> tuple[str | None, float | None]:
    if given is None:
        return None, None
    if isinstance(given, dict) and isinstance(given.get("kind"), str):
        life = given.get("life_months")
        if isinstance(life, int | float) and not isinstance(life, bool) and life > 0:
            return given["kind"], float(life)
    raise ModelError(f"{place}: battery is null, or kind and life_months (above 0)")


def _cadence(place: str, given: object) -> Mapping[str, float | None]:
    if not isinstance(given, dict) or set(given) != set(_MODES):
        raise ModelError(f"{place}: cadence names {' and '.join(_MODES)}")
    for mode, seconds in given.items():
        if seconds is not None and (type(seconds) not in (int, float) or seconds <= 0):
            raise ModelError(f"{place}: cadence of {mode} is seconds above 0, or null")
    return dict(given)


def _layouts(place: str, given: object) -> list[Layout]:
    if not isinstance(given, list | tuple):
        raise ModelError(f"{place}: adverts is a list")
    layouts = []
    for one in given:
        if not isinstance(one, dict):
            raise ModelError(f"{place}: each of adverts is a mapping")
        try:
            layouts.append(Layout(one))
        except LayoutError as error:
            raise ModelError(f"{place}: adverts: {error}") from error
    return layouts
