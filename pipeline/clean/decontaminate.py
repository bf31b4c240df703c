"""Benchmark items in the training text, found by shared word n-grams (13 words, as in Brown et al. 2020, appendix
C)."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.clean import characters
from pipeline.dedup.shingles import shingles, word_hashes
from pipeline.errors import InputError, UsageError
from pipeline.storage import open_input

_MEND = "correct the file, or clean.decontaminate.paths"
NGRAM = 13


@dataclass(frozen=True)
class Benchmark:
    """The n-grams of benchmark items: ``hashes`` (uint64, ascending) and the item each belongs to (the first that has
    it).

    ``items`` are names (file and place); ``short`` those with fewer than n words, which cannot be looked for.
    """

    ngram: int
    hashes: np.ndarray
    owners: np.ndarray
    items: tuple[str, ...]
    short: tuple[str, ...]


@dataclass(frozen=True)
class Overlap:
    """Per document: n-grams shared with any item (int64), the share of its n-grams that is (float64), and the item that
    shares most ("" for none; of equals the first)."""

    shared: np.ndarray
    share: np.ndarray
    items: list[str]


def index(items: list[tuple[str, str]], ngram: int = NGRAM) -> Benchmark:
    """Return the benchmark of (name, text) items. Raises UsageError where no item has ``ngram`` words."""
    hashes, offsets = shingles(pa.array([text for _, text in items], pa.large_string()), ngram)
    sizes = np.diff(offsets)
    names = tuple(name for name, _ in items)
    if not len(hashes):
        raise UsageError(
            f"no benchmark item has {ngram} words: nothing could be found",
            mend="--set clean.decontaminate.ngram=N with a smaller N, or name files of longer items",
        )
    values, first = np.unique(hashes, return_index=True)
    owners = np.repeat(np.arange(len(items)), sizes)[first]
    return Benchmark(ngram, values, owners, names, tuple(names[row] for row in np.flatnonzero(sizes == 0)))


def overlap(texts: pa.Array, benchmark: Benchmark) -> Overlap:
    """Return what each text shares with the benchmark."""
    hashes, offsets = shingles(texts, benchmark.ngram)
    place = np.minimum(np.searchsorted(benchmark.hashes, hashes), len(benchmark.hashes) - 1)
    hit = np.flatnonzero(benchmark.hashes[place] == hashes)
    documents = np.searchsorted(offsets, hit, side="right") - 1
    shared = np.bincount(documents, minlength=len(texts))
    names = [""] * len(texts)
    pairs, counts = np.unique(np.stack([documents, benchmark.owners[place[hit]]], axis=1), axis=0, return_counts=True)
    order = np.lexsort((pairs[:, 1], -counts, pairs[:, 0]))
    for row in order[::-1].tolist():  # the best of a document comes last
        names[pairs[row, 0]] = benchmark.items[pairs[row, 1]]
    total = np.diff(offsets)
    share = np.divide(shared, total, out=np.zeros(len(texts)), where=total > 0)
    return Overlap(shared, share, names)


def cut(texts: pa.Array, benchmark: Benchmark) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Return the texts without the words of shared n-grams, and per document how many spans went and their code points
    (int64).

    A span reaches from the first word of an n-gram to the last of those that overlap it; white space at one of its ends
    goes with it.
    """
    spans, signs = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
    left = []
    for row, text in enumerate(texts.to_pylist()):
        kept, end = [], 0
        for start, stop in _shared_spans(text or "", benchmark):
            spans[row] += 1
            while stop < len(text) and text[stop].isspace() and (start == end or text[start - 1].isspace()):
                stop += 1
            signs[row] += stop - start
            kept.append(text[end:start])
            end = stop
        left.append("".join([*kept, text[end:]]) if kept else text)
    return pa.array(left, texts.type), spans, signs


def _shared_spans(text: str, benchmark: Benchmark) -> list[tuple[int, int]]:
    """The code points [start, stop) of each run of words that shared n-grams cover."""
    data, offsets = characters.flat(pa.array([text]))
    starts, ends = characters.words(data, offsets, characters.wide(data))
    words = [data[start:end].tobytes().decode() for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    # A word may become several ("½") when it is normalised: `owners` leads from those back to the words of the text.
    owners = np.repeat(np.arange(len(words)), np.diff(word_hashes(pa.array(words, pa.string()))[1]))
    hashes, _ = shingles(pa.array([" ".join(words)]), benchmark.ngram)
    hit = np.flatnonzero(np.isin(hashes, benchmark.hashes))
    steps = np.zeros(len(words) + 1, np.int64)
    np.add.at(steps, owners[hit], 1)
    np.add.at(steps, owners[hit + benchmark.ngram - 1] + 1, -1)
    covered = np.concatenate(([False], np.cumsum(steps)[:-1] > 0, [False]))
    edges = np.flatnonzero(covered[1:] != covered[:-1])
    place = np.concatenate(([0], np.cumsum((data & 0xC0) != 0x80)))  # from bytes to code points
    return [
        (int(place[starts[first]]), int(place[ends[last - 1]]))
        for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    ]


def read_items(path: str, data: bytes | None = None) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of a benchmark file: each row of Parquet or line of JSONL (all its strings together), or each
    line of a plain text. Names are "<file>:<row>", from 1. Raises InputError for a line that is not JSON, naming
    it. ``data`` is the content of the file where it was read before."""
    if data is None:
        with open_input(path) as stream:
            data = stream.read()
    name = path.rsplit("/", 1)[-1]
    rows: Iterator[Any]
    if name.endswith(".parquet"):
        import pyarrow.parquet as pq

        try:
            rows = iter(pq.read_table(io.BytesIO(data)).to_pylist())
        except pa.ArrowException as error:
            raise InputError(f"not a Parquet file: {error}", file=path, mend=_MEND) from error
    elif name.endswith((".jsonl", ".json")):
        rows = _json_rows(data, path)
    else:
        rows = iter(data.decode("utf-8", "replace").splitlines())
    for number, row in enumerate(rows, start=1):
        text = "\n".join(_strings(row))
        if text.strip():
            yield f"{name}:{number}", text


def _json_rows(data: bytes, path: str) -> Iterator[Any]:
    offset = 0
    for line in data.split(b"\n"):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(f"not a line of JSON: {error}", file=path, offset=offset, mend=_MEND) from error
        offset += len(line) + 1


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
