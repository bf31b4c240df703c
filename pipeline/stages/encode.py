"""Tokenise the kept documents of one unit into an exchange file, sorted by place in the global shuffle.

The place of a document is a keyed hash of its id: no worker, part or order of units has a say in it. Its split is a
hash of its cluster, whose keeper it is: near-duplicates are never on two sides. In train it stands as often as its
source's epochs say, each time in another place; held out, once at most.

Exchange files are scratch: they are deleted once the shards are complete. They hold runs, each sorted by itself, so
that memory does not grow with the unit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import progress
from pipeline.config import Config, Shards
from pipeline.ledger import Counts, Row, Unit, digest
from pipeline.schema import ENCODED
from pipeline.stages.documents import kept
from pipeline.stages.parts import PartWriter, writing_parts
from pipeline.storage import Root
from tokenizer import encode as pieces

STAGE = "encode"
VERSION = 2
FOLDERS = ("encoded",)
CONTENT = "content"  # what `_content` gives, summed up by the ledger
SPLITS = TRAIN, VALIDATION, TEST = ("train", "validation", "test")

_RUN_TOKENS = 32_000_000  # tokens sorted in memory; a longer unit becomes several runs
_ROW_GROUP_DOCUMENTS = 128  # what a shard writer must read at least, per run


def plan(config: Config, key: str, parts: Iterable[tuple[str, int]]) -> list[Unit]:
    """One unit a part of documents, with how many are kept of it; ``key`` is the digest of all that the shards depend
    on. Sources of the mix of which nothing was kept are named on stderr."""
    parts = list(parts)
    there = {name.split("--", 1)[0] for name, kept_there in parts if kept_there}
    for source in sorted(config.shards.epochs.keys() - there):
        progress.say(f"shards: no document of {source!r} was kept: its shards.epochs have no effect")
    spec = {"shards": config.shards.model_dump()}
    return [Unit(STAGE, name, digest([STAGE, VERSION, key, name]), size, spec) for name, size in parts]


def process(root: Root, unit: Unit) -> Row:
    """Encode the kept documents of one unit."""
    settings = Shards.model_validate(unit.spec["shards"])
    model = pieces.load(root.read("tokenizer/tokenizer.model"))
    counts = Counts()
    with writing_parts(root) as parts:
        part = parts.add(f"encoded/{unit.name}.parquet", ENCODED, sought=["split", "key"])
        run: list[pa.Table] = []
        held = 0
        for batch in kept(root, unit.name, ["id", "text", "source"]):
            splits, copies = _draw(batch, settings)
            counts.read += batch.num_rows
            counts.kept += int(np.count_nonzero(copies))
            if lost := int(np.count_nonzero(copies == 0)):
                counts.drop("not_in_mix", lost)
            if more := int(np.maximum(copies - 1, 0).sum()):
                counts.measure("copies", more)
            encoded = _encode(batch, model, settings)
            counts.measure(CONTENT, _content(encoded))
            run.append(_mixed(encoded, splits, copies, settings.seed))
            tokens = pc.sum(run[-1]["n_tokens"]).as_py() or 0
            counts.measure("tokens", tokens)
            held += tokens
            if held >= _RUN_TOKENS:
                _write(part, run)
                run, held = [], 0
        _write(part, run)
    return Row(STAGE, unit.name, unit.key, parts.outputs, counts, code=f"{STAGE}.{VERSION}")


def _draw(documents: pa.RecordBatch, settings: Shards) -> tuple[np.ndarray, np.ndarray]:
    """The split of each document and how often it stands there (int64)."""
    columns = (documents.column(name).to_pylist() for name in ("id", "source"))
    drawn = [draw(settings, cluster, source) for cluster, source in zip(*columns, strict=True)]
    return np.array([split for split, _ in drawn], object), np.array([copies for _, copies in drawn], np.int64)


def draw(settings: Shards, cluster: bytes, source: str) -> tuple[str, int]:
    """The split of a cluster, and how often its document stands there."""
    chance, fraction = _hashes(settings.seed, b"split", cluster)
    if chance < settings.validation * 2**64:
        split = VALIDATION
    else:
        split = TEST if chance < (settings.validation + settings.test) * 2**64 else TRAIN
    epochs = settings.epochs.get(source, 1.0)
    copies = int(epochs) + (fraction < (epochs % 1) * 2**64)
    return split, copies if split == TRAIN else min(copies, 1)


def place(seed: int, document: bytes, epoch: int = 0) -> int:
    """The position of a document in the shuffle: 64 bits of a keyed hash."""
    return _hashes(seed, b"place", document + epoch.to_bytes(4, "little"))[0]


def _hashes(seed: int, purpose: bytes, value: bytes) -> tuple[int, int]:
    found = hashlib.blake2b(value, digest_size=16, key=seed.to_bytes(8, "little"), person=purpose).digest()
    return int.from_bytes(found[:8], "big"), int.from_bytes(found[8:], "big")


def _encode(documents: pa.RecordBatch, model: pieces.Model, settings: Shards) -> pa.Table:
    """Documents as rows of the exchange, but for split, key and epoch."""
    texts = documents.column("text")
    # one thread: the runner already uses the cores
    encoded = pieces.encode(texts, model, add_bos=settings.bos, add_eos=settings.eos, threads=1)
    columns = {
        "doc_id": documents.column("id"),
        "source": documents.column("source"),
        "n_bytes": pc.binary_length(texts).cast(pa.uint32()),
        "n_tokens": pc.list_value_length(encoded).cast(pa.uint32()),
        "tokens": _as_bytes(encoded),
    }
    return pa.table(columns)


def _mixed(encoded: pa.Table, splits: np.ndarray, copies: np.ndarray, seed: int) -> pa.Table:
    """Each document as often as it was drawn, with its split and its place each time."""
    rows = np.repeat(np.arange(len(copies)), copies)
    epochs = np.arange(len(rows)) - np.repeat(np.cumsum(copies) - copies, copies)
    table = encoded if np.array_equal(rows, np.arange(len(copies))) else encoded.take(pa.array(rows))
    ids = table["doc_id"].to_pylist()
    keys = [place(seed, id, epoch) for id, epoch in zip(ids, epochs.tolist(), strict=True)]
    table = table.append_column("split", pa.array(splits[rows], pa.string()))
    table = table.append_column("epoch", pa.array(epochs, pa.uint32()))
    return table.append_column("key", pa.array(keys, pa.uint64())).select(ENCODED.names).cast(ENCODED)


def _content(encoded: pa.Table) -> int:
    """A sum over documents of 64 bits of each: the same for the same documents, however they lie in parts."""
    total = 0
    for id, tokens in zip(encoded["doc_id"].to_pylist(), encoded["tokens"].to_pylist(), strict=True):
        total += int.from_bytes(hashlib.blake2b(tokens, digest_size=8, key=id).digest(), "big")
    return total


def _write(part: PartWriter, run: list[pa.Table]) -> None:
    """Write one run, sorted by split and key, in small row groups of one split each."""
    if not run:
        return
    table = pa.concat_tables(run).combine_chunks()
    order = pc.sort_indices(table, [("split", "ascending"), ("key", "ascending"), ("doc_id", "ascending")])
    splits = table["split"].take(order)
    for split in SPLITS:
        rows = order.filter(pc.equal(splits, split))
        for first in range(0, len(rows), _ROW_GROUP_DOCUMENTS):
            for batch in table.take(rows[first : first + _ROW_GROUP_DOCUMENTS]).combine_chunks().to_batches():
                part.write(batch, own_row_group=True)


def _as_bytes(lists: pa.ListArray) -> pa.LargeBinaryArray:
    """Each list of token ids as the bytes it has in memory, without a copy: token offsets become byte offsets."""
    width = lists.type.value_type.bit_width // 8
    offsets = lists.offsets.to_numpy().astype(np.int64)
    values = lists.values.to_numpy()[offsets[0] : offsets[-1]]
    ends = (offsets - offsets[0]) * width
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(lists), [None, pa.py_buffer(ends), pa.py_buffer(values)]
    )
