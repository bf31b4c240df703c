"""Repeated n-grams within documents, the statistics of Gopher's repetition rules (Rae et al. 2021, table A1).

An n-gram can only occur twice where the (n-1)-grams it starts and ends with do. So the 2-grams are grouped by sorting,
and each longer n is looked for only among the survivors of the one before, which are few in ordinary text.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from pipeline.clean.hashing import mix

TOP = (2, 3, 4)
DUPLICATE = (5, 6, 7, 8, 9, 10)

BLOCK = 1 << 16
"""Units grouped at once (whole documents): a hash and a place share one 64-bit number, so 48 bits of hash remain."""

_BASE = np.uint64(0x9FB21C651E98DF25)


def later_copies(hashes: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Return the places of the items whose hash occurred before in the same document, ascending."""
    _, first = np.unique(mix(documents.astype(np.uint64)) ^ hashes, return_index=True)
    later = np.ones(len(hashes), bool)
    later[first] = False
    return np.flatnonzero(later)


def ngram_characters(hashes: np.ndarray, lengths: np.ndarray, edges: np.ndarray) -> list[np.ndarray]:
    """Return per document (int64) the characters of the top n-gram for each n of `TOP`, then of the duplicates of
    `DUPLICATE`.

    ``hashes`` (uint64) and ``lengths`` are those of the units of all documents, ``edges`` where each document's units
    start. The top n-gram is the most frequent one (the earliest of equals): its characters with spaces between the
    units, times its occurrences. Duplicates are counted from left to right without overlap: an n-gram met before adds
    its characters (without spaces) and is stepped over.
    """
    count = len(edges) - 1
    found = [np.zeros(count, np.int64) for _ in (*TOP, *DUPLICATE)]
    document = 0
    while document < count:
        stop = max(int(np.searchsorted(edges, edges[document] + BLOCK, side="right")) - 1, document + 1)
        low, high = int(edges[document]), int(edges[stop])
        if low < high:
            block = _block(hashes[low:high], lengths[low:high], edges[document : stop + 1] - low)
            for total, part in zip(found, block, strict=True):
                total[document:stop] = part
        document = stop
    return found


def _block(hashes: np.ndarray, lengths: np.ndarray, edges: np.ndarray) -> list[np.ndarray]:
    count = len(edges) - 1
    size = len(hashes)
    documents = np.repeat(np.arange(count), np.diff(edges))
    ends = edges[1:][documents]
    before = np.concatenate(([0], np.cumsum(lengths)))
    grams = hashes ^ mix(documents.astype(np.uint64))
    places = np.arange(size)
    found = []
    for n in range(2, DUPLICATE[-1] + 1):
        if n > 2:  # both (n-1)-grams inside must be repeated
            repeated = np.zeros(size + 1, bool)
            repeated[places] = True
            places = np.flatnonzero(repeated[:-1] & repeated[1:])
        places = places[places + n <= ends[places]]
        grams[places] = mix(grams[places] * _BASE + hashes[places + n - 1])
        places, groups = _groups(grams, places)
        if n in TOP:
            found.append(_top(n, places, groups, documents, before, edges))
        if n in DUPLICATE:
            found.append(_duplicates(n, places, groups, documents, before, count))
    return found


def _groups(grams: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the n-grams that occur more than once, group after group (ascending in each), and their
    groups."""
    bits = np.uint64(max(16, len(grams).bit_length()))
    keys = np.sort((grams[places] >> bits << bits) | places.astype(np.uint64))
    same = (keys[1:] >> bits) == (keys[:-1] >> bits)
    repeated = np.append(same, False)[: len(keys)] | np.insert(same, 0, False)[: len(keys)]
    groups = np.cumsum(np.insert(~same, 0, True)[: len(keys)])
    return (keys[repeated] & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64), groups[repeated]


def _top(
    n: int, places: np.ndarray, groups: np.ndarray, documents: np.ndarray, before: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    # Where nothing is repeated, the first n-gram is the most frequent.
    first = edges[:-1]
    characters = np.where(
        first + n <= edges[1:], before[np.minimum(first + n, len(before) - 1)] - before[first] + (n - 1), 0
    )
    if len(places):
        starts = np.flatnonzero(np.insert(groups[1:] != groups[:-1], 0, True))
        sizes = np.diff(np.append(starts, len(places)))
        earliest = places[starts]
        order = np.lexsort((earliest, -sizes, documents[earliest]))
        best = order[np.insert(np.diff(documents[earliest[order]]) > 0, 0, True)]
        at = earliest[best]
        characters[documents[at]] = (before[at + n] - before[at] + (n - 1)) * sizes[best]
    return characters


def _duplicates(
    n: int, places: np.ndarray, groups: np.ndarray, documents: np.ndarray, before: np.ndarray, count: int
) -> np.ndarray:
    by_place = np.zeros(len(documents), np.int64)
    by_place[places] = groups  # from 1
    ascending = np.flatnonzero(by_place)
    at, kinds = ascending.tolist(), by_place[ascending].tolist()
    met: set[int] = set()  # the same n-gram in two documents is in two groups, so nothing is to be reset between them
    counted = []
    index, last = 0, len(at)
    while index < last:
        kind = kinds[index]
        if kind not in met:
            met.add(kind)
            index += 1
            continue
        place = at[index]
        counted.append(place)
        # Step over the n-grams that overlap this one: the next n, or fewer where not all of them are repeated.
        index = bisect_left(at, place + n, index + 1, min(index + n, last))
    found = np.array(counted, np.int64)
    sizes = before[found + n] - before[found]
    return np.bincount(documents[found], sizes, count).astype(np.int64)
