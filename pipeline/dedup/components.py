"""Clusters of duplicates: connected components of the candidate edges, in a form that merges; and who stays.

A **forest** is the state of a reduction over edges that arrive in any order and grouping: bytes that hold, for each
document seen, one edge to the smallest of its cluster so far. Adding edges only appends; when the appended edges
outnumber the compacted ones the components are computed and the forest shrinks to one edge a document again, so memory
is bounded by the documents in clusters, not by the edges, and the whole costs O(edges) in amortised passes.

Layout: 8 bytes (uint64, little-endian) with the number of compacted edges, then edges of 16 bytes (two int64).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from pipeline.dedup.lsh import halves

SLACK = 1 << 16
"""Edges that may wait for compaction in any case, so that small additions do not each compute components."""

EMPTY = bytes(8)
"""The forest without edges."""


def connected(edges: np.ndarray) -> np.ndarray:
    """Return the cluster of every document in ``edges`` (edges x 2, ids "S16" or whole numbers): documents x 2,
    (document, label), ascending documents, of the same type.

    The label is the smallest document of the cluster. A function of the set of edges alone.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(edges):
        return np.empty((0, 2), edges.dtype)
    documents, ends = _coded(edges)
    size = len(documents)
    graph = coo_array((np.ones(len(edges), np.int8), ends), shape=(size, size))
    del ends
    count, component = connected_components(graph, directed=False)
    first = np.empty(count, np.int64)
    first[component[::-1]] = np.arange(size)[::-1]  # the last to write is the smallest
    return np.stack([documents, documents[first[component]]], axis=1)


def keepers(star: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Return the clusters (documents x 2: document, keeper) with the member of the lowest rank as keeper, ties to the
    smallest document.

    ``star`` is what `connected` or `clusters` gives, or a part of its rows; ``ranks`` (numbers, one a row) the order of
    preference: minus the length keeps the longest text, the age of a dump the older document.
    """
    if not len(star):
        return star.copy()
    order = np.lexsort((np.arange(len(star)), ranks, _distinct(star[:, 1])[1]))
    labels = star[order, 1]
    fresh = np.insert(labels[1:] != labels[:-1], 0, True)
    result = star.copy()
    result[order, 1] = star[order[fresh], 0][np.cumsum(fresh) - 1]
    return result


def nearest_keepers(pairs: np.ndarray, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the copies (int64, copies x 2: document, keeper), ascending, when only a direct edge makes a copy, and
    the edge of each (its place in ``pairs``).

    Documents are taken by rank: one that has an edge to a document kept before is a copy of it, of the lowest rank
    where there are several; any other is kept. So each copy resembles the document that stays for it, which clusters
    of chained edges do not promise. ``pairs`` (int64, pairs x 2), ``ranks`` (int64, pairs x 2) of their ends: distinct
    for distinct documents.
    """
    turned = ranks[:, 0] > ranks[:, 1]
    first, later = np.where(turned, pairs[:, 1], pairs[:, 0]), np.where(turned, pairs[:, 0], pairs[:, 1])
    order = np.lexsort((ranks.min(axis=1), ranks.max(axis=1)))
    keeper: dict[int, int] = {}
    edge: list[int] = []
    ends = zip(order.tolist(), first[order].tolist(), later[order].tolist(), strict=True)
    for place, before, document in ends:
        if document not in keeper and before not in keeper:
            keeper[document] = before
            edge.append(place)
    copies = np.array(list(keeper.items()), np.int64).reshape(-1, 2)
    ascending = np.argsort(copies[:, 0])
    return copies[ascending], np.array(edge, np.int64)[ascending]


def forest_add(forest: bytes, edges: np.ndarray) -> bytes:
    """Return the forest with more edges (int64, edges x 2); an edge from a document to itself says nothing."""
    return forest_merge([forest], edges[edges[:, 0] != edges[:, 1]])


def forest_merge(forests: Iterable[bytes], edges: np.ndarray | None = None) -> bytes:
    """Return the forest of all edges of several forests, and of some more."""
    return _merged(list(forests), edges, _spanning)


def edges_merge(known: Iterable[bytes], edges: np.ndarray | None = None) -> bytes:
    """Return the set of all edges of several sets, and of some more."""
    return _merged(list(known), edges, distinct_edges)


def clusters(forest: bytes) -> np.ndarray:
    """Return the clusters of a forest, of two documents and more, as `connected` does."""
    return connected(edges_of(forest))


def distinct_edges(edges: np.ndarray) -> np.ndarray:
    """Return each edge (int64, edges x 2) once, ascending."""
    if not len(edges):
        return edges
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    return edges[np.insert((edges[1:] != edges[:-1]).any(axis=1), 0, True)]


def edges_of(forest: bytes) -> np.ndarray:
    """Return the edges (int64, edges x 2) of a forest or a set, some of a set perhaps more than once."""
    return np.frombuffer(forest, "<i8", offset=8).reshape(-1, 2)


def _merged(forests: list[bytes], edges: np.ndarray | None, compact: Callable[[np.ndarray], np.ndarray]) -> bytes:
    compacted = max((int.from_bytes(forest[:8], "little") for forest in forests), default=0)
    more = b"" if edges is None else edges.astype("<i8", copy=False).tobytes()
    # Views, so that the edges are copied once: forests are large and merged often.
    merged = b"".join([compacted.to_bytes(8, "little"), *(memoryview(forest)[8:] for forest in forests), more])
    if len(merged) // 16 - compacted <= max(compacted, SLACK):
        return merged
    smaller = compact(edges_of(merged))
    return len(smaller).to_bytes(8, "little") + smaller.astype("<i8", copy=False).tobytes()


def _spanning(edges: np.ndarray) -> np.ndarray:
    star = connected(edges)
    return star[star[:, 0] != star[:, 1]]


def _coded(edges: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return the distinct documents of edges, ascending, and the places among them of either end.

    Of numbers the places are looked up, as int32 where they fit: an index of all ends would be the largest array of
    the whole stage.
    """
    if edges.dtype.kind not in "iu":
        documents, codes = _distinct(edges.reshape(-1))
        return documents, (codes[::2], codes[1::2])
    documents = np.unique(edges)
    place = np.int32 if len(documents) < 1 << 31 else np.int64
    first, second = (np.searchsorted(documents, edges[:, end]).astype(place) for end in (0, 1))
    return documents, (first, second)


def _distinct(documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct documents, ascending, and for each document its place among them."""
    if documents.dtype.kind in "iu":
        return np.unique(documents, return_inverse=True)
    high, low = halves(documents)  # of ids: like np.unique, on two integers: much faster
    order = np.argsort(high)
    ties = high[order[1:]] == high[order[:-1]]
    if (ties & (low[order[1:]] != low[order[:-1]])).any():  # different ids with equal halves: only by construction
        order = np.lexsort((low, high))
        ties = (high[order[1:]] == high[order[:-1]]) & (low[order[1:]] == low[order[:-1]])
    fresh = np.insert(~ties, 0, True)
    codes = np.empty(len(documents), np.int64)
    codes[order] = np.cumsum(fresh) - 1
    return documents[order[fresh]], codes
