"""What is heard of tags from look to look: means of the rest, signs of a move, silence.

Arrays: b tags, g gateways. Everything is elementwise or a reduction along the last axis.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tagtrail_locate.core.levels import excess_db

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

NOISE_DB2: Final = 9.0
"""Variance of one reading around its mean at rest, dB²: a still link of the public captures varies
by 2.8 dB."""

DRIFT_DB2: Final = 3.0
"""Variance of what people and doors do to a link for some seconds, dB²."""

FAST_READINGS: Final = 3.0
"""Readings of the fast mean: two are chance or a body that passes, three begin to be a move."""

GATHERED_SHARE: Final = 1.0 - np.cumprod(np.full(65, 2.0 / 3.0)) * 1.5
"""Weight that so many readings together have in the fast mean, one after the other."""

FAST_S: Final = 12.0
"""A fast mean that is older begins anew, seconds."""

SLOW_READINGS: Final = 120.0
"""Readings after which the mean of a rest begins to forget: two minutes of a tag at 1 Hz."""

TESTED_READINGS: Final = 4.0
"""A rest is contested by the fast means once it has so many readings."""

CLIP_DB: Final = 8.0
"""A reading further from its mean counts as being so far: bodies, collisions, reflections."""

LATELY_S: Final = 4.0
"""A link that was heard within this time has its say in whether a tag was moved, seconds."""

MOVED_BASE: Final = 12.0
MOVED_PER_LINK: Final = 5.0
"""Sum of squared deviations from which on a tag was moved: 17 for one link, 32 for four. A body in
one of four links gives 10, in two of them 16; a carry of 5 m gives 40."""

UNHEARD_LOOKS: Final = 5.0
"""Looks during which a gateway listened and heard nothing that make its silence evidence."""

WEAK_LOOKS: Final = 10.0
"""Looks after which the share of them in which a gateway hears a tag says how weak the link is."""

LOST_DBM: Final = -88.0
"""A link that was stronger and is silent although its gateway listens says that the tag left. A
weaker one is heard now and then anyway; its mean stands, and its silence says nothing more."""

CALM_READINGS: Final = 16.0
"""Once every mean of a rest stands on so many readings, a further look moves it by less than a
tenth of its error: then the belief need not be computed anew at every look."""

HEAD: Final = 5
SCALE, OFFSET, POWER, MOVED, PACE = range(HEAD)
LINKS: Final = 9
LAST, MEAN, COUNT, FAST, FASTS, EVER, LOOKS, HITS, SPAN = range(LINKS)


class Heard(NamedTuple):
    """One look at each of b tags.

    Attributes:
        at_s: Its time, shape (b,), seconds.
        since_s: Time since the look before, shape (b,), seconds; 0 for the first.
        levels_dbm: Mean level per gateway, shape (b, g); anything where nothing was heard.
        counts: Readings behind it, shape (b, g); 0 = nothing was heard.
        spans_s: Time that items of several readings span, shape (b, g), seconds; else 0.
        witness: Whether the gateway itself was heard up to that time, shape (b, g).
        listening_s: Since when it listens without a pause, shape (b, g), seconds.
        wanted: Whether the belief is asked for; shape (b,).
        eager: Whether it is asked for although the tag is calm, shape (b,).
        adverts: How many adverts the look is of, shape (b,): more than one of calm tags only.
        grace_s: Silence that is not yet held against a place, seconds.
    """

    at_s: Floats
    since_s: Floats
    levels_dbm: Floats
    counts: Floats
    spans_s: Floats
    witness: Booleans
    listening_s: Floats
    wanted: Booleans
    eager: Booleans
    adverts: Floats
    grace_s: float


def is_calm(links: Floats, heard: Heard, moving: Booleans) -> Booleans:
    """Tell which tags rest so long that one look says nothing new; items of several readings do."""
    count, looks = links[:, COUNT], links[:, LOOKS]
    known = np.where(count > 0.0, count, np.where(looks > 0.0, looks, np.inf))
    calm: Booleans = ~moving & (np.minimum.reduce(known, axis=1) >= CALM_READINGS)
    calm &= np.maximum.reduce(heard.spans_s, axis=1) <= 0.0
    return calm


def unheard(links: Floats) -> Booleans:
    """Tell whose silence during the rest is evidence, shape (b, g): all listened, and heard nothing.

    One that said that it no longer hears the tag (newest time below 0) needs no looks.
    """
    never = (links[:, COUNT] == 0.0) & (links[:, HITS] == 0.0)
    found: Booleans = never & ((links[:, LOOKS] >= UNHEARD_LOOKS) | (links[:, LAST] < 0.0))
    return found


def note_pace(head: Floats, links: Floats, heard: Heard) -> None:
    """Learn the usual time between looks; of a tag whose readings are folded, between adverts.

    Who hears best tells the time between adverts: a weak link misses some.
    """
    spans, before = heard.spans_s, head[:, PACE]
    folds = spans > 0.0
    folded = np.logical_or.reduce(folds | (links[:, SPAN] > 0.0), axis=1)
    own = np.where(folds, spans / np.maximum(heard.counts, 1.0), np.inf)
    apart = np.minimum.reduce(own, axis=1)
    gap = np.where(folded, np.where(np.isfinite(apart), apart, 0.0), heard.since_s / heard.adverts)
    gap = np.minimum(gap, 600.0)
    slow = np.where(folded & (gap > before), SLOWER, 0.2)
    share = np.where(before > 0.0, slow, 1.0)
    head[:, PACE] += np.where(gap > 0.0, share * (gap - before), 0.0)


SLOWER: Final = 0.02
"""Share with which an item that tells a longer time between adverts than is known counts."""

PATIENCE: Final = 2.5
"""Usual intervals after which a gateway's silence is evidence: one lost advert is none."""

