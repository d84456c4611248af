"""From adverts to readings of enrolled tags. What belongs to nobody we know is counted, no more.

Addresses live in memory only, in two small caches that forget: which enrolled tag an address
stands for at the moment, and which private addresses no enrolled key explains.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from tagtrail_agent.decoding import Decoded, Sealed, decode, unseal
from tagtrail_agent.decoding.crypto import block_cipher
from tagtrail_agent.identity.counts import Counts
from tagtrail_agent.identity.enrolment import EnrolledTag, Enrolment
from tagtrail_agent.identity.limits import fit
from tagtrail_agent.identity.rolling import RollingTable, eddystone_eid, fmdn_eid
from tagtrail_agent.identity.spelling import normal_identity
from tagtrail_agent.readings import Advert, Reading

ROTATION_S: Final = 900.0
"""How long an address may stand for a tag that it was seen with: the usual rotation time."""

MOST_ADDRESSES: Final = 4096
"""Addresses in each cache: a busy hall's, and less than 1 MB."""

RESOLVED: Final = "resolved"
_RESOLVABLE: Final = frozenset("4567")
"""First digit of a resolvable private address: its two highest bits are 01."""

_KINDS_COUNTED: Final = frozenset({"epc", "tid", "nfc", "mac", "ibeacon", "eddystone"})


