"""Presets: what they keep of real documents beside datatrove, and that every document is accounted for."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean import quality, stats
from pipeline.clean.lines import LineRule
from pipeline.clean.quality import Step
from pipeline.clean.rules import Rule
from pipeline.errors import UsageError
from tests.clean import parity
from tests.shared import shared

STORED = json.loads((Path(__file__).parent / "data" / "datatrove.json").read_text())
REFERENCE = STORED["rows"]


@pytest.fixture(scope="module")
def texts() -> pa.Array:
    """The documents that the reference values were computed on."""
    for archive in parity.ARCHIVES:
        shared(archive)
    by_digest = {parity.digest(text): text for text in parity.documents()}
    return pa.array([by_digest[row["digest"]] for row in REFERENCE])


@pytest.mark.parametrize("preset", ["gopher-repetition", "gopher", "c4", "c4-datatrove", "fineweb"])
def test_verdicts_agree_with_the_reference(texts, preset):
    found = quality.run(texts, "en", quality.load(preset))
    kept = np.array([row[preset][0] == "" for row in REFERENCE])
    agreement = np.mean(kept == (np.array(found.reasons) == ""))
    assert agreement >= 0.99
    assert 0.02 < kept.mean() < 0.98  # both kinds occur
    both = np.flatnonzero(kept & (np.array(found.reasons) == ""))
    same = [parity.digest(found.texts[row].as_py()) == REFERENCE[row][preset][1] for row in both.tolist()]
    assert np.mean(same) >= 0.97  # what stays of the lines


def test_values_agree_with_datatrove(texts):
    table = stats.compute(texts)
    for place, name in enumerate(STORED["names"]):
        expected = np.array([row["values"][place] for row in REFERENCE])
        close = np.abs(table.column(name).to_numpy() - expected) <= 0.02 * np.abs(expected) + 1e-4
        # Where the tokenizers differ in a few words, so do long repeated n-grams.
        assert close.mean() >= (0.9 if "gram" in name else 0.95), name


def test_every_preset_is_read_and_runs():
    assert {"c4", "c4-datatrove", "fineweb", "gopher", "gopher-repetition", "minimal", "refinedweb", "seed"} <= set(
        quality.names()
    )
    texts = pa.array(["", "A short text.", "word " * 200])
    for name in quality.names():
        found = quality.run(texts, "en", quality.load(name))
        assert len(found.texts) == len(found.reasons) == 3
        assert found.reasons[0] != ""


def test_citation_marks_go_and_order_stays():
    step = Step(lines=(LineRule("min_words", 2, "few"),), citations=True)
    texts = pa.array(["It was.[1] So[edit]\none", "No mark here", "x [citation needed] y", None])
    found = quality.run(texts, "en", [step])
    assert found.texts.to_pylist() == ["It was. So", "No mark here", "x  y", ""]
    assert found.removed["few"].tolist() == [1, 0, 0, 0]


def test_a_dropped_text_is_given_back_as_it_came():
    steps = [Step(lines=(LineRule("min_words", 2, "few"),)), Step(rules=(Rule("words", min=3),))]
    found = quality.run(pa.array(["one\ntwo words", "three of them\none"]), "en", steps)
    assert found.texts.to_pylist() == ["one\ntwo words", "three of them"]
    assert found.reasons == ["words", ""]


def test_fineweb_is_three_steps():
    steps = quality.load("fineweb")
    assert [(len(step.rules), len(step.lines)) for step in steps] == [(22, 0), (0, 6), (4, 0)]


def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'fineweb'"):
        quality.load("fine-web")


STEPS = st.lists(
    st.sampled_from(
        [
            Step(rules=(Rule("words", min=2, reason="short"),)),
            Step(rules=(Rule("characters", max=30), Rule("symbols", max=4))),
            Step(lines=(LineRule("min_words", 2, "few"),), min_sentences=1),
            Step(lines=(LineRule("without", ["{"], "bracket", "document"), LineRule("ends_with", ["."], "end"))),
        ]
    ),
    max_size=4,
)
TEXTS = st.lists(st.text(alphabet="ab .{\n!", max_size=40), max_size=6)


@given(TEXTS, STEPS)
def test_every_document_has_one_verdict_whatever_the_batch(texts, steps):
    found = quality.run(pa.array(texts, pa.string()), "en", steps)
    assert len(found.texts) == len(found.reasons) == len(texts)
    for place, text in enumerate(texts):
        alone = quality.run(pa.array([text]), "en", steps)
        assert alone.reasons[0] == found.reasons[place]
        assert alone.texts[0].as_py() == found.texts[place].as_py()
        assert {reason: lines[0] for reason, lines in alone.removed.items() if lines[0]} == {
            reason: lines[place] for reason, lines in found.removed.items() if lines[place]
        }
        assert math.isnan(found.values[place]) == math.isnan(found.thresholds[place])
        if not found.reasons[place]:
            assert math.isnan(found.values[place])


def test_an_empty_batch_and_empty_texts():
    steps = quality.load("fineweb")
    assert quality.run(pa.array([], pa.string()), "en", steps).reasons == []
    found = quality.run(pa.array([None, "", "\n", "😀"]), pa.array([None, "und", "en", "xx"]), steps)
    assert found.reasons == ["empty", "empty", "gopher_words", "gopher_words"]
