"""Line rules: which lines of a text stay, for a whole batch at once, with a count of what goes and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean.compiled import kernels
from pipeline.clean.segments import Lines, Segments, flags
from pipeline.errors import UsageError


@dataclass(frozen=True)
class LineRule:
    """What a line must fail to be removed, or (``drop`` = "document") to take its document with it.

    ``test`` and its ``value``: "max_word_length" (code points between spaces), "min_words" (between spaces),
    "ends_with" (one of these marks, and no ellipsis), "without" (none of these phrases, whatever their case),
    "max_uppercase_share" (of its code points), "unlike" (no match for any of these RE2 patterns, whatever the case).
    ``reason`` names what is removed.
    """

    test: str
    value: Any
    reason: str
    drop: str = "line"

    def __post_init__(self) -> None:
        if self.test not in TESTS:
            raise UsageError(f"there is no line test {self.test!r}; there are {', '.join(TESTS)}")
        number = self.test in ("max_word_length", "min_words", "max_uppercase_share")
        if isinstance(self.value, int | float) != number or not (number or self.value):
            raise UsageError(f"the line test {self.test!r} needs {'a number' if number else 'a list of texts'}")
        if self.drop not in ("line", "document"):
            raise UsageError(f'drop must be "line" or "document", not {self.drop!r}')
        if self.test == "unlike":
            try:
                pc.match_substring_regex(pa.array([""]), "|".join(self.value))
            except pa.ArrowInvalid as error:
                raise UsageError(f"not a pattern: {error}") from error


@dataclass(frozen=True)
class Edited:
    """What is left of a batch: the texts (segmented), lines removed by reason and document (int64), sentences left
    (int64), the lines that drop their document, by reason and document (int64), and the share of each document's words
    (between white space) that stood in removed lines (float64)."""

    segments: Segments
    removed: dict[str, np.ndarray]
    sentences: np.ndarray
    fatal: dict[str, np.ndarray]
    removed_share: np.ndarray

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
    phrases = [phrase for rule in rules if rule.test == "without" for phrase in rule.value]
    lines = _Lines(segments, phrases)
    left = np.ones(len(lines.spans), bool)
    counted: dict[str, dict[str, np.ndarray]] = {"line": {}, "document": {}}
    for rule in rules:
        failed = left & ~TESTS[rule.test](lines, rule.value)
        if rule.drop == "line":
            left[failed] = False
        count = np.bincount(lines.spans.documents[failed], minlength=segments.count)
        counted[rule.drop][rule.reason] = counted[rule.drop].get(rule.reason, 0) + count
    kept = Lines(*(column[left] for column in lines.trimmed))
    found = np.maximum(segments.sentences(kept.firsts, kept.lasts), 1)
    sentences = np.bincount(kept.documents, found, segments.count).astype(np.int64)
    words = np.bincount(lines.spans.documents, lines.words[0], segments.count)
    lost = np.bincount(lines.spans.documents[~left], lines.words[0][~left], segments.count)
    share = np.divide(lost, words, out=np.zeros(segments.count), where=words > 0)
    return Edited(segments.only(kept), counted["line"], sentences, counted["document"], share)


class _Lines:
    """The visible lines of a batch, trimmed, and what several tests ask of them."""

    def __init__(self, segments: Segments, phrases: Sequence[str]):
        self.segments = segments
        _, self.spans = segments.visible_lines
        self.trimmed = segments.lines._replace(starts=self.spans.starts, ends=self.spans.ends)
        self._phrases = phrases

    @cached_property
    def words(self) -> tuple[np.ndarray, np.ndarray]:
        """Words between white space, and the code points of the longest, in each line (int64)."""
        return kernels.spaced_words(self.segments.data, self.spans.starts, self.spans.ends, flags())

    @cached_property
    def suspects(self) -> np.ndarray:
        """The places of the lines with any of the phrases that any rule looks for: hardly any, so each rule looks
        there only."""
        documents = self.segments.texts()
        found = pc.match_substring_regex(documents, _any_of(self._phrases), ignore_case=True)
        some = np.flatnonzero(found.to_numpy(zero_copy_only=False)[self.spans.documents])
        return some[self.mention(some, self._phrases)]

    def mention(self, places: np.ndarray, phrases: Sequence[str]) -> np.ndarray:
        """Return which of some lines have one of the phrases."""
        found = pc.match_substring_regex(self.texts(places), _any_of(phrases), ignore_case=True)
        return found.to_numpy(zero_copy_only=False)

    def texts(self, places: np.ndarray | slice = slice(None)) -> pa.LargeStringArray:
        """Return some lines as strings."""
        starts, ends = self.spans.starts[places], self.spans.ends[places]
        # Every second text of this array is a line, the others are what stands between two of them.
        offsets = np.append(np.stack([starts, ends], axis=1).ravel(), ends[-1:])
        count = max(len(offsets) - 1, 0)
        buffers = pa.py_buffer(offsets if count else np.zeros(1, np.int64)), pa.py_buffer(self.segments.data)
        return pa.LargeStringArray.from_buffers(count, *buffers).take(pa.array(np.arange(0, count, 2)))


def _any_of(phrases: Sequence[str]) -> str:
    return "|".join(map(re.escape, phrases))


def _short_words(lines: _Lines, longest: int) -> np.ndarray:
    return lines.words[1] <= longest


def _enough_words(lines: _Lines, least: int) -> np.ndarray:
    return lines.words[0] >= least


def _ends_well(lines: _Lines, marks: Sequence[str]) -> np.ndarray:
    ends = np.zeros(len(lines.spans), bool)
    for mark in marks:
        ends |= lines.segments.ends_with(lines.spans, mark)
    return ends & ~lines.segments.ends_with(lines.spans, "...")


def _without(lines: _Lines, phrases: Sequence[str]) -> np.ndarray:
    passed = np.ones(len(lines.spans), bool)
    passed[lines.suspects[lines.mention(lines.suspects, phrases)]] = False
    return passed


def _few_capitals(lines: _Lines, most: float) -> np.ndarray:
    texts = lines.texts()
    capitals = pc.count_substring_regex(texts, r"\p{Lu}").to_numpy(zero_copy_only=False)
    return capitals <= most * pc.utf8_length(texts).to_numpy(zero_copy_only=False)


def _unlike(lines: _Lines, patterns: Sequence[str]) -> np.ndarray:
    found = pc.match_substring_regex(lines.texts(), "|".join(f"(?:{p})" for p in patterns), ignore_case=True)
    return ~found.to_numpy(zero_copy_only=False)


TESTS: dict[str, Callable[[_Lines, Any], np.ndarray]] = {
    "max_word_length": _short_words,
    "min_words": _enough_words,
    "ends_with": _ends_well,
    "without": _without,
    "max_uppercase_share": _few_capitals,
    "unlike": _unlike,
}
"""The tests of `LineRule`: each returns which lines pass."""
