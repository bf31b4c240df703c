"""Write the shards: each is one range of the global shuffle, gathered from all exchange files, sorted, written."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import Config
from pipeline.ledger import Counts, Ledger, Row, Unit, digest
from pipeline.schema import ENCODED, ID_BYTES
from pipeline.shards.format import INDEX, Header, build_index, index_bytes, shard_name
from pipeline.shards.write import write_shard
from pipeline.stages.encode import TRAIN, VALIDATION
from pipeline.stages.parts import write_file
from pipeline.storage import Root

STAGE = "shards"
VERSION = 1
FOLDERS = ("shards",)
INDEX_UNIT = "index"

_BIN_SHIFT = 48
_BINS = 1 << (64 - _BIN_SHIFT)
_END = 1 << 64


def plan(config: Config, root: Root, key: str, header: Header) -> list[Unit]:
    """One unit a shard: a range of shuffle keys that holds an even share of the split's tokens."""
    units = []
    for split in (TRAIN, VALIDATION):
        bounds = even_ranges(root, split, config.shards.tokens)
        for number, (low, high, tokens) in enumerate(bounds):
            name = shard_name(split, number, len(bounds))
            spec = {"split": split, "low": low, "high": high, "header": header.to_dict()}
            units.append(Unit(STAGE, name, digest([STAGE, VERSION, key, name, low, high]), tokens, spec))
    return units


def plan_index(key: str, header: Header, shards: list[Unit]) -> Unit:
    """The unit of `index.json`, which is written when all shards are there."""
    spec = {"header": header.to_dict(), "shards": [unit.name for unit in shards]}
    return Unit(STAGE, INDEX_UNIT, digest([STAGE, VERSION, key, INDEX_UNIT, [unit.key for unit in shards]]), 0, spec)


def even_ranges(root: Root, split: str, target: int) -> list[tuple[int, int, int]]:
    """Cut a split into key ranges (low, high, tokens) of about ``target`` tokens, even to within one document.

    Two passes over the small columns of the exchange files, in memory that does not grow with the corpus: token counts
    in 65,536 bins of the key, then the documents of those bins where a boundary falls.
    """
    bins = np.zeros(_BINS, np.int64)
    for keys, tokens in _keys(root, split):
        np.add.at(bins, _bin(keys), tokens)
    total = int(bins.sum())
    if not total:
        return []
    count = max(1, round(total / target))
    wanted = [total * i // count for i in range(1, count)]
    ends = np.cumsum(bins)
    bins_cut = np.searchsorted(ends, wanted, side="right")
    chosen = [(keys[m], tokens[m]) for keys, tokens in _keys(root, split) for m in [np.isin(_bin(keys), bins_cut)]]
    keys = np.concatenate([k for k, _ in chosen])
    order = np.argsort(keys, kind="stable")
    keys, tokens = keys[order], np.concatenate([t for _, t in chosen])[order]
    edges = [0]
    for want, b in zip(wanted, bins_cut.tolist(), strict=True):
        first, last = np.searchsorted(_bin(keys), [b, b + 1])
        before = ends[b] - bins[b] + np.cumsum(tokens[first:last]) - tokens[first:last]
        nearest = int(np.searchsorted(before, want))
        edges.append(int(keys[first + nearest]) if nearest < last - first else (b + 1) << _BIN_SHIFT)
    edges = sorted({*edges, _END})
    held = np.zeros(len(edges) - 1, np.int64)  # a document longer than a shard leaves ranges next to it empty
    for keys, tokens in _keys(root, split):
        np.add.at(held, np.searchsorted(np.array(edges[1:-1], np.uint64), keys, side="right"), tokens)
    edges = [edge for edge, tokens in zip(edges, held.tolist(), strict=False) if tokens]
    edges = [0, *edges[1:], _END]
    return [(low, high, total // count) for low, high in itertools.pairwise(edges)]


def _bin(keys: np.ndarray) -> np.ndarray:
    return (keys >> np.uint64(_BIN_SHIFT)).astype(np.int64)


def _keys(root: Root, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shuffle keys and token counts of a split, one pair of arrays a row group."""
    for group in _groups(root, split, 0, _END, ["key", "n_tokens"]):
        yield group["key"].to_numpy(), group["n_tokens"].to_numpy().astype(np.int64)


def _groups(root: Root, split: str, low: int, high: int, columns: list[str]) -> Iterator[pa.Table]:
    """Row groups of all exchange files that can hold keys of [low, high) of a split, in the order of file names."""
    split_column, key_column = ENCODED.get_field_index("split"), ENCODED.get_field_index("key")
    for name in root.sizes("encoded"):
        with root.open(name) as file, pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            for i in range(parquet.num_row_groups):
                group = parquet.metadata.row_group(i)
                keys = group.column(key_column).statistics
                if group.column(split_column).statistics.min == split and keys.max >= low and keys.min < high:
                    yield parquet.read_row_group(i, columns)


def process(root: Root, unit: Unit) -> Row:
    """Write one shard, or the index when the unit is that."""
    header = Header.from_dict(unit.spec["header"])
    if unit.name == INDEX_UNIT:
        return _write_index(root, unit, header)
    split, low, high = unit.spec["split"], unit.spec["low"], unit.spec["high"]
    inside = (pc.greater_equal(pc.field("key"), pa.scalar(low, pa.uint64()))) & (
        pc.less_equal(pc.field("key"), pa.scalar(high - 1, pa.uint64()))
    )
    columns = ["key", "doc_id", "source", "n_bytes", "n_tokens", "tokens"]
    groups = [group.filter(inside) for group in _groups(root, split, low, high, columns)]
    table = pa.concat_tables(groups).sort_by([("key", "ascending"), ("doc_id", "ascending")]).combine_chunks()
    tokens = np.frombuffer(b"".join(value.as_buffer() for value in table["tokens"]), header.dtype)
    with root.writing(f"shards/{unit.name}") as path:
        facts = write_shard(
            path,
            unit.name,
            header,
            split,
            tokens=tokens,
            offsets=np.concatenate([[0], np.cumsum(table["n_tokens"].to_numpy().astype(np.int64))]),
            n_bytes=table["n_bytes"].to_numpy(),
            doc_ids=np.frombuffer(b"".join(table["doc_id"].to_pylist()), np.uint8).reshape(-1, ID_BYTES),
            sources=table["source"].combine_chunks(),
        )
    counts = Counts(read=table.num_rows, kept=table.num_rows)
    counts.measure("tokens", facts["n_tokens"])
    counts.measure("text_bytes", facts["n_bytes"])
    return Row(
        STAGE, unit.name, unit.key, [{**facts, "path": f"shards/{unit.name}"}], counts, code=f"{STAGE}.{VERSION}"
    )


def _write_index(root: Root, unit: Unit, header: Header) -> Row:
    """`index.json`, from the rows of the shards; written last, so a reader never sees an unfinished set."""
    rows = Ledger(root).rows(STAGE)
    splits: dict[str, list[dict[str, Any]]] = {TRAIN: [], VALIDATION: []}
    for name in unit.spec["shards"]:
        entry = {**rows[name].outputs[0], "path": name}
        splits[name.split("-", 1)[0]].append(entry)
    data = index_bytes(build_index(header, splits))
    output = write_file(root, f"shards/{INDEX}", data)
    return Row(STAGE, unit.name, unit.key, [output], Counts(), code=f"{STAGE}.{VERSION}")
