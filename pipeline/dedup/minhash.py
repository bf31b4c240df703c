"""MinHash signatures of an Arrow batch, equal to datasketch's, and the band hashes that LSH groups by.

The permutations are those of datasketch 2.0's scheme "affine32" (h -> a * h + b modulo 2^32 with odd a, after the
32-bit MurmurHash3 finaliser) on the low 32 bits of the shingle hashes: signatures can be read as
`datasketch.MinHash(hashvalues=..., scheme="affine32")`. It is the scheme that needs half the memory traffic of the two
others, and the default there.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.clean.characters import UNICODE, flat
from pipeline.clean.hashing import mix
from pipeline.dedup.shingles import Normalisation, shingle_sets, shingles

SCHEME = "affine32"
EMPTY = np.uint32(0xFFFFFFFF)
"""What every value of a signature without shingles is (as in datasketch)."""

NO_BAND = np.uint64(0)
"""The band hash of a document without a signature: it is in no bucket."""

BLOCK = 1 << 15
"""Shingles permuted at once, so that the working array stays in the processor's cache."""


@dataclass(frozen=True)
class MinHashParams:
    """What a signature depends on: shingles (``ngram``, ``unit``, and what `Normalisation` folds), ``bands`` x
    ``rows`` permutations drawn from ``seed``.

    Two documents of Jaccard similarity s share at least one band with probability 1 - (1 - s^rows)^bands
    (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3).
    """

    ngram: int = 5
    unit: str = "word"
    bands: int = 14
    rows: int = 8
    seed: int = 1
    fold_case: bool = True
    fold_digits: bool = False
    scheme: str = SCHEME

    def __post_init__(self) -> None:
        for name in ("ngram", "bands", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.unit not in ("word", "char"):
            raise ValueError(f'unit must be "word" or "char", not {self.unit!r}')
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in 0..2^32-1, not {self.seed}")
        if self.scheme != SCHEME:
            raise ValueError(f'scheme must be "{SCHEME}", not {self.scheme!r}')

    @property
    def permutations(self) -> int:
        """Number of values of a signature."""
        return self.bands * self.rows

    @property
    def normalisation(self) -> Normalisation:
        """What makes two words equal."""
        return Normalisation(self.fold_case, self.fold_digits)

    def stamp(self) -> dict[str, int | str | bool]:
        """Return everything that signatures must share to be compared, for the metadata of what is stored."""
        return {**asdict(self), "normalisation": "nfkc-1", "unicode": UNICODE}

    def probability(self, jaccard: np.ndarray | float) -> np.ndarray:
        """Return the probability that two documents of this similarity become candidates (float64)."""
        return 1 - (1 - np.asarray(jaccard, np.float64) ** self.rows) ** self.bands

    def estimate(self, shared: np.ndarray | int) -> np.ndarray:
        """Return the most likely Jaccard similarity of two documents that share so many bands (float64, six decimals).

        A band is shared with probability s^rows, so it is (shared / bands)^(1 / rows): with 14 x 8, near s = 0.8, of a
        standard deviation of 0.06. Rounded, for numpy's power has other last bits on other processors.
        """
        return np.round((np.asarray(shared, np.float64) / self.bands) ** (1 / self.rows), 6)

    def curve(self) -> list[tuple[float, float]]:
        """Return (similarity, probability) from 0 to 1 by 0.05, to print or plot."""
        similarity = np.arange(21) / 20
        return list(zip(similarity.tolist(), self.probability(similarity).tolist(), strict=True))

    @classmethod
    def for_threshold(cls, threshold: float, permutations: int = 112, **others: Any) -> MinHashParams:
        """Return the bands and rows, of at most so many permutations, that separate best at a similarity.

        Best is the smallest sum of false positives (area under the probability below the threshold) and false negatives
        (area above it), as datasketch chooses them.
        """
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be between 0 and 1, not {threshold}")
        grid = (np.arange(1000) + 0.5) / 1000
        candidates = [
            cls(bands=bands, rows=rows, **others)
            for rows in range(1, permutations + 1)
            for bands in range(1, permutations // rows + 1)
        ]

        def error(params: MinHashParams) -> float:
            probability = params.probability(grid)
            return float(probability[grid < threshold].sum() + (1 - probability[grid >= threshold]).sum())

        return min(candidates, key=error)


PRESETS = {
    "fineweb": MinHashParams(ngram=5, bands=14, rows=8),
    "redpajama": MinHashParams(ngram=13, bands=9, rows=13),
    "curator": MinHashParams(ngram=24, unit="char", bands=20, rows=13),
}
"""Named parameters: FineWeb (arXiv 2406.17557), RedPajama-V2's 0.8 setting, NeMo Curator's default."""


def signatures(texts: pa.Array, params: MinHashParams) -> np.ndarray:
    """Return the MinHash signatures of a string array: uint32, documents x permutations.

    A document with fewer than ``ngram`` units has none: its row is `EMPTY` throughout.
    """
    hashes, offsets = shingles(texts, params.ngram, params.unit, params.normalisation)
    return minima(hashes, offsets, params)


def minima(hashes: np.ndarray, offsets: np.ndarray, params: MinHashParams) -> np.ndarray:
    """Return the signatures of sets of shingle hashes (uint64 or uint32, flat, with their offsets; of uint64 the low
    half counts)."""
    a, b = _permutations(params.permutations, params.seed)
    found = np.full((params.permutations, len(offsets) - 1), EMPTY, np.uint32)
    filled = np.flatnonzero(np.diff(offsets))
    # Documents that have shingles follow each other without a gap, so a start is also the end of the one before.
    starts = offsets[filled]
    cuts = np.unique(np.searchsorted(starts, np.arange(0, len(hashes) + BLOCK, BLOCK)))
    for first, last in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        low = int(starts[first])
        high = int(starts[last]) if last < len(starts) else len(hashes)
        block = _mix32(hashes[low:high].astype(np.uint32))
        buffer = np.empty_like(block)
        at = starts[first:last] - low
        for row in range(params.permutations):
            np.multiply(block, a[row], out=buffer)
            np.add(buffer, b[row], out=buffer)
            found[row, filled[first:last]] = np.minimum.reduceat(buffer, at)
    return np.ascontiguousarray(found.T)


def signed(signatures: np.ndarray) -> np.ndarray:
    """Return which documents have a signature (bool)."""
    return (signatures != EMPTY).any(axis=1)


def band_hashes(signatures: np.ndarray, params: MinHashParams) -> np.ndarray:
    """Return one hash per band (uint64, documents x bands), `NO_BAND` for documents without a signature.

    Two documents share a band's hash when they share its ``rows`` values (or by chance, with probability 2^-64).
    """
    if signatures.ndim != 2 or signatures.shape[1] != params.permutations:
        raise ValueError(f"signatures of shape {signatures.shape} do not have {params.permutations} permutations")
    rows = signatures.reshape(len(signatures), params.bands, params.rows)
    hashes = np.zeros((len(signatures), params.bands), np.uint64)
    for row in range(params.rows):
        hashes = mix(hashes + rows[:, :, row] + np.uint64(0x9E3779B97F4A7C15))
    hashes[hashes == NO_BAND] = 1
    hashes[~signed(signatures)] = NO_BAND
    return hashes


def text_hashes(texts: pa.Array) -> np.ndarray:
    """Return the BLAKE2b-128 of each text after NFC and with white space runs as one space: uint8, documents x 16.

    Exact means exact: case and punctuation count, line breaks and indentation do not. An empty text has a hash too.
    """
    data, offsets = flat(texts)
    whole = data.tobytes()
    bounds = offsets.tolist()
    digests = []
    for start, stop in pairwise(bounds):
        text = unicodedata.normalize("NFC", whole[start:stop].decode())
        digests.append(hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest())
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), 16)


