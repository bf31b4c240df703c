"""Word and character n-grams of a whole Arrow batch as 64-bit hashes, without a Python step per word.

**Normalisation.** Unicode NFKC, then one-to-one case folding; a word is a run of letters, marks and digits, and
everything else (punctuation, symbols, white space) only separates words. In scripts written without spaces
(`pipeline.clean.characters.UNSPACED`: Han, Kana, Thai, Lao, Khmer, Myanmar...) every code point is a word. Case may
stay, and all digits may count as one; by default digits count, since pages of dates, scores and prices differ in
nothing else.

**Hashing.** A word hash is that of its folded code points (`pipeline.clean.hashing`); a shingle hash is the finalised
polynomial of its word hashes.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pyarrow as pa

from pipeline.clean import characters
from pipeline.clean.characters import LIMIT, UNSTABLE, WORD, Wide
from pipeline.clean.hashing import hash_spans, mix

_WORD_BASE = np.uint64(0xD1B54A32D192ED03)


@dataclass(frozen=True)
class Normalisation:
    """What makes two words equal, beside NFKC: ``fold_case``, and ``fold_digits`` (every decimal digit counts as 0)."""

    fold_case: bool = True
    fold_digits: bool = False


DEFAULT = Normalisation()


def word_hashes(texts: pa.Array, normalisation: Normalisation = DEFAULT) -> tuple[np.ndarray, np.ndarray]:
    """Return the hash of every normalised word (uint64, flat) and the document offsets into it (int64, documents +
    1)."""
    data, offsets, others = _stable(texts)
    starts, ends = characters.words(data, offsets, others)

    def fold_wide(values: np.ndarray, low: int, high: int) -> None:
        part = slice(*np.searchsorted(others.at, (low, high)).tolist())
        values[others.at[part] - low] = _codes_of(others.point[part], normalisation)

    patch = fold_wide if len(others.at) else None
    return hash_spans(data, starts, ends, _ascii_codes(normalisation), patch), np.searchsorted(starts, offsets)


def shingles(
    texts: pa.Array, n: int, unit: str = "word", normalisation: Normalisation = DEFAULT
) -> tuple[np.ndarray, np.ndarray]:
    """Return the hash of every n-gram in text order (uint64, flat) and the document offsets into it (int64, documents
    + 1).

    ``unit`` is "word" or "char" (characters of the normalised text, its words joined by one space). A document with
    fewer than n units has no shingle. Repeated n-grams are repeated here: a set is the caller's affair.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    if unit == "word":
        units, offsets = word_hashes(texts, normalisation)
    elif unit == "char":
        units, offsets = _characters(texts, normalisation)
    else:
        raise ValueError(f'unit must be "word" or "char", not {unit!r}')
    return _grams(units, offsets, n)


def _grams(units: np.ndarray, offsets: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    counts = np.maximum(np.diff(offsets) - (n - 1), 0)
    starts = np.concatenate(([0], np.cumsum(counts)))
    if not starts[-1]:
        return np.empty(0, np.uint64), starts
    size = len(units) - n + 1
    grams = units[:size].copy()
    for step in range(1, n):
        grams *= _WORD_BASE
        grams += units[step : step + size]
    if n > 1:
        # The last n - 1 positions of a document reach into the next one (and in a shorter document, all of them).
        inside = np.ones(size, bool)
        crossing = (offsets[1:, None] - np.arange(1, n)).ravel()
        inside[crossing[(crossing >= 0) & (crossing < size)]] = False
        grams = grams[inside]
        grams = mix(grams)
    return grams, starts


def _stable(texts: pa.Array) -> tuple[np.ndarray, np.ndarray, Wide]:
    """Return bytes, offsets and wide code points of the texts; the documents that NFKC changes are normalised."""
    data, offsets = characters.flat(texts)
    others = characters.wide(data)
    unstable = others.at[(characters.flags_of(others.point) & UNSTABLE) > 0]
    if not len(unstable):
        return data, offsets, others
    pieces: list[bytes] = []
    lengths = np.diff(offsets)
    done = 0
    for document in np.unique(np.searchsorted(offsets, unstable, side="right") - 1).tolist():
        start, stop = offsets[document : document + 2].tolist()
        text = data[start:stop].tobytes().decode()
        if not unicodedata.is_normalized("NFKC", text):
            normal = unicodedata.normalize("NFKC", text).encode()
            pieces += [data[done:start].tobytes(), normal]
            lengths[document] = len(normal)
            done = stop
    if not pieces:
        return data, offsets, others
    data = np.frombuffer(b"".join([*pieces, data[done:].tobytes()]), np.uint8)
    return data, np.concatenate(([0], np.cumsum(lengths))), characters.wide(data)


def _characters(texts: pa.Array, normalisation: Normalisation) -> tuple[np.ndarray, np.ndarray]:
    """Return the mixed code of every character of the normalised texts, and the document offsets."""
    data, offsets, others = _stable(texts)
    starts, ends = characters.words(data, offsets, others)
    document = np.searchsorted(offsets, starts, side="right")
    followed = np.flatnonzero((document[1:] == document[:-1]) & (ends[:-1] < starts[1:]))
    keep = characters.has(data, WORD, others) & (data & 0xC0 != 0x80)
    ascii_codes = _ascii_codes(normalisation)
    codes = np.take(ascii_codes, data)
    codes[others.at] = _codes_of(others.point, normalisation)
    keep[ends[followed]] = True  # the first byte after a word stands for all that separates it from the next
    codes[ends[followed]] = ascii_codes[ord(" ")]
    at = np.flatnonzero(keep)
    return codes[at], np.searchsorted(at, offsets)


@lru_cache(maxsize=4)
def _ascii_codes(normalisation: Normalisation) -> np.ndarray:
    """Mixed folded code of each ASCII byte (uint64), 0 for the bytes of wide code points."""
    codes = np.zeros(256, np.uint64)
    codes[:128] = _codes_of(np.arange(128), normalisation)
    return codes


def _codes_of(points: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    table = _folded(normalisation)
    folded = np.where(points < LIMIT, table[np.minimum(points, LIMIT - 1)], points)
    return mix(folded.astype(np.uint64) + np.uint64(1))


@lru_cache(maxsize=4)
def _folded(normalisation: Normalisation) -> np.ndarray:
    """What each code point below `LIMIT` counts as (uint32)."""
    table = characters.properties().fold.copy() if normalisation.fold_case else np.arange(LIMIT, dtype=np.uint32)
    if normalisation.fold_digits:
        table[[point for point in range(LIMIT) if unicodedata.category(chr(point)) == "Nd"]] = ord("0")
    return table


def shingle_sets(hashes: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each document's shingle hashes once, ascending (uint64, flat), and the document offsets into them."""
    ascending = (np.sort(hashes[start:stop]) for start, stop in pairwise(offsets.tolist()))  # np.unique is slower
    sets = [members[np.insert(members[1:] != members[:-1], 0, True)[: len(members)]] for members in ascending]
    sizes = [len(members) for members in sets]
    return np.concatenate([np.empty(0, np.uint64), *sets]), np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
