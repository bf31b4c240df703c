"""Lines repeated across documents: menus, notices, licences. What occurs in many documents is removed from all of them.

A line's hash is that of its normalised words (`pipeline.dedup.shingles`), so case, punctuation and spacing do not
count; lines of few words are left alone, since they are repeated by chance. Counting is by document and independent of
order: pack the hashes of each batch by range, find the repeated ones in each range, remove them in a second reading.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from pipeline.clean.hashing import mix
from pipeline.clean.lines import only_lines
from pipeline.clean.segments import Segments, Spans
from pipeline.dedup.shingles import word_hashes

MIN_WORDS = 4
"""Words a line must have to count as repeated."""

_BASE = np.uint64(0x9E6C63D0876A9A47)


def line_hashes(texts: pa.Array, min_words: int = MIN_WORDS) -> tuple[np.ndarray, np.ndarray, Segments, Spans]:
    """Return the hash (uint64) and document (index) of each line of at least ``min_words`` words, and the lines
    themselves.

    The lines are those with something visible, trimmed, in order; the hash of a shorter one is 0.
    """
    segments = Segments(texts)
    _, lines = segments.visible_lines
    contents = pa.LargeStringArray.from_buffers(
        len(lines), pa.py_buffer(np.append(lines.starts, lines.ends[-1:])), pa.py_buffer(segments.data)
    )  # from the start of one line to the next there is only white space besides the line itself
    words, offsets = word_hashes(contents)
    place = np.arange(len(words)) - np.repeat(offsets[:-1], np.diff(offsets))
    sums = np.concatenate(([np.uint64(0)], np.cumsum(mix(words + place.astype(np.uint64) * _BASE), dtype=np.uint64)))
    hashes = mix(sums[offsets[1:]] - sums[offsets[:-1]])
    hashes[hashes == 0] = 1
    hashes[np.diff(offsets) < min_words] = 0
    return hashes, lines.documents, segments, lines


def pack_lines(texts: pa.Array, ranges: int = 1, min_words: int = MIN_WORDS) -> dict[int, bytes]:
    """Return by range of hash values the line hashes of a batch (8 bytes each, little-endian), each once per
    document."""
    hashes, documents, *_ = line_hashes(texts, min_words)
    counted = hashes > 0
    pairs = np.unique(np.stack([documents[counted].astype(np.uint64), hashes[counted]], axis=1), axis=0)
    values = np.sort(pairs[:, 1])
    bounds = np.searchsorted((values >> np.uint64(32)) * np.uint64(ranges) >> np.uint64(32), np.arange(ranges + 1))
    return {
        index: values[bounds[index] : bounds[index + 1]].astype("<u8").tobytes()
        for index in range(ranges)
        if bounds[index] < bounds[index + 1]
    }


def repeated(blocks: Iterable[bytes], documents: int) -> np.ndarray:
    """Return the line hashes (uint64, ascending) that occur in at least so many documents, of all blocks of one
    range."""
    values, counts = np.unique(np.frombuffer(b"".join(blocks), "<u8"), return_counts=True)
    return values[counts >= documents].astype(np.uint64)


def remove(texts: pa.Array, hashes: np.ndarray, min_words: int = MIN_WORDS) -> tuple[pa.Array, np.ndarray]:
    """Return the texts without the lines of these hashes (ascending), and the lines removed per document (int64).

    A text that loses no line stays as it is, to the byte.
    """
    found, documents, segments, lines = line_hashes(texts, min_words)
    place = np.minimum(np.searchsorted(hashes, found), max(len(hashes) - 1, 0))
    gone = hashes[place] == found if len(hashes) else np.zeros(len(found), bool)
    counts = np.bincount(documents[gone], minlength=segments.count)
    if not gone.any():
        return texts, counts
    edited = only_lines(segments, lines.take(~gone)).texts().cast(texts.type)
    places = np.arange(segments.count)
    places[counts > 0] += segments.count
    return pa.concat_arrays([texts, edited]).take(pa.array(places)), counts
