"""Statistics of documents, computed once per batch; every quality rule reads them and none reads the text again.

A share is between 0 and 1. A share of nothing (an empty text) is 0.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.clean import repetition, words
from pipeline.clean.compiled import kernels
from pipeline.clean.segments import Segments
from pipeline.errors import UsageError

DEFINITIONS: dict[str, str] = {
    "characters": "Unicode code points",
    "words": "words: runs of letters, marks and digits; each code point in scripts without spaces",
    "symbols": "visible code points outside words; a run of equal dots or dashes is one",
    "mean_word_length": "code points per word",
    "alphabetic_word_share": "words and symbols with a letter / words and symbols",
    "hash_word_ratio": "number signs / words and symbols",
    "ellipsis_word_ratio": 'ellipses ("..." or "…") / words and symbols',
    "newline_word_ratio": "line feeds / words and symbols",
    "stop_words": "different stop words of the document's language that occur; NaN (passes any rule) without a list",
    "sentences": "sentences: a word after a sentence-ending symbol starts one; at least 1 unless the text is empty",
    "lines": "lines with something visible",
    "bullet_line_share": 'lines that start with "•" or "-" / lines, empty ones included',
    "ellipsis_line_share": "lines that end with an ellipsis / lines, empty ones included",
    "terminal_line_share": "lines that end with sentence-ending punctuation / lines with something visible",
    "short_line_share": "lines of at most 30 code points / lines with something visible",
    "letter_share": "letters / code points",
    "space_share": "white space / code points",
    "curly_brackets": 'opening curly brackets "{"',
    "duplicate_line_share": "lines equal to an earlier one / lines with something visible",
    "duplicate_line_character_share": "code points of the lines equal to an earlier one / code points",
    "duplicate_line_text_share": "code points of the lines equal to an earlier one / code points other than line feeds",
    "duplicate_paragraph_share": "paragraphs equal to an earlier one / paragraphs",
    "duplicate_paragraph_character_share": "code points of the paragraphs equal to an earlier one / code points",
    **{
        f"top_{n}gram_character_share": f"code points in the most frequent {n}-gram of words and symbols, with "
        "spaces between them, times its occurrences / code points"
        for n in repetition.TOP
    },
    **{
        f"duplicate_{n}gram_character_share": f"code points of the {n}-grams of words and symbols that occurred "
        "before, not overlapping / code points"
        for n in repetition.DUPLICATE
    },
}
"""Every statistic by name, with its definition. Columns of `compute` are in this order, all float64."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "characters": ("characters", "curly_brackets"),
    "letters": ("letter_share", "space_share"),
    "words": (
        "words",
        "symbols",
        "mean_word_length",
        "alphabetic_word_share",
        "hash_word_ratio",
        "ellipsis_word_ratio",
        "newline_word_ratio",
    ),
    "sentences": ("sentences",),
    "stop words": ("stop_words",),
    "lines": ("lines", "bullet_line_share", "ellipsis_line_share", "terminal_line_share", "short_line_share"),
    "repeated lines": (
        "duplicate_line_share",
        "duplicate_line_character_share",
        "duplicate_line_text_share",
        "duplicate_paragraph_share",
        "duplicate_paragraph_character_share",
    ),
    "repeated n-grams": (
        *(f"top_{n}gram_character_share" for n in repetition.TOP),
        *(f"duplicate_{n}gram_character_share" for n in repetition.DUPLICATE),
    ),
}
"""Statistics that are computed together: asking for one costs as much as asking for all of its family."""


def check(name: str) -> str:
    """Return the name of a statistic; refuse an unknown one with the nearest known."""
    if name in DEFINITIONS:
        return name
    near = difflib.get_close_matches(name, DEFINITIONS, 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"there is no statistic {name!r}{hint}", mend="corpusmill config schema")


