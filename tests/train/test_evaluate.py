"""Evaluation: the arithmetic of the units, the whole split, the right tokenizer."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline.errors import CorpusmillError
from pipeline.report.funnel import figures_table
from pipeline.shards.read import open_shards
from tests.train.conftest import VOCABULARY, language, write_tokens
from tests.train.test_loop import MODELS, config_of
from train.evaluate import by_group, evaluate, evaluate_run, figures, unigram
from train.loop import train
from train.model import build


def test_units():
    found = figures(nats=100 * math.log(8), n_tokens=100, n_bytes=300)  # three bits a token, three bytes a token
    assert found == {
        "loss": pytest.approx(math.log(8)),
        "perplexity": pytest.approx(8),
        "bits_per_byte": pytest.approx(1),
    }


def test_unigram_counts_the_training_split_plus_one(tmp_path):
    splits = {"train": [np.array([2, 2, 3]), np.array([2])], "validation": [np.array([2, 3, 4])]}
    folder = write_tokens(tmp_path, splits, vocab_size=6)
    found = unigram(open_shards(folder), open_shards(folder, "validation"))
    nats = -math.log(4 / 10) - math.log(2 / 10) - math.log(1 / 10)
    assert found["loss"] == pytest.approx(nats / 3)
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / 12)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("batch", [1, 5])
def test_every_token_of_the_split_is_scored_once(shards_dir, kind, batch):
    config = config_of(kind)
    torch.manual_seed(0)
    model = build(config.model, VOCABULARY, context=16)
    validation = open_shards(shards_dir, "validation")
    found = evaluate(model, validation, batch, context=16, rows=batch)
    assert model.training

    model.eval()
    tokens = torch.tensor([0, *validation.read(0, validation.n_tokens).tolist()])  # an eos, then the split
    streams = [row * validation.n_tokens // batch for row in range(batch + 1)]
    cuts = streams if kind == "lstm" else [*range(0, 700, 16), 700]
    nats = 0.0
    with torch.no_grad():
        for start, stop in pairwise(cuts):
            logits, _ = model(tokens[None, start:stop])
            nats += F.cross_entropy(logits[0], tokens[start + 1 : stop + 1], reduction="sum").item()
    assert found["loss"] == pytest.approx(nats / 700, rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / validation.n_bytes, rel=1e-5)
    assert (found["tokens"], found["bytes"]) == (700, validation.n_bytes)


def test_an_evaluation_that_fails_leaves_the_model_as_it_was(shards_dir):
    model = build(config_of("lstm").model, VOCABULARY, context=16)
    with pytest.raises(ValueError, match="could not broadcast"):
        evaluate(model, open_shards(shards_dir, "validation"), 8, 16, rows=8, costs=np.empty(1))
    assert model.training


@pytest.mark.parametrize("kind", MODELS)
def test_rows_at_once_change_nothing_but_memory(shards_dir, kind):
    torch.manual_seed(0)
    model = build(config_of(kind).model, VOCABULARY, context=16)
    validation, shapes, found, costs = open_shards(shards_dir, "validation"), [], [], np.empty((2, 700))
    score = model.score
    model.score = lambda inputs, *more: (shapes.append(len(inputs)), score(inputs, *more))[1]
    for number, rows in enumerate((8, 3)):
        found.append(evaluate(model, validation, 8, 16, rows, costs[number]))
        assert max(shapes) == rows
        shapes.clear()
    assert found[0] == {name: pytest.approx(value, rel=1e-6) for name, value in found[1].items()}
    np.testing.assert_allclose(costs[0], costs[1], rtol=1e-4)


def test_the_share_of_unknown_pieces_is_told(tmp_path):
    folder = write_tokens(tmp_path, {"train": [language(100, 1)], "validation": [np.array([5, 1, 6, 0])]}, VOCABULARY)
    model = build(config_of("lstm").model, VOCABULARY, context=16)
    found = evaluate(model, open_shards(folder, "validation"), 2, 16, 2)
    assert found["unknown"] == 0.25
    assert "25 % of the tokens are the unknown piece" in figures_table("validation", [("lstm", found)])[-1]


def test_recorded_run_is_evaluated_alike(tmp_path, shards_dir):
    result = train(config_of("lstm"), shards_dir, str(tmp_path / "run"))
    found = evaluate_run(str(tmp_path / "run"))
    assert found["validation"] == result["validation"]
    assert found["unigram"] == result["unigram"]
    assert found["ngram"] == result["ngram"]
    assert evaluate_run(str(tmp_path / "run"), shards_dir) == found
    assert found["sources"]["made"]["loss"] == pytest.approx(found["validation"]["loss"])
    assert found["languages"] == {}


def test_the_test_split_is_scored_by_itself(tmp_path):
    splits = {"train": [language(600, 1)], "validation": [language(300, 2)], "test": [language(400, 3)]}
    folder = write_tokens(tmp_path / "shards", splits, VOCABULARY)
    train(config_of("lstm", steps=2), str(folder), str(tmp_path / "run"))
    found = evaluate_run(str(tmp_path / "run"), split="test")
    assert "validation" not in found
    assert found["test"]["tokens"] == 400
    assert found["fingerprint"] == found["trained_on"]
    test = write_tokens(tmp_path / "other", {"train": splits["train"], "validation": splits["test"]}, VOCABULARY)
    other = evaluate_run(str(tmp_path / "run"), str(test))
    assert other["validation"] == found["test"]
    assert other["ngram"] == found["ngram"]
    assert other["fingerprint"] != other["trained_on"]
    with pytest.raises(CorpusmillError, match=r"no split test here; there are train, validation"):
        evaluate_run(str(tmp_path / "run"), str(test), split="test")


def test_figures_by_group_add_up(shards_dir):
    shards = open_shards(shards_dir, "validation")
    costs = np.random.default_rng(1).random(shards.n_tokens)
    groups = ["ab"[i % 2] for i in range(shards.n_docs)]
    found = by_group(shards, costs, groups)
    for name in "ab":
        mine = [d for d, group in zip(shards.documents(), groups, strict=True) if group == name]
        nats = sum(costs[d.start : d.stop].sum() for d in mine)
        n_tokens, n_bytes = sum(d.stop - d.start for d in mine), sum(d.n_bytes for d in mine)
        assert found[name]["tokens"] == n_tokens
        assert found[name]["loss"] == pytest.approx(nats / n_tokens)
        assert found[name]["bits_per_byte"] == pytest.approx(nats / math.log(2) / n_bytes)


@pytest.mark.parametrize(("vocabulary", "tokenizer"), [(VOCABULARY + 1, "ab" * 32), (VOCABULARY, "ba" * 32)])
def test_shards_of_another_tokenizer_are_refused(tmp_path, shards_dir, vocabulary, tokenizer):
    train(config_of("lstm", steps=1), shards_dir, str(tmp_path / "run"))
    splits = {split: [language(300, 1)] for split in ("train", "validation")}
    other = write_tokens(tmp_path / "other", splits, vocabulary, tokenizer)
    with pytest.raises(CorpusmillError, match=f"another tokenizer than the model's: {vocabulary} pieces"):
        evaluate_run(str(tmp_path / "run"), str(other))


def test_run_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(CorpusmillError, match="no checkpoint here"):
        evaluate_run(str(tmp_path))
