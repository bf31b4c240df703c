from __future__ import annotations

import json

import pyarrow as pa
import pytest

from tests.tokenizer.real import pages
from tokenizer.encode import load
from tokenizer.report import Tally, report
from tokenizer.train import TokenizerOptions, train

TEXTS = pa.array([text for _, text in pages()])
LANGUAGES = [language for language, _ in pages()]


def test_counts_by_language(model):
    found = report(TEXTS, LANGUAGES, model)
    rows = {row["language"]: row for row in found["languages"]}
    assert list(rows) == [*sorted(set(LANGUAGES)), "all"]
    processor = model.processor
    for language in set(LANGUAGES):
        texts = [text for label, text in pages() if label == language]
        row = rows[language]
        assert row["documents"] == len(texts)
        assert row["bytes"] == sum(len(text.encode()) for text in texts)
        assert row["characters"] == sum(map(len, texts))
        assert row["tokens"] == sum(len(processor.encode(text)) for text in texts)
        assert row["bytes_per_token"] == row["bytes"] / row["tokens"]
        assert row["unknown"] == row["round_trip_failures"] == 0
        pieces = [piece for text in texts for piece in processor.encode(text)]
        assert row["byte_pieces"] == sum(processor.is_byte(piece) for piece in pieces)
    assert rows["all"]["tokens"] == sum(row["tokens"] for row in found["languages"][:-1])
    english = rows["en"]
    assert 1 < english["tokens_per_word"] < english["baseline"]["characters"]["tokens_per_word"] < 8
    assert english["bytes_per_token"] > english["baseline"]["characters"]["bytes_per_token"] > 1
    used = {piece for text in TEXTS.to_pylist() for piece in processor.encode(text)}
    assert found["vocabulary"] == {"pieces": 2000, "used": len(used), "used_share": len(used) / 2000}
    json.dumps(found)


def test_batches_add_up(model):
    tally = Tally(model)
    for start in range(0, len(TEXTS), 5):
        tally.add(TEXTS[start : start + 5], pa.array(LANGUAGES[start : start + 5]))
    assert tally.result() == report(TEXTS, LANGUAGES, model)


def test_what_is_lost_is_counted():
    texts = [text for language, text in pages() if language == "en"]
    model = load(train(texts, TokenizerOptions(kind="bpe", vocab_size=1000, byte_fallback=False)).model)
    found = report(pa.array(["plain", "\u0416\u0416 and \u0416", "bar \u2581 bar"]), ["en", "ru", "en"], model)
    rows = {row["language"]: row for row in found["languages"]}
    assert rows["ru"]["unknown"] == 2  # a run of unknown characters is one piece
    assert rows["ru"]["unknown_rate"] == 2 / rows["ru"]["tokens"]
    assert (rows["ru"]["round_trip_failures"], rows["en"]["round_trip_failures"]) == (1, 1)


def test_nothing_to_report_on(model):
    found = report(pa.array([], pa.string()), [], model)
    assert [row["language"] for row in found["languages"]] == ["all"]
    assert found["languages"][0]["tokens_per_word"] is None


@pytest.mark.parametrize("text", ["", "日本語"])
def test_words_of_any_script(model, text):
    assert report(pa.array([text]), ["ja"], model)["languages"][0]["words"] == len(text)
