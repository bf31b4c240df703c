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

from pipeline.dedup.minhash import NO_BAND

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
    for band in range(band_hashes.shape[1]):
        keys = band_hashes[:, band]
        signed = keys != NO_BAND
        records = np.empty(int(signed.sum()), BAND_RECORD)
        records["key"], records["id"] = keys[signed], ids[signed]
        blocks.update(_cut(band, records, keys[signed], ranges))
    return blocks


def pack_texts(text_hashes: np.ndarray, ids: np.ndarray, ranges: int = 1) -> dict[tuple[int, int], bytes]:
    """Return the blocks, by (TEXT, range), of documents with these text hashes (uint8, documents x 16) and ids
    ("S16")."""
    keys = np.ascontiguousarray(text_hashes).view("S16").ravel()
    records = np.empty(len(keys), TEXT_RECORD)
    records["key"], records["id"] = keys, ids
    return _cut(TEXT, records, halves(keys)[0] if len(keys) else np.empty(0, np.uint64), ranges)


def _cut(band: int, records: np.ndarray, leading: np.ndarray, ranges: int) -> dict[tuple[int, int], bytes]:
    """Return the records by range of their key's leading 64 bits: range r of R holds the keys with key * R / 2^64 in
    [r, r + 1)."""
    if not 1 <= ranges <= 1 << 16:
        raise ValueError(f"ranges must be in 1..65536, not {ranges}")
    if ranges == 1:
        return {(band, 0): records.tobytes()} if len(records) else {}
    part = (leading >> np.uint64(32)) * np.uint64(ranges) >> np.uint64(32)
    order = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[order], np.arange(ranges + 1, dtype=np.uint64))
    records = records[order]
    return {
        (band, index): records[bounds[index] : bounds[index + 1]].tobytes()
        for index in range(ranges)
        if bounds[index] < bounds[index + 1]
    }


def edges(band: int, blocks: bytes | Iterable[bytes]) -> np.ndarray:
    """Return the edges ("S16", edges x 2: smallest id of the bucket, other id) of a band's block, or of all blocks of
    one key.

    Documents that share a bucket with nobody, or only with themselves, have none. Raises ValueError for a cut block.
    """
    block = blocks if isinstance(blocks, bytes) else b"".join(blocks)
    layout = TEXT_RECORD if band == TEXT else BAND_RECORD
    if len(block) % layout.itemsize:
        raise ValueError(f"a block of {len(block)} bytes is not made of records of {layout.itemsize} bytes")
    records = np.frombuffer(block, layout)
    if band == TEXT:
        high, low = halves(records["key"])
        order, firsts = _buckets(high, low)
    else:
        order, firsts = _buckets(records["key"].astype(np.uint64))
    if not len(order):
        return np.empty((0, 2), "S16")
    ids = records["id"][order]
    sizes = np.diff(np.append(firsts, len(ids)))
    smallest = np.repeat(ids[firsts + _smallest(ids, firsts, sizes)], sizes)
    other = smallest != ids
    return np.stack([smallest[other], ids[other]], axis=1)


def _buckets(high: np.ndarray, low: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the records of buckets of two and more, bucket after bucket, and where each bucket starts among them."""
    order = np.argsort(high, kind="stable") if low is None else np.lexsort((low, high))
    equal = high[order[1:]] == high[order[:-1]]
    if low is not None:
        equal &= low[order[1:]] == low[order[:-1]]
    with_next, with_last = np.append(equal, False), np.insert(equal, 0, False)
    shared = (with_next | with_last)[: len(order)]
    return order[shared], np.flatnonzero((with_next & ~with_last)[: len(order)][shared])


def _smallest(ids: np.ndarray, firsts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the place of the smallest id within each bucket."""
    high, low = halves(ids)
    low[high != np.repeat(np.minimum.reduceat(high, firsts), sizes)] = np.uint64(0xFFFFFFFFFFFFFFFF)
    least = low == np.repeat(np.minimum.reduceat(low, firsts), sizes)
    least &= high == np.repeat(np.minimum.reduceat(high, firsts), sizes)
    places = np.flatnonzero(least)
    return places[np.searchsorted(places, firsts)] - firsts
