"""Plans a site's day: trucks in, put-away, picks, trucks out, and what goes wrong."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from tagtrail.simulator.goods import Contents, add, fill, lines_of
from tagtrail.simulator.layout import APRON_M, Point, Site
from tagtrail.simulator.plan import (
    Asset,
    Fact,
    MoveKind,
    Movement,
    Plan,
    Pod,
    Shipment,
    State,
    StockChange,
)
from tagtrail.simulator.routes import Router
from tagtrail.simulator.scenario import Scenario
from tagtrail.simulator.slots import Slots
from tagtrail.simulator.tracks import AWAY, Track
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.shipments import PodRecorded, ShipmentDeparted, ShipmentPlanned
from tagtrail_kernel.events.stock import CratePacked, CrateUnpacked

TRUCK_MPS: Final = 4.0
ROAD_M: Final = 60.0
"""Trucks drive slowly in the yard, and are out of radio reach after this distance."""
PAUSE_S: Final = 12
"""Time to set one pallet down and fetch the next."""


class _Truck:
    """A shipment in the making."""

    def __init__(self, shipment_id: str, planned: list[Asset], pod: Pod, *, wrong: bool) -> None:
        self.shipment_id = shipment_id
        self.planned = planned
        self.pod: Pod = pod
        self.wrong = wrong
        self.staged_s = 0


class Planner:
    """Plays one site through on a queue of actions, before any radio is simulated.

    Args:
        scenario: What is simulated.
        site: Which of its sites.
        assets: The site's assets, not yet placed.
        skus: Articles to fill crates with.
        rng: The only source of chance.
    """

    def __init__(
        self,
        scenario: Scenario,
        site: Site,
        assets: list[Asset],
        skus: list[str],
        rng: np.random.Generator,
    ) -> None:
        self.plan = Plan(site, assets)
        self._scenario, self._how, self._site = scenario, scenario.behaviour, site
        self._skus, self._rng = skus, rng
        self._router, self._slots = Router(site), Slots(site)
        self._queue: list[tuple[int, int, Callable[[int], None]]] = []
        self._order = self._trucks = 0
        self._zones = {
            kind: [n for n, z in enumerate(site.zones) if z.kind == kind]
            for kind in ("inbound", "storage", "staging", "outbound")
        }

    def run(self) -> Plan:
        """Plan everything up to the end of the run."""
        self._place_all()
        waves = int(np.ceil(self._scenario.duration_s / self._how.wave_s))
        for wave in range(waves):
            self._plan_wave(int(wave * self._how.wave_s), wave)
        while self._queue:
            at_s, _, act = heapq.heappop(self._queue)
            if at_s <= self._scenario.duration_s:
                act(at_s)
        self._kill_batteries()
        self._cut()
        return self.plan

    def _cut(self) -> None:
        """Put everything into time order and drop what lies behind the end."""
        plan, end_s = self.plan, self._scenario.duration_s
        plan.facts = sorted((f for f in plan.facts if f.at_s <= end_s), key=lambda f: f.at_s)
        plan.stock = sorted((s for s in plan.stock if s.at_s <= end_s), key=lambda s: s.at_s)
        plan.shipments = [s for s in plan.shipments if s.departed_s <= end_s]
        plan.thefts = [(asset, gone_s) for asset, gone_s in plan.thefts if gone_s <= end_s]
        moves = [m for m in plan.movements if m.start_s <= end_s]
        plan.movements = sorted(moves, key=lambda m: (m.start_s, m.asset.index))

    def _at(self, at_s: float, act: Callable[[int], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (int(at_s), self._order, act))

    def _tell(self, at_s: float, subject: str, data: Event) -> None:
        self.plan.facts.append(Fact(float(at_s), subject, data))

    def _set(self, at_s: float, asset: Asset, contents: Contents) -> None:
        asset.contents = contents
        self.plan.stock.append(StockChange(float(at_s), asset.asset_id, contents))

    # ---- the start

    def _place_all(self) -> None:
        """Deal the assets out: some away, some to be put away, some parked, the rest stored."""
        how, total = self._how, len(self.plan.assets)
        away, inbound, parked = (
            round(share * total) for share in (how.away_share, how.inbound_share, how.parked_share)
        )
        order = [self.plan.assets[int(n)] for n in self._rng.permutation(total)]
        for asset in order[:away]:
            asset.state, asset.still, asset.away_since_s = "away", False, -np.inf
            asset.track = Track([0], [AWAY])
        docks = ("inbound", "staging", "outbound")
        for n, asset in enumerate(order[away:]):
            kind, asset.state = "storage", "stored"
            if n < inbound:
                kind, asset.state = "inbound", "inbound"
            elif n < inbound + parked:
                kind, asset.state = docks[n % len(docks)], "parked"
            asset.slot, point = self._room(kind)
            asset.track = Track([0], [point])
            self._pack(0, asset)

    def _pack(self, at_s: float, asset: Asset) -> None:
        contents = fill(self._rng, self._skus)
        self._set(at_s, asset, add(asset.contents, contents))
        packed = CratePacked(asset_id=asset.asset_id, lines=lines_of(contents))
        self._tell(at_s, asset.asset_id, packed)

    def _kill_batteries(self) -> None:
        """Choose tags that fall silent; called last, so that it changes nothing else."""
        here = [a for a in self.plan.assets if a.track.points_m[0] is not AWAY]
        count = min(self._scenario.faults.dead_batteries, len(here))
        for n in self._rng.choice(len(here), size=count, replace=False):
            share = float(self._rng.uniform(0.2, 0.7))
            here[int(n)].dies_at_s = float(int(share * self._scenario.duration_s))

    # ---- waves

    def _plan_wave(self, base_s: int, wave: int) -> None:
        how, length = self._how, self._how.wave_s
        if how.arrivals:
            self._at(base_s + 0.03 * length, self._arrive)
        self._at(base_s + 0.1 * length, self._put_away_all)
        self._at(base_s + 0.5 * length, self._put_away_all)
        for act, count in ((self._relocate, how.relocations), (self._pick_some, how.partial_picks)):
            for share in self._rng.uniform(0.1, 0.9, size=count):
                self._at(base_s + share * length, act)
        for n in range(how.shipments):
            self._plan_shipment(base_s + length * (0.05 + 0.8 * n / how.shipments), n, wave)
        if wave % how.incident_every == 0:
            for share in self._rng.uniform(0.4, 0.6, size=how.thefts):
                self._at(base_s + share * length, self._steal)

    def _plan_shipment(self, at_s: float, n: int, wave: int) -> None:
        """Start one truck, if it can be gone before the run ends."""
        how = self._how
        needed_s = 2 * (self._site.width_m + self._site.depth_m) / how.speed_mps
        needed_s += 2 * PAUSE_S * (how.pallets_per_shipment + 1)
        if at_s + needed_s > self._scenario.duration_s:
            return
        pod: Pod = "none" if n < how.without_pod else "on_time"
        if how.without_pod <= n < how.without_pod + how.late_pods:
            pod = "late"
        wrong = wave % how.incident_every == 0 and how.shipments - n <= how.wrong_loads
        self._at(at_s, lambda now: self._open_shipment(now, pod, wrong=wrong))

    def _free(self, count: int, *, kind: str = "stored") -> list[Asset]:
        """Return up to `count` assets that nobody is busy with, chosen by chance."""
        free = [a for a in self.plan.assets if a.state == kind]
        chosen = self._rng.permutation(len(free))[:count]
        return [free[int(n)] for n in chosen]

    # ---- moves

    def _move(self, start_s: int, asset: Asset, to: Point, kind: MoveKind) -> int:
        """Send an asset along the way to a point; returns when it is there."""
        start = asset.place
        way = self._router.route(start, to)
        end_s = asset.track.go(start_s, way, self._how.speed_mps)
        self._note(asset, kind, start_s, end_s, start, to)
        return end_s

    def _note(
        self, asset: Asset, kind: MoveKind, start_s: int, end_s: int, start: Point, to: Point
    ) -> None:
        asset.still = False
        where = self._site.zone_id_at
        self.plan.movements.append(Movement(asset, kind, start_s, end_s, where(*start), where(*to)))

    def _room(self, kind: str) -> tuple[tuple[int, int], Point]:
        """Take a place in a zone of one kind; in storage when that is full."""
        found = self._slots.take(self._rng, self._zones[kind][0]) if kind != "storage" else None
        return found or self._slots.take_any(self._rng, self._zones["storage"])

    def _become(self, at_s: int, asset: Asset, state: State) -> None:
        def change(_: int) -> None:
            asset.state = state

        self._at(at_s, change)

    def _leave_slot(self, asset: Asset) -> None:
        if asset.slot is not None:
            self._slots.give_back(asset.slot)
            asset.slot = None

    def _store(self, now_s: int, asset: Asset, kind: MoveKind) -> None:
        self._leave_slot(asset)
        asset.slot, point = self._room("storage")
        asset.state = "busy"
        end_s = self._move(now_s, asset, point, kind)
        self._become(end_s, asset, "stored")

    # ---- inbound

    def _arrive(self, now_s: int) -> None:
        """A truck brings assets that were away for at least half a wave."""
        ready = [
            a
            for a in self._free(len(self.plan.assets), kind="away")
            if now_s - a.away_since_s >= self._how.wave_s / 2
        ][: self._how.arrivals]
        x, y = self._site.door_in_m
        docked_s = now_s
        for asset in ready:
            asset.state = "busy"
            way = [(x - ROAD_M, y), (x - APRON_M / 2, y)]
            docked_s = asset.track.go(now_s, way, TRUCK_MPS)
        for n, asset in enumerate(ready):
            self._unload(docked_s + PAUSE_S * (n + 1), now_s, asset)

    def _unload(self, at_s: int, came_s: int, asset: Asset) -> None:
        start = asset.place
        asset.slot, point = self._room("inbound")
        end_s = asset.track.go(at_s, self._router.route(start, point), self._how.speed_mps)
        self._note(asset, "arrival", came_s, end_s, AWAY, point)
        if asset.contents:
            old = lines_of(asset.contents)
            self._set(end_s, asset, {})
            emptied = CrateUnpacked(asset_id=asset.asset_id, lines=old, document="returned empty")
            self._tell(end_s, asset.asset_id, emptied)
        self._pack(end_s + 1, asset)
        self._become(end_s + 1, asset, "inbound")

    def _put_away_all(self, now_s: int) -> None:
        """Bring what stands on the inbound dock into the aisles, one after the other."""
        for n, asset in enumerate(self._free(len(self.plan.assets), kind="inbound")):
            asset.state = "busy"
            self._at(now_s + n * PAUSE_S, partial(self._store, asset=asset, kind="put_away"))

    # ---- inside

    def _relocate(self, now_s: int) -> None:
        for asset in self._free(1):
            self._store(now_s, asset, "relocation")

    def _pick_some(self, now_s: int) -> None:
        """Take a few units out of a crate that stays where it is."""
        for asset in self._free(1):
            takeable = sorted(sku for sku, units in asset.contents.items() if units > 1)
            if not takeable:
                continue
            sku = takeable[int(self._rng.integers(len(takeable)))]
            taken = {sku: int(self._rng.integers(1, max(2, asset.contents[sku] // 2)))}
            self._set(now_s, asset, add(asset.contents, taken, -1))
            picked = CrateUnpacked(asset_id=asset.asset_id, lines=lines_of(taken), document="pick")
            self._tell(now_s, asset.asset_id, picked)

    # ---- outbound

    def _open_shipment(self, now_s: int, pod: Pod, *, wrong: bool) -> None:
        """Plan a truck and bring its assets to the staging area."""
        planned = self._free(self._how.pallets_per_shipment)
        if len(planned) < self._how.pallets_per_shipment:
            return
        self._trucks += 1
        name = f"{self._scenario.id_prefix}{self._site.site_id}-ship-{self._trucks:04d}"
        truck = _Truck(name, planned, pod, wrong=wrong)
        ids = tuple(a.asset_id for a in planned)
        self._tell(
            now_s, name, ShipmentPlanned(shipment_id=name, asset_ids=ids, document=f"DN-{name}")
        )
        for n, asset in enumerate(planned):
            self._leave_slot(asset)
            asset.state = "busy"
            asset.slot, point = self._room("staging")
            truck.staged_s = max(
                truck.staged_s, self._move(now_s + n * PAUSE_S, asset, point, "pick")
            )
        self._at(truck.staged_s + PAUSE_S, lambda at: self._load(at, truck))

    def _load(self, now_s: int, truck: _Truck) -> None:
        loaded = list(truck.planned)
        strangers = self._free(1) if truck.wrong else []
        if strangers:
            loaded[-1] = strangers[0]
            truck.planned[-1].state = "staged"
        x, y = self._site.door_out_m
        done_s = now_s
        for n, asset in enumerate(loaded):
            self._leave_slot(asset)
            asset.state = "busy"
            berth = (x + 1.5 + 1.3 * (n // 2 % 4), y - 0.6 + 1.2 * (n % 2))
            done_s = max(done_s, self._move(now_s + n * PAUSE_S, asset, berth, "load"))
        self._at(done_s + PAUSE_S, lambda at: self._depart(at, truck, loaded))

    def _depart(self, now_s: int, truck: _Truck, loaded: list[Asset]) -> None:
        how, name = self._how, truck.shipment_id
        for asset in loaded:
            self._drive_off(now_s, asset, "departure")
        zone = self._site.zones[self._zones["outbound"][0]].zone_id
        self._tell(now_s, name, ShipmentDeparted(shipment_id=name, zone_id=zone))
        pod_s: float | None = None
        if truck.pod != "none":
            delay_s = how.late_pod_s if truck.pod == "late" else self._rng.uniform(*how.pod_s)
            pod_s = round(now_s + float(delay_s), 3)
            proof = PodRecorded(shipment_id=name, document=f"POD-{name}", signed_by="driver")
            self._tell(pod_s, name, proof)
        planned, real = ([a.asset_id for a in group] for group in (truck.planned, loaded))
        self.plan.shipments.append(
            Shipment(name, tuple(planned), tuple(real), now_s, truck.pod, pod_s)
        )
        if truck.planned[-1] not in loaded:
            left_behind = truck.planned[-1]
            self._at(now_s + 5 * PAUSE_S, lambda at: self._store(at, left_behind, "relocation"))

    def _drive_off(self, now_s: int, asset: Asset, kind: MoveKind) -> None:
        start = asset.place
        out = (self._site.width_m + ROAD_M, self._site.door_out_m[1])
        gone_s = asset.track.go(now_s, [start, out], TRUCK_MPS) + 1
        asset.track.rest(gone_s, AWAY)
        self._note(asset, kind, now_s, gone_s, start, AWAY)
        asset.away_since_s = gone_s
        self._become(gone_s, asset, "away")

    def _steal(self, now_s: int) -> None:
        """Take an asset out through the outbound dock without any document.

        At most a tenth of all assets is stolen, so that a long run does not end in an empty hall.
        """
        enough = len(self.plan.thefts) >= max(1, len(self.plan.assets) // 10)
        for asset in self._free(0 if enough else 1):
            asset.state = "stolen"
            self._leave_slot(asset)
            x, y = self._site.door_out_m
            out_s = self._move(now_s, asset, (x + 2.0, y), "theft")
            gone_s = asset.track.go(
                out_s + 2, [asset.place, (x + ROAD_M, y)], TRUCK_MPS
            ) + 1  # fmt: skip
            asset.track.rest(gone_s, AWAY)
            self._note(asset, "theft", out_s + 2, gone_s, (x + 2.0, y), AWAY)
            self.plan.thefts.append((asset, gone_s))
