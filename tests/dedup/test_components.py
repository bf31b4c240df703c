"""Clusters against a union-find over Python dictionaries."""

import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedup import components

ODD = [b"\0" * 16, b"\0" * 8 + b"\1" + b"\0" * 7, b"\xff" * 16]
IDS = st.sampled_from(ODD) | st.integers(0, 40).map(lambda n: bytes([n * 7 % 41] * 9) + bytes([n % 3]) + b"\0" * 6)
EDGES = st.lists(st.tuples(IDS, IDS), max_size=60)


def as_edges(pairs: list[tuple[bytes, bytes]]) -> np.ndarray:
    return np.frombuffer(b"".join(a + b for a, b in pairs), "S16").reshape(-1, 2)


def as_dict(star: np.ndarray) -> dict[bytes, bytes]:
    raw = star.tobytes()
    pairs = [(raw[at : at + 16], raw[at + 16 : at + 32]) for at in range(0, len(raw), 32)]
    assert pairs == sorted(pairs)
    return dict(pairs)


def expected(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    graph = networkx.Graph(pairs)
    return {name: min(group) for group in networkx.connected_components(graph) for name in group}


@given(EDGES)
def test_connected(pairs):
    assert as_dict(components.connected(as_edges(pairs))) == expected(pairs)


NUMBERS = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25)), max_size=40)


def numbered(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array(pairs, np.int64).reshape(-1, 2)


@given(NUMBERS)
def test_connected_numbers(pairs):
    assert dict(components.connected(numbered(pairs)).tolist()) == expected(pairs)


@given(st.lists(NUMBERS, max_size=6), st.randoms())
def test_a_forest_does_not_depend_on_order_or_grouping(groups, random):
    merged = components.forest_merge([components.forest_add(components.EMPTY, numbered(group)) for group in groups])
    pairs = [pair for group in groups for pair in group]
    random.shuffle(pairs)
    added = components.EMPTY
    for pair in pairs:
        added = components.forest_add(added, numbered([pair]))
    joined = expected([(a, b) for a, b in pairs if a != b])
    assert dict(components.clusters(merged).tolist()) == dict(components.clusters(added).tolist()) == joined


@pytest.mark.parametrize("merge", [components.forest_merge, components.edges_merge])
def test_what_is_merged_stays_small(merge):
    rng = np.random.default_rng(3)
    known = components.EMPTY
    every = []
    for _ in range(40):
        edges = np.sort(rng.integers(0, 300, (30_000, 2)), axis=1)
        edges = edges[edges[:, 0] != edges[:, 1]]
        every.append(edges)
        known = merge([known], edges)
        assert len(known) < 16 * (components.SLACK + 2 * 300**2 + 30_000)
    whole = np.concatenate(every)
    assert components.clusters(known).tobytes() == components.connected(whole).tobytes()
    if merge is components.edges_merge:
        found = components.distinct_edges(components.edges_of(known))
        assert found.tolist() == np.unique(whole, axis=0).tolist()


def test_a_long_chain_and_a_wide_star():
    ids = np.sort(np.frombuffer(np.random.default_rng(2).bytes(16 * 100_000), "S16"))
    chain = np.stack([ids[:-1], ids[1:]], axis=1)
    found = components.connected(chain[::-1])
    assert (found[:, 0] == ids).all()
    assert (found[:, 1] == ids[0]).all()


def test_no_edges():
    assert components.connected(np.empty((0, 2), "S16")).shape == (0, 2)
    assert components.clusters(components.EMPTY).shape == (0, 2)
    assert components.nearest_keepers(np.empty((0, 2), np.int64), np.empty((0, 2), np.int64))[0].shape == (0, 2)
    assert components.keepers(np.empty((0, 2), np.int64), np.empty(0)).shape == (0, 2)
    assert components.forest_merge([]) == components.EMPTY


@given(NUMBERS, st.data())
def test_keepers_by_rank(pairs, data):
    star = components.connected(numbered(pairs))
    ranks = data.draw(st.lists(st.integers(-2, 2), min_size=len(star), max_size=len(star)))
    found = dict(components.keepers(star, np.array(ranks)).tolist())
    rank = dict(zip(star[:, 0].tolist(), ranks, strict=True))
    for label, keeper in zip(star[:, 1].tolist(), found.values(), strict=True):
        members = [name for name, other in star.tolist() if other == label]
        assert keeper == min(members, key=lambda name: (rank[name], name))


@given(NUMBERS, st.permutations(range(26)))
def test_nearest_keepers_are_kept_and_adjacent_and_nothing_kept_is_adjacent(pairs, order):
    edges = numbered([pair for pair in pairs if pair[0] != pair[1]])
    ranks = np.array(order)
    copies, edge = components.nearest_keepers(edges, ranks[edges])
    keeper = dict(copies.tolist())
    assert list(keeper) == sorted(keeper)
    for (document, kept), place in zip(copies.tolist(), edge.tolist(), strict=True):
        assert kept not in keeper
        assert sorted(edges[place].tolist()) == sorted((document, kept))
        near = [b if a == document else a for a, b in edges.tolist() if document in (a, b)]
        assert kept == min((d for d in near if d not in keeper), key=order.__getitem__)
        assert order[kept] < order[document]
    assert all(a in keeper or b in keeper for a, b in edges.tolist())
