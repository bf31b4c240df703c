"""Candidate pairs from band hashes: packed blocks to exchange, and the edges found in one block.

A **block** is the records of one band and one range of hash values, the unit that a shuffle carries. Its layout is
fixed, so blocks of the same key are joined by concatenating their bytes, in any order:

    band block    key: 8 bytes (uint64, little-endian)     id: 16 bytes        24 bytes a record
    text block    key: 16 bytes (BLAKE2b-128 of the text)  id: 16 bytes        32 bytes a record

Every document of a bucket (equal key) is joined to the smallest id in it, so a bucket of m documents gives at most m -
1 edges.

Ids are 16 bytes, in numpy an "S16" array: its comparisons and its buffer keep trailing NULs; taking single items out
of it does not (use `tobytes`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from pipeline.dedup.minhash import NO_BAND, jaccard

TEXT = -1
"""The band number of exact text hashes."""

BAND_RECORD = np.dtype([("key", "<u8"), ("id", "S16")])
TEXT_RECORD = np.dtype([("key", "S16"), ("id", "S16")])


def ids_from_arrow(ids: pa.Array) -> np.ndarray:
    """Return a fixed_size_binary(16) array as numpy "S16", without a copy."""
    if ids.type != pa.binary(16):
        raise TypeError(f"ids must be fixed_size_binary(16), not {ids.type}")
    if ids.null_count:
        raise ValueError("ids must not be null")
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    return np.frombuffer(ids.buffers()[1], dtype="S16", count=len(ids), offset=16 * ids.offset)


def ids_to_arrow(ids: np.ndarray) -> pa.FixedSizeBinaryArray:
    """Return an "S16" array as fixed_size_binary(16)."""
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(ids), [None, pa.py_buffer(np.ascontiguousarray(ids))]
    )


def halves(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the two 64-bit halves of ids (native uint64), whose order as a pair is the order of the bytes."""
    pairs = np.ascontiguousarray(ids).view(">u8").reshape(-1, 2)
    return pairs[:, 0].astype(np.uint64), pairs[:, 1].astype(np.uint64)


def pack(band_hashes: np.ndarray, ids: np.ndarray, ranges: int = 1) -> dict[tuple[int, int], bytes]:
    """Return the blocks, by (band, range), of documents with these band hashes (uint64, documents x bands) and ids
    ("S16").

    Documents without a signature are in none. ``ranges`` cuts each band into so many equal parts of the hash values.
    """
    blocks = {}
    words = np.ascontiguousarray(ids).view("<u8").reshape(-1, 2)
    for band in range(band_hashes.shape[1]):
        keys = band_hashes[:, band]
        signed = np.flatnonzero(keys != NO_BAND)
        records = np.empty((len(signed), 3), "<u8")
        records[:, 0] = keys[signed]
        records[:, 1:] = words[signed]
        blocks.update(_cut(band, records, keys[signed], ranges))
    return blocks


def pack_texts(text_hashes: np.ndarray, ids: np.ndarray, ranges: int = 1) -> dict[tuple[int, int], bytes]:
    """Return the blocks, by (TEXT, range), of documents with these text hashes (uint8, documents x 16) and ids
    ("S16")."""
    keys = np.ascontiguousarray(text_hashes).view("<u8").reshape(-1, 2)
    records = np.concatenate([keys, np.ascontiguousarray(ids).view("<u8").reshape(-1, 2)], axis=1)
    return _cut(TEXT, records, keys[:, 0].byteswap(), ranges)


def _cut(band: int, records: np.ndarray, leading: np.ndarray, ranges: int) -> dict[tuple[int, int], bytes]:
    """Return the records (rows of 8-byte words) by range of the leading 64 bits of their keys: range r of R holds the
    keys with key * R / 2^64 in [r, r + 1)."""
    if not 1 <= ranges <= 1 << 16:
        raise ValueError(f"ranges must be in 1..65536, not {ranges}")
    if ranges == 1:
        return {(band, 0): records.tobytes()} if len(records) else {}
    part = ((leading >> np.uint64(32)) * np.uint64(ranges) >> np.uint64(32)).astype(np.uint16)  # a radix sort
    records = records[np.argsort(part, kind="stable")]
    bounds = np.concatenate(([0], np.cumsum(np.bincount(part, minlength=ranges)))).tolist()
    return {
        (band, index): records[bounds[index] : bounds[index + 1]].tobytes()
        for index in range(ranges)
        if bounds[index] < bounds[index + 1]
    }


