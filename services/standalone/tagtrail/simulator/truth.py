"""What really happened: the yardstick for everything that is computed from the stream."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np

from tagtrail.simulator.goods import Contents, add
from tagtrail.simulator.layout import Floats
from tagtrail.simulator.plan import Asset, Shipment
from tagtrail.simulator.scenario import Scenario
from tagtrail.simulator.siterun import SiteRun
from tagtrail.simulator.transmission import Counts

Stock = dict[str, dict[str, int]]
"""Units by zone and SKU."""


class Stay(NamedTuple):
    """From a time on, a tag is in a zone.

    Attributes:
        from_s: Since when, seconds since the start.
        zone_id: Where; None outside all zones.
        x_m: East at that moment, metres; None off-site.
        y_m: North, metres; None off-site.
    """

    from_s: float
    zone_id: str | None
    x_m: float | None
    y_m: float | None


class Truth:
    """Ground truth of one run.

    Args:
        scenario: What was simulated.
        runs: Its sites; their counts are final once the stream was read to its end.
    """

    def __init__(self, scenario: Scenario, runs: list[SiteRun]) -> None:
        self._scenario, self._runs = scenario, runs
        self._owners = {a.tag_id: (run, a) for run in runs for a in run.plan.assets}
        self._stays: dict[str, list[Stay]] = {}

    @property
    def tag_ids(self) -> list[str]:
        """All tags."""
        return list(self._owners)

    @property
    def still_tags(self) -> list[str]:
        """Tags that rest on site for the whole run, with a living battery."""
        return [t for t, (_, a) in self._owners.items() if a.still and a.dies_at_s is None]

    @property
    def shipments(self) -> list[Shipment]:
        """Trucks that left, in order of departure."""
        found = [s for run in self._runs for s in run.plan.shipments]
        return sorted(found, key=lambda s: (s.departed_s, s.shipment_id))

    @property
    def thefts(self) -> list[tuple[Asset, int]]:
        """Assets that left without a document, and when they were gone (seconds)."""
        found = [theft for run in self._runs for theft in run.plan.thefts]
        return sorted(found, key=lambda t: (t[1], t[0].asset_id))

    @property
    def dead_tags(self) -> dict[str, float]:
        """Tags whose battery died, and when (seconds)."""
        return {t: a.dies_at_s for t, (_, a) in self._owners.items() if a.dies_at_s is not None}

    def counts(self) -> dict[str, Counts]:
        """Return the book-keeping by wire format; complete once the stream was read."""
        total: dict[str, Counts] = {}
        for run in self._runs:
            for form, counts in run.counts.items():
                whole = total.setdefault(form, Counts())
                for name, value in counts.as_dict().items():
                    setattr(whole, name, getattr(whole, name) + value)
        return total

    def asset_of(self, tag_id: str) -> str:
        """Return the asset that carries a tag. Raises KeyError for unknown tags."""
        return self._owners[tag_id][1].asset_id

    def positions(self, tag_id: str, times_s: Floats) -> tuple[Floats, Floats]:
        """Return where a tag is at some times, metres; NaN off-site."""
        return self._owners[tag_id][1].track.at(times_s)

    def stays(self, tag_id: str) -> list[Stay]:
        """Return a tag's zones in order of time; the first begins at 0. Resolution 1 s."""
        if tag_id not in self._stays:
            self._stays[tag_id] = self._follow(*self._owners[tag_id])
        return self._stays[tag_id]

    def zone_at(self, tag_id: str, at_s: float) -> str | None:
        """Return the zone of a tag at a time; None outside all."""
        stays = self.stays(tag_id)
        index = bisect_right(stays, at_s, key=lambda s: s.from_s) - 1
        return stays[max(index, 0)].zone_id

    def stock_at(self, at_s: float) -> Stock:
        """Return the units that really are in each zone at a time."""
        stock: Stock = {}
        for run in self._runs:
            contents: dict[str, Contents] = {}
            for change in run.plan.stock:
                if change.at_s <= at_s:
                    contents[change.asset_id] = change.contents
            for asset in run.plan.assets:
                zone_id = self.zone_at(asset.tag_id, at_s)
                if zone_id is not None and contents.get(asset.asset_id):
                    stock[zone_id] = add(stock.get(zone_id, {}), contents[asset.asset_id])
        return {zone: dict(sorted(stock[zone].items())) for zone in sorted(stock)}

    def _follow(self, run: SiteRun, asset: Asset) -> list[Stay]:
        """Sample a track once a second where it moves, and note each change of zone."""
        track, end_s = asset.track, self._scenario.duration_s
        seconds: set[int] = {0}
        for n, start_s in enumerate(track.times_s):
            seconds.add(start_s)
            if n + 1 < len(track.times_s) and track.points_m[n] != track.points_m[n + 1]:
                seconds.update(range(start_s, track.times_s[n + 1]))
        times = np.array(sorted(s for s in seconds if s <= end_s), dtype=np.float64)
        x, y = track.at(times)
        zones = run.site.zone_index_at(x, y)
        stays: list[Stay] = []
        for n, index in enumerate(zones.tolist()):
            zone_id = None if index < 0 else run.site.zones[index].zone_id
            if not stays or stays[-1].zone_id != zone_id:
                away = bool(np.isnan(x[n]))
                place = (None, None) if away else (round(float(x[n]), 2), round(float(y[n]), 2))
                stays.append(Stay(float(times[n]), zone_id, *place))
        return stays

    # ---- as lines of a file

    def lines(self, *, every_s: float | None = None) -> Iterator[dict[str, Any]]:
        """Yield the truth as JSON objects; `kind` says what each one is.

        Args:
            every_s: Also write every tag's position this often, seconds; None = only changes.
        """
        scenario = self._scenario
        yield {
            "kind": "run", "scenario": scenario.name, "seed": scenario.seed,
            "start_at": self._when(0), "end_at": self._when(scenario.duration_s),
            "sites": [s.site_id for s in scenario.sites], "formats": list(scenario.formats),
            "tags": len(self._owners), "still_tags": self.still_tags,
        }  # fmt: skip
        for run in self._runs:
            yield from self._infrastructure(run)
        for tag_id, (run, asset) in self._owners.items():
            yield self._tag(run, asset)
            yield from self._places(tag_id, asset)
        for run in self._runs:
            yield from self._moves(run)
        yield from self._incidents()
        if every_s is not None:
            yield from self._positions(every_s)
        yield {"kind": "stock", "at": self._when(scenario.duration_s),
               "zones": self.stock_at(scenario.duration_s)}  # fmt: skip
        yield {"kind": "counts", "formats": {f: c.as_dict() for f, c in self.counts().items()}}

    def _when(self, at_s: float) -> str:
        at = self._scenario.start_at + timedelta(seconds=at_s)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _infrastructure(self, run: SiteRun) -> Iterator[dict[str, Any]]:
        for g in run.gateways:
            yield {
                "kind": "gateway", "gateway_id": g.wire_id, "site_id": g.site_id,
                "technology": g.station.kind, "format": g.format, "zone_id": g.station.zone_id,
                "x_m": g.station.x_m, "y_m": g.station.y_m, "z_m": g.station.z_m,
                "offset_db": g.offset_db, "clock_ahead_s": g.skew_s,
            }  # fmt: skip
        for o in run.outages:
            yield {"kind": "outage", "gateway_id": o.gateway_id, "outage": o.kind,
                   "from": self._when(o.start_s), "until": self._when(o.end_s)}  # fmt: skip

    def _tag(self, run: SiteRun, asset: Asset) -> dict[str, Any]:
        died = None if asset.dies_at_s is None else self._when(asset.dies_at_s)
        return {
            "kind": "tag", "tag_id": asset.tag_id, "asset_id": asset.asset_id, "mac": asset.mac,
            "site_id": run.site.site_id, "still": asset.still, "battery_died_at": died,
            "uwb": asset in run.ranging.tags,
            "tx_offset_db": float(run.radio.tag_offset_db[asset.index]),
        }  # fmt: skip

    def _places(self, tag_id: str, asset: Asset) -> Iterator[dict[str, Any]]:
        for stay in self.stays(tag_id):
            yield {"kind": "place", "tag_id": tag_id, "asset_id": asset.asset_id,
                   "at": self._when(stay.from_s), "zone_id": stay.zone_id,
                   "x_m": stay.x_m, "y_m": stay.y_m}  # fmt: skip

    def _moves(self, run: SiteRun) -> Iterator[dict[str, Any]]:
        for m in run.plan.movements:
            yield {"kind": "movement", "asset_id": m.asset.asset_id, "tag_id": m.asset.tag_id,
                   "movement": m.kind, "from": self._when(m.start_s), "until": self._when(m.end_s),
                   "from_zone_id": m.from_zone, "to_zone_id": m.to_zone}  # fmt: skip

    def _incidents(self) -> Iterator[dict[str, Any]]:
        for s in self.shipments:
            yield {
                "kind": "shipment", "shipment_id": s.shipment_id, "planned": list(s.planned),
                "loaded": list(s.loaded), "wrong": list(s.wrong), "missing": list(s.missing),
                "departed_at": self._when(s.departed_s), "pod": s.pod,
                "pod_at": None if s.pod_s is None else self._when(s.pod_s),
            }  # fmt: skip
        for asset, gone_s in self.thefts:
            yield {"kind": "theft", "asset_id": asset.asset_id, "tag_id": asset.tag_id,
                   "gone_at": self._when(gone_s)}  # fmt: skip

    def _positions(self, every_s: float) -> Iterator[dict[str, Any]]:
        times = np.arange(0.0, self._scenario.duration_s + 1e-9, every_s)
        tracks = {t: self.positions(t, times) for t in self._owners}
        for n, at_s in enumerate(times.tolist()):
            for tag_id, (x, y) in tracks.items():
                if not np.isnan(x[n]):
                    yield {"kind": "position", "tag_id": tag_id, "at": self._when(at_s),
                           "zone_id": self.zone_at(tag_id, at_s),
                           "x_m": round(float(x[n]), 2), "y_m": round(float(y[n]), 2)}  # fmt: skip
