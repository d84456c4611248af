"""Plans an import: what each row would do, against what is known; and how to take it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from tagtrail_inventory.core import tables
from tagtrail_inventory.core.checks import Fault, Known, check, unknown
from tagtrail_inventory.core.kinds import PLURALS, Kind
from tagtrail_inventory.core.stock_facts import lot_key
from tagtrail_inventory.core.tables import Column, Row, Table
from tagtrail_kernel.events.registrations import TagBound, TagUnbound
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.stock import CratePacked, CrateUnpacked, Line

Action = Literal["create", "update", "unchanged", "error"]

COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = {
    "sites": (
        Column("site_id", tables.identifier, required=True),
        Column("name", tables.text, required=True),
        Column("time_zone", tables.text),
        Column("latitude_deg", tables.number),
        Column("longitude_deg", tables.number),
        Column("bearing_deg", tables.number),
        Column("outline_m", tables.outline),
    ),
    "zones": (
        Column("zone_id", tables.identifier, required=True),
        Column("site_id", tables.identifier, required=True),
        Column("name", tables.text, required=True),
        Column(
            "kind",
            tables.choice("storage", "inbound", "outbound", "staging", "dock", "yard", "other"),
        ),
        Column("floor", tables.number),
        Column("outline_m", tables.outline),
    ),
    "gateways": (
        Column("gateway_id", tables.identifier, required=True),
        Column("site_id", tables.identifier, required=True),
        Column("zone_id", tables.identifier),
        Column("name", tables.text),
        Column("x_m", tables.number),
        Column("y_m", tables.number),
        Column("z_m", tables.number),
        Column("rssi_1m_dbm", tables.number),
        Column("path_loss_exponent", tables.number),
    ),
    "tags": (
        Column("tag_id", tables.identifier, required=True),
        Column("identities", tables.identities, required=True),
        Column("model", tables.text),
        Column("label", tables.text),
        Column("mode", tables.choice("transit", "storage")),
        Column("interval_s", tables.number),
        Column("rssi_1m_dbm", tables.number),
    ),
    "assets": (
        Column("asset_id", tables.identifier, required=True),
        Column("kind", tables.text),
        Column("name", tables.text),
        Column("external_ids", tables.mapping),
    ),
    "skus": (
        Column("sku", tables.identifier, required=True),
        Column("name", tables.text),
        Column("gtin", tables.text),
        Column("unit", tables.text),
    ),
    "bindings": (
        Column("tag_id", tables.identifier, required=True),
        Column("asset_id", tables.identifier, required=True),
    ),
    "contents": (
        Column("asset_id", tables.identifier, required=True),
        Column("sku", tables.identifier, required=True),
        Column("quantity", tables.whole, required=True),
        Column("lot", tables.text),
    ),
}
"""Columns by kind of import. `contents` states what an asset holds, not what is added."""


@dataclass(slots=True)
class Current:
    """What is known before the import; planning notes in it what earlier rows would do.

    Attributes:
        known: Ids in use.
        bodies: Descriptions by id, of the kind that is imported, without retired ones.
        held: Quantity by (asset, SKU, lot).
    """

    known: Known = field(default_factory=Known)
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    held: dict[tuple[str, str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """What one row does.

    Attributes:
        line: Line of the file.
        id: What it is about.
        action: What it does.
        changes: Values before and after, by field.
        faults: Why it does nothing.
        do: Facts that do it.
        undo: Facts that take it back.
        after: What must still hold for it to be taken back: description, asset or quantity.
    """

    line: int
    id: str
    action: Action
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    do: tuple[Event, ...] = ()
    undo: tuple[Event, ...] = ()
    after: Any = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What an import does.

    Attributes:
        kind: Plural name.
        steps: One for each row.
        faults: Faults of the header: nothing can be done.
    """

    kind: str
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Rows by action."""
        actions = ("create", "update", "unchanged", "error")
        return {a: sum(s.action == a for s in self.steps) for a in actions}

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults and not any(s.faults for s in self.steps)


def plan(kind: str, table: Table, current: Current) -> Plan:
    """Say what each row would do.

    Args:
        kind: Plural name, a key of `COLUMNS`.
        table: The file.
        current: What is known; changed as rows are planned.
    """
    if table.faults:
        return Plan(kind, (), table.faults)
    planners: dict[str, Callable[[Row, Current], Step]] = {
        "bindings": _plan_binding,
        "contents": _plan_content,
    }
    seen: dict[object, int] = {}
    steps: list[Step] = []
    for row in table.rows:
        key = _key(kind, row)
        if row.faults:
            steps.append(Step(row.line, str(key[0] or ""), "error", faults=row.faults))
        elif key in seen:
            detail = f"line {seen[key]} says something about the same already; remove one"
            fault = Fault("duplicate", COLUMNS[kind][0].name, detail)
            steps.append(Step(row.line, str(key[0]), "error", faults=(fault,)))
        elif kind in planners:
            steps.append(planners[kind](row, current))
        else:
            steps.append(_plan_registration(PLURALS[kind], row, current))
        seen.setdefault(key, row.line)
    return Plan(kind, tuple(steps), ())


def _key(kind: str, row: Row) -> tuple[object, ...]:
    if kind == "contents":
        return tuple(row.values.get(n) for n in ("asset_id", "sku", "lot"))
    return (row.values.get(COLUMNS[kind][0].name),)


def _plan_registration(kind: Kind, row: Row, current: Current) -> Step:
    id_ = str(row.values[kind.id_field])
    before = current.bodies.get(id_)
    members = {k: v for k, v in ((before or {}) | dict(row.values)).items() if v is not None}
    try:
        fact = msgspec.convert(members, kind.registered)
    except msgspec.ValidationError as error:
        return Step(row.line, id_, "error", faults=(_misfit(error),))
    faults = check(fact, current.known)
    if faults:
        return Step(row.line, id_, "error", faults=tuple(faults))
    _note(fact, current)
    after = msgspec.json.decode(msgspec.json.encode(fact))
    changes = {
        name: {"before": (before or {}).get(name), "after": after.get(name)}
        for name in sorted(set(before or {}) | set(after))
        if (before or {}).get(name) != after.get(name)
    }
    if before is None:
        undo = kind.retired(**{kind.id_field: id_}) if kind.retired is not None else None
        return Step(
            row.line, id_, "create", changes, do=(fact,), undo=(undo,) if undo else (), after=after
        )
    if not changes:
        return Step(row.line, id_, "unchanged")
    old = msgspec.convert(before, kind.registered)
    return Step(row.line, id_, "update", changes, do=(fact,), undo=(old,), after=after)


def _misfit(error: msgspec.ValidationError) -> Fault:
    """Return the fault of a value that the event refuses, for example a latitude of 91."""
    sentence, _, path = str(error).partition(" - at `$.")
    column = path.rstrip("`").partition("[")[0]
    code: Literal["too_long", "bad_value"] = "too_long" if "length <=" in sentence else "bad_value"
    return Fault(code, column, sentence)


def _note(fact: Event, current: Current) -> None:
    """Identities of this file count too: two rows cannot claim the same one."""
    tag_id = getattr(fact, "tag_id", None)
    if tag_id is not None:
        freed = {i: t for i, t in current.known.owners.items() if t != tag_id}
        claimed = dict.fromkeys(getattr(fact, "identities", ()), str(tag_id))
        current.known.owners = freed | claimed


def _plan_binding(row: Row, current: Current) -> Step:
    tag, asset = str(row.values["tag_id"]), str(row.values["asset_id"])
    on = TagBound(tag_id=tag, asset_id=asset)
    faults = check(on, current.known)
    if faults:
        return Step(row.line, tag, "error", faults=tuple(faults))
    held = current.known.bound.get(tag)
    if held == asset:
        return Step(row.line, tag, "unchanged")
    changes = {"asset_id": {"before": held, "after": asset}}
    off = TagUnbound(tag_id=tag, asset_id=asset)
    if held is None:
        return Step(row.line, tag, "create", changes, do=(on,), undo=(off,), after=asset)
    left = TagUnbound(tag_id=tag, asset_id=held)
    back = TagBound(tag_id=tag, asset_id=held)
    return Step(row.line, tag, "update", changes, do=(left, on), undo=(off, back), after=asset)


def _plan_content(row: Row, current: Current) -> Step:
    asset, sku, lot = (row.values["asset_id"], row.values["sku"], row.values.get("lot"))
    faults: list[Fault] = []
    if asset not in current.known.assets:
        faults.append(unknown("asset", asset, "asset_id", "assets"))
    if sku not in current.known.skus:
        faults.append(unknown("sku", sku, "sku", "skus"))
    if faults:
        return Step(row.line, asset, "error", faults=tuple(faults))
    before, after = current.held.get((asset, sku, lot_key(lot)), 0), int(row.values["quantity"])
    if before == after:
        return Step(row.line, asset, "unchanged")
    line = Line(sku=sku, quantity=abs(after - before), lot=lot)
    packed = CratePacked(asset_id=asset, lines=(line,), document="import")
    taken = CrateUnpacked(asset_id=asset, lines=(line,), document="import")
    do, undo = ((packed,), (taken,)) if after > before else ((taken,), (packed,))
    changes = {"quantity": {"before": before, "after": after}}
    action: Action = "update" if before else "create"
    what = {"sku": sku, "lot": lot_key(lot), "quantity": after}
    return Step(row.line, asset, action, changes, do=do, undo=undo, after=what)


def subject_of(step: Step, fact: Event) -> str:
    """Return the subject of one of a step's facts."""
    return str(getattr(fact, "tag_id", None) or step.id)