def edges(band: int, blocks: bytes | Iterable[bytes], chain: bool = False) -> np.ndarray:
    """Return the edges ("S16", edges x 2) of a band's block, or of all blocks of one key: each bucket as a star.

    A star joins the smallest id of a bucket (first) to each other one. ``chain`` adds the edges between successive
    ids, for edges that `verify` will thin out: then a document can stay with a neighbour where the smallest id is too
    different. Documents that share a bucket with nobody, or only with themselves, have none. Raises ValueError for a
    cut block.
    """
    block = blocks if isinstance(blocks, bytes) else b"".join(blocks)
    layout = TEXT_RECORD if band == TEXT else BAND_RECORD
    if len(block) % layout.itemsize:
        raise ValueError(f"a block of {len(block)} bytes is not made of records of {layout.itemsize} bytes")
    records = np.frombuffer(block, layout)
    key = halves(records["key"]) if band == TEXT else (records["key"].astype(np.uint64),)
    order, starts = _buckets(*key)
    ids = records["id"][order]
    if chain:
        bucket = np.zeros(len(ids), np.int64)
        bucket[starts] = 1
        high, low = halves(ids)
        ids = ids[np.lexsort((low, high, np.cumsum(bucket)))]
        smallest = ids[starts]
    else:
        smallest = _smallest(ids, starts)
    centre = np.repeat(smallest, np.diff(np.append(starts, len(ids))))
    star = np.stack([centre, ids], axis=1)[centre != ids]
    if not chain:
        return star
    linked = np.ones(len(ids), bool)
    linked[starts] = False
    links = np.stack([ids[:-1], ids[1:]], axis=1)[linked[1:]]
    return np.concatenate([star, links[links[:, 0] != links[:, 1]]])


def verify(
    edges: np.ndarray, ids: np.ndarray, signatures: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges whose two signatures agree in a share of at least ``threshold``, and those shares (float64).

    The share estimates the Jaccard similarity s with a standard deviation of sqrt(s (1 - s) / permutations). ``ids``
    ("S16", ascending) are those of the rows of ``signatures``, which may be a memory map. Raises ValueError for an
    unknown id.
    """
    if not len(edges):
        return edges, np.empty(0)
    places = np.searchsorted(ids, edges)
    if (places == len(ids)).any() or (ids[places] != edges).any():
        raise ValueError("an edge names a document that has no signature here")
    shares = np.empty(len(edges))
    for start in range(0, len(edges), 1 << 16):
        part = places[start : start + (1 << 16)]
        shares[start : start + len(part)] = jaccard(signatures[part[:, 0]], signatures[part[:, 1]])
    kept = shares >= threshold
    return edges[kept], shares[kept]


def _buckets(high: np.ndarray, low: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the records of buckets of two and more, bucket after bucket, and where each bucket starts among them."""
    order = np.argsort(high, kind="stable") if low is None else np.lexsort((low, high))
    equal = high[order[1:]] == high[order[:-1]]
    if low is not None:
        equal &= low[order[1:]] == low[order[:-1]]
    with_next, with_last = np.append(equal, False), np.insert(equal, 0, False)
    shared = (with_next | with_last)[: len(order)]
    return order[shared], np.flatnonzero((with_next & ~with_last)[: len(order)][shared])


def _smallest(ids: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the smallest id of each bucket."""
    if not len(starts):
        return ids
    high, low = halves(ids)
    sizes = np.diff(np.append(starts, len(ids)))
    least = np.minimum.reduceat(high, starts)
    low[high != np.repeat(least, sizes)] = np.uint64(0xFFFFFFFFFFFFFFFF)
    pairs = np.stack([least, np.minimum.reduceat(low, starts)], axis=1)
    return pairs.astype(">u8").view("S16").ravel()
