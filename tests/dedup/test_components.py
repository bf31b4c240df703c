"""Clusters against a union-find over Python dictionaries."""

import networkx
import numpy as np
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


@given(st.lists(EDGES, max_size=6), st.randoms())
def test_a_forest_does_not_depend_on_order_or_grouping(groups, random):
    merged = components.forest_merge([components.forest_add(components.EMPTY, as_edges(group)) for group in groups])
    pairs = [pair for group in groups for pair in group]
    random.shuffle(pairs)
    added = components.EMPTY
    for pair in pairs:
        added = components.forest_add(added, as_edges([pair]))
    joined = expected([(a, b) for a, b in pairs if a != b])
    assert as_dict(components.clusters(merged)) == as_dict(components.clusters(added)) == joined


def test_a_forest_stays_small():
    rng = np.random.default_rng(3)
    ids = np.frombuffer(rng.bytes(16 * 5000), "S16")
    forest = components.EMPTY
    every = []
    for _ in range(40):
        edges = ids[rng.integers(0, 5000, (6000, 2))]
        every.append(edges)
        forest = components.forest_add(forest, edges)
        assert len(forest) < 32 * (components.SLACK + 2 * 5000 + 6000)
    assert components.clusters(forest).tobytes() == components.connected(np.concatenate(every)).tobytes()


def test_a_long_chain_and_a_wide_star():
    ids = np.sort(np.frombuffer(np.random.default_rng(2).bytes(16 * 100_000), "S16"))
    chain = np.stack([ids[:-1], ids[1:]], axis=1)
    found = components.connected(chain[::-1])
    assert (found[:, 0] == ids).all()
    assert (found[:, 1] == ids[0]).all()


def test_no_edges():
    assert components.connected(np.empty((0, 2), "S16")).shape == (0, 2)
    assert components.clusters(components.EMPTY).shape == (0, 2)
    assert components.forest_merge([]) == components.EMPTY


@given(EDGES, st.data())
def test_keepers_by_rank(pairs, data):
    star = components.connected(as_edges(pairs))
    ranks = data.draw(st.lists(st.integers(-2, 2), min_size=len(star), max_size=len(star)))
    found = as_dict(components.keepers(star, np.array(ranks)))
    rank = dict(zip(as_dict(star), ranks, strict=True))
    for label, keeper in zip(as_dict(star).values(), found.values(), strict=True):
        members = [name for name, other in as_dict(star).items() if other == label]
        assert keeper == min(members, key=lambda name: (rank[name], name))
