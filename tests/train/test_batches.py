"""Batches: a pure function of (corpus, seed, step) in which every token is a target once an epoch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import CorpusmillError
from pipeline.shards.read import open_shards
from tests.train.conftest import write_tokens
from train.batches import IGNORE, Prefetch, Streams, Windows, permutation


def counting(folder, sizes: list[int]):
    """Shards whose token at position p is p + 1, so that a pair is right where target = input + 1; eos is 0."""
    tokens = np.arange(1, sum(sizes) + 1)
    cuts = np.cumsum(sizes)[:-1]
    return open_shards(write_tokens(folder, {"train": np.split(tokens, cuts)}, 60_000))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from([Windows, Streams]),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    size=st.integers(1, 7),
    context=st.integers(1, 16),
    seed=st.none() | st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 3),
)
def test_every_token_is_a_target_once_an_epoch(tmp_path_factory, kind, sizes, size, context, seed, epoch):
    shards = counting(tmp_path_factory.mktemp("s"), sizes)
    batches = kind(shards, size, context, seed)
    steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
    seen: Counter[int] = Counter()
    for step in steps:
        batch = batches.batch(step)
        assert batch.inputs.shape == batch.targets.shape == (size, context)
        real = batch.targets != IGNORE
        assert batch.total == real.sum()
        assert (batch.inputs[real] == batch.targets[real] - 1).all()
        seen.update(batch.targets[real].tolist())
        for row in range(size):
            assert batch.starts[row] == (batch.targets[row, 0] - 1 if real[row, 0] else -1)
    assert seen == Counter(range(1, shards.n_tokens + 1))


@pytest.mark.parametrize("kind", [Windows, Streams])
def test_order_depends_on_corpus_seed_and_step_alone(tmp_path, kind):
    shards = counting(tmp_path / "a", [500, 300])
    batches = kind(shards, 4, 10, 3)
    steps = list(range(2 * batches.steps_per_epoch))
    forward = {step: batches.batch(step) for step in steps}
    again = kind(shards, 4, 10, 3)
    for step in [*reversed(steps), 7]:
        batch = again.batch(step)
        assert (batch.inputs == forward[step].inputs).all()
        assert (batch.targets == forward[step].targets).all()
        assert batch.first == forward[step].first
    targets = [batch.targets for batch in forward.values()]
    half = batches.steps_per_epoch
    assert not np.array_equal(targets[:half], targets[half:])  # epochs differ
    assert not np.array_equal(targets[0], kind(shards, 4, 10, 4).batch(0).targets)  # seeds differ
    other = counting(tmp_path / "b", [400, 400])  # the same tokens, cut into other shards: another corpus
    assert not np.array_equal(targets[0], kind(other, 4, 10, 3).batch(0).targets)


@pytest.mark.parametrize("kind", [Windows, Streams])
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_same_batches(tmp_path, kind, processes):
    shards = counting(tmp_path, [173])
    whole = kind(shards, 8, 6, 3)
    parts = [kind(shards, 8, 6, 3, share=(number, processes)) for number in range(processes)]
    for step in range(whole.steps_per_epoch + 2):
        batch, shared = whole.batch(step), [part.batch(step) for part in parts]
        for name in ("inputs", "targets", "starts"):
            assert np.array_equal(np.concatenate([getattr(part, name) for part in shared]), getattr(batch, name))
        assert {part.total for part in shared} == {batch.total}


def test_order_is_the_same_on_every_machine():
    # SplitMix64 from 1234567 gives 6.46e18, 3.20e18, 9.82e18, 4.59e18, 16.41e18 (the published test vector).
    assert permutation(5, 1234567).tolist() == [1, 3, 0, 2, 4]
    assert sorted(permutation(1000, 2**64 - 1).tolist()) == list(range(1000))


def test_streams_go_on_where_they_stopped(tmp_path):
    shards = counting(tmp_path, [97])
    batches = Streams(shards, 3, 8, seed=5)
    rows = [batches.batch(step) for step in range(batches.steps_per_epoch)]
    assert [batch.first for batch in rows] == [True] + [False] * (len(rows) - 1)
    for row in range(3):
        stream = np.concatenate([batch.targets[row] for batch in rows])
        stream = stream[stream != IGNORE] - 1
        assert (np.diff(stream) % 97 == 1).all()
        assert 32 <= len(stream) <= 33


def test_first_token_of_the_split_follows_an_end_of_document(tmp_path):
    batch = Windows(counting(tmp_path, [20]), 2, 8, None).batch(0)
    assert batch.inputs[0].tolist() == list(range(8))
    assert batch.targets[0].tolist() == list(range(1, 9))


def test_no_window_of_an_epoch_comes_again_in_the_next(tmp_path):
    batches = Windows(counting(tmp_path, [500, 300]), 4, 10, 3)
    epochs = [
        {int(start) for n in range(batches.steps_per_epoch) for start in batches.batch(first + n).starts}
        for first in (0, batches.steps_per_epoch, 2 * batches.steps_per_epoch)
    ]
    assert not epochs[0] & epochs[1]
    assert not epochs[1] & epochs[2]


def test_prefetched_batches_are_the_batches(tmp_path):
    batches = Windows(counting(tmp_path, [200]), 4, 10, 1)
    ahead = list(Prefetch(batches, 3, 9, lambda batch: batch))
    assert [b.targets.tolist() for b in ahead] == [batches.batch(step).targets.tolist() for step in range(3, 9)]


def test_fault_in_the_prefetch_thread_surfaces():
    class Broken:
        steps_per_epoch = 1

        def batch(self, step):
            raise CorpusmillError("no such batch")

    with pytest.raises(CorpusmillError, match="no such batch"):
        next(iter(Prefetch(Broken(), 0, 5, lambda batch: batch)))


def test_split_without_tokens_is_refused(tmp_path):
    shards = open_shards(write_tokens(tmp_path, {"train": []}, 100))
    with pytest.raises(CorpusmillError, match="no tokens"):
        Streams(shards, 2, 4, 0)
