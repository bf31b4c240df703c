"""Rules judge as a loop over documents and rules would."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean import rules, stats
from pipeline.clean.rules import Rule
from pipeline.errors import UsageError

NAMES = ["words", "characters", "symbols"]
LIMIT = st.none() | st.integers(-2, 6).map(float)


@st.composite
def some_rules(draw):
    low, high = draw(LIMIT), draw(LIMIT)
    if low is None and high is None:
        low = 1.0
    if low is not None and high is not None and low > high:
        low, high = high, low
    return Rule(draw(st.sampled_from(NAMES)), low, high)


@given(st.lists(st.tuples(*[st.integers(-3, 7)] * 3), max_size=12), st.lists(some_rules(), max_size=5))
def test_first_failing_rule(rows, chosen):
    table = pa.table({name: pa.array([row[place] for row in rows], pa.float64()) for place, name in enumerate(NAMES)})
    verdict, value, threshold = rules.judge(table, chosen)
    for place, row in enumerate(rows):
        failed, expected = -1, (math.nan, math.nan)
        for index, rule in enumerate(chosen):
            measured = row[NAMES.index(rule.statistic)]
            if rule.min is not None and measured < rule.min:
                failed, expected = index, (measured, rule.min)
            elif rule.max is not None and measured > rule.max:
                failed, expected = index, (measured, rule.max)
            if failed >= 0:
                break
        assert verdict[place] == failed
        np.testing.assert_array_equal([value[place], threshold[place]], expected)


def test_on_texts():
    chosen = [Rule("words", min=3, reason="too_short"), Rule("mean_word_length", 2, 6)]
    table = stats.compute(
        pa.array(["one two three", "one", "extraordinarily long words"]), names=rules.statistics(chosen)
    )
    verdict, value, threshold = rules.judge(table, chosen)
    assert verdict.tolist() == [-1, 0, 1]
    assert (value[1], threshold[1]) == (1, 3)
    assert (value[2], threshold[2]) == (8, 6)
    assert chosen[1].reason == "mean_word_length"


def test_wrong_rules_are_refused():
    with pytest.raises(UsageError, match="did you mean 'words'"):
        Rule("word", min=1)
    with pytest.raises(UsageError, match="neither"):
        Rule("words")
    with pytest.raises(UsageError, match="above"):
        Rule("words", 3, 2)
