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
from train.export import export
from train.generate import Choice, Speaker, draw, penalised, sample, tokens
from train.loop import train

TEXT = ["the mill grinds the corpus", "the corpus feeds the model", "le moulin broie le corpus", "日本語の文章もある"]
CHOICE = {"temperature": 0.9, "top_k": 20, "top_p": 0.95}
OPTIONS = {"max_tokens": 12, "seed": 3}


def tokenizer_in(folder: Path, **ids: int) -> tuple[Path, sentencepiece.SentencePieceProcessor]:
    model = folder / "tokenizer.model"
    with open(model, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXT * 20),
            model_writer=file,
            vocab_size=320,
            hard_vocab_limit=False,
            byte_fallback=True,
            num_threads=1,
            minloglevel=2,
            **ids,
        )
    return model, sentencepiece.SentencePieceProcessor(model_file=str(model))


@pytest.fixture(scope="module", params=["lstm", "transformer"])
def run(request, tmp_path_factory) -> tuple[str, str]:
    """A trained run and its tokenizer."""
    folder = tmp_path_factory.mktemp("generate")
    model, pieces = tokenizer_in(folder, bos_id=-1, eos_id=0, unk_id=1)
    tokens = np.array([token for line in TEXT * 30 for token in [*pieces.encode(line), 0]])
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    shards = write_tokens(
        folder / "shards", {"train": [tokens], "validation": [tokens[:200]]}, pieces.vocab_size(), digest
    )
    # Longer than a prompt and what follows it: past the trained context a Transformer may say anything.
    train(
        config_of(request.param, steps=200, context=32, optimizer={"lr": 0.01}),
        str(shards),
        str(folder / "run"),
    )
    return str(folder / "run"), str(model)


def texts(run: tuple[str, str], prompts: list[str], **changes) -> list[str]:
    said = [""] * len(prompts) * changes.get("count", 1)
    choice = Choice(**{**CHOICE, **{name: changes.pop(name) for name in [*changes] if hasattr(Choice, name)}})
    for number, text in sample(*run, prompts, choice, **{**OPTIONS, **changes}):
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
    speaker = Speaker(pieces, ids[:2])
    stretches = [said for token in ids[2:] if (said := speaker.say(token))]
    assert pieces.decode(ids[:2]) + "".join(stretches) == text
    assert len(stretches) > 4
    assert not any("\N{REPLACEMENT CHARACTER}" in stretch for stretch in stretches)


def test_another_tokenizer_is_refused(run, tmp_path):
    other = tmp_path / "other.model"
    other.write_bytes(Path(run[1]).read_bytes() + b"x")
    with pytest.raises(CorpusmillError, match="another tokenizer"):
        next(sample(run[0], str(other), ["a"], Choice(), **OPTIONS))
    with pytest.raises(CorpusmillError, match="no tokenizer"):
        next(sample(run[0], str(tmp_path / "absent.model"), ["a"], Choice(), **OPTIONS))


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": 1e-40},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_k": -2},
        {"repetition_penalty": 0},
        {"repetition_penalty": float("nan")},
    ],
)
def test_meaningless_options_are_refused(wrong):
    with pytest.raises(UsageError):
        Choice(**wrong)


def test_continuations_of_one_prompt_are_drawn_as_a_batch(run):
    warm = {"temperature": 8.0, "top_k": 0, "top_p": 1.0}  # the little text is known by heart
    together = texts(run, ["the mill", "le"], count=3, **warm)
    assert len(together) == 6
    assert together[:3] == [texts(run, ["the mill"], seed=OPTIONS["seed"] + i, **warm)[0] for i in range(3)]
    assert len(set(together[:3])) > 1
    with pytest.raises(UsageError, match="at least 1"):
        texts(run, ["a"], count=0)


def test_repetition_is_punished(run):
    seen = torch.tensor([[True, True, False, False]])
    found = penalised(torch.tensor([[2.0, -2.0, 2.0, -2.0]]), seen, 2.0)
    assert found.tolist() == [[1.0, -4.0, 2.0, -2.0]]
    free = texts(run, ["the mill grinds"], temperature=0)[0]
    assert texts(run, ["the mill grinds"], temperature=0, repetition_penalty=50.0)[0] != free


