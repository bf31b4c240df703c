"""Blocks and edges against a dictionary of buckets."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedup import lsh
from pipeline.dedup.minhash import NO_BAND

# Ids that share halves, and ids with trailing NULs.
ODD = [b"\0" * 15 + b"\1", b"\0" * 16, b"\1" + b"\0" * 15, b"\1" * 16, b"\xff" * 16, b"\xff" * 8 + b"\0" * 8]
IDS = st.sampled_from(ODD) | st.binary(min_size=16, max_size=16)
RECORDS = st.lists(st.tuples(IDS, st.integers(0, 3), st.sampled_from([0, 1, 2**63, 2**64 - 1])), max_size=40)


def as_ids(ids: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(ids), "S16")


def as_bytes(edges: np.ndarray) -> set[tuple[bytes, bytes]]:
    raw = edges.tobytes()
    return {(raw[at : at + 16], raw[at + 16 : at + 32]) for at in range(0, len(raw), 32)}


def stars(keyed: list[tuple[bytes, object]]) -> set[tuple[bytes, bytes]]:
    buckets = defaultdict(set)
    for name, key in keyed:
        buckets[key].add(name)
    return {(min(names), name) for names in buckets.values() for name in names if name != min(names)}


@given(RECORDS, st.integers(1, 9))
def test_band_edges_are_stars_to_the_smallest_id(records, ranges):
    ids = as_ids([name for name, *_ in records])
    bands = np.array([[a, b] for _, a, b in records], np.uint64).reshape(-1, 2)
    blocks = lsh.pack(bands, ids, ranges)
    assert all(0 <= band < 2 and 0 <= part < ranges for band, part in blocks)
    for band in range(2):
        found = set().union(*(as_bytes(lsh.edges(b, block)) for (b, _), block in blocks.items() if b == band))
        assert found == stars([(r[0], r[1 + band]) for r in records if r[1 + band] != NO_BAND])


@given(RECORDS, st.integers(1, 9))
def test_text_edges(records, ranges):
    ids = as_ids([name for name, *_ in records])
    texts = np.frombuffer(b"".join(b.to_bytes(8, "big") + a.to_bytes(8, "little") for _, a, b in records), np.uint8)
    blocks = lsh.pack_texts(texts.reshape(-1, 16), ids, ranges)
    found = set().union(*(as_bytes(lsh.edges(band, block)) for (band, _), block in blocks.items()))
    assert found == stars([(name, (a, b)) for name, a, b in records])


def test_blocks_join_in_any_order():
    rng = np.random.default_rng(5)
    ids = np.frombuffer(rng.bytes(16 * 300), "S16")
    keys = rng.integers(1, 60, (300, 1), dtype=np.uint64) << np.uint64(58)
    whole = lsh.pack(keys, ids, 4)
    parts = [lsh.pack(keys[start : start + 100], ids[start : start + 100], 4) for start in (0, 100, 200)]
    for key, block in whole.items():
        pieces = [part[key] for part in parts if key in part]
        assert as_bytes(lsh.edges(0, pieces)) == as_bytes(lsh.edges(0, pieces[::-1])) == as_bytes(lsh.edges(0, block))


def test_a_heavy_bucket_is_linear():
    ids = np.frombuffer(np.random.default_rng(1).bytes(16 * 200_000), "S16")
    blocks = lsh.pack(np.full((200_000, 1), 7, np.uint64), ids)
    found = lsh.edges(0, blocks[0, 0])
    assert found.shape == (199_999, 2)
    assert (found[:, 0] == np.sort(ids)[0]).all()


def test_range_edges():
    keys = np.array([[1], [2**63 - 1], [2**63], [2**64 - 1]], np.uint64)
    blocks = lsh.pack(keys, as_ids([bytes([place] * 16) for place in range(4)]), 2)
    assert {key: len(block) // lsh.BAND_RECORD.itemsize for key, block in blocks.items()} == {(0, 0): 2, (0, 1): 2}


def test_a_cut_block_is_refused():
    with pytest.raises(ValueError, match="not made of records"):
        lsh.edges(0, bytes(25))
    with pytest.raises(ValueError, match="ranges"):
        lsh.pack(np.ones((1, 1), np.uint64), as_ids([bytes(16)]), 0)


def test_ids_to_arrow_and_back():
    values = [bytes(16), b"\1" + bytes(15), b"x" * 16]
    ids = lsh.ids_from_arrow(pa.array([b"?" * 16, *values], pa.binary(16)).slice(1))
    assert ids.tobytes() == b"".join(values)
    assert lsh.ids_to_arrow(ids).to_pylist() == values
    with pytest.raises(TypeError, match="fixed_size_binary"):
        lsh.ids_from_arrow(pa.array(["a"]))
    with pytest.raises(ValueError, match="null"):
        lsh.ids_from_arrow(pa.array([None], pa.binary(16)))


@given(RECORDS)
def test_chain_edges_add_neighbours_only(records):
    ids = as_ids([name for name, *_ in records])
    keys = np.array([[a] for _, a, _ in records], np.uint64).reshape(-1, 1)
    blocks = lsh.pack(keys, ids)
    found = as_bytes(lsh.edges(0, blocks.get((0, 0), b""), chain=True))
    expected = stars([(name, a) for name, a, _ in records if a])
    for key in {a for _, a, _ in records if a}:
        names = sorted({name for name, a, _ in records if a == key})
        expected |= set(pairwise(names))
    assert found == expected


def test_verification_keeps_similar_pairs():
    ids = as_ids([bytes([place] * 16) for place in range(3)])
    signatures = np.zeros((3, 10), np.uint32)
    signatures[1, :2] = 1
    signatures[2, :6] = 2
    edges = ids[np.array([[0, 1], [0, 2]])]
    kept, shares = lsh.verify(edges, ids, signatures, 0.8)
    assert kept.tolist() == edges[:1].tolist()
    assert shares.tolist() == [0.8]
    assert len(lsh.verify(edges[:0], ids, signatures, 0.8)[0]) == 0
    with pytest.raises(ValueError, match="no signature"):
        lsh.verify(edges, ids[:2], signatures[:2], 0.8)
