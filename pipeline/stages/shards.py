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
from pipeline.stages.encode import SPLITS, TRAIN
from pipeline.stages.parts import reading, write_file
from pipeline.storage import Root

STAGE = "shards"
VERSION = 3
FOLDERS = ("shards",)
INDEX_UNIT = "index"

_BATCH_DOCUMENTS = 1024  # whose tokens are held beside those of the shard
_BIN_SHIFT = 48
_BINS = 1 << (64 - _BIN_SHIFT)
_SLACK = 0.005  # of a shard: how far from its even place an edge may lie to spare a document

Cut = tuple[int, int]
"""A place in the shuffle: a key, and how many tokens of the document there lie before the cut."""

_START: Cut = (0, 0)
_END: Cut = (1 << 64, 0)


def plan(config: Config, root: Root, key: str, header: Header) -> list[Unit]:
    """One unit a shard: a range of the shuffle that holds an even share of the split's tokens."""
    units = []
    settings = config.shards
    for split in SPLITS:
        ranges = even_ranges(root, split, settings.tokens)
        for number, (low, high, tokens) in enumerate(ranges):
            name = shard_name(split, number, len(ranges), settings.format)
            spec = {"split": split, "low": low, "high": high, "header": header.to_dict()}
            units.append(Unit(STAGE, name, digest([STAGE, VERSION, key, name, low, high]), tokens, spec))
    return units


def plan_index(key: str, header: Header, shards: list[Unit], not_in_mix: int) -> Unit:
    """The unit of `index.json`, which is written when all shards are there.

    It also accounts for the documents that the mix left out, which are in no shard.
    """
    spec = {"header": header.to_dict(), "shards": [unit.name for unit in shards], "not_in_mix": not_in_mix}
    return Unit(STAGE, INDEX_UNIT, digest([STAGE, VERSION, key, INDEX_UNIT, [unit.key for unit in shards]]), 0, spec)


def even_ranges(root: Root, split: str, target: int) -> list[tuple[Cut, Cut, int]]:
    """Cut a split into ranges (low, high, tokens) of about ``target`` tokens, even to within 1 %.

    An edge lies between two documents where one ends within 0.5 % of a shard from the even place, else inside the
    document there. Two passes over the small columns of the exchange files, in memory that does not grow with the
    corpus: token counts in 65,536 bins of the key, then the documents of those bins where an edge falls.
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
    places = np.searchsorted(ends, wanted, side="right")
    chosen = [(keys[m], tokens[m]) for keys, tokens in _keys(root, split) for m in [np.isin(_bin(keys), places)]]
    keys, inverse = np.unique(np.concatenate([k for k, _ in chosen]), return_inverse=True)
    tokens = np.bincount(inverse, np.concatenate([t for _, t in chosen]), len(keys)).astype(np.int64)
    slack = int(_SLACK * total / count)
    cuts = [_START]
    for want, b in zip(wanted, places.tolist(), strict=True):
        first, last = np.searchsorted(_bin(keys), [b, b + 1])
        before = ends[b] - bins[b] + np.cumsum(tokens[first:last]) - tokens[first:last]
        at = int(np.searchsorted(before, want, side="right")) - 1
        into, key, length = want - int(before[at]), int(keys[first + at]), int(tokens[first + at])
        cuts.append(
            (key, 0) if into <= min(slack, length - into) else (key + 1, 0) if length - into <= slack else (key, into)
        )
    return [(low, high, total // count) for low, high in itertools.pairwise([*cuts, _END])]


def _bin(keys: np.ndarray) -> np.ndarray:
    return (keys >> np.uint64(_BIN_SHIFT)).astype(np.int64)


def _keys(root: Root, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shuffle keys and token counts of a split, one pair of arrays an exchange file."""
    for name in root.sizes("encoded"):
        with reading(root, name) as parquet:
            table = parquet.read_row_groups(_groups(parquet, split, 0, _END[0]), ["key", "n_tokens"])
            yield table["key"].to_numpy(), table["n_tokens"].to_numpy().astype(np.int64)


Place = tuple[str, list[int]]
"""An exchange file and the numbers of some row groups in it."""


def _groups(parquet: pq.ParquetFile, split: str, low: int, last: int) -> list[int]:
    """The row groups of an exchange file that can hold keys of [low, last] of a split."""
    split_column, key_column = ENCODED.get_field_index("split"), ENCODED.get_field_index("key")
    found = []
    for i in range(parquet.num_row_groups):
        group = parquet.metadata.row_group(i)
        keys = group.column(key_column).statistics
        if keys.max >= low and keys.min <= last and group.column(split_column).statistics.min == split:
            found.append(i)
    return found


def _find(root: Root, split: str, low: int, last: int, columns: list[str]) -> Iterator[tuple[Place, pa.Table]]:
    """Row groups of all exchange files that can hold keys of [low, last] of a split, in the order of file names."""
    for name in root.sizes("encoded"):
        with reading(root, name) as parquet:
            if groups := _groups(parquet, split, low, last):  # so few rows that threads would only cost
                yield (name, groups), parquet.read_row_groups(groups, columns, use_threads=False)