def test_context_is_chosen_at_run_time(run):
    if not (model := load_model(run[0])[0]).context:
        with pytest.raises(UsageError, match="a lstm carries its state"):
            load_model(run[0], context=3)
        return
    model, _ = load_model(run[0], context=3)
    options = {"never": [1], "end": 0, "max_tokens": 5}
    prompts = [[0, 9, 8, 7, 6], [8, 7, 6]]
    long, short = (list(tokens(model, ids, Choice(0.0), [torch.Generator()], **options)) for ids in prompts)
    assert long == short
    assert texts(run, ["the mill grinds the corpus"], temperature=0, context=3)


def test_draw_keeps_to_the_likeliest():
    logits = torch.log(torch.tensor([0.1, 0.4, 0.2, 0.3]))
    generator = torch.Generator().manual_seed(0)

    def drawn(**options) -> set[int]:
        choice = Choice(**{"temperature": 1.0, "top_k": 0, **options})
        return {draw(logits, choice, generator) for _ in range(300)}

    assert drawn() == {0, 1, 2, 3}
    assert drawn(top_k=2) == {1, 3}
    assert drawn(top_p=0.75) == {1, 3, 2}
    assert drawn(top_p=0.65) == {1, 3}
    assert drawn(top_p=0.01) == {1}
    assert drawn(temperature=0) == {1}
    assert drawn(temperature=1e-4) == {1}


def test_a_penalty_does_not_keep_a_text_from_ending(run):
    model, _ = load_model(run[0])
    pieces = sentencepiece.SentencePieceProcessor(model_file=run[1])
    ids = [0, *pieces.encode("the mill grinds the corpus")]
    choice = Choice(temperature=0, repetition_penalty=50.0)
    assert not list(tokens(model, ids, choice, [torch.Generator()], never=[1], end=0, max_tokens=1))


@pytest.mark.parametrize("stated", [True, None])
def test_a_text_begins_as_the_documents_do(tmp_path, stated):
    ids = {"eos_id": 0, "unk_id": 1, "bos_id": 2}
    model, pieces = tokenizer_in(tmp_path, **ids)
    learnt = np.array([token for line in TEXT[:1] * 120 for token in [2, *pieces.encode(line), 0]])
    shards = write_tokens(
        tmp_path / "shards",
        {"train": [learnt], "validation": [learnt[:200]]},
        pieces.vocab_size(),
        hashlib.sha256(model.read_bytes()).hexdigest(),
        special_ids={name[:3]: number for name, number in ids.items()},
        bos=stated,
        eos=stated,
    )
    train(config_of("transformer", steps=60, optimizer={"lr": 0.01}), str(shards), str(tmp_path / "run"))
    assert texts((str(tmp_path / "run"), str(model)), [""], temperature=0, max_tokens=30) == [TEXT[0]]
    (tmp_path / "tokenizer").mkdir()
    model.rename(tmp_path / "tokenizer" / "tokenizer.model")
    found = export(str(tmp_path / "run"), str(tmp_path / "tokenizer"), str(tmp_path / "out"))
    assert (found["bos_token_id"], found["eos_token_id"]) == (2, 0)
    assert "begins after tokens 0, 2 and ends with 0" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("prompt", "changes", "words"),
    [
        ("a", {"max_tokens": -1}, "-1 tokens"),
        ("a", {"seed": 10**20}, "64 bits"),
        ("a\udcff", {}, "not UTF-8"),
    ],
)
def test_what_cannot_be_sampled_is_refused(run, prompt, changes, words):
    with pytest.raises(UsageError, match=words):
        texts(run, [prompt], **changes)


def test_the_likeliest_stays_however_small_top_p():
    assert draw(torch.tensor([0.0, 3.0, 1.0]), Choice(temperature=1.0, top_p=1e-46), torch.Generator()) == 1