def jaccard(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the Jaccard similarity of documents row by row (float64), estimated from their signatures."""
    return (left == right).mean(axis=-1)


def similarity(left: pa.Array, right: pa.Array, params: MinHashParams) -> np.ndarray:
    """Return the exact Jaccard similarity of the shingle sets of two aligned string arrays (float64; NaN where both
    are empty)."""
    if len(left) != len(right):
        raise ValueError(f"{len(left)} texts cannot be compared with {len(right)}, one by one")
    texts = pa.concat_arrays([part.cast(pa.large_string()) for part in (left, right)])
    return similarities(*sets_of(texts, params), np.arange(len(texts)).reshape(2, -1).T)


def sets_of(texts: pa.Array, params: MinHashParams) -> tuple[np.ndarray, np.ndarray]:
    """Return the shingle set of each text, as `shingle_sets` does."""
    return shingle_sets(*shingles(texts, params.ngram, params.unit, params.normalisation))


def similarities(sets: np.ndarray, offsets: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the Jaccard similarity of pairs (int64, pairs x 2: indices) of the sets that `shingle_sets` gives
    (float64; NaN where both are empty)."""
    found = np.full(len(pairs), np.nan)
    bounds = offsets.tolist()
    for place, (a, b) in enumerate(pairs.tolist()):
        one, two = sets[bounds[a] : bounds[a + 1]], sets[bounds[b] : bounds[b + 1]]
        if len(one) or len(two):
            both = np.concatenate((one, two))
            both.sort(kind="stable")  # two runs in order: merged in one pass
            common = np.count_nonzero(both[1:] == both[:-1])
            found[place] = common / (len(both) - common)
    return found


def _mix32(values: np.ndarray) -> np.ndarray:
    """The MurmurHash3 32-bit finaliser, in place."""
    values ^= values >> np.uint32(16)
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    values ^= values >> np.uint32(16)
    return values


@lru_cache(maxsize=8)
def _permutations(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The coefficients datasketch draws for this many permutations and seed (a test holds them equal)."""
    draw = np.random.RandomState(seed)
    a = draw.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return a, draw.randint(0, 1 << 32, count, dtype=np.uint32)
