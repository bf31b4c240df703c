"""Tokenise the kept documents of one unit into an exchange file, sorted by place in the global shuffle.

The place of a document is a keyed hash of its id: no worker, part or order of units has a say in it. Exchange files
are scratch: they are deleted once the shards are complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Config, Shards
from pipeline.ledger import Counts, Row, Unit, digest
from pipeline.schema import ENCODED
from pipeline.stages.documents import kept
from pipeline.stages.parts import writing_parts
from pipeline.storage import Root
from tokenizer import encode as pieces

STAGE = "encode"
VERSION = 1
FOLDERS = ("encoded",)
TRAIN, VALIDATION = "train", "validation"

_ROW_GROUP_DOCUMENTS = 2048  # what a shard writer must read at least, per exchange file


def plan(config: Config, key: str, parts: Iterable[tuple[str, int]]) -> list[Unit]:
    """One unit a part of documents; ``key`` is the digest of all that the shards depend on."""
    spec = {"shards": config.shards.model_dump()}
    return [Unit(STAGE, name, digest([STAGE, VERSION, key, name]), size, spec) for name, size in parts]


def process(root: Root, unit: Unit) -> Row:
    """Encode the kept documents of one unit."""
    settings = Shards.model_validate(unit.spec["shards"])
    model = pieces.load(root.read("tokenizer/tokenizer.model"))
    counts = Counts()
    columns: dict[str, list[pa.Array]] = {name: [] for name in ENCODED.names}
    for batch in kept(root, unit.name, ["id", "text", "source"]):
        encoded = pieces.encode(batch.column("text"), model, threads=1)  # the runner already uses the cores
        ids = batch.column("id")
        places = np.array([place(settings.seed, i) for i in ids.to_pylist()], dtype=np.uint64).reshape(-1, 2)
        n_tokens = pc.list_value_length(encoded)
        counts.read += batch.num_rows
        counts.kept += batch.num_rows
        counts.measure("tokens", pc.sum(n_tokens).as_py() or 0)
        held = places[:, 1] < int(settings.validation * 2**64)
        columns["split"].append(pa.array(np.where(held, VALIDATION, TRAIN), pa.string()))
        columns["key"].append(pa.array(places[:, 0]))
        columns["doc_id"].append(ids)
        columns["source"].append(batch.column("source"))
        columns["n_bytes"].append(pc.binary_length(batch.column("text")).cast(pa.uint32()))
        columns["n_tokens"].append(n_tokens.cast(pa.uint32()))
        columns["tokens"].append(_as_bytes(encoded))
    table = pa.table(
        {name: pa.chunked_array(columns[name], ENCODED.field(name).type) for name in ENCODED.names}, ENCODED
    )
    table = table.take(pc.sort_indices(table, [("split", "ascending"), ("key", "ascending"), ("doc_id", "ascending")]))
    with writing_parts(root) as parts:
        part = parts.add(f"encoded/{unit.name}.parquet", ENCODED)
        for split in (TRAIN, VALIDATION):
            for batch in table.filter(pc.equal(table["split"], split)).to_batches(_ROW_GROUP_DOCUMENTS):
                part.write(batch, own_row_group=True)
    return Row(STAGE, unit.name, unit.key, parts.outputs, counts, code=f"{STAGE}.{VERSION}")


def place(seed: int, document: bytes) -> tuple[int, int]:
    """Two 64-bit hashes of a document id: its position in the shuffle, and what decides its split."""
    value = hashlib.blake2b(document, digest_size=16, key=seed.to_bytes(8, "little")).digest()
    return int.from_bytes(value[:8], "big"), int.from_bytes(value[8:], "big")


def _as_bytes(lists: pa.ListArray) -> pa.BinaryArray:
    """Each list of token ids as the bytes it has in memory, without a copy: token offsets become byte offsets."""
    width = lists.type.value_type.bit_width // 8
    offsets = lists.offsets.to_numpy().astype(np.int64)
    values = lists.values.to_numpy()[offsets[0] : offsets[-1]]
    ends = ((offsets - offsets[0]) * width).astype(np.int32)
    return pa.BinaryArray.from_buffers(pa.binary(), len(lists), [None, pa.py_buffer(ends), pa.py_buffer(values)])
