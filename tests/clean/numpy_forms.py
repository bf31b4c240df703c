"""The numpy form of the compiled word finder: many passes over all bytes at once, so written quite differently."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.clean import characters, words
from pipeline.clean.characters import LETTER, SPACE, WORD, has
from pipeline.clean.hashing import hash_spans


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


class NumpySegments:
    def __init__(self, texts: pa.Array):
        self.data, self.offsets = characters.flat(texts)
        self.others = characters.wide(self.data)

    def units(self) -> tuple[np.ndarray, ...]:
        """What `kernels.units` returns."""
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
        symbols = order >= len(order) - len(at)
        hashes = hash_spans(self.data, starts, ends)
        after = np.concatenate(([0], np.cumsum((self.data & 0xC0) != 0x80)))
        letters = np.zeros(0, bool)
        if len(starts):
            letters = np.maximum.reduceat(has(self.data, LETTER, self.others).view(np.uint8), starts) > 0
        return (
            np.searchsorted(starts, self.offsets),
            starts,
            ends,
            symbols,
            hashes,
            after[ends] - after[starts],
            letters,
        )

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
        if not len(colons) or not len(ends):
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
