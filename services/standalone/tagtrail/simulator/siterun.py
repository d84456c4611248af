"""One site's stream: radio, then each gateway's voice, then its link."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from tagtrail.simulator.formats.native import NativeVoice
from tagtrail.simulator.formats.registry import voice_of
from tagtrail.simulator.formats.voice import Message, RangeReading, Reading, Voice, epoch_ms
from tagtrail.simulator.links import Link, Outage, plan_outages
from tagtrail.simulator.plan import Plan
from tagtrail.simulator.planner import Planner
from tagtrail.simulator.radio import STEP_S, Heard, Radio
from tagtrail.simulator.ranging import Ranging
from tagtrail.simulator.roster import Gateway, gateways, roster
from tagtrail.simulator.scenario import Scenario
from tagtrail.simulator.transmission import Counts, Kind, Transmission

WILL_S: Final = 20.0
"""A broker publishes a last will after 1.5 keep-alives, here of 13 s."""
STATUS_EVERY_S: Final = 30


def rng_of(scenario: Scenario, site_index: int, part: int) -> np.random.Generator:
    """Return the source of chance of one part of one site; parts do not disturb each other."""
    return np.random.default_rng([scenario.seed, site_index, part])


@dataclass(slots=True)
class _Port:
    """A gateway with its voice and its link."""

    gateway: Gateway
    voice: Voice
    link: Link
    outages: list[Outage]

    def off(self, at_s: float, kinds: tuple[str, ...] = ("dead", "link")) -> bool:
        return any(o.kind in kinds and o.start_s <= at_s < o.end_s for o in self.outages)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Receptions with what becomes of them; columns as lists."""

    heard: Heard
    twice: list[bool]
    echo: list[bool]
    random: str


