"""Words, lines, paragraphs and sentences of a whole batch of texts, as arrays of byte positions.

Everything that reads texts shares one `Segments` object, so that a batch is segmented once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.clean import characters, words
from pipeline.clean.compiled import kernels
from pipeline.clean.hashing import BYTE_CODES

TERMINAL = (
    *((0x21, 0x21), (0x2E, 0x2E), (0x3F, 0x3F), (0x589, 0x589), (0x61D, 0x61F), (0x6D4, 0x6D4), (0x700, 0x702)),
    *((0x7F9, 0x7F9), (0x837, 0x837), (0x839, 0x839), (0x83D, 0x83E), (0x964, 0x965), (0x104A, 0x104B)),
    *((0x1362, 0x1362), (0x1367, 0x1368), (0x166E, 0x166E), (0x1735, 0x1736), (0x17D4, 0x17D5), (0x1803, 0x1803)),
    *((0x1809, 0x1809), (0x1944, 0x1945), (0x1AA8, 0x1AAB), (0x1B5A, 0x1B5B), (0x1B5E, 0x1B5F), (0x1B7D, 0x1B7E)),
    *((0x1C3B, 0x1C3C), (0x1C7E, 0x1C7F), (0x203C, 0x203D), (0x2047, 0x2049), (0x2E2E, 0x2E2E), (0x2E3C, 0x2E3C)),
    *((0x2E53, 0x2E54), (0x3002, 0x3002), (0xA4FF, 0xA4FF), (0xA60E, 0xA60F), (0xA6F3, 0xA6F3), (0xA6F7, 0xA6F7)),
    *((0xA876, 0xA877), (0xA8CE, 0xA8CF), (0xA92F, 0xA92F), (0xA9C8, 0xA9C9), (0xAA5D, 0xAA5F), (0xAAF0, 0xAAF1)),
    *((0xABEB, 0xABEB), (0xFE52, 0xFE52), (0xFE56, 0xFE57), (0xFF01, 0xFF01), (0xFF0E, 0xFF0E), (0xFF1F, 0xFF1F)),
    *((0xFF61, 0xFF61), (0x10A56, 0x10A57), (0x10F55, 0x10F59), (0x11047, 0x11048), (0x110BE, 0x110C1)),
    *((0x11141, 0x11143), (0x111C5, 0x111C6), (0x111CD, 0x111CD), (0x111DE, 0x111DF), (0x11238, 0x11239)),
    *((0x1123B, 0x1123C), (0x112A9, 0x112A9), (0x1144B, 0x1144C), (0x115C2, 0x115C3), (0x115C9, 0x115D7)),
    *((0x11641, 0x11642), (0x1173C, 0x1173E), (0x16A6E, 0x16A6F), (0x16AF5, 0x16AF5), (0x16B37, 0x16B38)),
    *((0x16B44, 0x16B44), (0x1BC9F, 0x1BC9F), (0x1DA88, 0x1DA88)),
)
"""Code points that end a sentence (Unicode's property Sentence_Terminal), as inclusive ranges."""

TERMINAL_FLAG = 32


@lru_cache(maxsize=1)
def flags() -> np.ndarray:
    """What Unicode says of each code point: the flags of `characters`, and `TERMINAL_FLAG` (uint8, below `LIMIT`)."""
    table = characters.properties().flags.copy()
    for first, last in TERMINAL:
        table[first : last + 1] |= TERMINAL_FLAG
    return table


def _table(condition: str) -> np.ndarray:
    return np.array([point < 128 and getattr(chr(point), condition)() for point in range(256)])


def _among(signs: bytes) -> np.ndarray:
    return np.isin(np.arange(256), list(signs))


_ALPHA = _table("isalpha")
_ALPHA[128:] = True  # a byte above 127 in a word is part of a letter, with rare exceptions
_SYMBOL = ~(_table("isalnum") | _table("isspace"))
_SYMBOL[128:] = False
_SIGNS = np.stack(
    [
        _table("islower"),
        _table("isupper"),
        _table("isdigit"),
        _ALPHA,
        _among(b"+-*^"),  # between digits they separate
        _among(b"-:<>=/"),  # before a letter they separate
        _among(b"-/.@\\~^|"),  # stick to the word after them
        _among(b"/-+=@|\\~^$"),  # stick to the word before them
        _among(b".-~|/\\@^"),  # a run of them is one symbol
        _SYMBOL,
    ]
)
"""What `kernels` asks of a byte: one row (bool, 256) a question, in its order."""


def _equal(data: np.ndarray, starts: np.ndarray, value: bytes) -> np.ndarray:
    """Return at which positions (of which the value is known to fit) the bytes are these."""
    found = np.ones(len(starts), bool)
    for place, byte in enumerate(value):
        found &= data[starts + place] == byte
    return found


class Units(NamedTuple):
    """Words and symbols in text order: the first of each document (``edges``, int64, documents + 1), byte ranges
    (int64), which are symbols (bool), hashes (uint64), code points (int32), which hold a letter (bool)."""

    edges: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    symbols: np.ndarray
    hashes: np.ndarray
    lengths: np.ndarray
    letters: np.ndarray


class Lines(NamedTuple):
    """Lines with something visible: byte ranges, first unit and the one after the last, document (all int64)."""

    starts: np.ndarray
    ends: np.ndarray
    firsts: np.ndarray
    lasts: np.ndarray
    documents: np.ndarray


@dataclass(frozen=True)
class Spans:
    """Byte ranges [starts, ends) in order, and the document (index) of each."""

    starts: np.ndarray
    ends: np.ndarray
    documents: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, chosen: np.ndarray) -> Spans:
        """Return the chosen ones (a bool mask or ascending places)."""
        return Spans(self.starts[chosen], self.ends[chosen], self.documents[chosen])


