from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CorpusmillError
from tests.shared import shared
from tests.tokenizer.real import pages, sample
from tokenizer import export
from tokenizer.encode import Model, load
from tokenizer.train import TokenizerOptions, train

ODD = [
    "",
    " ",
    "\n\n  a\t b \r\n c  ",
    "</s> <unk> <s><pad> <reserved_0> <|user|>hello<|user|>\n<0x41>",
    "\u2581a\u2585b \u200b\ufeff",
    "ﬁne Ⅷ ｶﾞ é e\u0301 ½ 한글",
    "👩‍👩‍👧 🏳️‍🌈 नमस्ते สวัสดี مرحبا অন্ধকার পরিবেশে",
    "====================" * 40,
]


def opened(model: Model, folder: Path) -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
    for name, content in export.files(model).items():
        (folder / name).write_bytes(content)
    return transformers.AutoTokenizer.from_pretrained(folder)


def check(tokenizer: Any, model: Model, texts: list[str]) -> None:
    for text in texts:
        ids = model.processor.encode(text)
        assert tokenizer(text)["input_ids"] == ids
        assert tokenizer.decode(ids) == model.processor.decode(ids)


def test_transformers_gives_the_same_ids(model, tmp_path):
    tokenizer = opened(model, tmp_path)
    assert len(tokenizer) == model.vocab_size
    assert (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (
        0,
        1,
        2,
        3,
    )
    check(tokenizer, model, [text for _, text in pages()] + ODD)


def test_transformers_gives_the_same_ids_in_75_languages(model, tmp_path):
    path = shared("langid/lingua-sentences-A.tsv.gz")
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()[::37]
    check(opened(model, tmp_path), model, [line.split("\t")[-1] for line in lines])


def test_files_say_what_the_model_has(model):
    files = export.files(model)
    assert files["tokenizer.model"] == model.content
    tokenizer = json.loads(files["tokenizer.json"])
    added = {token["content"]: (token["id"], token["special"]) for token in tokenizer["added_tokens"]}
    assert added["</s>"] == (2, True)
    assert added["\n"][1] is False
    assert added["<|user|>"][1] is False
    vocabulary = tokenizer["model"]["vocab"]
    names = [name for name, _ in vocabulary] if isinstance(vocabulary, list) else list(vocabulary)
    assert names == [model.processor.id_to_piece(i) for i in range(model.vocab_size)]
    assert json.loads(files["tokenizer_config.json"])["eos_token"] == "</s>"


def test_merges_are_those_of_sentencepiece(trained):
    """Merging by the exported list alone, best rank first, finds SentencePiece's own pieces."""
    model = load(trained["bpe"].model)
    merges = json.loads(export.files(model)["tokenizer.json"])["model"]["merges"]
    ranks = {tuple(pair): rank for rank, pair in reversed(list(enumerate(merges)))}
    for word in sorted({word for text in sample(400) for word in text.split() if word.isalpha()})[:300]:
        parts = ["\u2581", *word]
        while pairs := [pair for pair in itertools.pairwise(parts) if pair in ranks]:
            left, right = min(pairs, key=ranks.__getitem__)
            at = next(i for i in range(len(parts)) if parts[i : i + 2] == [left, right])
            parts[at : at + 2] = [left + right]
        found = model.processor.encode(f" {word}", out_type=str)
        if not any(model.processor.is_byte(model.processor.piece_to_id(piece)) for piece in found):
            assert parts == found


def test_model_that_would_differ_is_refused():
    folded = load(train(sample(3000), TokenizerOptions(kind="bpe", vocab_size=1500, normalizer="nfkc")).model)
    with pytest.raises(CorpusmillError, match="identical ids: it normalises text"):
        export.files(folded)
