from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from tokenizer.sample import choose


def documents(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 16), dtype=np.uint8)


ROWS = st.lists(st.tuples(st.integers(0, 5000), st.sampled_from(["en", "it", "ja"])), max_size=60)


@given(ROWS, st.integers(0, 60_000), st.integers(0, 2**64 - 1), st.floats(1, 20), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_bounded_and_independent_of_the_order_of_rows(rows, target, seed, temperature, random):
    ids = documents(len(rows))
    sizes = np.array([size for size, _ in rows], dtype=np.int64)
    groups = np.array([group for _, group in rows], dtype=object)
    mask, order = choose(ids, sizes, groups, target, seed=seed, temperature=temperature)
    assert sizes[mask].sum() <= target
    assert sorted(order) == list(np.flatnonzero(mask))
    shuffled = list(range(len(rows)))
    random.shuffle(shuffled)
    mask2, order2 = choose(ids[shuffled], sizes[shuffled], groups[shuffled], target, seed=seed, temperature=temperature)
    assert np.array_equal(mask[shuffled], mask2)
    assert np.array_equal(ids[order], ids[shuffled][order2])


def test_takes_all_when_all_fits():
    mask, order = choose(documents(50), np.full(50, 10), np.array(["a", "b"] * 25), 500)
    assert mask.all()
    assert len(order) == 50


def test_seed_changes_the_choice_and_the_order():
    ids, sizes, groups = documents(500), np.full(500, 10), np.full(500, "x")
    one, two = (choose(ids, sizes, groups, 2000, seed=seed) for seed in (1, 2))
    assert one[0].sum() == two[0].sum() == 200
    assert 40 < (one[0] & two[0]).sum() < 130  # 80 expected of two independent choices


def test_temperature_and_weights_balance_languages():
    groups = np.array(["en"] * 8000 + ["it"] * 1500 + ["ltg"] * 500)
    ids, sizes = documents(10_000), np.full(10_000, 100)

    def taken(**options) -> dict[str, int]:
        mask, _ = choose(ids, sizes, groups, 120_000, **options)
        names, counts = np.unique(groups[mask], return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    assert taken() == {"en": 960, "it": 180, "ltg": 60}
    assert taken(temperature=1e9) == pytest.approx({"en": 400, "it": 400, "ltg": 400}, abs=1)
    root = np.sqrt([8000, 1500, 500])
    halves = taken(temperature=2)
    assert [halves[name] for name in ("en", "it", "ltg")] == pytest.approx(1200 * root / root.sum(), abs=1)
    assert taken(weights={"ltg": 0, "it": 2}) == {"en": 872, "it": 327}
    # A language too small for its share gives all it has; the others get the rest.
    assert taken(temperature=1e9, weights={"ltg": 100}) == pytest.approx({"en": 350, "it": 350, "ltg": 500}, abs=1)


def test_document_larger_than_the_room_is_passed_over():
    sizes = np.array([10_000] + [10] * 99)
    mask, _ = choose(documents(100), sizes, np.full(100, "x"), 900)
    assert not mask[0]
    assert sizes[mask].sum() >= 890


def test_refuses_weights_that_mean_nothing():
    for weights, words in (({"xx": 1.0}, "xx"), ({"x": -1.0}, "negative")):
        with pytest.raises(UsageError, match=words):
            choose(documents(1), np.array([1]), np.array(["x"]), 10, weights=weights)


def test_nothing_to_choose_from():
    mask, order = choose(np.empty((0, 16), np.uint8), np.empty(0), np.empty(0, object), 10)
    assert len(mask) == len(order) == 0
