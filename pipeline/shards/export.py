"""Shards in the formats of other trainers: Megatron's indexed dataset, and nanoGPT's flat file.

Formats as read in the sources of Megatron-LM (megatron/core/datasets/indexed_dataset.py) and nanoGPT (train.py).
"""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.errors import CorpusmillError
from pipeline.shards.read import Shards

_MAGIC = b"MMIDIDX\x00\x00"
_MEGATRON_CODES = {"uint16": 8, "int32": 4}
META = "meta.pkl"
_NANOGPT_NAMES = {"train": "train.bin", "validation": "val.bin"}


def megatron(shards: Shards, tokens: BinaryIO, index: BinaryIO) -> None:
    """Write a split as Megatron's ``.bin`` (token ids end to end) and ``.idx``: one sequence a document.

    Ids are uint16, or int32 where the shards have uint32 (Megatron knows no uint32).
    """
    kind = np.dtype(np.uint16 if shards.dtype == np.uint16 else np.int32)
    for part in shards.shard_tokens():
        tokens.write(np.ascontiguousarray(part, kind).data)
    offsets = shards.offsets
    lengths = np.diff(offsets)
    index.write(_MAGIC + struct.pack("<QB", 1, _MEGATRON_CODES[kind.name]))
    index.write(struct.pack("<QQ", len(lengths), len(offsets)))
    index.write(lengths.astype("<i4").tobytes())
    index.write((offsets[:-1] * kind.itemsize).astype("<i8").tobytes())
    index.write(np.arange(len(offsets), dtype="<i8").tobytes())  # where each document ends, in sequences


def nanogpt(shards: Shards, tokens: BinaryIO) -> None:
    """Write a split as nanoGPT's ``.bin``: uint16 ids end to end. CorpusmillError where ids need more."""
    if shards.dtype != np.uint16:
        raise CorpusmillError(
            f"nanoGPT reads 16-bit ids, and these shards have {shards.vocab_size} pieces",
            file=str(shards.directory),
            mend="export for Megatron, or set tokenizer.vocab_size to 65536 or less",
        )
    for part in shards.shard_tokens():
        tokens.write(part.data)


def nanogpt_meta(pieces: list[str]) -> bytes:
    """nanoGPT's ``meta.pkl``, from which train.py has the size of the vocabulary and sample.py the text of each id."""
    texts = [piece.replace("\u2581", " ") for piece in pieces]
    numbers = {text: number for number, text in reversed(list(enumerate(texts)))}
    return pickle.dumps({"vocab_size": len(texts), "itos": dict(enumerate(texts)), "stoi": numbers}, protocol=4)


def names(format: str, split: str) -> list[str]:
    """The files that an export of a split consists of."""
    if format == "megatron":
        return [f"{split}.bin", f"{split}.idx"]
    return [_NANOGPT_NAMES.get(split, f"{split}.bin")]


def write(shards: Shards, format: str, paths: list[Path]) -> None:
    """Write one split to the files that `names` lists, in the same order."""
    with open(paths[0], "wb") as tokens:
        if format == "megatron":
            with open(paths[1], "wb") as index:
                megatron(shards, tokens, index)
        else:
            nanogpt(shards, tokens)
