"""Lines repeated across documents: menus, notices, licences. What occurs in many documents is removed from all of them,
or from all but the first.

A line's hash is that of its normalised words (`pipeline.dedup.shingles`), so case, punctuation and spacing do not
count; lines of few words are left alone, since they are repeated by chance. Counting is by document and independent of
order: pack the hashes of each batch by range, find the repeated ones in each range, cut them out in a second reading.
Where the first copy stays, hashes travel with the numbers of their documents.
A paragraph (lines that no empty line separates) can stand wherever a line stands here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.clean.hashing import mix
from pipeline.clean.segments import Segments, Spans
from pipeline.dedup.lsh import BAND_RECORD, pack_band, range_of
from pipeline.dedup.shingles import word_hashes

MIN_WORDS = 4
"""Words a line must have to count as repeated."""

_BASE = np.uint64(0x9E6C63D0876A9A47)


class LineHashes(NamedTuple):
    """The lines of a batch with something visible, in order: hash (uint64, 0 for one of too few words), document
    (index) and the bytes [start, stop) of the document's text, up to where the next line starts (int64)."""

    hashes: np.ndarray
    documents: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    def take(self, chosen: np.ndarray) -> LineHashes:
        """The chosen ones (a bool mask or places)."""
        return LineHashes(*(column[chosen] for column in self))


def line_hashes(texts: pa.Array, min_words: int = MIN_WORDS, unit: str = "line") -> LineHashes:
    """Return the lines (``unit`` "line" or "paragraph") of a string array and their hashes."""
    segments = Segments(texts)
    if unit not in ("line", "paragraph"):
        raise ValueError(f'unit must be "line" or "paragraph", not {unit!r}')
    lines = segments.visible_lines[0] if unit == "line" else _paragraphs(segments)
    contents = pa.LargeStringArray.from_buffers(
        len(lines), pa.py_buffer(np.append(lines.starts, lines.ends[-1:])), pa.py_buffer(segments.data)
    )  # from the start of one line to the next there is only white space besides the line itself
    words, offsets = word_hashes(contents)
    place = np.arange(len(words)) - np.repeat(offsets[:-1], np.diff(offsets))
    sums = np.concatenate(([np.uint64(0)], np.cumsum(mix(words + place.astype(np.uint64) * _BASE), dtype=np.uint64)))
    hashes = mix(sums[offsets[1:]] - sums[offsets[:-1]])
    hashes[hashes == 0] = 1
    hashes[np.diff(offsets) < min_words] = 0
    stops = segments.offsets[lines.documents + 1]
    followed = np.flatnonzero(lines.documents[1:] == lines.documents[:-1])
    stops[followed] = lines.starts[followed + 1]
    first = segments.offsets[lines.documents]
    return LineHashes(hashes, lines.documents, lines.starts - first, stops - first)


def _paragraphs(segments: Segments) -> Spans:
    """Runs of visible lines that no empty line separates."""
    lines, trimmed = segments.visible_lines
    feeds = np.flatnonzero(segments.data == ord("\n"))
    between = np.searchsorted(feeds, lines.starts[1:]) - np.searchsorted(feeds, trimmed.ends[:-1])
    first = np.flatnonzero(np.insert((between > 1) | (np.diff(lines.documents) != 0), 0, True)[: len(lines)])
    last = np.append(first[1:], len(lines))[: len(first)] - 1
    return Spans(lines.starts[first], lines.ends[last], lines.documents[first])


def pack_lines(
    lines: LineHashes, ranges: int = 1, chosen: range | None = None, numbers: np.ndarray | None = None
) -> dict[int, bytes]:
    """Return by range of hash values the line hashes of a batch, each once per document; only the ``chosen`` ranges.

    A hash takes 8 bytes (little-endian). With ``numbers`` (int64, of the documents) it is a record of 16, as in a band
    block of `pipeline.dedup.lsh`: the hash and the number of its document.
    """
    counted = lines.hashes > 0
    order = np.lexsort((lines.documents[counted], lines.hashes[counted]))
    values, documents = lines.hashes[counted][order], lines.documents[counted][order]
    fresh = np.insert((values[1:] != values[:-1]) | (documents[1:] != documents[:-1]), 0, True)[: len(values)]
    values = values[fresh]
    if numbers is not None:
        return pack_band(values, numbers[documents[fresh]], ranges, chosen)
    bounds = np.searchsorted(range_of(values, ranges), np.arange(ranges + 1))
    return {
        index: values[bounds[index] : bounds[index + 1]].astype("<u8").tobytes()
        for index in chosen or range(ranges)
        if bounds[index] < bounds[index + 1]
    }


def repeated(blocks: Iterable[bytes], documents: int) -> np.ndarray:
    """Return the line hashes (uint64, ascending) that occur in at least so many documents, of all blocks of one
    range."""
    values, counts = np.unique(np.frombuffer(b"".join(blocks), "<u8"), return_counts=True)
    return values[counts >= documents].astype(np.uint64)


def repeated_first(blocks: Iterable[bytes], documents: int) -> np.ndarray:
    """Return what `repeated` does of blocks with numbers: uint64, hashes x 2, (hash, lowest number of its
    documents)."""
    records = np.frombuffer(b"".join(blocks), BAND_RECORD)
    records = records[np.lexsort((records["document"], records["key"]))]
    values, first, counts = np.unique(records["key"], return_index=True, return_counts=True)
    often = counts >= documents
    return np.stack([values[often], records["document"][first[often]]], axis=1).astype(np.uint64)


def found(lines: LineHashes, hashes: np.ndarray) -> LineHashes:
    """Return those of the lines that have one of these hashes (uint64, ascending)."""
    if not len(hashes):
        return lines.take(np.zeros(len(lines.hashes), bool))
    place = np.minimum(np.searchsorted(hashes, lines.hashes), len(hashes) - 1)
    return lines.take(hashes[place] == lines.hashes)


def but_first(lines: LineHashes, numbers: np.ndarray, hashes: np.ndarray, first: np.ndarray) -> LineHashes:
    """Return the lines without the first copy of each: the one that comes first in the document that is ``first``
    (uint64) for its hash (``hashes``, ascending). ``numbers`` (int64) are those of the documents."""
    of_first = first[np.searchsorted(hashes, lines.hashes)] == numbers[lines.documents].astype(np.uint64)
    here = np.flatnonzero(of_first)
    stays = here[np.unique(lines.hashes[here], return_index=True)[1]]  # of one document, so in the order of its lines
    return lines.take(np.setdiff1d(np.arange(len(lines.hashes)), stays))


def without(texts: pa.Array, documents: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> pa.Array:
    """Return the texts with bytes cut out: [start, stop) of the document (index), ascending.

    White space that a cut leaves at the end of a text goes too; a text without a cut stays as it is, to the byte.
    """
    if not len(documents):
        return texts
    values = texts.to_pylist()
    bounds = np.flatnonzero(np.insert(documents[1:] != documents[:-1], 0, True)).tolist()
    for first, last in zip(bounds, [*bounds[1:], len(documents)], strict=True):
        document = int(documents[first])
        data = values[document].encode()
        edges = [0, *np.stack([starts[first:last], stops[first:last]], axis=1).ravel().tolist(), len(data)]
        pieces = [data[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
        values[document] = b"".join(pieces).decode().rstrip()
    return pa.array(values, texts.type)
