"""Flagged words: the share of a document's words that stand on a list its user supplies for its language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.dedup.shingles import shingles, word_hashes
from pipeline.errors import UsageError

DEFINITIONS = {
    "flagged_word_share": "words that belong to an entry of the flagged-word list of the document's language / words; "
    "NaN (passes any rule) without a list",
}


@dataclass(frozen=True)
class WordList:
    """The entries of a list, by their number of words: ascending hashes (uint64) of their folded words."""

    by_length: Mapping[int, np.ndarray]


def word_list(text: str) -> WordList:
    """Return the list of a text: one entry (a word or several) a line; "#" starts a comment. Case does not count, and
    a script without spaces counts code points. Raises UsageError for a list without an entry."""
    entries = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    offsets = word_hashes(pa.array(entries, pa.large_string()))[1]
    lengths = np.diff(offsets)
    found = {}
    for n in np.unique(lengths[lengths > 0]).tolist():
        same = [entries[row] for row in np.flatnonzero(lengths == n).tolist()]
        found[n] = np.unique(shingles(pa.array(same, pa.large_string()), n)[0])
    if not found:
        raise UsageError("a list of flagged words has no entry")
    return WordList(found)


def share(texts: pa.Array, languages: pa.Array, lists: Mapping[str, WordList]) -> np.ndarray:
    """Return `flagged_word_share` of each text (float64)."""
    found = np.full(len(texts), np.nan)
    codes = np.array(languages.to_pylist(), dtype=object)
    for code in sorted(set(codes.tolist()) & set(lists)):
        rows = np.flatnonzero(codes == code)
        some = texts.take(pa.array(rows))
        offsets = word_hashes(some)[1]
        steps = np.zeros(offsets[-1] + 1, np.int64)
        for n, hashes in lists[code].by_length.items():
            grams, edges = shingles(some, n)
            hit = np.flatnonzero(np.isin(grams, hashes))
            documents = np.searchsorted(edges, hit, side="right") - 1
            first = offsets[documents] + hit - edges[documents]
            np.add.at(steps, first, 1)
            np.add.at(steps, first + n, -1)
        covered = np.concatenate(([0], np.cumsum(np.cumsum(steps)[:-1] > 0)))
        total = np.diff(offsets)
        count = covered[offsets[1:]] - covered[offsets[:-1]]
        found[rows] = np.divide(count, total, out=np.zeros(len(rows)), where=total > 0)
    return found
