"""The catalogue of tag models: what tags of a model can do, as data. Nothing branches on it.

The server knows the models that the agent knows: `tag_models.json` says what the agent's
`tag_models.yaml` says (`python -m tests.support.tag_models_doc` writes it, a test compares). A
tenant adds models of its own as the section `tag_models` of its settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tagtrail_inventory import registry
from tagtrail_kernel.database import Connection

BUILT_IN: Final = Path(__file__).with_name("tag_models.json")
SECTION: Final = "tag_models"
"""Section of the tenant's settings with models of its own, by key."""

Name = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[tuple[Name, ...], Field(max_length=50)]
Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Battery(_Part):
    """The cell of a tag.

    Attributes:
        kind: Kind of cell.
        life_months: Life as makers or reviewers state it, months.
    """

    kind: Name
    life_months: Annotated[float, Field(gt=0, le=1200, allow_inf_nan=False)]


class Cadence(_Part):
    """Expected seconds between adverts by mode; None: heard only when somebody reads it.

    Attributes:
        transit: In transit mode, seconds.
        storage: In storage mode, seconds.
    """

    transit: Seconds | None
    storage: Seconds | None


class TagModel(_Part):
    """What tags of one model can do.

    Attributes:
        name: What people call it.
        section: Heading of docs/tags.md that explains it; None for a model of one's own.
        identity: `fixed` for life, `rotating` by itself, or a `label` that is read on purpose.
        kinds: Kinds of identity that it can be enrolled by.
        frames: Kinds of adverts that it sends, as the agent names them.
        radios: Radios that it has.
        uwb: Whether anchors of one's own can measure their distance to it.
        battery: Its cell; None if it has none.
        precision: What a reading can tell: `touch` (who holds it, where), `read-point` (which
            door), `zone` or `position` (x and y).
        cadence: Expected seconds between adverts by mode.
        network: Finding networks that it can join, one at a time.
        api: What its maker offers a business.
        impossible: What cannot be done with it, a sentence each.
    """

    name: Name
    section: Name | None = None
    identity: Literal["fixed", "rotating", "label"]
    kinds: Names
    frames: Names
    radios: Annotated[
        tuple[Literal["ble", "uwb", "nfc", "rfid", "wifi", "gps"], ...], Field(max_length=6)
    ]
    uwb: bool
    battery: Battery | None
    precision: Literal["touch", "read-point", "zone", "position"]
    cadence: Cadence
    network: Names = ()
    api: Name | None = None
    impossible: Names = ()


class ListedModel(TagModel):
    """A model as the list shows it.

    Attributes:
        model: Its key, as in the `model` of a tag.
        own: Whether the tenant described it (also in place of one that comes with Tagtrail).
    """

    model: str
    own: bool


class RefusedModel(BaseModel):
    """A model of the tenant's settings that does not fit.

    Attributes:
        model: Its key.
        detail: What is wrong with it.
    """

    model: str
    detail: str


class TagModelList(BaseModel):
    """The capability matrix.

    Attributes:
        items: Models in the order of their keys.
        refused: Models of the section `tag_models` that do not fit and are left out.
        next: Always null: the list has one page.
        as_of_position: The log up to here.
    """

    items: list[ListedModel]
    refused: list[RefusedModel]
    next: None = None
    as_of_position: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Models by key.

    Attributes:
        built_in: Those that come with Tagtrail.
        own: Those that the tenant described; they win.
        refused: What is wrong with the others.
    """

    built_in: Mapping[str, TagModel]
    own: Mapping[str, TagModel]
    refused: Mapping[str, str]

    def knows(self, model: str) -> bool:
        """Say whether there is such a model."""
        return model in self.built_in or model in self.own

    def listed(self, position: int) -> TagModelList:
        """Return the capability matrix."""
        merged = {**self.built_in, **self.own}
        return TagModelList(
            items=[
                ListedModel(model=key, own=key in self.own, **dict(merged[key]))
                for key in sorted(merged)
            ],
            refused=[RefusedModel(model=k, detail=d) for k, d in sorted(self.refused.items())],
            as_of_position=position,
        )


def built_in_models() -> dict[str, TagModel]:
    """Read the models that come with Tagtrail, by key.

    Raises:
        ValidationError: the file was damaged; install the package again.
    """
    return TypeAdapter(dict[str, TagModel]).validate_json(BUILT_IN.read_bytes())


def own_models(values: Mapping[str, Any]) -> tuple[dict[str, TagModel], dict[str, str]]:
    """Read the models of a tenant's settings; returns those that fit, and what is wrong with others.

    Args:
        values: The section, each model under its key, as in `tag_models.yaml`. What only the agent
            reads (`adverts`) may stand there too.
    """
    found: dict[str, TagModel] = {}
    refused: dict[str, str] = {}
    for key, given in values.items():
        members = given
        if isinstance(given, Mapping):
            members = {name: value for name, value in given.items() if name != "adverts"}
        try:
            found[key] = TagModel.model_validate_json(orjson.dumps(members))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            refused[key] = f"{place}: {first['msg']}" if place else first["msg"]
    return found, refused


async def catalogue_of(c: Connection, log_id: int, built_in: Mapping[str, TagModel]) -> Catalogue:
    """Return the catalogue of a tenant."""
    section = await registry.get(c, log_id, "config", SECTION)
    own, refused = own_models(section.body["values"] if section is not None else {})
    return Catalogue(built_in, own, refused)
