"""Hashes of many spans of one byte array at once.

With c_i the code of byte i and S the prefix sums of c_i * B^i modulo 2^64, the polynomial hash of the bytes [s, e) is
(S[e] - S[s]) * B^-s (Karp and Rabin, 1987): a few passes over the bytes, whatever the number of spans.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

BLOCK = 1 << 15
"""Bytes hashed at once: the arrays of a block (8 bytes a position) stay in the processor's cache."""

_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 1 << 64)


def mix(values: np.ndarray) -> np.ndarray:
    """Return the MurmurHash3 64-bit finaliser (a bijection) of uint64 values."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> np.uint64(33)
    return values


BYTE_CODES = mix(np.arange(1, 257, dtype=np.uint64))
"""A code for each byte value (uint64)."""


def hash_spans(
    data: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    codes: np.ndarray = BYTE_CODES,
    patch: Callable[[np.ndarray, int, int], None] | None = None,
) -> np.ndarray:
    """Return a uint64 hash of each span [start, end) of ``data`` (uint8); the spans are disjoint and in order.

    ``codes`` gives each byte value its code (a code of 0 leaves the byte out). ``patch(values, low, high)`` may
    replace the codes of the bytes [low, high) in place.
    """
    hashes = np.empty(len(starts), np.uint64)
    # Blocks are cut between spans, so that a span of any length is hashed in one piece.
    cuts = np.unique(np.searchsorted(starts, np.arange(0, len(data) + BLOCK, BLOCK)))
    for first, last in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        low, high = int(starts[first]), int(ends[last - 1])
        sums = np.empty(high - low + 1, np.uint64)
        sums[0] = 0
        values = sums[1:]
        np.take(codes, data[low:high], out=values, mode="clip")
        if patch is not None:
            patch(values, low, high)
        values *= _powers(high - low)
        np.cumsum(values, out=values)
        at = starts[first:last] - low
        spans = sums[ends[first:last] - low]
        spans -= sums[at]
        spans *= _inverse_powers(at)
        hashes[first:last] = mix(spans)
    return hashes


def _powers(length: int) -> np.ndarray:
    """Return B^0 .. B^(length - 1), from a table unless a span is longer than usual."""
    usual = _usual_powers()
    return usual[:length] if length <= len(usual) else _progression(_BASE, length)


@lru_cache(maxsize=1)
def _usual_powers() -> np.ndarray:
    return _progression(_BASE, 2 * BLOCK)


def _progression(base: int, length: int) -> np.ndarray:
    """Return base^0 .. base^(length - 1) modulo 2^64."""
    powers = np.full(length, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, out=powers)


@lru_cache(maxsize=1)
def _inverse_tables() -> tuple[np.ndarray, np.ndarray]:
    return _progression(_INVERSE, BLOCK), _progression(pow(_INVERSE, BLOCK, 1 << 64), BLOCK)


def _inverse_powers(at: np.ndarray) -> np.ndarray:
    """Return B^-at, from two small tables (positions in a block are below BLOCK^2, one gigabyte)."""
    fine, coarse = _inverse_tables()
    powers = fine[at % BLOCK]
    if len(at) and at[-1] >= BLOCK:
        powers *= coarse[at // BLOCK]
    return powers
