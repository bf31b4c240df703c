"""Exports, read back as the other trainers read them."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from pipeline import cli
from pipeline.errors import CorpusmillError
from pipeline.shards.export import names, write
from pipeline.shards.format import Header
from pipeline.shards.read import open_shards
from tests.shards.test_shards import write_corpus


def megatron(prefix):
    """Token ids of each sequence and the ends of documents, by the layout of Megatron's indexed dataset."""
    data = prefix.with_suffix(".idx").read_bytes()
    assert data[:9] == b"MMIDIDX\0\0"
    assert int.from_bytes(data[9:17], "little") == 1
    kind = {8: np.uint16, 4: np.int32}[data[17]]
    sequences, documents = np.frombuffer(data, "<u8", 2, 18).tolist()
    lengths = np.frombuffer(data, "<i4", sequences, 34)
    pointers = np.frombuffer(data, "<i8", sequences, 34 + 4 * sequences)
    ends = np.frombuffer(data, "<i8", documents, 34 + 12 * sequences)
    assert len(data) == 34 + 12 * sequences + 8 * documents
    content = prefix.with_suffix(".bin").read_bytes()
    return [
        np.frombuffer(content, kind, n, at).tolist() for n, at in zip(lengths, pointers, strict=True)
    ], ends.tolist()


@pytest.mark.parametrize("format", ["megatron", "nanogpt"])
def test_a_corpus_is_exported(built_corpus, tmp_path, capsys, format):
    arguments = ["export", str(built_corpus), "--format", format, "--output", str(tmp_path), "--json"]
    assert cli.main(arguments) == 0
    files = {row["path"] for row in json.loads(capsys.readouterr().out)}
    for split in ("train", "validation"):
        shards = open_shards(built_corpus / "shards", split)
        tokens = shards.read(0, shards.n_tokens)
        if format == "megatron":
            sequences, ends = megatron(tmp_path / split)
            assert sequences == [shards.read(d.start, d.stop).tolist() for d in shards.documents()]
            assert ends == list(range(shards.n_docs + 1))
        else:
            path = tmp_path / {"train": "train.bin", "validation": "val.bin"}[split]
            assert str(path) in files
            assert np.array_equal(np.memmap(path, np.uint16, "r"), tokens)
            meta = pickle.loads((tmp_path / "meta.pkl").read_bytes())
            assert meta["vocab_size"] == shards.vocab_size == len(meta["itos"])
    assert files == {str(path) for path in tmp_path.iterdir()}
    assert cli.main(arguments) == 1
    assert "there already" in capsys.readouterr().err


def test_ids_of_32_bits(tmp_path):
    header = Header("ab" * 32, 70_000, {}, 0, "")
    shards = open_shards(write_corpus(tmp_path / "s", {"train": [[[69_999, 1], [2]]]}, header))
    write(shards, "megatron", [tmp_path / name for name in names("megatron", "train")])
    assert megatron(tmp_path / "train") == ([[69_999, 1], [2]], [0, 1, 2])
    with pytest.raises(CorpusmillError, match="70000 pieces"):
        write(shards, "nanogpt", [tmp_path / "train.bin"])
