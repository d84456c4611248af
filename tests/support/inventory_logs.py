"""Random logs for inventory: few names and few instants, so that everything meets everything."""

from __future__ import annotations

from hypothesis import strategies as st

from tagtrail_kernel.events.places import TagPresenceChanged, TagZoneChanged
from tagtrail_kernel.events.registrations import (
    AssetRegistered,
    SkuRegistered,
    TagBound,
    TagRegistered,
    TagRetired,
    TagUnbound,
    ZoneRegistered,
)
from tagtrail_kernel.events.registry import Event
from tagtrail_kernel.events.shipments import PodRecorded, ShipmentDeparted, ShipmentPlanned
from tagtrail_kernel.events.stock import (
    ContentsMoved,
    CountedLine,
    CountRecorded,
    CratePacked,
    CrateUnpacked,
    Line,
)
from tagtrail_kernel.testing.deps import START

TAGS = st.sampled_from(["t1", "t2", "t3"])
ASSETS = st.sampled_from(["a1", "a2", "a3"])
ZONES = st.sampled_from(["z1", "z2"])
SKUS = st.sampled_from(["s1", "s2"])
LOTS = st.sampled_from([None, "l1"])
SHIPMENTS = st.sampled_from(["p1", "p2"])
LINES = st.lists(
    st.builds(Line, sku=SKUS, quantity=st.integers(1, 9), lot=LOTS), min_size=1, max_size=3
).map(tuple)
COUNTED = st.lists(
    st.builds(CountedLine, sku=SKUS, quantity=st.integers(0, 9), lot=LOTS), max_size=2
).map(tuple)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3)
SOME_ASSETS = st.lists(ASSETS, max_size=2).map(tuple)

STOCK: st.SearchStrategy[Event] = st.one_of(
    st.builds(CratePacked, asset_id=ASSETS, lines=LINES),
    st.builds(CrateUnpacked, asset_id=ASSETS, lines=LINES),
    st.builds(ContentsMoved, asset_id=ASSETS, to_asset_id=ASSETS, lines=LINES),
    st.builds(CountRecorded, asset_id=ASSETS, lines=COUNTED),
)
PLACES: st.SearchStrategy[Event] = st.one_of(
    st.builds(TagBound, tag_id=TAGS, asset_id=ASSETS),
    st.builds(TagUnbound, tag_id=TAGS, asset_id=ASSETS),
    st.builds(TagZoneChanged, tag_id=TAGS, zone_id=st.one_of(st.none(), ZONES)),
    st.builds(TagZoneChanged, tag_id=TAGS, zone_id=ZONES),
    st.builds(TagZoneChanged, tag_id=TAGS, zone_id=ZONES, site_id=st.sampled_from(["h", "i"])),
    st.builds(TagRetired, tag_id=TAGS),
    st.builds(
        TagPresenceChanged,
        tag_id=TAGS,
        state=st.sampled_from(["present", "missing"]),
        last_heard_at=st.just(START),
        silent_s=st.just(1.0),
        expected_interval_s=st.just(1.0),
    ),
)
SHIPPING: st.SearchStrategy[Event] = st.one_of(
    st.builds(ShipmentPlanned, shipment_id=SHIPMENTS, asset_ids=SOME_ASSETS),
    st.builds(ShipmentDeparted, shipment_id=SHIPMENTS, asset_ids=SOME_ASSETS),
    st.builds(PodRecorded, shipment_id=st.one_of(st.none(), SHIPMENTS), asset_ids=SOME_ASSETS),
)
REGISTRY: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        TagRegistered,
        tag_id=TAGS,
        identities=st.lists(
            st.sampled_from(["mac:000000000001", "mac:000000000002", "epc:AA"]),
            min_size=1,
            max_size=2,
            unique=True,
        ).map(tuple),
    ),
    st.builds(AssetRegistered, asset_id=ASSETS),
    st.builds(SkuRegistered, sku=SKUS),
    st.builds(ZoneRegistered, zone_id=ZONES, site_id=st.just("h"), name=NAMES),
)
FACTS: st.SearchStrategy[Event] = st.one_of(STOCK, PLACES, PLACES, SHIPPING, REGISTRY)

MINUTES = st.integers(0, 12)
TIMED = st.tuples(MINUTES, FACTS)
"""A fact with the minute of the test day at which it happened; logs list them in any order."""

LOGS = st.lists(TIMED, min_size=12, max_size=40)
