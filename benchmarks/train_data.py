"""Texts of the training benchmarks as shards: characters, words of WikiText-2, or made-up tokens."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.shards.format import Header, build_index, index_bytes, shard_name
from pipeline.shards.write import write_shard


def write(folder: Path, splits: dict[str, np.ndarray], n_bytes: dict[str, int], vocab_size: int, eos: int) -> Path:
    """One shard and one document a split, ``n_bytes`` of text in each; training begins after token ``eos``."""
    folder.mkdir(parents=True, exist_ok=True)
    header = Header("00" * 32, vocab_size, {"eos": eos}, seed=0, lineage="00" * 32, eos=True)
    rows = {}
    for split, tokens in splits.items():
        name = shard_name(split, 0, 1)
        row = write_shard(
            str(folder / name),
            name,
            header,
            split,
            tokens=tokens,
            offsets=np.array([0, len(tokens)]),
            n_bytes=np.array([n_bytes[split]]),
            doc_ids=np.frombuffer(split.encode().ljust(16, b".")[:16], np.uint8).reshape(1, 16),
            sources=["benchmark"],
        )
        rows[split] = [row]
    (folder / "index.json").write_bytes(index_bytes(build_index(header, rows)))
    return folder


def characters(text: str, folder: Path) -> Path:
    """The first nine tenths of a text to train on, the rest for validation, as nanoGPT cuts it; a token a character."""
    alphabet = sorted(set(text))
    number = {character: i for i, character in enumerate(alphabet)}
    tokens = np.array([number[character] for character in text])
    cut = int(0.9 * len(text))
    splits = {"train": tokens[:cut], "validation": tokens[cut:]}
    n_bytes = {"train": len(text[:cut].encode()), "validation": len(text[cut:].encode())}
    return write(folder, splits, n_bytes, len(alphabet), number["\n"])


def words(archive: Path, folder: Path) -> Path:
    """WikiText-2, a token a word and <eos> at each line's end; its test text is the validation of ``folder``/test."""
    names = {"train": "train", "validation": "valid", "test": "test"}
    texts: dict[str, list[str]] = {}
    with zipfile.ZipFile(archive) as file:
        for split, name in names.items():
            member = next(n for n in file.namelist() if name in Path(n).name and not n.endswith("/"))
            lines = file.read(member).decode().splitlines()
            texts[split] = [word for line in lines for word in (*line.split(), "<eos>")]
    number = {word: i for i, word in enumerate(dict.fromkeys(word for text in texts.values() for word in text))}
    tokens = {split: np.array([number[word] for word in text]) for split, text in texts.items()}
    n_bytes = {split: len(" ".join(text).encode()) for split, text in texts.items()}
    eos = number["<eos>"]
    test = {"train": tokens["train"], "validation": tokens["test"]}
    write(folder / "test", test, {**n_bytes, "validation": n_bytes["test"]}, len(number), eos)
    del tokens["test"], n_bytes["test"]
    return write(folder / "shards", tokens, n_bytes, len(number), eos)


def made(folder: Path, vocab_size: int, count: int, seed: int = 1) -> Path:
    """Random tokens: for timing only."""
    tokens = np.random.default_rng(seed).integers(1, vocab_size, count)
    splits = {"train": tokens, "validation": tokens[: max(count // 50, 1)]}
    return write(folder, splits, {split: 4 * len(part) for split, part in splits.items()}, vocab_size, 0)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with its columns aligned."""
    lines = [list(head), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells), flush=True)
