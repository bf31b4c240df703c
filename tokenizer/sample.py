"""Choose the documents that a tokenizer is trained on: bounded in size, balanced by language, the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.errors import UsageError

_FULL = 0.99  # a group counts as full from here on: what is left is not worth looking for a document that fits


def choose(
    ids: np.ndarray,
    n_bytes: np.ndarray,
    groups: np.ndarray,
    target_bytes: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    weights: Mapping[str, float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose documents of at most ``target_bytes`` in all.

    ``ids``: uint8 (documents, 16); ``n_bytes``: UTF-8 bytes of each text; ``groups``: a label of each document, such as
    its language. A group gets a share of the target in proportion to ``weight * bytes ** (1 / temperature)`` (weight 1
    unless given; the sampling of Conneau et al. 2020, arXiv:1911.02116); what a group cannot fill goes to the others.
    Within a group documents come in the order of a keyed hash of their ids, and one that no longer fits is passed over.

    Returns the mask (bool, documents) and the order: the row numbers of the chosen documents by hash, over all groups.
    Both are a function of the set of (id, size, group) alone: the order of the rows has no say. Raises UsageError for a
    weight that is negative or names no group.
    """
    ids = np.ascontiguousarray(ids, dtype=np.uint8).reshape(-1, 16)
    n_bytes = np.asarray(n_bytes, dtype=np.int64)
    names, group = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    weights = weights or {}
    for name, weight in weights.items():
        if weight < 0:
            raise UsageError(f"tokenizer.weights: {name} = {weight} is negative")
        if name not in names:
            raise UsageError(
                f"tokenizer.weights: no document is of {name!r}; there are {', '.join(names)}",
                mend=f"leave {name} out of tokenizer.weights; what is committed stays",
            )
    available = np.bincount(group, weights=n_bytes, minlength=len(names)).astype(np.int64)
    # by Python's power: numpy's has other last bits on other processors
    wanted = np.array(
        [weights.get(str(name), 1.0) * float(n) ** (1 / temperature) for name, n in zip(names, available, strict=True)]
    )
    quotas = _shares(wanted, available, target_bytes)
    words = ids.view("<u8")
    order = np.lexsort((words[:, 1], words[:, 0], _hash(words, seed)))
    mask = np.zeros(len(ids), dtype=bool)
    by_group = order[np.argsort(group[order], kind="stable")]
    edges = np.searchsorted(group[by_group], np.arange(len(names) + 1))
    for start, stop, quota in zip(edges[:-1], edges[1:], quotas, strict=True):
        rows = by_group[start:stop]
        mask[rows[_fit(n_bytes[rows], int(quota))]] = True
    return mask, order[mask[order]]


def _shares(wanted: np.ndarray, available: np.ndarray, target: int) -> np.ndarray:
    """Divide ``target`` in proportion to ``wanted``, none above ``available``; the rest goes to those not yet full."""
    quotas = np.zeros(len(wanted))
    open_ = wanted > 0
    left = float(target)
    while open_.any():
        offer = left * wanted / wanted[open_].sum()
        full = open_ & (offer >= available)
        if not full.any():
            quotas[open_] = offer[open_]
            break
        quotas[full] = available[full]
        left = max(0.0, left - float(available[full].sum()))
        open_ &= ~full
    return np.floor(quotas).astype(np.int64)


def _fit(sizes: np.ndarray, quota: int) -> np.ndarray:
    """The positions taken when documents are taken in turn as long as they fit into ``quota``."""
    before = np.concatenate(([0], np.cumsum(sizes)))
    taken = []
    at, room = 0, quota
    while at < len(sizes) and room > 0 and room >= (1 - _FULL) * quota:
        end = int(np.searchsorted(before, before[at] + room, side="right")) - 1
        taken.append(np.arange(at, end))
        room -= int(before[end] - before[at])
        at = end + 1
    return np.concatenate(taken) if taken else np.empty(0, dtype=np.int64)


def _hash(words: np.ndarray, seed: int) -> np.ndarray:
    """64 well-mixed bits of each id and the seed: the finaliser of SplitMix64 (Steele et al. 2014) on both halves."""
    state = np.full(len(words), seed & (2**64 - 1), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for half in (words[:, 0], words[:, 1]):
            state = (state ^ half) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state ^= state >> np.uint64(31)
    return state
