"""Deduplicate: who is a copy of whom, found from signatures alone, then written part by part.

Three levels, each the reason of its drops: ``duplicate_record`` (the same record read again: equal ids),
``duplicate_exact`` (equal texts after normalisation) and ``duplicate_near`` (neighbours by MinHash-LSH). The keeper
of a cluster is its smallest id; of a record read twice, the first by unit name and row. So the result depends on the
documents alone. pipeline/jobs/dedup.py wires these functions into one Beam graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.config import Config, Dedup
from pipeline.dedup import lsh
from pipeline.dedup.components import EMPTY, clusters, forest_merge
from pipeline.ledger import Counts, Row, Unit, digest
from pipeline.schema import DUPLICATES
from pipeline.stages.parts import read_batches, writing_parts
from pipeline.storage import Root

STAGE = "dedup"
VERSION = 1
FOLDERS = ("duplicates",)

RECORD, EXACT, NEAR = "record", "exact", "near"
LEVELS = (RECORD, EXACT, NEAR)

_RECORD_BAND = -2  # like the band of exact texts, with the document id as key and its place as id
_BLOCK_RECORDS = 250_000  # documents that meet under one key, about: what sorts within the processor's cache
_VERDICT = np.dtype([("id", "S16"), ("keeper", "S16"), ("exact", "?")])
_PLACE = np.dtype([("part", ">u8"), ("row", ">u8")])


def plan(config: Config, signatures: str, rows: dict[str, Row]) -> list[Unit]:
    """One unit a part of documents. Any document can copy any other, so each key has the digest of all signatures."""
    documents = sum(row.counts.kept for row in rows.values())
    spec = {"dedup": config.dedup.model_dump(), "ranges": -(-documents // _BLOCK_RECORDS) or 1}
    units = []
    for number, name in enumerate(sorted(rows)):
        key = digest([STAGE, VERSION, config.dedup.model_dump(), signatures, name])
        units.append(Unit(STAGE, name, key, rows[name].counts.kept, {**spec, "number": number}))
    return units


def blocks(root: Root, unit: Unit) -> Iterator[tuple[tuple[int, int], bytes]]:
    """The packed blocks of one unit's signatures, by (band, range)."""
    settings = Dedup.model_validate(unit.spec["dedup"])
    ranges = unit.spec["ranges"]
    row = 0
    for batch in read_batches(root, f"signatures/{unit.name}.parquet", rows=1 << 16):
        ids = lsh.ids_from_arrow(batch.column("id"))
        places = np.empty(len(ids), _PLACE)
        places["part"], places["row"] = unit.spec["number"], np.arange(row, row + len(ids))
        row += len(ids)
        as_key = np.ascontiguousarray(ids).view(np.uint8).reshape(-1, 16)
        for (_, index), block in lsh.pack_texts(as_key, places.view("S16"), ranges).items():
            yield (_RECORD_BAND, index), block
        if settings.exact:
            texts = lsh.ids_from_arrow(batch.column("text_hash")).view(np.uint8).reshape(-1, 16)
            yield from lsh.pack_texts(texts, ids, ranges).items()
        if settings.near:
            bands = batch.column("bands")
            width = bands.type.list_size
            values = bands.values.to_numpy()[bands.offset * width : (bands.offset + len(bands)) * width]
            yield from lsh.pack(values.reshape(-1, width), ids, ranges).items()


def edges(key: tuple[int, int], packed: Iterator[bytes]) -> tuple[str, bytes]:
    """The level and the edges found among all blocks of one (band, range)."""
    band = key[0]
    level = {_RECORD_BAND: RECORD, lsh.TEXT: EXACT}.get(band, NEAR)
    found = lsh.edges(lsh.TEXT if level != NEAR else band, packed)
    return level, np.ascontiguousarray(found).tobytes()


def verdicts(forests: dict[str, bytes]) -> dict[str, bytes]:
    """What the parts need to know: every copy with its keeper (sorted by id), and the places of records read again."""
    exact = clusters(forests.get(EXACT, EMPTY))
    every = clusters(forest_merge([forests.get(EXACT, EMPTY), forests.get(NEAR, EMPTY)]))
    copies = every[every[:, 0] != every[:, 1]] if len(every) else every
    table = np.empty(len(copies), _VERDICT)
    table["id"], table["keeper"] = copies[:, 0], copies[:, 1]
    table["exact"] = np.isin(copies[:, 0], exact[exact[:, 0] != exact[:, 1]][:, 0] if len(exact) else exact)
    again = clusters(forests.get(RECORD, EMPTY))
    again = np.ascontiguousarray(again[again[:, 0] != again[:, 1]][:, 0]) if len(again) else np.empty(0, "S16")
    return {"copies": table.tobytes(), "again": again.tobytes()}


def process(root: Root, unit: Unit, verdict: dict[str, bytes]) -> Row:
    """Commit the duplicates of one part: their identity and lineage, reason and keeper."""
    table = np.frombuffer(verdict["copies"], _VERDICT)
    places = np.frombuffer(verdict["again"], _PLACE)
    again = places["row"][places["part"] == unit.spec["number"]].astype(np.int64)
    counts = Counts(read=unit.bytes)  # what ingest kept, as planned; what is found must add up to it
    columns = [
        name for name in DUPLICATES.names if name not in ("stage", "reason", "value", "threshold", "keeper", "row")
    ]
    with writing_parts(root) as parts:
        part = parts.add(f"duplicates/{unit.name}.parquet", DUPLICATES)
        first = 0
        for batch in read_batches(root, f"documents/{unit.name}.parquet", columns):
            ids = lsh.ids_from_arrow(batch.column("id"))
            rows = np.arange(first, first + len(ids))
            first += len(ids)
            at = np.minimum(np.searchsorted(table["id"], ids), max(len(table) - 1, 0))
            copy = table["id"][at] == ids if len(table) else np.zeros(len(ids), bool)
            repeated = np.isin(rows, again)
            lost = np.flatnonzero(copy | repeated)
            reasons = [
                "duplicate_record" if repeated[i] else "duplicate_exact" if table["exact"][at[i]] else "duplicate_near"
                for i in lost
            ]
            keepers = ids[lost].copy()  # of a record read again; unless that is a copy itself
            keepers[copy[lost]] = table["keeper"][at[lost[copy[lost]]]]
            counts.kept += len(ids) - len(lost)
            for reason in reasons:
                counts.drop(reason)
            part.write(_rows(batch.take(pa.array(lost)), reasons, keepers, rows[lost]))
    return Row(STAGE, unit.name, unit.key, parts.outputs, counts, code=f"{STAGE}.{VERSION}")


def _rows(lost: pa.RecordBatch, reasons: list[str], keepers: np.ndarray, rows: np.ndarray) -> pa.RecordBatch:
    n = len(reasons)
    added: dict[str, Any] = {
        "stage": pa.array([STAGE] * n, pa.string()),
        "reason": pa.array(reasons, pa.string()),
        "value": pa.nulls(n, pa.float64()),
        "threshold": pa.nulls(n, pa.float64()),
        "keeper": lsh.ids_to_arrow(keepers),
        "row": pa.array(rows, pa.int64()),
    }
    return pa.record_batch(
        [added[name] if name in added else lost.column(name) for name in DUPLICATES.names], DUPLICATES
    )
