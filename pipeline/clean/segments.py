"""Words, lines, paragraphs and sentences of a whole batch of texts, as arrays of byte positions.

Everything that reads texts shares one `Segments` object, so that a batch is segmented once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from pipeline.clean import characters, words
from pipeline.clean.characters import LETTER, SPACE, WORD, Wide, has
from pipeline.clean.hashing import hash_spans

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

_TERMINAL_FIRST = np.array([first for first, _ in TERMINAL])
_TERMINAL_LAST = np.array([last for _, last in TERMINAL])


def is_terminal(points: np.ndarray) -> np.ndarray:
    """Return which code points end a sentence (bool)."""
    place = np.searchsorted(_TERMINAL_FIRST, points, side="right") - 1
    return (place >= 0) & (points <= _TERMINAL_LAST[np.maximum(place, 0)])


def _table(condition: str) -> np.ndarray:
    return np.array([point < 128 and getattr(chr(point), condition)() for point in range(256)])


_DIGIT, _LOWER, _UPPER = (_table(condition) for condition in ("isdigit", "islower", "isupper"))
_OPERATOR, _DIVIDER, _REPEATS, _STICKS_BEFORE, _STICKS_AFTER = (
    np.isin(np.arange(256), list(signs)) for signs in (b"+-*^", b"-:<>=/", b".-~|/\\@^", b"-/.@\\~^|", b"/-+=@|\\~^$")
)
_MOST_SIGNS = 15  # between two parts of one word
_WIDTHS = np.array([1] * 0xC0 + [2] * 0x20 + [3] * 0x10 + [4] * 0x10)
_ALPHA = _table("isalpha")
_ALPHA[128:] = True  # a byte above 127 in a word is part of a letter, with rare exceptions


def _equal(data: np.ndarray, starts: np.ndarray, value: bytes) -> np.ndarray:
    """Return at which positions the bytes are these; a position too near the edge of the data never is."""
    found = (starts >= 0) & (starts + len(value) <= len(data))
    for place, byte in enumerate(value):
        found &= data[np.clip(starts + place, 0, len(data) - 1)] == byte
    return found


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
        self.data, self.offsets = characters.flat(texts)
        self.others: Wide = characters.wide(self.data)
        self.count = len(self.offsets) - 1

    def kept(self, keep: np.ndarray) -> Segments:
        """Return the segments of the texts with only some bytes kept (bool), the words found so far carried over.

        What is cut out must begin and end at white space or at the edge of a document, so that no word changes.
        """
        moved = np.concatenate(([0], np.cumsum(keep)))
        result = Segments.__new__(Segments)
        result.data, result.offsets, result.count = self.data[keep], moved[self.offsets], self.count
        at, point, width = self.others
        wide = keep[at]
        result.others = Wide(moved[at[wide]], point[wide], width[wide])
        if "units" in self.__dict__:
            units, symbol = self.units
            chosen = keep[units.starts]
            spans = units.take(chosen)
            result.units = (Spans(moved[spans.starts], moved[spans.ends], spans.documents), symbol[chosen])
        return result

    def texts(self) -> pa.LargeStringArray:
        """Return the texts."""
        buffers = pa.py_buffer(self.offsets.astype(np.int64)), pa.py_buffer(np.ascontiguousarray(self.data))
        return pa.LargeStringArray.from_buffers(self.count, *buffers)

    def per_document(self, positions: np.ndarray) -> np.ndarray:
        """Return how many of the ascending byte positions lie in each document."""
        return np.diff(np.searchsorted(positions, self.offsets))

    @cached_property
    def _continued(self) -> np.ndarray | None:
        """Continuation bytes before each byte position, or None where all is ASCII."""
        if not len(self.others.at):
            return None
        before = np.zeros(len(self.data) + 1, np.int64)
        np.cumsum((self.data & 0xC0) == 0x80, out=before[1:])
        return before

    def characters(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Return the number of code points in byte ranges (int64)."""
        lengths = ends - starts
        if self._continued is not None:
            lengths = lengths - (self._continued[ends] - self._continued[starts])
        return lengths

    @cached_property
    def units(self) -> tuple[Spans, np.ndarray]:
        """Words and symbols in text order, and which are symbols (bool).

        A word is a run of letters, marks and digits, continued over one symbol inside ("3.5", "U.S.A", "a_b", "x@y")
        but not over those that separate ("well-known", "and/or", "end.Start"); it takes in the full stop of an
        abbreviation and the sign before a name ("@name"); a short contraction is a word of its own ("it" + "'s"). In
        scripts without spaces each code point is a word. Every other visible code point is a symbol; a run of equal
        dots, dashes or slashes is one. (In short, what spaCy's English tokenizer does, which the published quality
        rules were run with.)
        """
        starts, ends = characters.words(self.data, self.offsets, self.others)
        symbol = has(self.data, SPACE | WORD, self.others)
        np.logical_not(symbol, out=symbol)
        symbol &= (self.data & 0xC0) != 0x80
        edge = np.zeros(len(self.data) + 1, bool)
        edge[self.offsets] = True
        starts, ends = self._join(starts, ends, symbol, edge)
        self._absorb(starts, ends, symbol, edge)
        at = np.flatnonzero(symbol)
        byte = self.data[at]
        fresh = np.ones(len(at), bool)
        fresh[1:] = (at[1:] != at[:-1] + 1) | (byte[1:] != byte[:-1]) | ~_REPEATS[byte[1:]] | edge[at[1:]]
        run_ends = (at + _WIDTHS[byte])[np.append(fresh[1:], True)[: len(at)]]
        at = at[fresh]
        order = np.argsort(np.concatenate([starts, at]), kind="stable")
        starts = np.concatenate([starts, at])[order]
        ends = np.concatenate([ends, run_ends])[order]
        documents = np.repeat(np.arange(self.count), self.per_document(starts))
        return Spans(starts, ends, documents), order >= len(order) - len(at)

    def _join(
        self, starts: np.ndarray, ends: np.ndarray, symbol: np.ndarray, edge: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Join words over a symbol inside them; the symbols used up are cleared. ``edge`` marks where documents
        start."""
        data = self.data
        gap = starts[1:] - ends[:-1]
        sign = data[ends[:-1]].copy()
        one = gap == 1
        if len(self.others.at):  # an en dash and a typographic apostrophe are three bytes long
            three = np.flatnonzero(gap == 3)
            for char, plain in (("–", "="), ("’", "'")):
                same = three[_equal(data, ends[three], char.encode())]
                sign[same] = ord(plain)
                one[same] = True
        at = np.flatnonzero(one & symbol[ends[:-1]])
        at = at[~(edge[ends[at]] | edge[starts[at + 1]])]
        sign, left, right = sign[at], data[ends[at] - 1], data[starts[at + 1]]
        separates = (sign == ord(".")) & _LOWER[left] & _UPPER[right]
        separates |= (sign == ord(",")) & _ALPHA[left] & _ALPHA[right]
        separates |= _OPERATOR[sign] & _DIGIT[left] & _DIGIT[right]
        separates |= _DIVIDER[sign] & _ALPHA[right]
        contracted = (sign == ord("'")) & (ends[at + 1] - starts[at + 1] <= 2)
        separates &= ~self._in_url(starts, ends)[at]
        joined, attached = at[~separates & ~contracted], at[contracted]
        symbol[ends[attached]] = False
        starts[attached + 1] = ends[attached]

        # Several signs between two words without a space are part of a word, but for dots, dashes and a closing quote.
        several = np.flatnonzero((gap > 1) & (gap <= _MOST_SIGNS) & ~one)
        for step in (1, 0, *range(2, _MOST_SIGNS)):  # the second byte first: most often it is a space
            several = several[(gap[several] <= step) | symbol[np.minimum(ends[several] + step, len(data) - 1)]]
        first, second = data[ends[several]], data[ends[several] + 1]
        apart = (first == second) & ((first == ord(".")) | (first == ord("-")))
        apart |= (first == ord(".")) & ((second == ord('"')) | (second == ord("'")))
        documents_before = np.searchsorted(self.offsets, ends[several])
        apart |= documents_before != np.searchsorted(self.offsets, starts[several + 1], side="right")
        joined = np.concatenate([joined, several[~apart]])
        for step in range(_MOST_SIGNS):
            longer = joined[gap[joined] > step]
            symbol[ends[longer] + step] = False
        keep = np.ones(len(starts), bool)
        keep[joined + 1] = False
        keep_end = np.ones(len(ends), bool)
        keep_end[joined] = False
        return starts[keep], ends[keep_end]

    def _in_url(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Return which words end inside a URL: what follows a word and "://" at the beginning of a run without
        spaces."""
        slashes = np.flatnonzero(self.data[:-1] == ord("/"))
        slashes = slashes[(slashes > 0) & (self.data[slashes + 1] == ord("/"))]
        colons = slashes[self.data[slashes - 1] == ord(":")] - 1
        if not len(colons):
            return np.zeros(len(starts), bool)
        spaces = np.flatnonzero(has(self.data, SPACE, self.others))
        breaks = np.sort(np.concatenate([spaces, self.offsets[1:]]), kind="stable")
        begins = np.sort(np.concatenate([spaces + 1, self.offsets]), kind="stable")
        first = np.searchsorted(starts, begins[np.searchsorted(begins, colons, side="right") - 1])
        opening = ends[np.minimum(first, len(ends) - 1)] == colons
        colons = colons[opening]
        stops = breaks[np.searchsorted(breaks, colons)]
        last = np.searchsorted(colons, ends, side="right") - 1
        return (last >= 0) & (ends < stops[last]) if len(colons) else np.zeros(len(starts), bool)

    def _absorb(self, starts: np.ndarray, ends: np.ndarray, symbol: np.ndarray, edge: np.ndarray) -> None:
        """Extend words over the full stop of an abbreviation and over signs that stick to them ("-x", "/etc",
        "C++")."""
        data = self.data
        stopped = np.flatnonzero(ends < len(data))
        stopped = stopped[(data[ends[stopped]] == ord(".")) & symbol[ends[stopped]] & ~edge[ends[stopped]]]
        after = ends[stopped] + 1
        stopped = stopped[edge[after] | (data[np.minimum(after, len(data) - 1)] != ord("."))]
        before = ends[stopped] - 2
        single = ends[stopped] - starts[stopped] == 1
        initial = _ALPHA[data[ends[stopped] - 1]] & (single | ((before >= 0) & (data[before] == ord("."))))
        known = np.isin(hash_spans(data, starts[stopped], ends[stopped]), words.hashes("abbreviations", "en"))
        stopped = stopped[initial | known]
        symbol[ends[stopped]] = False
        ends[stopped] += 1
        near = np.arange(len(starts))
        for _ in range(3):
            near = near[starts[near] > 0]
            at = starts[near] - 1
            free = np.ones(len(near), bool)
            free[near > 0] = ends[near[near > 0] - 1] < at[near > 0]
            sticks = (free | edge[at]) & symbol[at] & _STICKS_BEFORE[data[at]] & ~edge[starts[near]]
            sticks &= (data[at] != ord(".")) | (at == 0) | (data[at - 1] != ord(".")) | edge[at]
            near = near[sticks]
            starts[near] -= 1
            symbol[starts[near]] = False
        near = np.arange(len(starts))
        for _ in range(3):
            near = near[ends[near] < len(data)]
            at = ends[near]
            free = np.append(starts[1:], len(data) + 1)[near] > at + 1
            sticks = (free | edge[at + 1]) & symbol[at] & _STICKS_AFTER[data[at]] & ~edge[at]
            sticks &= (data[at] != ord("+")) | ~_DIGIT[data[at - 1]]
            near = near[sticks]
            symbol[ends[near]] = False
            ends[near] += 1

    @cached_property
    def unit_hashes(self) -> np.ndarray:
        """A hash of each unit's bytes (uint64)."""
        units, _ = self.units
        return hash_spans(self.data, units.starts, units.ends)

    @cached_property
    def alphabetic(self) -> np.ndarray:
        """Which units hold a letter (bool)."""
        units, _ = self.units
        if not len(units):
            return np.empty(0, bool)
        letters = has(self.data, LETTER, self.others).view(np.uint8)
        return np.maximum.reduceat(letters, units.starts) > 0  # between two units there is only white space

    @cached_property
    def lines(self) -> Spans:
        """Lines, cut at line feeds (the last one of a document too, even where it is empty)."""
        feeds = np.flatnonzero(self.data == ord("\n"))
        # A document that ends where a line feed stands ends before it: the line feed is in the next one.
        cuts = np.sort(np.concatenate([self.offsets[1:] * 2, feeds * 2 + 1]), kind="stable")
        ends, feed = cuts >> 1, (cuts & 1).astype(bool)
        documents = np.cumsum(~feed) - ~feed
        starts = self.offsets[documents]
        after = np.flatnonzero(feed[:-1]) + 1
        starts[after] = ends[after - 1] + 1
        return Spans(starts, ends, documents)

    @cached_property
    def visible_lines(self) -> tuple[Spans, Spans]:
        """The lines with something visible: as they are, and without white space around."""
        lines = self.lines
        units, _ = self.units
        first = np.searchsorted(units.starts, lines.starts)
        last = np.searchsorted(units.starts, lines.ends)
        seen = np.flatnonzero(first < last)
        trimmed = Spans(units.starts[first[seen]], units.ends[last[seen] - 1], lines.documents[seen])
        return lines.take(seen), trimmed

    @cached_property
    def paragraphs(self) -> Spans:
        """Paragraphs: lines that no empty line separates."""
        filled = self.lines.take(np.flatnonzero(self.lines.ends > self.lines.starts))
        fresh = np.ones(len(filled), bool)
        fresh[1:] = (filled.starts[1:] > filled.ends[:-1] + 1) | (filled.documents[1:] != filled.documents[:-1])
        first = np.flatnonzero(fresh)
        last = np.append(first[1:], len(filled))[: len(first)] - 1
        return Spans(filled.starts[first], filled.ends[last], filled.documents[first])

    @cached_property
    def _endings(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where words start, their documents, and the sentence-ending symbols seen before each."""
        units, symbol = self.units
        single = symbol & (units.ends - units.starts == 1)
        ending = single & is_terminal(self.data[units.starts])
        if len(self.others.at):
            wide = np.flatnonzero(symbol & (self.data[units.starts] >= 0xC0))
            points = self.others.point[np.searchsorted(self.others.at, units.starts[wide])]
            ending[wide] = is_terminal(points)
        word = ~symbol
        return units.starts[word], units.documents[word], np.cumsum(ending)[word]

    def sentences(self, spans: Spans) -> np.ndarray:
        """Return the number of sentences in disjoint byte ranges: a word after a sentence-ending symbol starts one.

        A range with something in it has at least one.
        """
        starts, _, seen = self._endings
        fresh = np.zeros(len(starts) + 1, np.int64)
        np.cumsum(np.append(False, seen[1:] > seen[:-1])[: len(starts)], out=fresh[1:])
        first = np.searchsorted(starts, spans.starts)
        last = np.searchsorted(starts, spans.ends)
        # The first word of a range starts a sentence whatever came before it.
        inside = fresh[last] - fresh[np.minimum(first + 1, len(starts))]
        return np.where(first < last, inside + 1, spans.ends > spans.starts)

    def starts_with(self, spans: Spans, prefix: str) -> np.ndarray:
        """Return which byte ranges start with this."""
        value = prefix.encode()
        return (spans.ends - spans.starts >= len(value)) & _equal(self.data, spans.starts, value)

    def ends_with(self, spans: Spans, suffix: str) -> np.ndarray:
        """Return which byte ranges end with this."""
        value = suffix.encode()
        return (spans.ends - spans.starts >= len(value)) & _equal(self.data, spans.ends - len(value), value)

    def last_points(self, spans: Spans) -> np.ndarray:
        """Return the last code point of each (non-empty) byte range."""
        points = self.data[spans.ends - 1].astype(np.uint32)
        wide = np.flatnonzero(points >= 128)
        points[wide] = self.others.point[np.searchsorted(self.others.at, spans.ends[wide]) - 1]
        return points
