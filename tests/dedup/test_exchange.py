"""What meets in how much memory: a bound that is kept, or a refusal that says what would do."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Dedup
from pipeline.errors import CorpusmillError
from pipeline.stages import exchange


@given(st.integers(0, 300_000_000), st.integers(1, 10**12), st.booleans(), st.integers(0, 10**13))
def test_the_peak_stays_in_the_memory_or_is_refused(documents, memory, near, text_bytes):
    settings = Dedup.model_validate({"near": near, "lines": {"documents": 5}})
    try:
        peak = exchange.peak_memory(documents, settings, memory, text_bytes)
    except CorpusmillError as error:
        least = int(re.search(r"--memory (\d+)MB", error.mend)[1]) * 1_000_000
        assert memory < least
        assert exchange.peak_memory(documents, settings, least, 0) <= least
    else:
        assert exchange.floor(documents) <= peak
        passes = exchange.passes(
            exchange.met(documents, settings, text_bytes)["lines"], memory - exchange.floor(documents)
        )
        assert peak <= memory or passes == exchange.MOST_RANGES


def test_what_meets_follows_the_settings():
    million = 1_000_000
    assert exchange.met(million, Dedup(near=False, exact=False)) == {"equal keys": 24 * million}
    all_on = Dedup.model_validate({"url": True, "revision": True, "lines": {"documents": 2}})
    assert exchange.met(million, all_on, 5_000 * million) == {
        "equal keys": 4 * 24 * million,
        "bands": 14 * 16 * million,
        "lines": 800 * million,
    }


def test_a_refusal_names_what_would_do():
    with pytest.raises(
        CorpusmillError, match="2,000,000,000 documents cannot be compared in 8,000,000,000 bytes"
    ) as it:
        exchange.peak_memory(2_000_000_000, Dedup(), 8_000_000_000, corpus="s3://bucket/corpus")
    assert it.value.file == "s3://bucket/corpus"
    assert re.fullmatch(r"the same command with --memory \d+MB or more", it.value.mend)