class Resolver:
    """Decides whose adverts and readings these are.

    Args:
        enrolment: The tags.
        decode_advert: Decodes adverts; give a `Decoder`'s method for further layouts.
        counts: Takes the counts; its own if not given, so that a new enrolment can go on with
            the counts of the old one.
    """

    def __init__(
        self,
        enrolment: Enrolment,
        decode_advert: Callable[[bytes], Decoded] = decode,
        counts: Counts | None = None,
    ) -> None:
        self.counts = counts if counts is not None else Counts()
        self._decode = decode_advert
        self._ranges = enrolment.ranges
        self._tags = {i: tag for tag in enrolment.tags for i in tag.identities}
        self._by_address = {
            i.removeprefix("mac:"): tag for i, tag in self._tags.items() if i.startswith("mac:")
        }
        self._irks = [(block_cipher(t.keys.irk), t) for t in enrolment.tags if t.keys.irk]
        self._eddystone = [t for t in enrolment.tags if t.keys.eddystone]
        self._numbers = {t.tag_id: number for number, t in enumerate(self._eddystone)}
        self._fmdn = [t for t in enrolment.tags if t.keys.fmdn]
        self._tables = {
            "eddystone": RollingTable(
                [t.keys.eddystone for t in self._eddystone if t.keys.eddystone], eddystone_eid
            ),
            "fmdn": RollingTable([t.keys.fmdn for t in self._fmdn if t.keys.fmdn], fmdn_eid),
        }
        self._seen: OrderedDict[str, tuple[EnrolledTag, float]] = OrderedDict()
        self._private: OrderedDict[str, EnrolledTag | None] = OrderedDict()

    def resolve(self, advert: Advert) -> Reading | None:
        """Make the reading of an enrolled tag of an advert; None if it is nobody's we know.

        Never raises for any content.
        """
        decoded = self._decode(advert.ad)
        if decoded.network is not None:
            tag = self._by_ephemeral(advert, decoded)
            if tag is None:
                self.counts.add(f"anonymous_{decoded.network}", advert.at)
                return None
        else:
            tag = self._tag_of(advert, decoded)
            if tag is None:
                self.counts.add(_stranger(advert, decoded), advert.at)
                return None
        self.counts.add(RESOLVED, advert.at)
        return Reading(
            tag.name, advert.at, advert.elapsed_s, self._members(advert, decoded, tag),
            advert.gateway_id,
        )  # fmt: skip

    def admit(self, reading: Reading) -> Reading | None:
        """Let a reading of an enrolled tag, or of an enrolled range, pass; None for others.

        The reading gets the name by which its tag is known; its members stay, but for values
        that the wire does not carry.
        """
        identity = normal_identity(reading.tag)
        tag = self._tags.get(identity) if identity else None
        if tag is not None:
            reading.tag = tag.name
        elif identity is not None and identity.startswith(self._ranges):
            reading.tag = identity
        else:
            kind = identity.partition(":")[0] if identity else ""
            reason = f"unknown_{kind}" if kind in _KINDS_COUNTED else "unknown_other"
            self.counts.add(reason, reading.at)
            return None
        self.counts.add(RESOLVED, reading.at)
        reading.members = fit(reading.members)
        return reading

    def _tag_of(self, advert: Advert, decoded: Decoded) -> EnrolledTag | None:
        """Find the tag of an advert that is no finding network's."""
        tags = self._tags
        for identity in decoded.identities:
            tag = tags.get(identity)
            if tag is not None:
                self._note(advert, tag)
                return tag
        address = advert.address
        tag = self._by_address.get(address)
        if tag is not None:
            return tag
        if decoded.ephemeral is not None:
            return self._by_ephemeral(advert, decoded)
        if self._irks and advert.random_address is not False:
            tag = self._by_key(address)
            if tag is not None:
                return tag
        return None if decoded.identities else self._by_acquaintance(advert)

    def _by_ephemeral(self, advert: Advert, decoded: Decoded) -> EnrolledTag | None:
        if decoded.ephemeral is None:
            return None
        kind, identifier = decoded.ephemeral
        tags = self._eddystone if kind == "eddystone" else self._fmdn
        found = self._tables[kind].find(identifier, advert.at) if tags else None
        if found is None:
            return None
        tag = tags[found.number]
        self._note(advert, tag)
        return tag

    def _by_key(self, address: str) -> EnrolledTag | None:
        """Find whose resolvable private address it is (Bluetooth Core, Vol 6 Part B, 1.3.2.3)."""
        if address[:1] not in _RESOLVABLE:
            return None
        private = self._private
        if address in private:
            private.move_to_end(address)
            return private[address]
        tag = self._explain(address)
        private[address] = tag
        if len(private) > MOST_ADDRESSES:
            private.popitem(last=False)
        return tag

    def _explain(self, address: str) -> EnrolledTag | None:
        try:
            octets = bytes.fromhex(address)
        except ValueError:
            return None
        block, mark = bytes(13) + octets[:3], octets[3:]
        if len(block) + len(mark) != 19:
            return None
        return next((tag for encrypt, tag in self._irks if encrypt(block)[13:] == mark), None)

    def _by_acquaintance(self, advert: Advert) -> EnrolledTag | None:
        """Find the tag that named itself from this address a moment ago, in another frame."""
        seen = self._seen.get(advert.address)
        if seen is None:
            return None
        tag, until_s = seen
        if advert.elapsed_s > until_s:
            del self._seen[advert.address]
            return None
        return tag

    def _note(self, advert: Advert, tag: EnrolledTag) -> None:
        seen = self._seen
        if advert.address in seen:
            seen.move_to_end(advert.address)
        elif len(seen) >= MOST_ADDRESSES:
            seen.popitem(last=False)
        seen[advert.address] = (tag, advert.elapsed_s + ROTATION_S)

    def _members(self, advert: Advert, decoded: Decoded, tag: EnrolledTag) -> dict[str, Any]:
        members: dict[str, Any] = {"rssi_dbm": advert.rssi_dbm, **decoded.members}
        if decoded.sealed is not None:
            opened = self._open(decoded.sealed, advert, tag)
            if opened is None:
                self.counts.add("sealed_unopened", advert.at)
            else:
                members.update(opened)
        return fit(members)

    def _open(self, sealed: Sealed, advert: Advert, tag: EnrolledTag) -> dict[str, Any] | None:
        keys = tag.keys
        if sealed.key == "eddystone":
            return self._open_telemetry(sealed, advert, tag)
        key = keys.mibeacon if sealed.key == "mibeacon" else keys.bthome
        return unseal(sealed, key, advert.address) if key else None

    def _open_telemetry(
        self, sealed: Sealed, advert: Advert, tag: EnrolledTag
    ) -> dict[str, Any] | None:
        rolling = tag.keys.eddystone
        if rolling is None:
            return None
        drift = self._tables["eddystone"].drift(self._numbers[tag.tag_id])
        window = rolling.window(advert.at) + drift
        for near in (window, window - 1, window + 1):
            time_s = rolling.window_s(near)
            opened = unseal(sealed, rolling.key, advert.address, time_s)
            if opened is not None:
                return opened
        return None


def _stranger(advert: Advert, decoded: Decoded) -> str:
    """Say in general terms what an unknown advert is."""
    if decoded.identities:
        return "unknown_beacon"
    if decoded.ephemeral is not None:
        return "unknown_rotating"
    random = advert.random_address
    if random is None:
        return "unknown_address"
    if not random:
        return "unknown_public"
    return "unknown_static" if advert.address[:1] in "cdef" else "unknown_rotating"