def _read(root: Root, places: list[Place], columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of row groups that were found, in the same order."""
    for name, groups in places:
        with reading(root, name) as parquet:
            yield from parquet.iter_batches(_BATCH_DOCUMENTS, groups, columns, use_threads=False)


def process(root: Root, unit: Unit) -> Row:
    """Write one shard, or the index when the unit is that."""
    header = Header.from_dict(unit.spec["header"])
    if unit.name == INDEX_UNIT:
        return _write_index(root, unit, header)
    split = unit.spec["split"]
    low, high = tuple(unit.spec["low"]), tuple(unit.spec["high"])
    places, rows, order, begin, end, written = _rows_between(root, split, low, high)
    sizes = (end - begin)[order]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    destination = np.empty(len(order), np.int64)
    destination[order] = offsets[:-1]
    tokens = np.empty(offsets[-1], header.dtype)
    width = header.dtype.itemsize
    first = 0
    for batch in _read(root, places, ["key", "tokens"]):
        values = batch.column("tokens")
        content, starts = values.buffers()[2], np.frombuffer(values.buffers()[1], np.int64)[values.offset :]
        for i in np.flatnonzero(_inside(batch.column("key").to_numpy(), low, high)).tolist():
            piece = np.frombuffer(
                content, header.dtype, int(end[first] - begin[first]), int(starts[i]) + width * int(begin[first])
            )
            tokens[destination[first] : destination[first] + len(piece)] = piece
            first += 1
    order = order[written[order]]
    rows, begin, end = rows.take(pa.array(order)), begin[order], end[order]
    n_tokens, n_bytes = (rows[name].to_numpy().astype(np.int64) for name in ("n_tokens", "n_bytes"))
    length = np.maximum(n_tokens, 1)
    with root.writing(f"shards/{unit.name}") as path:
        facts = write_shard(
            path,
            unit.name,
            header,
            split,
            tokens=tokens,
            offsets=np.concatenate([[0], np.cumsum(end - begin)]),
            n_bytes=np.where(n_tokens > 0, n_bytes * end // length - n_bytes * begin // length, n_bytes),
            doc_ids=np.frombuffer(b"".join(rows["doc_id"].to_pylist()), np.uint8).reshape(-1, ID_BYTES),
            sources=rows["source"].combine_chunks(),
            first_tokens=begin,
        )
    return Row(
        STAGE,
        unit.name,
        unit.key,
        [{**facts, "path": f"shards/{unit.name}"}],
        _counts(facts, split, rows, begin, end),
        code=f"{STAGE}.{VERSION}",
    )


def _rows_between(
    root: Root, split: str, low: Cut, high: Cut
) -> tuple[list[Place], pa.Table, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The row groups that hold what lies between two cuts; the rows there without their tokens, as they are found;
    their order in the shuffle; which of its tokens each row has here, from ``begin`` to ``end``; and whether it is here
    at all: a row of the key of a cut may lie wholly on its other side, one without tokens too."""
    columns = ["key", "doc_id", "epoch", "source", "n_bytes", "n_tokens"]
    places, tables = [], []
    for place, found in _find(root, split, low[0], _last_key(high), columns):
        places.append(place)
        tables.append(found.filter(pa.array(_inside(found["key"].to_numpy(), low, high))))
    rows = pa.concat_tables(tables)
    order = pc.sort_indices(rows, [("key", "ascending"), ("doc_id", "ascending")]).to_numpy()
    keys, lengths = rows["key"].to_numpy(), rows["n_tokens"].to_numpy().astype(np.int64)
    begin, end = np.zeros(len(keys), np.int64), lengths.copy()
    here = np.ones(len(keys), bool)
    for bound, (key, into) in ((begin, low), (end, high)):
        for row in order[keys[order] == np.uint64(key)].tolist() if into else ():
            if not lengths[row]:
                here[row] &= (into > 0) == (bound is end)
            bound[row] = min(into, int(lengths[row]))
            into -= bound[row]
    return places, rows, order, begin, end, here & ((end > begin) | (lengths == 0))


def _last_key(high: Cut) -> int:
    """The largest key of which something lies before a cut."""
    return high[0] if high[1] else high[0] - 1


def _inside(keys: np.ndarray, low: Cut, high: Cut) -> np.ndarray:
    return (keys >= np.uint64(low[0])) & (keys <= np.uint64(_last_key(high)))


def _counts(facts: dict[str, Any], split: str, rows: pa.Table, begin: np.ndarray, end: np.ndarray) -> Counts:
    """What one shard holds: documents are counted where they begin, further copies apart; tokens also by split and
    source."""
    copies = int(np.count_nonzero((rows["epoch"].to_numpy() > 0) & (begin == 0)))
    counts = Counts(read=facts["n_docs"] - copies, kept=facts["n_docs"] - copies)
    if copies:
        counts.measure("copies", copies)
    counts.measure("tokens", facts["n_tokens"])
    counts.measure("text_bytes", facts["n_bytes"])
    counts.measure(f"tokens:{split}", facts["n_tokens"])
    sources = rows["source"].to_numpy(zero_copy_only=False)
    for source in sorted(set(sources.tolist())):
        counts.measure(f"tokens:{split}:{source}", int((end - begin)[sources == source].sum()))
    return counts


def _write_index(root: Root, unit: Unit, header: Header) -> Row:
    """`index.json`, from the rows of the shards; written last, so a reader never sees an unfinished set."""
    ledger = Ledger(root)
    splits: dict[str, list[dict[str, Any]]] = {TRAIN: []}
    for name in unit.spec["shards"]:
        entry = {**ledger.row(STAGE, name).outputs[0], "path": name}
        splits.setdefault(name.split("-", 1)[0], []).append(entry)
    data = index_bytes(build_index(header, splits))
    output = write_file(root, f"shards/{INDEX}", data)
    counts = Counts(read=unit.spec["not_in_mix"])
    if counts.read:
        counts.drop("not_in_mix", counts.read)
    return Row(STAGE, unit.name, unit.key, [output], counts, code=f"{STAGE}.{VERSION}")
