"""An interpolated Kneser-Ney trigram model of the tokens: what counting alone reaches, beside the trained models.

Kneser and Ney, 1995, in the interpolated form of Chen and Goodman, 1999, with one discount an order, n1 / (n1 + 2 n2).
Counts are sorted arrays of keys, looked up by bisection: no loop over tokens.
"""

from __future__ import annotations

import numpy as np

from pipeline.shards.read import Shards

MOST = 1 << 24  # tokens counted at most: the first of the split, which is in random order of documents


class _Order:
    """Counts of n-grams by key, ``context * vocabulary + token``, with their discount."""

    def __init__(self, keys: np.ndarray, counts: np.ndarray, vocabulary: int):
        self.vocabulary, self.keys, self.counts = vocabulary, keys, counts
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        self.discount = once / (once + 2 * twice) if once else 0.5
        self.contexts, first = np.unique(keys // vocabulary, return_index=True)
        self.kinds = np.diff(np.append(first, len(keys)))  # different tokens after each context
        self.totals = np.add.reduceat(counts, first) if len(counts) else counts

    def probability(self, keys: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """P(token | context) of each key, given that of the shorter context; where a context is new, that itself."""
        count = _look_up(self.keys, self.counts, keys)
        total = _look_up(self.contexts, self.totals, keys // self.vocabulary)
        kinds = _look_up(self.contexts, self.kinds, keys // self.vocabulary)
        seen = total > 0
        known = np.maximum(count - self.discount, 0) + self.discount * kinds * lower
        return np.where(seen, known / np.where(seen, total, 1), lower)


class Trigrams:
    """P(token | the two before it), from the first `MOST` tokens of the training split; unigrams count all of it."""

    def __init__(self, training: Shards):
        self.vocabulary = v = training.vocab_size
        counted = training.read(0, min(training.n_tokens, MOST)).astype(np.int64)
        keys = _keys(counted, training.special_ids["eos"], v)
        self.trigrams = _Order(*np.unique(keys, return_counts=True), v)
        # A bigram counts once for each token that came before it, a token once for each bigram it ends.
        self.bigrams = _Order(*np.unique(self.trigrams.keys % v**2, return_counts=True), v)
        ended = np.bincount(self.bigrams.keys % v, minlength=v) + 1.0
        self.unigrams = ended / ended.sum()

    def probability(self, keys: np.ndarray) -> np.ndarray:
        """Of each key, ``(first * vocabulary + second) * vocabulary + third``, the probability of the third token."""
        v = self.vocabulary
        return self.trigrams.probability(keys, self.bigrams.probability(keys % v**2, self.unigrams[keys % v]))


def nats(training: Shards, validation: Shards) -> float:
    """Summed nats of all tokens of ``validation`` under the trigrams of ``training``; an eos stands before both."""
    tokens = validation.read(0, validation.n_tokens).astype(np.int64)
    keys = _keys(tokens, training.special_ids["eos"], training.vocab_size)
    return float(-np.log(Trigrams(training).probability(keys)).sum())


def _keys(tokens: np.ndarray, eos: int, vocabulary: int) -> np.ndarray:
    """One number for each token with the two before it."""
    padded = np.concatenate(([eos, eos], tokens))
    return (padded[:-2] * vocabulary + padded[1:-1]) * vocabulary + padded[2:]


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted key, 0 for keys that are not there."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