def compute(
    texts: pa.Array | Segments, language: str | pa.Array = "en", names: Iterable[str] | None = None
) -> pa.Table:
    """Return the statistics of a string array: one row a document, one float64 column a statistic, as in `DEFINITIONS`.

    ``language`` (one code, or one per document) chooses the stop words. ``names`` limits the columns and the work to
    what they need. Raises UsageError for an unknown name.
    """
    wanted = list(DEFINITIONS) if names is None else [name for name in DEFINITIONS if name in {check(n) for n in names}]
    segments = texts if isinstance(texts, Segments) else Segments(texts)
    columns: dict[str, np.ndarray] = {}
    for family, members in FAMILIES.items():
        if any(name in members for name in wanted):
            columns.update(zip(members, _MEASURES[family](segments, language), strict=True))
    return pa.table({name: np.asarray(columns[name], np.float64) for name in wanted})


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def _character_family(segments: Segments, language: Any) -> Iterable[np.ndarray]:
    total, braces, *_ = segments.sign_counts
    return total, braces


def _letter_family(segments: Segments, language: Any) -> Iterable[np.ndarray]:
    letters, spaces = segments.class_counts
    return _ratio(letters, segments.sign_counts[0]), _ratio(spaces, segments.sign_counts[0])


def _word_family(segments: Segments, language: Any) -> Iterable[np.ndarray]:
    _, _, number_signs, feeds, wide_ellipses = segments.sign_counts
    edges, starts, ends, symbols, _, lengths, letters = segments.units
    counts = kernels.unit_counts(segments.data, edges, starts, ends, symbols, lengths, letters)
    plain, every, points, alphabetic, ellipses = counts
    return (
        plain,
        every - plain,
        _ratio(points, plain),
        _ratio(alphabetic, every),
        _ratio(number_signs, every),
        _ratio(ellipses + wide_ellipses, every),
        _ratio(feeds, every),
    )


def _sentence_family(segments: Segments, language: Any) -> Iterable[np.ndarray]:
    edges = segments.units.edges
    found = segments.sentences(edges[:-1], edges[1:])
    return (np.maximum(found, np.diff(segments.offsets) > 0),)


def _stop_word_family(segments: Segments, language: str | pa.Array) -> Iterable[np.ndarray]:
    codes = np.array([language] * segments.count if isinstance(language, str) else language.to_pylist(), dtype=object)
    found = np.full(segments.count, np.nan)
    for code in sorted(set(codes.tolist()) & set(words.lists()["stop_words"])):
        rows = np.flatnonzero(codes == code)
        listed = np.unique(words.hashes("stop_words", code))
        kernels.listed_words(segments.units.hashes, segments.units.edges, rows, listed, found)
    return (found,)


def _line_family(segments: Segments, language: Any) -> Iterable[np.ndarray]:
    seen, every, bullets, ellipses, terminal, short, *_ = segments.line_counts
    return seen, _ratio(bullets, every), _ratio(ellipses, every), _ratio(terminal, seen), _ratio(short, seen)


def _duplicate_family(segments: Segments, language: Any) -> Iterable[np.ndarray]:
    total, _, _, feeds, _ = segments.sign_counts
    seen, _, _, _, _, _, again, points, blocks, blocks_again, blocks_points = segments.line_counts
    return (
        _ratio(again, seen),
        _ratio(points, total),
        _ratio(points, total - feeds),
        _ratio(blocks_again, blocks),
        _ratio(blocks_points, total),
    )


def _ngram_family(segments: Segments, language: Any) -> Iterable[np.ndarray]:
    total = segments.sign_counts[0]
    units = segments.units
    return [_ratio(values, total) for values in repetition.ngram_characters(units.hashes, units.lengths, units.edges)]


_MEASURES: dict[str, Callable[[Segments, Any], Iterable[np.ndarray]]] = {
    "characters": _character_family,
    "letters": _letter_family,
    "words": _word_family,
    "sentences": _sentence_family,
    "stop words": _stop_word_family,
    "lines": _line_family,
    "repeated lines": _duplicate_family,
    "repeated n-grams": _ngram_family,
}
