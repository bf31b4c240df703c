"""Line rules against a plain loop over lines."""

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean import quality
from pipeline.clean.lines import LineRule, edit
from pipeline.clean.segments import Lines, Segments
from pipeline.errors import UsageError

PIECES = [
    "one",
    "two. ",
    "Three! ",
    "\n",
    "\n\n",
    " ",
    "Lorem Ipsum",
    "{",
    "JavaScript",
    "x" * 12,
    "...",
    "é。",
    '"',
    "\t",
]
RULES = [
    LineRule("max_word_length", 10, "long_word"),
    LineRule("ends_with", [".", "!", '"', "。"], "no_end"),
    LineRule("min_words", 2, "few_words"),
    LineRule("without", ["lorem ipsum"], "lorem", "document"),
    LineRule("without", ["javascript", "a|b"], "phrase"),
    LineRule("without", ["{"], "bracket", "document"),
    LineRule("max_uppercase_share", 0.2, "capitals"),
    LineRule("unlike", ["^one", "x{12}$"], "pattern"),
]


def expected(text: str, rules: list[LineRule]) -> tuple[str, dict[str, int], str]:
    removed = {rule.reason: 0 for rule in rules if rule.drop == "line"}
    dropped = ""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    for rule in rules:
        left = []
        for line in lines:
            passed = {
                "max_word_length": lambda line, most: all(len(word) <= most for word in line.split()),
                "ends_with": lambda line, marks: line.endswith(tuple(marks)) and not line.endswith("..."),
                "min_words": lambda line, least: len(line.split()) >= least,
                "max_uppercase_share": lambda line, most: sum(c.isupper() for c in line) <= most * len(line),
                "unlike": lambda line, patterns: not re.search("|".join(patterns), line, re.IGNORECASE),
                "without": lambda line, phrases: not any(phrase in line.lower() for phrase in phrases),
            }[rule.test](line, rule.value)
            if passed or rule.drop == "document":
                left.append(line)
            else:
                removed[rule.reason] += 1
            if not passed and rule.drop == "document":
                dropped = dropped or rule.reason
        lines = left
    return "\n".join(lines), removed, dropped


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=20).map("".join), max_size=5), st.permutations(RULES))
def test_edit(texts, order):
    rules = order[:4]
    found = edit(pa.array(texts, pa.string()), rules)
    for place, text in enumerate(texts):
        left, removed, dropped = expected(text, rules)
        assert found.texts[place].as_py() == left
        assert {reason: int(counts[place]) for reason, counts in found.removed.items()} == removed
        assert found.reasons[place] == dropped
        words = len(text.split())
        assert found.removed_share[place] == pytest.approx((words - len(left.split())) / words if words else 0)


def test_sentences_are_counted_line_by_line():
    found = edit(pa.array(["It was. So it was then\n\n  Next one  \n", "", "no end"]), [])
    assert found.texts.to_pylist() == ["It was. So it was then\nNext one", "", "no end"]
    assert found.sentences.tolist() == [3, 0, 1]


@given(st.lists(st.text(alphabet="ab. 1,-/:'’–é中\n@", max_size=40), max_size=5), st.randoms())
def test_segments_are_the_same_when_found_again(texts, random):
    segments = Segments(pa.array(texts, pa.string()))
    _, visible = segments.visible_lines
    lines = segments.lines._replace(starts=visible.starts, ends=visible.ends)
    some = np.array([random.random() < 0.6 for _ in range(len(visible))], bool)
    left = segments.only(Lines(*(column[some] for column in lines)))
    assert list(map(repr, left.units)) == list(map(repr, Segments(left.texts()).units))
    chosen = np.array([random.random() < 0.6 for _ in texts], bool)
    some = segments.only_documents(chosen)
    assert some.texts().to_pylist() == [text if wanted else "" for text, wanted in zip(texts, chosen, strict=True)]
    assert list(map(repr, some.units)) == list(map(repr, Segments(some.texts()).units))


def test_refinedweb_lines():
    (step,) = [step for step in quality.load("refinedweb") if step.lines]
    flagged = ["THE SALE IS ON", "12 / 2019", "3 likes", "1,200 Views", "Home", "Sign-in to see it"]
    flagged += ["Go on: read more...", "You have 3 items in your cart now"]
    kept = ["It is on sale in the US.", "He likes 3 of them", "She wanted to read more about it", "Sign " + "in " * 12]
    found = edit(pa.array(["\n".join(flagged + kept)]), step.lines)
    assert found.texts[0].as_py() == "\n".join(line.strip() for line in kept)
    assert {reason: int(n[0]) for reason, n in found.removed.items()} == {
        "capitals": 1,
        "numbers": 1,
        "counter": 2,
        "one_word": 1,
        "navigation": 3,
    }
    text = "It is a line of ten words and some more. " * 12
    outcome = quality.run(pa.array([f"{text}\nHome", f"{text}\n" + "Home\n" * 9]), "en", [step])
    assert outcome.reasons == ["", quality.TOO_MUCH_REMOVED]


def test_wrong_rules_are_refused():
    with pytest.raises(UsageError, match="not a pattern"):
        LineRule("unlike", ["("], "x")
    with pytest.raises(UsageError, match="max_word_length"):
        LineRule("longest", 3, "x")
    with pytest.raises(UsageError, match="drop"):
        LineRule("min_words", 3, "x", "page")
