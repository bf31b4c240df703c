"""Texts to token ids and back, a batch at a time, in Arrow arrays."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sentencepiece

from pipeline.errors import CorpusmillError
from tokenizer import modelfile

_LARGEST_UINT16_VOCABULARY = 65_536


@dataclass(frozen=True)
class Model:
    """A loaded SentencePiece model; ``content`` is the model file. Pickles as its content."""

    content: bytes

    @cached_property
    def processor(self) -> Any:
        """The `sentencepiece.SentencePieceProcessor`."""
        try:
            return sentencepiece.SentencePieceProcessor(model_proto=self.content)
        except RuntimeError as error:
            raise CorpusmillError(f"not a SentencePiece model: {error}", mend=modelfile.MEND) from error

    @cached_property
    def sha256(self) -> str:
        """The digest that shards name their tokenizer by."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def vocab_size(self) -> int:
        """The number of pieces: every id is below it."""
        return self.processor.get_piece_size()

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """The id of each role (unk, bos, eos, pad) that the model has."""
        found = {role: getattr(self.processor, f"{role}_id")() for role in ("unk", "bos", "eos", "pad")}
        return {role: number for role, number in found.items() if number >= 0}

    @property
    def token_type(self) -> pa.DataType:
        """The Arrow type of an id: uint16 where all pieces fit, else uint32."""
        return pa.uint16() if self.vocab_size <= _LARGEST_UINT16_VOCABULARY else pa.uint32()

    def __reduce__(self) -> tuple:  # a worker process gets the file and loads it on first use
        return Model, (self.content,)


def load(model: bytes | str | Path) -> Model:
    """Load a SentencePiece model, ours or any other, from its path or its bytes."""
    if isinstance(model, bytes):
        loaded, name = Model(model), ""
    else:
        loaded, name = Model(Path(model).read_bytes()), str(model)
    try:
        loaded.processor  # noqa: B018  (a file that is no model is refused here, not at the first batch)
    except CorpusmillError as error:
        raise CorpusmillError(error.cause, file=name, mend="corpusmill tokenizer train CORPUS_TOML") from error
    return loaded


def encode(
    texts: pa.StringArray | pa.LargeStringArray,
    model: Model,
    *,
    add_bos: bool = False,
    add_eos: bool = True,
    threads: int | None = None,
) -> pa.ListArray:
    """Encode each text to a list of ids (uint16 or uint32: `Model.token_type`).

    The ids are those of SentencePiece itself, whatever the number of ``threads`` (None: all cores). Raises
    CorpusmillError for a null, for NUL or invalid UTF-8 (lone surrogates are), and where the model lacks the piece that
    ``add_bos`` or ``add_eos`` asks for.
    """
    for wanted, role in ((add_bos, "bos"), (add_eos, "eos")):
        if wanted and role not in model.special_ids:
            raise CorpusmillError(
                f"the tokenizer has no {role} piece", mend=f"train it with one or encode with add_{role}=False"
            )
    _check(texts)
    content = texts.cast(pa.large_binary() if pa.types.is_large_string(texts.type) else pa.binary()).to_pylist()
    pieces = model.processor.encode(
        content,
        out_type="numpy",  # one int32 buffer a text: no Python object a token
        add_bos=add_bos,
        add_eos=add_eos,
        num_threads=threads or available_cores(),
    )
    offsets = np.zeros(len(pieces) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces)), out=offsets[1:])
    if offsets[-1] > np.iinfo(np.int32).max:
        raise CorpusmillError(
            f"a batch of {len(texts)} texts has {offsets[-1]} tokens: more than one list array holds",
            mend="encode fewer texts at once",
        )
    kind = model.token_type
    width = np.uint16 if kind == pa.uint16() else np.uint32
    tokens = np.concatenate(pieces, dtype=width, casting="unsafe") if pieces else np.empty(0, width)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(tokens, type=kind))


def decode(tokens: pa.ListArray | pa.LargeListArray, model: Model, *, threads: int | None = None) -> pa.StringArray:
    """Decode each list of ids to its text; special pieces give nothing, bytes that are no UTF-8 give U+FFFD.

    Raises CorpusmillError for an id that the model does not have.
    """
    flat = tokens.flatten()
    if len(flat) and (largest := pc.max(flat).as_py()) >= model.vocab_size:
        raise CorpusmillError(
            f"token id {largest} in tokens of a tokenizer with {model.vocab_size} pieces",
            mend="decode with the tokenizer that the shards name",
        )
    lengths = pc.list_value_length(tokens).fill_null(0).to_numpy(zero_copy_only=False)
    lists = np.split(flat.to_numpy(), np.cumsum(lengths)[:-1]) if len(tokens) else []
    texts = model.processor.decode(lists, num_threads=threads or available_cores()) if lists else []
    return pa.array(texts, pa.string())


def spans(text: str, model: Model) -> list[tuple[str, int, int]]:
    """The pieces of one text in order, each with the characters of the text that it stands for (begin, end).

    Of a character written as bytes, the last byte has the character and the others are empty.
    """
    _check(pa.array([text], pa.string()))
    found = model.processor.encode(text, return_type="offset_mapping")
    return [(piece, begin, end) for piece, (begin, end) in zip(found["pieces"], found["offsets"], strict=True)]


def available_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def _check(texts: pa.StringArray | pa.LargeStringArray) -> None:
    if texts.null_count:
        row = pc.index(texts.is_null(), True).as_py()
        raise CorpusmillError(f"text {row} of the batch is null")
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        raise CorpusmillError(
            f"a text of the batch is no valid UTF-8: {error}", mend="repair it at the parse edge"
        ) from error
    row = pc.index(pc.match_substring(texts, "\0"), True).as_py()
    if row >= 0:
        raise CorpusmillError(f"text {row} of the batch holds NUL", mend="repair it at the parse edge")
