"""Batches of tokens from shards, as a pure function of (corpus, seed, step).

Any batch can be asked for directly, so a run resumes from its step number alone. Every token of the split is a target
exactly once an epoch: the first follows a virtual end-of-document token, the last windows are padded, none are dropped.
Batches hold numpy arrays of one fixed shape. Several processes share a batch by its rows, so their number changes
nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

import numpy as np

from pipeline.errors import CorpusmillError
from pipeline.shards.read import Shards

IGNORE = -100  # a target that is not one: padding
Ready = TypeVar("Ready")


@dataclass(frozen=True)
class Batch:
    """``inputs`` and ``targets``, (sequences, context) int64; ``targets[i, t]`` follows ``inputs[i, t]`` in the text.

    ``first``: carried state must be forgotten before this batch. ``starts``: the position in the split of each
    sequence's first target, -1 for a sequence of padding. ``total``: targets of the batch over all processes.
    """

    inputs: np.ndarray
    targets: np.ndarray
    first: bool
    starts: np.ndarray
    total: int


class Batches(Protocol):
    """An endless sequence of batches, epoch after epoch."""

    steps_per_epoch: int

    def batch(self, step: int) -> Batch:
        """Batch number ``step``, counted from 0 over all epochs."""


def epoch_key(fingerprint: str, seed: int, epoch: int) -> int:
    """64 bits that decide the order of one epoch."""
    return int.from_bytes(hashlib.sha256(f"{fingerprint}:{seed}:{epoch}".encode()).digest()[:8], "little")


def permutation(count: int, key: int) -> np.ndarray:
    """The numbers below ``count`` in the order of a keyed hash, the same on every machine and version of numpy.

    The hash is SplitMix64 (Steele, Lea and Flood, 2014), a bijection, so there are no ties.
    """
    with np.errstate(over="ignore"):
        x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(x ^ (x >> np.uint64(31)), kind="stable")


class _Reader:
    """The targets of a split with what precedes each: position 0 follows the end of a document."""

    def __init__(self, shards: Shards, size: int, context: int, seed: int | None, share: tuple[int, int]):
        if not shards.n_tokens:
            raise CorpusmillError(
                f"split {shards.split!r} holds no tokens",
                file=str(shards.directory),
                mend="corpusmill shards CORPUS_TOML",
            )
        self.shards = shards
        self.size = size
        number, processes = share
        self.rows = range(number * size // processes, (number + 1) * size // processes)
        self.context = context
        self.seed = seed
        self.eos = shards.special_ids["eos"]

    def key(self, epoch: int) -> int | None:
        """What orders this epoch; None for the natural order."""
        return None if self.seed is None else epoch_key(self.shards.fingerprint, self.seed, epoch)

    def blank(self, first: bool, total: int) -> Batch:
        """This process's rows of a batch, padding alone."""
        shape = len(self.rows), self.context
        return Batch(
            np.full(shape, self.eos, np.int64),
            np.full(shape, IGNORE, np.int64),
            first,
            np.full(len(self.rows), -1, np.int64),
            total,
        )

    def fill(self, batch: Batch, row: int, column: int, start: int, stop: int) -> None:
        """Put targets ``start`` to ``stop`` of the split into a row, from ``column`` on."""
        end = column + stop - start
        batch.targets[row, column:end] = self.shards.read(start, stop)
        if start == 0:
            batch.inputs[row, column + 1 : end] = batch.targets[row, column : end - 1]  # the column itself holds eos
        else:
            batch.inputs[row, column:end] = self.shards.read(start - 1, stop - 1)

    def fill_ring(self, batch: Batch, row: int, start: int, count: int) -> None:
        """Put ``count`` targets from ``start`` on into a row; after the last of the split comes the first."""
        batch.starts[row] = start
        before_end = min(count, self.shards.n_tokens - start)
        self.fill(batch, row, 0, start, start + before_end)
        if before_end < count:
            self.fill(batch, row, before_end, 0, count - before_end)


