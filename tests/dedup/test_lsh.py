"""Blocks and edges against a dictionary of buckets."""

from collections import defaultdict
from itertools import combinations, pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedup import lsh
from pipeline.dedup.components import connected
from pipeline.dedup.minhash import NO_BAND

# Keys that share halves, and keys with trailing NULs.
ODD = [b"\0" * 15 + b"\1", b"\0" * 16, b"\1" + b"\0" * 15, b"\1" * 16, b"\xff" * 16, b"\xff" * 8 + b"\0" * 8]
HASHES = st.lists(st.sampled_from([0, 1, 2, 2**63 - 1, 2**63, 2**64 - 1]), max_size=40)
KEYS = st.lists(st.sampled_from(ODD) | st.binary(min_size=16, max_size=16), max_size=40)


def as_pairs(edges: np.ndarray) -> set[tuple[int, int]]:
    return set(map(tuple, edges.tolist()))


def buckets(keys: list) -> list[list[int]]:
    found = defaultdict(list)
    for document, key in enumerate(keys):
        found[key].append(document)
    return list(found.values())


def stars(keys: list) -> set[tuple[int, int]]:
    return {(members[0], member) for members in buckets(keys) for member in members[1:]}


@given(HASHES, st.integers(1, 9))
def test_a_bucket_is_a_star_around_its_lowest_document(hashes, ranges):
    blocks = lsh.pack_band(np.array(hashes, np.uint64), np.arange(len(hashes)), ranges)
    assert all(0 <= part < ranges for part in blocks)
    found = set().union(*(as_pairs(lsh.star(block, lsh.BAND_RECORD)) for block in blocks.values()))
    assert found == stars([key if key != NO_BAND else object() for key in hashes])


@given(KEYS, st.integers(1, 9))
def test_keys_of_sixteen_bytes(keys, ranges):
    packed = lsh.pack_keys(np.frombuffer(b"".join(keys), "S16"), np.arange(len(keys)), ranges)
    found = set().union(*(as_pairs(lsh.star(block, lsh.KEY_RECORD)) for block in packed.values()))
    assert found == stars(keys)


@given(HASHES, st.integers(1, 9), st.integers(1, 4))
def test_passes_over_ranges_pack_everything_once(hashes, ranges, passes):
    keys, documents = np.array(hashes, np.uint64), np.arange(len(hashes))
    parts = [range(n * ranges // passes, (n + 1) * ranges // passes) for n in range(passes)]
    found = [item for part in parts for item in lsh.pack_band(keys, documents, ranges, part).items()]
    assert sorted(found) == sorted(lsh.pack_band(keys, documents, ranges).items())


def test_blocks_join_in_any_order():
    rng = np.random.default_rng(5)
    keys = rng.integers(1, 60, 300, dtype=np.uint64) << np.uint64(58)
    whole = lsh.pack_band(keys, np.arange(300), 4)
    parts = [lsh.pack_band(keys[s : s + 100], np.arange(s, s + 100), 4) for s in (0, 100, 200)]
    for how in (lsh.star, lsh.pairs):
        for key, block in whole.items():
            pieces = [part[key] for part in parts if key in part]
            expected = as_pairs(how(block, lsh.BAND_RECORD))
            assert as_pairs(how(pieces, lsh.BAND_RECORD)) == as_pairs(how(pieces[::-1], lsh.BAND_RECORD)) == expected


@pytest.mark.parametrize("how", [lsh.star, lsh.pairs])
def test_a_heavy_bucket_is_linear(how):
    blocks = lsh.pack_band(np.full(200_000, 7, np.uint64), np.arange(200_000)[::-1])
    found = how(blocks[0], lsh.BAND_RECORD)
    assert len(found) <= 2 * 200_000
    assert (connected(found)[:, 1] == 0).all()
    assert len(connected(found)) == 200_000


def test_range_edges():
    keys = np.array([1, 2**63 - 1, 2**63, 2**64 - 1], np.uint64)
    blocks = lsh.pack_band(keys, np.arange(4), 2)
    assert {key: len(block) // lsh.BAND_RECORD.itemsize for key, block in blocks.items()} == {0: 2, 1: 2}
    for ranges in (3, 1000, 1 << 16):
        parts = lsh.range_of(keys, ranges).tolist()
        assert parts == [int(key) * ranges >> 64 for key in keys]


def test_a_cut_block_is_refused():
    with pytest.raises(ValueError, match="not made of records"):
        lsh.star(bytes(25), lsh.BAND_RECORD)
    with pytest.raises(ValueError, match="ranges"):
        lsh.pack_band(np.ones(1, np.uint64), np.zeros(1, np.int64), 0)


def test_ids_to_arrow_and_back():
    values = [bytes(16), b"\1" + bytes(15), b"x" * 16]
    ids = lsh.ids_from_arrow(pa.array([b"?" * 16, *values], pa.binary(16)).slice(1))
    assert ids.tobytes() == b"".join(values)
    assert lsh.ids_to_arrow(ids).to_pylist() == values
    with pytest.raises(TypeError, match="fixed_size_binary"):
        lsh.ids_from_arrow(pa.array(["a"]))
    with pytest.raises(ValueError, match="null"):
        lsh.ids_from_arrow(pa.array([None], pa.binary(16)))


@given(st.lists(st.integers(1, 3), max_size=60))
def test_pairs_of_small_buckets_are_all_and_of_large_ones_star_and_chain(keys):
    block = lsh.pack_band(np.array(keys, np.uint64), np.arange(len(keys))).get(0, b"")
    expected = set()
    for members in buckets(keys):
        large = len(members) > lsh.ALL_PAIRS
        expected |= set(pairwise(members)) | {(members[0], m) for m in members[1:]} if large else set()
        expected |= set() if large else set(combinations(members, 2))
    assert as_pairs(lsh.pairs(block, lsh.BAND_RECORD)) == expected
