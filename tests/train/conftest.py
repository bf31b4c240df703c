"""Small shards of a language that can be learnt: each token mostly decides the next."""

from __future__ import annotations

import os

# Threads that wait by spinning make torch crawl when other processes use the cores. Read when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.shards.format import Header, build_index, index_bytes, shard_name
from pipeline.shards.write import write_shard

VOCABULARY = 61


def write_tokens(
    folder: Path,
    splits: dict[str, list[np.ndarray]],
    vocab_size: int,
    tokenizer: str = "ab" * 32,
    **header_fields: Any,
) -> Path:
    """Shards whose documents are cut after each eos (0); four bytes of text a token."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = {"eos": 0, "unk": 1}
    header = Header(tokenizer, vocab_size, **{"special_ids": ids, "seed": 1, "lineage": "cd" * 32, **header_fields})
    described: dict[str, list[dict]] = {}
    for split, shards in splits.items():
        described[split] = []
        for number, tokens in enumerate(shards):
            ends = (np.flatnonzero(tokens == 0) + 1).tolist()
            offsets = np.array([0, *ends] if ends and ends[-1] == len(tokens) else [0, *ends, len(tokens)])
            documents = len(offsets) - 1
            ids = np.frombuffer(
                b"".join(f"{split[:5]}-{number:02d}-{i:07d}".encode().ljust(16, b".") for i in range(documents)),
                np.uint8,
            )
            name = shard_name(split, number, len(shards))
            row = write_shard(
                str(folder / name),
                name,
                header,
                split,
                tokens=tokens,
                offsets=offsets,
                n_bytes=np.diff(offsets) * 4,
                doc_ids=ids.reshape(documents, 16),
                sources=["made"] * documents,
            )
            described[split].append(row)
    (folder / "index.json").write_bytes(index_bytes(build_index(header, described)))
    return folder


def language(count: int, seed: int) -> np.ndarray:
    """Tokens of a noisy linear rule, with an eos (0) now and then and at the end."""
    rng = np.random.default_rng(seed)
    noise, surprise = rng.integers(2, VOCABULARY, count), rng.random(count) < 0.2
    tokens = np.empty(count, np.int64)
    tokens[0] = 5
    for i in range(1, count):
        tokens[i] = noise[i] if surprise[i] else 2 + (tokens[i - 1] * 7 + 3) % (VOCABULARY - 2)
    tokens[40::97] = 0
    tokens[-1] = 0
    return tokens


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def shards_dir(tmp_path_factory) -> str:
    splits = {"train": [language(2500, 1), language(1700, 2)], "validation": [language(700, 3)]}
    return str(write_tokens(tmp_path_factory.mktemp("corpus") / "shards", splits, VOCABULARY))
