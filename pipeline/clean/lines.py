"""Line rules: which lines of a text stay, for a whole batch at once, with a count of what goes and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean.characters import SPACE, has
from pipeline.clean.segments import Segments, Spans
from pipeline.errors import UsageError


@dataclass(frozen=True)
class LineRule:
    """What a line must fail to be removed, or (``drop`` = "document") to take its document with it.

    ``test`` and its ``value``: "max_word_length" (code points between spaces), "min_words" (between spaces),
    "ends_with" (one of these marks, and no ellipsis), "without" (none of these phrases, whatever their case).
    ``reason`` names what is removed.
    """

    test: str
    value: Any
    reason: str
    drop: str = "line"

    def __post_init__(self) -> None:
        if self.test not in TESTS:
            raise UsageError(f"there is no line test {self.test!r}; there are {', '.join(TESTS)}")
        number = self.test in ("max_word_length", "min_words")
        if isinstance(self.value, int) != number or not (number or self.value):
            raise UsageError(f"the line test {self.test!r} needs {'a number' if number else 'a list of texts'}")
        if self.drop not in ("line", "document"):
            raise UsageError(f'drop must be "line" or "document", not {self.drop!r}')


@dataclass(frozen=True)
class Edited:
    """What is left of a batch: the texts (segmented), lines removed by reason and document (int64), sentences left
    (int64), and the lines that drop their document, by reason and document (int64)."""

    segments: Segments
    removed: dict[str, np.ndarray]
    sentences: np.ndarray
    fatal: dict[str, np.ndarray]

    @property
    def reasons(self) -> list[str]:
        """The first reason to drop each document ("" for none)."""
        found = [""] * self.segments.count
        for reason, lines in reversed(self.fatal.items()):
            for document in np.flatnonzero(lines).tolist():
                found[document] = reason
        return found

    @property
    def texts(self) -> pa.LargeStringArray:
        """The texts with only the lines that every rule keeps."""
        return self.segments.texts()


CITATION = r"\[\d*\]|\[edit\]|\[citation needed\]"
"""Wikipedia's marks that C4 removes (RE2)."""


def edit(texts: pa.Array | Segments, rules: Sequence[LineRule]) -> Edited:
    """Return the texts with only the lines that every rule keeps, stripped and joined by line feeds.

    The rules are tried in order, each on the lines that are left. Blank lines go without being counted. Sentences are
    counted line by line.
    """
    segments = texts if isinstance(texts, Segments) else Segments(texts)
    _, lines = segments.visible_lines
    left = np.ones(len(lines), bool)
    counted: dict[str, dict[str, np.ndarray]] = {"line": {}, "document": {}}
    for rule in rules:
        failed = left & ~TESTS[rule.test](segments, lines, rule.value)
        if rule.drop == "line":
            left[failed] = False
        count = np.bincount(lines.documents[failed], minlength=segments.count)
        counted[rule.drop][rule.reason] = counted[rule.drop].get(rule.reason, 0) + count
    kept = lines.take(left)
    sentences = np.bincount(kept.documents, segments.sentences(kept), segments.count).astype(np.int64)
    return Edited(only_lines(segments, kept), counted["line"], sentences, counted["document"])


def only_lines(segments: Segments, lines: Spans) -> Segments:
    """Return the texts made of these lines alone (trimmed, ascending), one line feed between two."""
    mark = np.zeros(len(segments.data) + 1, np.int8)
    mark[lines.starts] += 1
    mark[lines.ends] -= 1
    keep = np.cumsum(mark, dtype=np.int8)[:-1].astype(bool)
    followed = np.flatnonzero(lines.documents[1:] == lines.documents[:-1])
    feeds = np.flatnonzero(segments.data == ord("\n"))
    keep[feeds[np.searchsorted(feeds, lines.ends[followed])]] = True
    return segments.kept(keep)


def _short_words(segments: Segments, lines: Spans, longest: int) -> np.ndarray:
    passed = np.ones(len(lines), bool)
    for place in np.flatnonzero(lines.ends - lines.starts > longest).tolist():
        line = segments.data[lines.starts[place] : lines.ends[place]].tobytes().decode()
        passed[place] = all(len(word) <= longest for word in line.split())
    return passed


def _enough_words(segments: Segments, lines: Spans, least: int) -> np.ndarray:
    begins = ~has(segments.data, SPACE, segments.others)
    begins[1:] &= ~begins[:-1]
    begins[lines.starts] = True
    at = np.flatnonzero(begins)
    return np.searchsorted(at, lines.ends) - np.searchsorted(at, lines.starts) >= least


def _ends_well(segments: Segments, lines: Spans, marks: Sequence[str]) -> np.ndarray:
    ends = np.zeros(len(lines), bool)
    for mark in marks:
        ends |= segments.ends_with(lines, mark)
    return ends & ~segments.ends_with(lines, "...")


def _without(segments: Segments, lines: Spans, phrases: Sequence[str]) -> np.ndarray:
    # From the start of one line to the next there is only white space besides the line itself.
    offsets = np.append(lines.starts, lines.ends[-1:])
    array = pa.LargeStringArray.from_buffers(len(lines), pa.py_buffer(offsets), pa.py_buffer(segments.data))
    found = pc.match_substring_regex(array, "|".join(map(re.escape, phrases)), ignore_case=True)
    return ~found.to_numpy(zero_copy_only=False)


TESTS: dict[str, Callable[[Segments, Spans, Any], np.ndarray]] = {
    "max_word_length": _short_words,
    "min_words": _enough_words,
    "ends_with": _ends_well,
    "without": _without,
}
"""The tests of `LineRule`: each returns which lines pass."""
