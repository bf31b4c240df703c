"""Generation: streams what the model says, the same for the same seed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch

from pipeline.errors import CorpusmillError, UsageError
from tests.train.conftest import write_tokens
from tests.train.test_loop import config_of
from train.evaluate import load_model
from train.generate import draw, sample, spell
from train.loop import train

TEXT = ["the mill grinds the corpus", "the corpus feeds the model", "le moulin broie le corpus", "日本語の文章もある"]
OPTIONS = {"max_tokens": 12, "temperature": 0.9, "top_k": 20, "top_p": 0.95, "seed": 3}


@pytest.fixture(scope="module", params=["lstm", "transformer"])
def run(request, tmp_path_factory) -> tuple[str, str]:
    """A trained run and its tokenizer."""
    folder = tmp_path_factory.mktemp("generate")
    model = folder / "tokenizer.model"
    with open(model, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXT * 20),
            model_writer=file,
            vocab_size=320,
            hard_vocab_limit=False,
            byte_fallback=True,
            bos_id=-1,
            eos_id=0,
            unk_id=1,
            num_threads=1,
            minloglevel=2,
        )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    tokens = np.array([token for line in TEXT * 30 for token in [*pieces.encode(line), 0]])
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    shards = write_tokens(
        folder / "shards", {"train": [tokens], "validation": [tokens[:200]]}, pieces.vocab_size(), digest
    )
    train(
        config_of(request.param, steps=100, optimizer={"lr": 0.03}),
        str(shards),
        str(folder / "run"),
    )
    return str(folder / "run"), str(model)


def texts(run: tuple[str, str], prompts: list[str], **changes) -> list[str]:
    said = [""] * len(prompts)
    for number, text in sample(*run, prompts, **{**OPTIONS, **changes}):
        said[number] += text
    return said


def test_same_seed_same_text_whatever_stands_beside(run):
    prompts = ["the mill", "", "日本"]
    together = texts(run, prompts)
    assert together == texts(run, prompts)
    assert together[0] == texts(run, prompts[:1])[0]
    assert together[1] == texts(run, [""], seed=OPTIONS["seed"] + 1)[0]
    assert together != texts(run, prompts, seed=99)


def test_greedy_text_is_that_of_the_full_forward_pass(run):
    pieces = sentencepiece.SentencePieceProcessor(model_file=run[1])
    model, _ = load_model(run[0])
    ids = [0, *pieces.encode("the cor")]
    with torch.no_grad():
        for _ in range(8):
            logits = model(torch.tensor([ids]))[0][0, -1]
            logits[1] = -torch.inf
            ids.append(int(logits.argmax()))
    end = ids.index(0, 1) if 0 in ids[1:] else len(ids)
    expected = pieces.decode(ids[1:end])
    assert "the cor" + texts(run, ["the cor"], temperature=0, max_tokens=8)[0] == expected


def test_learnt_text_comes_back(run):
    assert texts(run, ["the mill grinds"], temperature=0)[0] == " the corpus"


def test_characters_of_several_tokens_are_not_cut(run):
    pieces = sentencepiece.SentencePieceProcessor(model_file=run[1])
    text = "the 🦊 mill é"
    ids = pieces.encode(text)
    assert len(ids) > len(text)  # bytes, for what the vocabulary lacks
    stretches = list(spell(pieces, ids[:2], ids[2:]))
    assert pieces.decode(ids[:2]) + "".join(stretches) == text
    assert len(stretches) > 4
    assert not any("\N{REPLACEMENT CHARACTER}" in stretch for stretch in stretches)


def test_another_tokenizer_is_refused(run, tmp_path):
    other = tmp_path / "other.model"
    other.write_bytes(Path(run[1]).read_bytes() + b"x")
    with pytest.raises(CorpusmillError, match="another tokenizer"):
        next(sample(run[0], str(other), ["a"], **OPTIONS))
    with pytest.raises(CorpusmillError, match="no tokenizer"):
        next(sample(run[0], str(tmp_path / "absent.model"), ["a"], **OPTIONS))


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -2}])
def test_meaningless_options_are_refused(run, wrong):
    with pytest.raises(UsageError):
        next(sample(*run, ["a"], **{**OPTIONS, **wrong}))


def test_draw_keeps_to_the_likeliest():
    logits = torch.log(torch.tensor([0.1, 0.4, 0.2, 0.3]))
    generator = torch.Generator().manual_seed(0)

    def drawn(**options) -> set[int]:
        settings = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, **options}
        return {draw(logits, generator=generator, **settings) for _ in range(300)}

    assert drawn() == {0, 1, 2, 3}
    assert drawn(top_k=2) == {1, 3}
    assert drawn(top_p=0.75) == {1, 3, 2}
    assert drawn(top_p=0.65) == {1, 3}
    assert drawn(top_p=0.01) == {1}
    assert drawn(temperature=0) == {1}
    assert drawn(temperature=1e-4) == {1}
