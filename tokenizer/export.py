"""A tokenizer directory that `transformers.AutoTokenizer.from_pretrained` opens, with the same ids for every text.

``tokenizer.json`` is the format of the Hugging Face tokenizers library, ``tokenizer_config.json`` that of transformers.
Only models that this format can express without a difference are exported: those that `tokenizer.train` makes with the
identity normaliser, and others with the same settings. (The library applies NFKC to grapheme clusters, SentencePiece to
the longest match: Bengali vowel signs and decomposed kana come out differently.)
"""

from __future__ import annotations

import json
from typing import Any

from pipeline.errors import CorpusmillError
from tokenizer import modelfile
from tokenizer.encode import Model
from tokenizer.train import ASCII, STEP

_SPACE = "\u2581"
_NEVER = -1e6
"""The score of pieces that no text may reach (special ones and bytes): the library would find their names in a text."""


def files(model: Model) -> dict[str, bytes]:
    """The files of the directory by name: the model file itself, ``tokenizer.json`` and ``tokenizer_config.json``.

    Raises CorpusmillError for a model that would not give the same ids.
    """
    content = modelfile.read(model.content)
    _check(content)
    return {
        "tokenizer.model": model.content,
        "tokenizer.json": _json(_tokenizer(content, model)),
        "tokenizer_config.json": _json(_config(model)),
    }


def _check(content: modelfile.ModelFile) -> None:
    unigram = content.model_type == modelfile.UNIGRAM
    characters = {piece.text for piece in content.pieces if len(piece.text) == 1}
    faults = {
        "its kind is neither unigram nor BPE": content.model_type not in (modelfile.UNIGRAM, modelfile.BPE),
        "it normalises text": bool(content.charsmap),
        "it adds a space in front of a text": content.add_dummy_prefix,
        "it removes spaces": content.remove_extra_whitespaces,
        "it keeps spaces as they are": not content.escape_whitespaces,
        "it writes spaces at the end of words": content.whitespace_suffix,
        "its scores are no multiples of 1/64": unigram and any(piece.score * STEP % 1 for piece in content.pieces),
        "it lacks ASCII characters": unigram and not characters.issuperset(ASCII),
    }
    if found := [fault for fault, there in faults.items() if there]:
        raise CorpusmillError(
            f"this SentencePiece model cannot be exported with identical ids: {'; '.join(found)}",
            mend='load it with sentencepiece, or train one with tokenizer.normalizer = "identity"',
        )


def _tokenizer(content: modelfile.ModelFile, model: Model) -> dict[str, Any]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": piece.text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,  # found in the text before it is normalised, as SentencePiece does
                "special": piece.type != modelfile.USER_DEFINED,
            }
            for number, piece in enumerate(content.pieces)
            if piece.type in (modelfile.UNKNOWN, modelfile.CONTROL, modelfile.USER_DEFINED)
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": _unigram(content, model) if content.model_type == modelfile.UNIGRAM else _bpe(content, model),
    }


def _unigram(content: modelfile.ModelFile, model: Model) -> dict[str, Any]:
    silent = (modelfile.UNKNOWN, modelfile.CONTROL, modelfile.BYTE)
    return {
        "type": "Unigram",
        "unk_id": model.special_ids["unk"],
        "vocab": [[piece.text, _NEVER if piece.type in silent else piece.score] for piece in content.pieces],
        "byte_fallback": content.byte_fallback,
    }


def _bpe(content: modelfile.ModelFile, model: Model) -> dict[str, Any]:
    """SentencePiece joins the neighbours whose union has the best score: every split of a piece into two is a merge of
    its rank."""
    vocabulary = {piece.text: number for number, piece in enumerate(content.pieces)}
    merges = [
        (-piece.score, vocabulary[piece.text[:at]], vocabulary[piece.text[at:]], piece.text[:at], piece.text[at:])
        for piece in content.pieces
        if piece.type == modelfile.NORMAL
        for at in range(1, len(piece.text))
        if piece.text[:at] in vocabulary and piece.text[at:] in vocabulary
    ]
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": content.pieces[model.special_ids["unk"]].text,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": content.byte_fallback,
        "ignore_merges": False,
        "vocab": vocabulary,
        "merges": [[left, right] for *_, left, right in sorted(merges)],
    }


def _config(model: Model) -> dict[str, Any]:
    tokens = {f"{role}_token": model.processor.id_to_piece(number) for role, number in model.special_ids.items()}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **tokens,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,  # "</s>" written in a text is text, as with SentencePiece
    }


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