SPANS_PATIENCE: Final = 2.5
"""Likewise of the longest span of a gateway's items of late."""

SPAN_FADES: Final = 0.7
SPAN_FADES_BY_ONE: Final = 0.9
"""Share of a link's longest span that is remembered after one more item, or a single reading."""

LEAST_SPAN_S: Final = 1.0
"""A shorter one is forgotten: the gateway passes everything on."""


def silent(head: Floats, links: Floats, heard: Heard) -> Booleans:
    """Tell who is silent although it listened all the time, and should have heard by now."""
    usual = np.maximum(heard.grace_s, PATIENCE * head[:, PACE])[:, None]
    patience = np.maximum(usual, SPANS_PATIENCE * links[:, SPAN])
    since = np.maximum(links[:, LAST], heard.listening_s)
    waited = heard.at_s[:, None] - since > patience
    found: Booleans = (heard.counts == 0.0) & heard.witness & waited
    return found


def fast(links: Floats, heard: Heard) -> tuple[Floats, Floats]:
    """Return the fast means and their readings after the look, shape (b, g).

    Of a calm tag the adverts of one look weigh as much as if each were a look.
    """
    fresh = heard.at_s[:, None] - heard.spans_s - links[:, LAST] <= FAST_S
    before = np.where(fresh, links[:, FASTS], 0.0)
    gathered = heard.adverts[:, None] > 1.0
    own = np.where(gathered, 0.0, heard.counts)
    after = np.minimum(before + heard.counts, np.maximum(FAST_READINGS, own))
    share = heard.counts / np.maximum(after, 1.0)
    share = np.where(
        gathered, GATHERED_SHARE[np.minimum(heard.counts, 64.0).astype(np.intp)], share
    )
    mean = links[:, FAST] + share * (heard.levels_dbm - links[:, FAST])
    told = heard.counts > 0.0
    return np.where(told, mean, links[:, FAST]), np.where(told, after, before)


def deviates(links: Floats, heard: Heard, fast: Floats, fasts: Floats) -> Booleans:
    """Tell which tags' fast means are too far from the means of their rest.

    What other gateways told just before counts too: with clocks that differ, looks hold one each.
    """
    count = links[:, COUNT]
    lately = (heard.counts > 0.0) | (heard.at_s[:, None] - links[:, LAST] <= LATELY_S)
    tested = lately & (fasts > 0.0) & (count >= TESTED_READINGS)
    variance = NOISE_DB2 / np.maximum(fasts, 1.0) + NOISE_DB2 / np.maximum(count, 1.0) + DRIFT_DB2
    off = fast - links[:, MEAN]
    square = np.add.reduce(np.where(tested, off * off / variance, 0.0), axis=1)
    number = np.add.reduce(tested, axis=1)
    found: Booleans = (number > 0) & (square > MOVED_BASE + MOVED_PER_LINK * number)
    return found


