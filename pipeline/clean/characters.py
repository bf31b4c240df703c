"""Text of a whole batch as one UTF-8 byte array, and what Unicode says of each code point.

Everything that counts or hashes text works on the concatenated buffer of an Arrow string array: a byte below 128 is its
own code point, and the others are decoded here, all at once, with the byte position of each.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

UNICODE = unicodedata.unidata_version
"""The Unicode version of the tables: part of what a signature depends on."""

LIMIT = 0x32400
"""Code points from here on (unassigned, tags, variation selectors, private use) have no properties: neither letter nor
digit."""

UNSPACED = (
    (0x0E01, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x2E80, 0x2FDF),  # Han radicals
    (0x3005, 0x3007),  # Han iteration mark, closing mark, zero
    (0x3021, 0x312F),  # Hangzhou numerals, Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31FF),  # Bopomofo and Katakana extensions
    (0x3400, 0x4DBF),  # Han extension A
    (0x4E00, 0x9FFF),  # Han
    (0xA9E0, 0xA9FF),  # Myanmar extended
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),  # Han compatibility
    (0xFF66, 0xFF9F),  # half-width Katakana
    (0x1AFF0, 0x1B16F),  # Kana extensions
    (0x20000, 0x323AF),  # Han extensions B to H
)
"""Scripts written without spaces between words (inclusive code point ranges): each code point acts as a word."""

WORD, ALONE, UNSTABLE, LETTER, SPACE = 1, 2, 4, 8, 16
"""Flags of `Properties.flags`: letter, mark or number (a word is made of these); word by itself (`UNSPACED`); text
with it must go through NFKC first; letter (str.isalpha); white space (str.isspace)."""


class Properties(NamedTuple):
    """Per code point below `LIMIT`: ``fold`` (uint32, the case-folded code point) and ``flags`` (uint8)."""

    fold: np.ndarray
    flags: np.ndarray


@lru_cache(maxsize=1)
def properties() -> Properties:
    """Tables from Python's own Unicode data, built on first use (some 0.2 s).

    Folding is one to one and keeps the number of UTF-8 bytes, so that it can be done in place: the few code points
    whose case folding is longer ("ß") or has another width (U+023A) stay as they are.
    """
    fold = np.arange(LIMIT, dtype=np.uint32)
    flags = np.zeros(LIMIT, dtype=np.uint8)
    # Ideographs and Hangul syllables are letters that no folding or normalisation changes.
    plain = [
        (0x3400, 0x4DBF),
        (0x4E00, 0x9FFF),
        (0xAC00, 0xD7A3),
        (0x20000, 0x2A6DF),
        (0x2A700, 0x2EE5D),
        (0x30000, 0x323AF),
    ]
    skip: set[int] = set()
    for first, last in plain:
        flags[first : last + 1] = WORD | LETTER
        skip.update(range(first, last + 1))
    for point in range(LIMIT):
        if point in skip or 0xD800 <= point <= 0xF8FF:
            continue
        char = chr(point)
        category = unicodedata.category(char)
        if category == "Cn":
            continue
        flag = LETTER if char.isalpha() else 0
        if char.isspace():
            flag |= SPACE
        word = category[0] in "LMN"
        if word:
            flag |= WORD
            folded = char.casefold()
            if len(folded) == 1 and len(folded.encode()) == len(char.encode()):
                fold[point] = ord(folded)
        if point >= 0x80:
            compatible = unicodedata.normalize("NFKC", char)
            changes = compatible != char and (word or any(unicodedata.category(c)[0] in "LMN" for c in compatible))
            # Marks may be reordered or composed with what stands before them, conjoining jamo too.
            if changes or unicodedata.combining(char) or 0x1160 <= point <= 0x11FF:
                flag |= UNSTABLE
        flags[point] = flag
    for first, last in UNSPACED:
        span = flags[first : last + 1]
        span[(span & WORD) > 0] |= ALONE
    fold.setflags(write=False)
    flags.setflags(write=False)
    return Properties(fold, flags)


def flat(texts: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the UTF-8 bytes (uint8) and the document offsets (int64, documents + 1, from 0) of a string array,
    without a copy.

    A null is an empty text. Raises TypeError for anything but (large) strings.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if pa.types.is_string(texts.type):
        width: type = np.int32
    elif pa.types.is_large_string(texts.type):
        width = np.int64
    else:
        raise TypeError(f"texts must be an Arrow string array, not {texts.type}")
    if texts.null_count:
        texts = texts.fill_null("")
    if not len(texts):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    _, starts, data = texts.buffers()
    offsets = np.frombuffer(starts, dtype=width)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    whole = np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, np.uint8)
    return whole[offsets[0] : offsets[-1]], offsets - offsets[0]


class Wide(NamedTuple):
    """The code points of two and more bytes: byte position of the first (int64), code point (uint32), number of bytes
    (uint8)."""

    at: np.ndarray
    point: np.ndarray
    width: np.ndarray


def wide(data: np.ndarray) -> Wide:
    """Decode the code points above 127 of valid UTF-8 (Arrow strings are)."""
    at = np.flatnonzero(data >= 0xC0)
    lead = data[at]
    width = np.full(len(at), 2, np.uint8)
    width[lead >= 0xE0] = 3
    width[lead >= 0xF0] = 4
    point = (lead & np.array([0, 0, 0x1F, 0x0F, 0x07], np.uint8)[width]).astype(np.uint32)
    for byte in (1, 2, 3):
        more = slice(None) if byte == 1 else np.flatnonzero(width > byte)
        point[more] = point[more] << np.uint32(6) | (data[at[more] + byte] & np.uint8(0x3F))
    return Wide(at, point, width)


@lru_cache(maxsize=8)
def ascii_bytes(flag: int) -> bytes:
    """A table for bytes.translate: 1 where the ASCII character has the flag, 0 elsewhere."""
    row = np.zeros(256, np.uint8)
    row[:128] = (_ascii_flags() & flag) > 0
    return row.tobytes()


@lru_cache(maxsize=1)
def _ascii_flags() -> np.ndarray:
    """Flags of the first 128 code points, without building the large table (texts in ASCII never need it)."""
    flags = np.zeros(128, np.uint8)
    for point in range(128):
        char = chr(point)
        flags[point] = (
            (WORD if char.isalnum() else 0) | (LETTER if char.isalpha() else 0) | (SPACE if char.isspace() else 0)
        )
    return flags


def has(data: np.ndarray, flag: int, others: Wide) -> np.ndarray:
    """Return per byte whether its code point has one of the flags (bool)."""
    found = np.frombuffer(bytearray(data.tobytes().translate(ascii_bytes(flag))), dtype=bool)
    if len(others.at):
        paint(found, others, flags_of(others.point) & np.uint8(flag) > 0)
    return found


def paint(row: np.ndarray, others: Wide, values: np.ndarray) -> None:
    """Give every byte of each wide code point its value."""
    row[others.at] = values
    row[others.at + 1] = values
    for byte in (2, 3):
        longer = np.flatnonzero(others.width > byte)
        row[others.at[longer] + byte] = values[longer]


def flags_of(points: np.ndarray) -> np.ndarray:
    """Return the flags (uint8) of code points, 0 for those from `LIMIT` on."""
    flags = properties().flags
    found = flags[np.minimum(points, LIMIT - 1)]
    found[points >= LIMIT] = 0
    return found


def words(data: np.ndarray, offsets: np.ndarray, others: Wide) -> tuple[np.ndarray, np.ndarray]:
    """Return the byte positions where words start and end (exclusive), in order; a word never goes on into the next
    document."""
    inside = has(data, WORD, others)
    starts = inside.copy()
    starts[1:] &= ~inside[:-1]
    ends = inside.copy()
    ends[:-1] &= ~inside[1:]
    first = offsets[:-1][offsets[:-1] < offsets[1:]]
    starts[first] = inside[first]
    last = offsets[1:][offsets[:-1] < offsets[1:]] - 1
    ends[last] = inside[last]
    if len(others.at):
        alone = np.flatnonzero(flags_of(others.point) & ALONE)
        before, after = others.at[alone], others.at[alone] + others.width[alone]
        starts[before] = True
        ends[after - 1] = True
        after = after[after < len(data)]
        starts[after] = inside[after]
        before = before[before > 0]
        ends[before - 1] = inside[before - 1]
    return np.flatnonzero(starts), np.flatnonzero(ends) + 1