class SiteRun:
    """Plans a site when made; `stream` may be iterated once.

    Args:
        scenario: What is simulated.
        site_index: Which of its sites.
        skus: Articles.
    """

    def __init__(self, scenario: Scenario, site_index: int, skus: list[str]) -> None:
        self.scenario, self.site = scenario, scenario.sites[site_index]
        self._chance = [rng_of(scenario, site_index, part) for part in range(7)]
        assets = roster(scenario, site_index, self._chance[0])
        self.gateways = gateways(scenario, self.site, self._chance[1])
        self.plan: Plan = Planner(scenario, self.site, assets, skus, self._chance[2]).run()
        self.outages = plan_outages(
            self.gateways, scenario.faults, scenario.duration_s, self._chance[3]
        )
        receivers = [g for g in self.gateways if g.station.kind == "ble"]
        anchors = [g for g in self.gateways if g.station.kind == "uwb"]
        self.radio = Radio(
            self.site, assets, receivers, scenario.radio, scenario.cadence, self._chance[4]
        )
        self.ranging = Ranging(assets, anchors, scenario.uwb, self._chance[5])
        self.counts: dict[str, Counts] = defaultdict(Counts)
        self._start_ms = epoch_ms(scenario.start_at)
        self._ble = [self._port(g, site_index) for g in receivers]
        self._uwb = [self._port(g, site_index) for g in anchors]
        self._pending: list[tuple[float, int, Transmission]] = []
        self._serial = 0

    def _port(self, gateway: Gateway, site_index: int) -> _Port:
        outages = [o for o in self.outages if o.gateway_id == gateway.wire_id]
        number = 100 + self.gateways.index(gateway)
        rng = rng_of(self.scenario, site_index, number)
        rssi_1m = round(self.scenario.radio.rssi_1m_dbm + gateway.offset_db)
        voice = voice_of(gateway, self.scenario.start_at, rssi_1m)
        return _Port(gateway, voice, Link(gateway, outages, self.scenario.faults, rng), outages)

    @property
    def macs(self) -> list[str]:
        """Radio addresses by index of the tag."""
        return [a.mac for a in self.plan.assets]

    def stream(self) -> Iterator[Transmission]:
        """Yield everything the site's gateways send, in order of arrival."""
        for port in self._ble + self._uwb:
            self._say(port, 0.0, online=True)
        for step in range(int(np.ceil(self.scenario.duration_s))):
            at_s = float(step)
            self._report_states(at_s)
            self._send_sightings(at_s)
            if self._uwb:
                self._send_ranges(at_s)
            while self._pending and self._pending[0][0] < at_s + STEP_S:
                yield heapq.heappop(self._pending)[2]
        while self._pending:
            yield heapq.heappop(self._pending)[2]

    # ---- states of gateways

    def _report_states(self, at_s: float) -> None:
        for port in self._ble + self._uwb:
            for outage in port.outages:
                lost_s, back_s = outage.start_s + WILL_S, outage.end_s + 1.0
                if at_s <= lost_s < at_s + STEP_S and lost_s < outage.end_s:
                    self._say(port, lost_s, online=False)
                if at_s <= back_s < at_s + STEP_S:
                    self._say(port, back_s, online=True)
            if at_s and at_s % STATUS_EVERY_S == 0 and not port.off(at_s):
                self._say(port, at_s, online=True)

    def _say(self, port: _Port, at_s: float, *, online: bool) -> None:
        for message in port.voice.status(at_s, online=online, will=not online):
            self._push(port, at_s + 0.05, message, "status")

    # ---- sightings

    def _send_sightings(self, at_s: float) -> None:
        heard = self.radio.step(at_s)
        rows = self._with_repeats(heard)
        by_port: list[list[Reading]] = [[] for _ in self._ble]
        echoes = [0] * len(self._ble)
        for receiver, reading, echo in self._readings(rows):
            by_port[receiver].append(reading)
            echoes[receiver] += echo
        for n, port in enumerate(self._ble):
            self.counts[port.gateway.format].echoes += echoes[n]
            for message in port.voice.sightings(by_port[n], at_s + STEP_S):
                self._transmit(port, message)

    def _with_repeats(self, heard: Heard) -> _Rows:
        """Choose which readings are sent twice, and add the echoes."""
        rng, faults = self._chance[6], self.scenario.faults
        count = heard.at_s.size
        chance = rng.random((2, count))
        able = np.array([port.voice.echoes for port in self._ble], dtype=np.bool_)
        again = np.flatnonzero((chance[0] < faults.echo_share) & able[heard.receiver])
        twice = chance[1] < faults.duplicate_share
        late_s = rng.uniform(0.001, 0.004, again.size)
        shift_db = rng.normal(0.0, 0.7, again.size)
        both = Heard(
            np.concatenate([heard.at_s, heard.at_s[again] + late_s]),
            np.concatenate([heard.tag, heard.tag[again]]),
            np.concatenate([heard.receiver, heard.receiver[again]]),
            np.concatenate([heard.rssi_dbm, heard.rssi_dbm[again] + shift_db]),
            np.concatenate([heard.advert, heard.advert[again]]),
            np.concatenate([heard.interval_s, heard.interval_s[again]]),
        )
        echo = [False] * count + [True] * again.size
        flags = np.concatenate([twice, np.zeros(again.size, dtype=np.bool_)])
        return _Rows(both, flags.tolist(), echo, rng.bytes(16 * len(echo)).hex())

    def _readings(self, rows: _Rows) -> Iterator[tuple[int, Reading, bool]]:
        """Turn rows into readings of powered gateways, in order of time."""
        heard, macs = rows.heard, self.macs
        clocks = [self._start_ms + round(p.gateway.skew_s * 1000) for p in self._ble]
        dark = [any(o.kind == "dead" for o in p.outages) for p in self._ble]
        charge = self._charge_pct
        at, tag, receiver = heard.at_s.tolist(), heard.tag.tolist(), heard.receiver.tolist()
        rssi, advert = heard.rssi_dbm.tolist(), heard.advert.tolist()
        interval = heard.interval_s.tolist()
        for n in np.argsort(heard.at_s, kind="stable").tolist():
            port = receiver[n]
            if dark[port] and self._ble[port].off(at[n], ("dead",)):
                self.counts[self._ble[port].gateway.format].dark += 1
                continue
            yield port, Reading(
                clocks[port] + round(at[n] * 1000), at[n], macs[tag[n]], rssi[n], advert[n],
                interval[n], charge(tag[n], at[n]), rows.twice[n],
                rows.random[32 * n : 32 * n + 32],
            ), rows.echo[n]  # fmt: skip

    def _charge_pct(self, tag: int, at_s: float) -> float:
        """Return a tag's charge: a dying one falls to nothing, others lose a percent a day."""
        dies_s = self.plan.assets[tag].dies_at_s
        if dies_s is None:
            return max(1.0, 100.0 - (tag * 7) % 45 - at_s / 86_400)
        return max(1.0, 8.0 * (1 - at_s / dies_s))

    # ---- ranges

    def _send_ranges(self, at_s: float) -> None:
        ranged, rng = self.ranging.step(at_s), self._chance[6]
        random = rng.bytes(16 * ranged.at_s.size).hex()
        by_port: list[list[RangeReading]] = [[] for _ in self._uwb]
        columns = (ranged.at_s, ranged.tag, ranged.anchor, ranged.range_m)
        for n, (heard_s, tag, anchor, range_m) in enumerate(
            zip(*(c.tolist() for c in columns), strict=True)
        ):
            reading = RangeReading(
                self._start_ms + round(heard_s * 1000), self.ranging.tags[tag].mac,
                range_m, self.scenario.uwb.sigma_m, random[32 * n : 32 * n + 32],
            )  # fmt: skip
            by_port[anchor].append(reading)
        for port, readings in zip(self._uwb, by_port, strict=True):
            if isinstance(port.voice, NativeVoice):
                for message in port.voice.ranges(readings, at_s + STEP_S):
                    self._transmit(port, message)

    # ---- onto the wire

    def _transmit(self, port: _Port, message: Message) -> None:
        counts = self.counts[port.gateway.format]
        arrivals, late = port.link.deliver(message.ready_s)
        if not arrivals:
            counts.lost += message.sent
            return
        times = arrivals * message.copies if message.copies > 1 else arrivals
        counts.unique += message.unique
        for n, arrives_s in enumerate(times):
            counts.messages += 1
            counts.sent += message.sent
            counts.late += message.sent if late else 0
            shift_s = 0.004 * (n // len(arrivals))
            self._push(port, arrives_s + shift_s, message, "sightings")
        counts.duplicates += message.sent * len(times) - message.unique

    def _push(self, port: _Port, arrives_s: float, message: Message, kind: Kind) -> None:
        self._serial += 1
        gateway = port.gateway
        transmission = Transmission(
            round(arrives_s, 4), self._serial, kind, gateway.format, gateway.site_id,
            gateway.wire_id, message.topic, message.payload, message.qos, message.retained,
            message.sent,
        )  # fmt: skip
        heapq.heappush(self._pending, (transmission.deliver_s, self._serial, transmission))
