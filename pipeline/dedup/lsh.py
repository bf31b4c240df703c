"""Candidate pairs from hashes: packed blocks to exchange, and the edges found in one block.

Documents are numbers here: a document's place among all documents of the corpus. A **block** is the records of one
kind of key and one range of its values, the unit that a shuffle carries. Its layout is fixed, so blocks of the same
name are joined by concatenating their bytes, in any order:

    band block    key: 8 bytes (uint64, little-endian)    document: 8 bytes    16 bytes a record
    key block     key: 16 bytes (a BLAKE2b-128)           document: 8 bytes    24 bytes a record

Documents of equal keys are a bucket. A bucket of m documents gives the m - 1 edges of a star: enough to connect it. For
edges that will be checked one by one and thinned out, `pairs` gives more, still linear in m.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from pipeline.dedup.minhash import NO_BAND

BAND_RECORD = np.dtype([("key", "<u8"), ("document", "<u8")])
KEY_RECORD = np.dtype([("key", "S16"), ("document", "<u8")])

ALL_PAIRS = 16
"""The largest bucket of which `pairs` gives every pair."""

Blocks = dict[int, bytes]


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


def range_of(keys: np.ndarray, ranges: int) -> np.ndarray:
    """Return the range (uint16) of each key (uint64): range r of R holds the keys with key * R / 2^64 in [r, r + 1)."""
    if not 1 <= ranges <= 1 << 16:
        raise ValueError(f"ranges must be in 1..65536, not {ranges}")
    return ((keys >> np.uint64(32)) * np.uint64(ranges) >> np.uint64(32)).astype(np.uint16)


def pack_band(keys: np.ndarray, documents: np.ndarray, ranges: int = 1, chosen: range | None = None) -> Blocks:
    """Return the blocks, by range, of documents (numbers) with these hashes of one band (uint64).

    Documents without a signature are in none. ``ranges`` cuts the hash values into so many equal parts, of which only
    the ``chosen`` are packed: a pass over the rest comes later.
    """
    signed = np.flatnonzero(keys != NO_BAND)
    records = np.empty((len(signed), 2), "<u8")
    records[:, 0], records[:, 1] = keys[signed], documents[signed]
    return _cut(records, keys[signed], ranges, chosen)


def pack_keys(keys: np.ndarray, documents: np.ndarray, ranges: int = 1, chosen: range | None = None) -> Blocks:
    """Return the blocks, by range, of documents (numbers) with these keys ("S16"), as `pack_band` does."""
    words = np.ascontiguousarray(keys).view("<u8").reshape(-1, 2)
    records = np.concatenate([words, np.asarray(documents).astype("<u8")[:, None]], axis=1)
    return _cut(records, halves(keys)[0], ranges, chosen)


def _cut(records: np.ndarray, leading: np.ndarray, ranges: int, chosen: range | None) -> Blocks:
    """Return the records (rows of 8-byte words) by range of the leading 64 bits of their keys."""
    part = range_of(leading, ranges)
    if chosen is not None and len(chosen) < ranges:
        wanted = np.flatnonzero((part >= chosen.start) & (part < chosen.stop))
        records, part = records[wanted], part[wanted]
    if ranges == 1:
        return {0: records.tobytes()} if len(records) else {}
    records = records[np.argsort(part, kind="stable")]  # on 16 bits: a radix sort
    bounds = np.concatenate(([0], np.cumsum(np.bincount(part, minlength=ranges)))).tolist()
    return {r: records[bounds[r] : bounds[r + 1]].tobytes() for r in range(ranges) if bounds[r] < bounds[r + 1]}


def star(blocks: bytes | Iterable[bytes], layout: np.dtype) -> np.ndarray:
    """Return the edges (int64, edges x 2) of all blocks of one name: each bucket as a star around its lowest number.

    Documents that share a bucket with nobody have none. Raises ValueError for a cut block.
    """
    documents, starts = _buckets(blocks, layout)
    if not len(starts):
        return np.empty((0, 2), np.int64)
    lowest = np.minimum.reduceat(documents, starts)
    centre = np.repeat(lowest, np.diff(np.append(starts, len(documents))))
    return np.stack([centre, documents], axis=1)[centre != documents]


def pairs(blocks: bytes | Iterable[bytes], layout: np.dtype) -> np.ndarray:
    """Return the pairs (int64, pairs x 2, the lower number first) of all blocks of one name that are worth comparing.

    Of a bucket of up to `ALL_PAIRS` documents every pair; of a larger one the star around its lowest number and the
    chain of successive numbers, so that a heavy bucket stays linear.
    """
    documents, starts = _buckets(blocks, layout)
    sizes = np.diff(np.append(starts, len(documents)))
    documents = documents[np.lexsort((documents, np.repeat(np.arange(len(starts)), sizes)))]
    found = [np.empty((0, 2), np.int64)]
    for size in range(2, ALL_PAIRS + 1):
        here = starts[sizes == size]
        members = documents[here[:, None] + np.arange(size)]
        left, right = np.triu_indices(size, 1)
        found.append(np.stack([members[:, left].ravel(), members[:, right].ravel()], axis=1))
    large = sizes > ALL_PAIRS
    centre = np.repeat(documents[starts], sizes)
    follows = np.repeat(large, sizes)
    follows[starts] = False
    others = np.flatnonzero(follows)
    found.append(np.stack([centre[others], documents[others]], axis=1))
    found.append(np.stack([documents[others - 1], documents[others]], axis=1))
    return np.concatenate(found)


def _buckets(blocks: bytes | Iterable[bytes], layout: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return the documents (int64) of buckets of two and more, bucket after bucket, and where each bucket starts."""
    block = blocks if isinstance(blocks, bytes) else b"".join(blocks)
    if len(block) % layout.itemsize:
        raise ValueError(f"a block of {len(block)} bytes is not made of records of {layout.itemsize} bytes")
    records = np.frombuffer(block, layout)
    keys = halves(records["key"]) if layout == KEY_RECORD else (records["key"],)
    order = np.argsort(keys[0], kind="stable") if len(keys) == 1 else np.lexsort(keys[::-1])
    equal = np.ones(max(len(order) - 1, 0), bool)
    for key in keys:
        equal &= key[order[1:]] == key[order[:-1]]
    with_next, with_last = np.append(equal, False), np.insert(equal, 0, False)
    shared = (with_next | with_last)[: len(order)]
    starts = np.flatnonzero((with_next & ~with_last)[: len(order)][shared])
    return records["document"][order[shared]].astype(np.int64), starts