class Segments:
    """The segments of a string array, each kind found when it is first asked for."""

    def __init__(self, texts: pa.Array):
        data, self.offsets = characters.flat(texts)
        self.data = np.ascontiguousarray(data)
        self.count = len(self.offsets) - 1

    def only(self, spans: Lines) -> Segments:
        """Return the texts made of these byte ranges alone, with a line feed between two of a document.

        They must begin and end at white space or at the edge of a document, so that no word changes.
        """
        result = Segments.__new__(Segments)
        data, offsets, edges, columns = kernels.compacted(self.data, self.count, tuple(spans), tuple(self.units[1:]))
        result.data, result.offsets, result.count = data, offsets, self.count
        result.units = Units(edges, *columns)
        return result

    def only_documents(self, chosen: np.ndarray) -> Segments:
        """Return the texts with those not chosen (bool) empty."""
        rows = np.flatnonzero(chosen & (self.offsets[1:] > self.offsets[:-1]))
        edges = self.units.edges
        return self.only(Lines(self.offsets[rows], self.offsets[rows + 1], edges[rows], edges[rows + 1], rows))

    def texts(self) -> pa.LargeStringArray:
        """Return the texts."""
        buffers = pa.py_buffer(self.offsets.astype(np.int64)), pa.py_buffer(self.data)
        return pa.LargeStringArray.from_buffers(self.count, *buffers)

    @cached_property
    def units(self) -> Units:
        """Words and symbols in text order.

        A word is a run of letters, marks and digits, continued over one symbol inside ("3.5", "U.S.A", "a_b", "x@y")
        but not over those that separate ("well-known", "and/or", "end.Start"); it takes in the full stop of an
        abbreviation and the sign before a name ("@name"); a short contraction is a word of its own ("it" + "'s"). In
        scripts without spaces each code point is a word. Every other visible code point is a symbol; a run of equal
        dots, dashes or slashes is one. (In short, what spaCy's English tokenizer does, which the published quality
        rules were run with.)
        """
        return Units(
            *kernels.units(self.data, self.offsets, flags(), _SIGNS, BYTE_CODES, words.hashes("abbreviations", "en"))
        )

    @cached_property
    def sign_counts(self) -> np.ndarray:
        """Per document: code points, "{", "#", line feeds, "…" (int64, 5 rows)."""
        return kernels.sign_counts(self.data, self.offsets)

    @cached_property
    def class_counts(self) -> np.ndarray:
        """Per document: letters, white space (int64, 2 rows)."""
        return kernels.class_counts(self.data, self.offsets, flags())

    @cached_property
    def line_counts(self) -> np.ndarray:
        """Per document what `kernels.line_counts` lists (int64, 11 rows)."""
        found = self.units
        return kernels.line_counts(self.data, self.offsets, flags(), BYTE_CODES, found.edges, found.starts, found.ends)

    @cached_property
    def lines(self) -> Lines:
        """The lines with something visible, as they stand between two line feeds."""
        return Lines(
            *kernels.visible_lines(self.data, self.offsets, self.units.edges, self.units.starts, self.units.ends)
        )

    @property
    def visible_lines(self) -> tuple[Spans, Spans]:
        """The lines with something visible: as they are, and without white space around."""
        found = self.lines
        trimmed = Spans(self.units.starts[found.firsts], self.units.ends[found.lasts - 1], found.documents)
        return Spans(found.starts, found.ends, found.documents), trimmed

    def sentences(self, first_units: np.ndarray, last_units: np.ndarray) -> np.ndarray:
        """Return the number of sentences in ranges of units: a word after a sentence-ending symbol starts one.

        A range without a word has none.
        """
        found = self.units
        return kernels.sentences(self.data, flags(), found.starts, found.ends, found.symbols, first_units, last_units)

    def ends_with(self, spans: Spans, suffix: str) -> np.ndarray:
        """Return which byte ranges end with this."""
        value = suffix.encode()
        found = spans.ends - spans.starts >= len(value)
        found[found] = _equal(self.data, spans.ends[found] - len(value), value)
        return found
