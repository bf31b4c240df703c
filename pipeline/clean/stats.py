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
from pipeline.clean.characters import LETTER, SPACE, has
from pipeline.clean.hashing import hash_spans
from pipeline.clean.segments import Segments, Spans, is_terminal
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
    "text": ("characters", "letter_share", "space_share", "curly_brackets"),
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


def _sum(values: np.ndarray, documents: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(documents, weights=values, minlength=count)


def _count_sign(segments: Segments, sign: str) -> np.ndarray:
    return segments.per_document(np.flatnonzero(segments.data == ord(sign)))


def _text_family(segments: Segments, language: Any) -> Iterable[np.ndarray]:
    total = segments.characters(segments.offsets[:-1], segments.offsets[1:])
    first = segments.data & 0xC0 != 0x80
    letters = segments.per_document(np.flatnonzero(has(segments.data, LETTER, segments.others) & first))
    spaces = segments.per_document(np.flatnonzero(has(segments.data, SPACE, segments.others) & first))
    return total, _ratio(letters, total), _ratio(spaces, total), _count_sign(segments, "{")


def _word_family(segments: Segments, language: Any) -> Iterable[np.ndarray]:
    units, symbol = segments.units
    plain = np.bincount(units.documents[~symbol], minlength=segments.count)
    every = np.bincount(units.documents, minlength=segments.count)
    lengths = segments.characters(units.starts[~symbol], units.ends[~symbol])
    alphabetic = np.bincount(units.documents[segments.alphabetic], minlength=segments.count)
    return (
        plain,
        every - plain,
        _ratio(_sum(lengths, units.documents[~symbol], segments.count), plain),
        _ratio(alphabetic, every),
        _ratio(_count_sign(segments, "#"), every),
        _ratio(_ellipses(segments), every),
        _ratio(_count_sign(segments, "\n"), every),
    )


def _sentence_family(segments: Segments, language: Any) -> Iterable[np.ndarray]:
    return (segments.sentences(Spans(segments.offsets[:-1], segments.offsets[1:], np.arange(segments.count))),)


def _ellipses(segments: Segments) -> np.ndarray:
    """Count "..." (not overlapping, as str.count does) and "…"."""
    units, symbol = segments.units
    dots = symbol & (segments.data[units.starts] == ord(".")) if len(units) else symbol
    triples = (units.ends - units.starts) // 3 * dots
    wide = segments.per_document(segments.others.at[segments.others.point == ord("…")])
    return _sum(triples, units.documents, segments.count) + wide


def _stop_word_family(segments: Segments, language: str | pa.Array) -> Iterable[np.ndarray]:
    units, _ = segments.units
    codes = np.array([language] * segments.count if isinstance(language, str) else language.to_pylist(), dtype=object)
    found = np.full(segments.count, np.nan)
    for code in sorted(set(codes.tolist()) & set(words.lists()["stop_words"])):
        rows = codes == code
        found[rows] = 0
        for value in words.hashes("stop_words", code).tolist():
            present = np.zeros(segments.count, bool)
            present[units.documents[segments.unit_hashes == np.uint64(value)]] = True
            found += present & rows
    return (found,)


def _line_family(segments: Segments, language: Any) -> Iterable[np.ndarray]:
    count = segments.count
    lines, trimmed = segments.visible_lines
    total = np.bincount(lines.documents, minlength=count)
    # As many lines as str.splitlines gives: no empty one after the last line feed.
    every = segments.lines
    last_empty = (every.ends == every.starts) & np.append(every.documents[1:] != every.documents[:-1], True)[
        : len(every)
    ]
    all_lines = np.bincount(every.documents[~last_empty], minlength=count)
    bullet = segments.starts_with(trimmed, "•") | segments.starts_with(trimmed, "-")
    ellipsis = segments.ends_with(trimmed, "…") | segments.ends_with(trimmed, "...")
    terminal = is_terminal(segments.last_points(lines))
    short = segments.characters(lines.starts, lines.ends) <= 30
    return (
        total,
        _ratio(np.bincount(lines.documents[bullet], minlength=count), all_lines),
        _ratio(np.bincount(lines.documents[ellipsis], minlength=count), all_lines),
        _ratio(np.bincount(lines.documents[terminal], minlength=count), total),
        _ratio(np.bincount(lines.documents[short], minlength=count), total),
    )


def _duplicate_family(segments: Segments, language: Any) -> Iterable[np.ndarray]:
    total = segments.characters(segments.offsets[:-1], segments.offsets[1:])
    lines, _ = segments.visible_lines
    again, signs = _repeated(segments, lines)
    inked = total - _count_sign(segments, "\n")
    paragraphs, paragraph_signs = _repeated(segments, segments.paragraphs)
    return (
        _ratio(again, np.bincount(lines.documents, minlength=segments.count)),
        _ratio(signs, total),
        _ratio(signs, inked),
        _ratio(paragraphs, np.bincount(segments.paragraphs.documents, minlength=segments.count)),
        _ratio(paragraph_signs, total),
    )


def _repeated(segments: Segments, spans: Spans) -> tuple[np.ndarray, np.ndarray]:
    """Return per document how many spans equal an earlier one, and their code points."""
    later = repetition.later_copies(hash_spans(segments.data, spans.starts, spans.ends), spans.documents)
    documents = spans.documents[later]
    lengths = segments.characters(spans.starts[later], spans.ends[later])
    return np.bincount(documents, minlength=segments.count), _sum(lengths, documents, segments.count)


def _ngram_family(segments: Segments, language: Any) -> Iterable[np.ndarray]:
    units, _ = segments.units
    total = segments.characters(segments.offsets[:-1], segments.offsets[1:])
    lengths = segments.characters(units.starts, units.ends)
    edges = np.searchsorted(units.starts, segments.offsets)
    return [_ratio(values, total) for values in repetition.ngram_characters(segments.unit_hashes, lengths, edges)]


_MEASURES: dict[str, Callable[[Segments, Any], Iterable[np.ndarray]]] = {
    "text": _text_family,
    "words": _word_family,
    "sentences": _sentence_family,
    "stop words": _stop_word_family,
    "lines": _line_family,
    "repeated lines": _duplicate_family,
    "repeated n-grams": _ngram_family,
}
