"""Benchmark items are found where they stand in a text, and named."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.clean import decontaminate
from pipeline.errors import InputError, UsageError

QUESTION = "Which of the two rivers that meet below the old town is the longer one?"
OTHER = "A train leaves the city at nine and another one two hours later; where do they meet?"


def test_items_are_found_whatever_case_and_punctuation():
    benchmark = decontaminate.index([("q:1", QUESTION), ("q:2", OTHER), ("q:3", "Too short.")])
    assert benchmark.short == ("q:3",)
    texts = pa.array(
        [
            "Nothing of it here, " * 10,
            f"Some page. {QUESTION.upper()} And more text after it.",
            f"{OTHER} {OTHER} {QUESTION}",
            " ".join(QUESTION.split()[:12]),
            "",
        ]
    )
    found = decontaminate.overlap(texts, benchmark)
    assert found.items == ["", "q:1", "q:2", "", ""]
    assert found.shared.tolist() == [0, 3, 13, 0, 0]
    assert found.share[2] == pytest.approx(13 / (2 * 17 + 15 - 12))


def test_reading_benchmarks(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"q": "one", "n": 3, "choices": ["two", {"x": "three"}]}) + "\n\n")
    (tmp_path / "b.txt").write_text("one\n\ntwo\n")
    pq.write_table(pa.table({"q": ["one", "two"], "n": [1, 2]}), tmp_path / "c.parquet")
    found = [list(decontaminate.read_items(str(tmp_path / name))) for name in ("a.jsonl", "b.txt", "c.parquet")]
    assert found == [
        [("a.jsonl:1", "one\ntwo\nthree")],
        [("b.txt:1", "one"), ("b.txt:3", "two")],
        [("c.parquet:1", "one"), ("c.parquet:2", "two")],
    ]


def test_what_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(UsageError, match="13 words"):
        decontaminate.index([("q", "short")])
    (tmp_path / "a.jsonl").write_text('{"q": 1}\n{"q"\n')
    with pytest.raises(InputError, match=r"a\.jsonl at byte 9"):
        list(decontaminate.read_items(str(tmp_path / "a.jsonl")))