def turns_up(links: Floats, heard: Heard) -> Booleans:
    """Tell which tags a gateway hears well all of a sudden that listened during their rest."""
    rests = np.maximum.reduce(links[:, COUNT], axis=1) >= TESTED_READINGS
    before_s = (heard.at_s - heard.since_s)[:, None]
    new = (heard.counts > 0.0) & (links[:, COUNT] == 0.0) & (heard.levels_dbm > LOST_DBM)
    new &= heard.listening_s < before_s
    found: Booleans = rests & np.logical_or.reduce(new, axis=1)
    return found


def mean_of_all(links: Floats) -> Floats:
    """Return mean levels, shape (b, g), corrected where only the stronger adverts are heard.

    Shares are relative to that of the gateway that hears best: clocks that differ turn one advert
    into several looks, each with some of the gateways.
    """
    looks = links[:, LOOKS]
    share = links[:, HITS] / np.maximum(looks, 1.0)
    share /= np.maximum(np.maximum.reduce(share, axis=1), 0.01)[:, None]
    excess = np.where(looks >= WEAK_LOOKS, excess_db(links[:, MEAN], share), 0.0)
    return links[:, MEAN] - excess


def _sent(links: Floats, heard: Heard, pace_s: Floats) -> tuple[Floats, Floats]:
    """Return by how much hits and looks of the links grow, shape (b, g).

    Looks of a tag whose readings are folded are adverts. What a link that folds had to hear is
    counted with its items; one that hears nothing had to hear what was sent since the last look.
    """
    told, folds = heard.counts > 0.0, heard.spans_s > 0.0
    own = folds | (links[:, SPAN] > 0.0)
    folded = np.logical_or.reduce(own, axis=1)[:, None]
    pace = np.maximum(pace_s, 0.01)[:, None]
    known = own & (links[:, LAST] > 0.0)
    paused = np.where(known, heard.at_s[:, None] - links[:, LAST], heard.since_s[:, None])
    adverts = heard.adverts[:, None]
    single = np.where(folded, np.maximum(paused / pace, told), adverts)
    looks = np.where(folds, np.maximum(heard.spans_s / pace, heard.counts), single)
    listened = told | (heard.witness & ~own)
    hits = np.where(folds, heard.counts, np.minimum(heard.counts, adverts))
    return hits, np.where(listened, looks, 0.0)


def follow(
    head: Floats, links: Floats, heard: Heard, fast: Floats, fasts: Floats, moved: Booleans,
    moving: Booleans, lost: Booleans,
) -> None:  # fmt: skip
    """Bring the links up to the look: running means at rest, the fast ones on the way."""
    told, folds = heard.counts > 0.0, heard.spans_s > 0.0
    count = np.minimum(links[:, COUNT] + heard.counts, SLOW_READINGS)
    share = np.minimum(heard.counts / np.maximum(count, 1.0), 1.0)
    off = heard.levels_dbm - links[:, MEAN]
    clip = np.where(links[:, COUNT] >= TESTED_READINGS, CLIP_DB, 1e9)
    mean = links[:, MEAN] + share * np.clip(off, -clip, clip)
    way, anew = moving[:, None], moved[:, None]
    more_hits, more_looks = _sent(links, heard, head[:, PACE])
    hits, looks = links[:, HITS] + more_hits, links[:, LOOKS] + more_looks
    fade = SLOW_READINGS / np.maximum(looks, SLOW_READINGS)
    links[:, HITS] = np.where(anew, more_hits, hits * fade)
    links[:, LOOKS] = np.where(
        lost, UNHEARD_LOOKS, np.where(anew, np.where(told, more_looks, 0.0), looks * fade)
    )
    links[:, MEAN] = np.where(told, np.where(way, fast, mean), links[:, MEAN])
    lately = heard.at_s[:, None] - links[:, LAST] <= SPANS_PATIENCE * links[:, SPAN]
    quiet = np.where(lately, np.minimum(links[:, COUNT], 1.0), 0.0)
    on_way = np.where(told, np.where(folds, heard.counts, 1.0), quiet)
    kept = np.where(way, on_way, np.where(told, count, links[:, COUNT]))
    links[:, COUNT] = np.where(lost, 0.0, kept)
    links[:, FAST], links[:, FASTS] = fast, fasts
    links[:, EVER] += heard.counts
    before = np.where(links[:, SPAN] > LEAST_SPAN_S, links[:, SPAN], 0.0)
    faded = before * np.where(folds, SPAN_FADES, SPAN_FADES_BY_ONE)
    links[:, SPAN] = np.where(told, np.maximum(heard.spans_s, faded), links[:, SPAN])
    links[:, LAST] = np.where(told, np.maximum(links[:, LAST], heard.at_s[:, None]), links[:, LAST])
