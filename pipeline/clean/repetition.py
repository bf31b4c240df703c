"""Repeated n-grams within documents, the statistics of Gopher's repetition rules (Rae et al. 2021, table A1).

An n-gram can only occur twice where the (n-1)-grams it starts and ends with do. So the 2-grams are counted in a hash
table, and each longer n is looked for only among the survivors of the one before, which are few in ordinary text.
"""

from __future__ import annotations

import numpy as np

from pipeline.clean.compiled import kernels

TOP = (2, 3, 4)
DUPLICATE = (5, 6, 7, 8, 9, 10)


def ngram_characters(hashes: np.ndarray, lengths: np.ndarray, edges: np.ndarray) -> list[np.ndarray]:
    """Return per document (int64) the characters of the top n-gram for each n of `TOP`, then of the duplicates of
    `DUPLICATE`.

    ``hashes`` (uint64) and ``lengths`` are those of the units of all documents, ``edges`` where each document's units
    start. The top n-gram is the most frequent one (the earliest of equals): its characters with spaces between the
    units, times its occurrences. Duplicates are counted from left to right without overlap: an n-gram met before adds
    its characters (without spaces) and is stepped over.
    """
    found = np.zeros((len(TOP) + len(DUPLICATE), len(edges) - 1), np.int64)
    kernels.ngram_characters(hashes, lengths, edges, np.array(TOP), np.array(DUPLICATE), found)
    return list(found)