class Windows:
    """Independent sequences of ``context`` targets in shuffled order, for models without carried state.

    The split is taken as a ring; each epoch after the first cuts it at another place, so that no sequence comes twice.
    ``seed`` None keeps the order of the text. ``share`` (number, processes): this process's part of each batch.
    """

    def __init__(self, shards: Shards, size: int, context: int, seed: int | None, share: tuple[int, int] = (0, 1)):
        self._reader = _Reader(shards, size, context, seed, share)
        self.n_windows = -(-shards.n_tokens // context)
        self.steps_per_epoch = -(-self.n_windows // size)
        self._order: tuple[int | None, np.ndarray] = (None, np.arange(self.n_windows))

    def batch(self, step: int) -> Batch:
        """Batch number ``step``; see `Batches`."""
        reader = self._reader
        epoch, number = divmod(step, self.steps_per_epoch)
        key = reader.key(epoch)
        if key != self._order[0]:
            self._order = (key, np.arange(self.n_windows) if key is None else permutation(self.n_windows, key))
        windows = self._order[1][number * reader.size : (number + 1) * reader.size] * reader.context
        total = int(np.minimum(reader.context, reader.shards.n_tokens - windows).sum())
        batch = reader.blank(True, total)
        n_tokens, turn = reader.shards.n_tokens, (key or 0) % reader.shards.n_tokens if epoch else 0
        for row, begin in enumerate(windows[reader.rows.start : reader.rows.stop].tolist()):
            reader.fill_ring(batch, row, (begin + turn) % n_tokens, min(reader.context, n_tokens - begin))
        return batch


class Streams:
    """``size`` contiguous stretches of the split read side by side, for models that carry state from batch to batch.

    The split is taken as a ring; each epoch cuts it at another place, so that the seams between streams move. ``seed``
    None cuts at the start. ``share`` (number, processes): this process's part of each batch.
    """

    def __init__(self, shards: Shards, size: int, context: int, seed: int | None, share: tuple[int, int] = (0, 1)):
        self._reader = _Reader(shards, size, context, seed, share)
        self._bounds = [row * shards.n_tokens // size for row in range(size + 1)]
        longest = max(stop - start for start, stop in pairwise(self._bounds))
        self.steps_per_epoch = -(-longest // context)

    def batch(self, step: int) -> Batch:
        """Batch number ``step``; see `Batches`."""
        reader = self._reader
        total = reader.shards.n_tokens
        epoch, number = divmod(step, self.steps_per_epoch)
        turn = (reader.key(epoch) or 0) % total
        begins = [bound + number * reader.context for bound in self._bounds[:-1]]
        counts = [min(reader.context, max(end - begin, 0)) for begin, end in zip(begins, self._bounds[1:], strict=True)]
        batch = reader.blank(number == 0, sum(counts))
        for row, stream in enumerate(reader.rows):
            begin, count = begins[stream], counts[stream]
            if not count:
                continue
            reader.fill_ring(batch, row, (begin + turn) % total, count)
        return batch


class Prefetch(Generic[Ready]):
    """Batches ``start`` to ``stop``, made ahead of their use by one thread; its exceptions surface here.

    ``prepare`` is done in the thread too. ``waited``: seconds spent waiting for it.
    """

    def __init__(self, batches: Batches, start: int, stop: int, prepare: Callable[[Batch], Ready], depth: int = 2):
        self.waited = 0.0
        self._make = lambda step: prepare(batches.batch(step))
        self._start, self._stop, self._depth = start, stop, depth

    def __iter__(self) -> Iterator[Ready]:
        start, stop, depth = self._start, self._stop, self._depth
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            waiting = [pool.submit(self._make, step) for step in range(start, min(start + depth, stop))]
            try:
                for step in range(start, stop):
                    ready = waiting.pop(0)
                    if step + depth < stop:
                        waiting.append(pool.submit(self._make, step + depth))
                    asked = time.perf_counter()
                    made = ready.result()
                    self.waited += time.perf_counter() - asked
                    yield made
            finally:
                for future in waiting:
                    future.cancel()
