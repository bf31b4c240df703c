"""Clusters of duplicates: connected components of the candidate edges, in a form that merges.

A **forest** is the state of a reduction over edges that arrive in any order and grouping: bytes that hold, for each
document seen, one edge to the smallest id of its cluster so far. Adding edges only appends; when the appended edges
outnumber the compacted ones the components are computed and the forest shrinks to one edge a document again, so memory
is bounded by the documents in clusters, not by the edges, and the whole costs O(edges) in amortised passes.

Layout: 8 bytes (uint64, little-endian) with the number of compacted edges, then edges of 32 bytes (two 16-byte ids).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.dedup.lsh import halves

SLACK = 1 << 15
"""Edges that may wait for compaction in any case, so that small additions do not each compute components."""

EMPTY = bytes(8)
"""The forest without edges."""


def connected(edges: np.ndarray) -> np.ndarray:
    """Return the cluster of every document in ``edges`` ("S16", edges x 2): "S16", documents x 2, (id, label),
    ascending ids.

    The label is the smallest id of the cluster. A function of the set of edges alone.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(edges):
        return np.empty((0, 2), "S16")
    ids, codes = _distinct(edges.reshape(-1))
    pairs = codes.reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(ids), len(ids)))
    count, component = connected_components(graph, directed=False)
    first = np.empty(count, np.int64)
    first[component[::-1]] = np.arange(len(ids))[::-1]  # the last to write is the smallest id
    return np.stack([ids, ids[first[component]]], axis=1)


def keepers(star: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Return the clusters ("S16", documents x 2: id, keeper) with the member of the lowest rank as keeper, ties to the
    smallest id.

    ``star`` is what `connected` or `clusters` gives, ``ranks`` (numbers, one a row) the order of preference: minus the
    length keeps the longest text, the age of a dump the older document.
    """
    order = np.lexsort((np.arange(len(star)), ranks, _distinct(star[:, 1])[1])) if len(star) else np.empty(0, np.int64)
    labels = star[order, 1]
    fresh = np.insert(labels[1:] != labels[:-1], 0, True)[: len(star)]
    result = star.copy()
    result[order, 1] = star[order[fresh], 0][np.cumsum(fresh) - 1]
    return result


def forest_add(forest: bytes, edges: np.ndarray) -> bytes:
    """Return the forest with more edges ("S16", edges x 2); an edge from a document to itself says nothing."""
    return _merged([forest], edges[edges[:, 0] != edges[:, 1]].tobytes())


def forest_merge(forests: Iterable[bytes]) -> bytes:
    """Return the forest of all edges of several forests."""
    return _merged(list(forests), b"")


def _merged(forests: list[bytes], edges: bytes) -> bytes:
    compacted = max((int.from_bytes(forest[:8], "little") for forest in forests), default=0)
    # Views, so that the edges are copied once: forests are large and merged often.
    merged = b"".join([compacted.to_bytes(8, "little"), *(memoryview(forest)[8:] for forest in forests), edges])
    return _compact(merged) if len(merged) // 32 - compacted > max(compacted, SLACK) else merged


def clusters(forest: bytes) -> np.ndarray:
    """Return the clusters of a forest, of two documents and more, as `connected` does."""
    return connected(_edges(forest))


def _compact(forest: bytes) -> bytes:
    star = connected(_edges(forest))
    star = star[star[:, 0] != star[:, 1]]
    return len(star).to_bytes(8, "little") + star.tobytes()


def _edges(forest: bytes) -> np.ndarray:
    return np.frombuffer(forest, "S16", offset=8).reshape(-1, 2)


def _distinct(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct ids, ascending, and for each id its place among them (like np.unique, on two integers: much
    faster)."""
    high, low = halves(ids)
    order = np.argsort(high)
    ties = high[order[1:]] == high[order[:-1]]
    if (ties & (low[order[1:]] != low[order[:-1]])).any():  # different ids with equal halves: only by construction
        order = np.lexsort((low, high))
        ties = (high[order[1:]] == high[order[:-1]]) & (low[order[1:]] == low[order[:-1]])
    fresh = np.insert(~ties, 0, True)
    codes = np.empty(len(ids), np.int64)
    codes[order] = np.cumsum(fresh) - 1
    return ids[order[fresh]], codes
