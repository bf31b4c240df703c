"""Corpora made of given documents, as ingest leaves them, for tests of the dedup stage alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.config import Config, Dedup
from pipeline.dedup import lsh
from pipeline.jobs.dedup import find_duplicates
from pipeline.jobs.runner import Runner
from pipeline.ledger import Committed, Counts, Ledger, Row, Unit
from pipeline.schema import DOCUMENTS, document_id, signatures_schema
from pipeline.stages import dedup
from pipeline.stages.documents import kept
from pipeline.stages.ingest import sign
from pipeline.stages.parts import read_batches, writing_parts
from pipeline.storage import Root

PLENTY = 4_000_000_000


@dataclass
class Document:
    """What deduplication looks at."""

    text: str
    name: str = ""  # the identity; "" makes one of the place
    url: str = ""
    timestamp: datetime | None = None


@dataclass
class Corpus:
    """Documents by unit (``source--file--offset``), committed under ``folder``."""

    folder: Path
    units: dict[str, list[Document]]
    settings: dict[str, Any] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)  # in the order of the TOML
    formats: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = self.sources or sorted({unit.split("--")[0] for unit in self.units})
        source = [{"name": n, "format": self.formats.get(n, "warc"), "paths": ["x"]} for n in names]
        self.config = Config.model_validate({"source": source, "dedup": self.settings})
        self.root = Root(str(self.folder))
        params = self.config.dedup.minhash.params()
        rows = {}
        for name, documents in self.units.items():
            with writing_parts(self.root) as parts:
                part = parts.add(f"documents/{name}.parquet", DOCUMENTS)
                signed = parts.add(f"signatures/{name}.parquet", signatures_schema(params.bands, params.stamp()))
                for start in range(0, len(documents), 1000):
                    batch = as_batch(name, documents[start : start + 1000], start)
                    part.write(batch)
                    signed.write(sign(batch, params))
            counts = Counts(read=len(documents), kept=len(documents))
            counts.measure("text_bytes", sum(len(d.text.encode()) for d in documents))
            rows[name] = Committed.of(Row("ingest", name, name, parts.outputs, counts))
        self.planned = dedup.plan(self.config, "signatures", rows)

    def find(self, memory: int = PLENTY, workers: int = 1) -> dict[tuple[str, int], dict[str, Any]]:
        """Run the stage; the rows of `duplicates/` by (unit, row)."""
        find_duplicates(self.root.url, self.planned, Runner(workers), memory)
        found = {}
        for unit in self.planned:
            row = dedup.process(self.root, unit)
            row.counts.check(unit.name)
            Ledger(self.root).commit(row)
            for batch in read_batches(self.root, f"duplicates/{unit.name}.parquet"):
                found |= {(unit.name, value["row"]): value for value in batch.to_pylist()}
            assert row.counts.kept == sum(batch.num_rows for batch in kept(self.root, unit.name, ["id"]))
        return found

    def reasons(self, **options: Any) -> dict[tuple[str, int], tuple[str, str, int]]:
        """What `find` says of each duplicate: reason, and part and row of the keeper."""
        return {
            place: (row["reason"], row["keeper_part"], row["keeper_row"]) for place, row in self.find(**options).items()
        }

    def parts(self) -> dict[str, bytes]:
        """The content of what the stage committed."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for folder in ("duplicates", "lines")
            for path in sorted((self.folder / folder).glob("*.parquet"))
        }

    def texts(self) -> list[str]:
        """The texts that are kept, unit after unit."""
        names = sorted(self.units)
        return [
            text for name in names for batch in kept(self.root, name, ["text"]) for text in batch["text"].to_pylist()
        ]

    def unit(self, name: str) -> Unit:
        """A planned unit."""
        return next(unit for unit in self.planned if unit.name == name)


def plant(root: Root, unit: Unit, first: int, ids: np.ndarray, texts: np.ndarray, bands: np.ndarray) -> Unit:
    """Commit made-up signatures for a unit: ids and text hashes (uint64, documents x 2), band hashes (uint64,
    documents x bands); returns the unit with its documents."""
    params = Dedup.model_validate(unit.spec["dedup"]).minhash.params()
    schema = signatures_schema(params.bands, params.stamp())
    flat = pa.array(np.ascontiguousarray(bands).reshape(-1))
    columns = {
        "id": lsh.ids_to_arrow(np.ascontiguousarray(ids, ">u8").view("S16").ravel()),
        "text_hash": lsh.ids_to_arrow(np.ascontiguousarray(texts, ">u8").view("S16").ravel()),
        "text_bytes": pa.array(np.full(len(ids), 5000)),
        "bands": pa.FixedSizeListArray.from_arrays(flat, type=schema.field("bands").type),
    }
    with writing_parts(root) as parts:
        parts.add(f"signatures/{unit.name}.parquet", schema).write(pa.RecordBatch.from_pydict(columns, schema=schema))
    return replace(unit, bytes=len(ids), spec={**unit.spec, "first": first})


def as_batch(unit: str, documents: list[Document], first: int) -> pa.RecordBatch:
    """Documents as rows of a part."""
    places = range(first, first + len(documents))
    columns = {
        "id": [document_id(d.name or f"{unit}:{place}") for d, place in zip(documents, places, strict=True)],
        "text": [d.text for d in documents],
        "source": [unit.split("--")[0]] * len(documents),
        "url": [d.url for d in documents],
        "title": [""] * len(documents),
        "timestamp": [d.timestamp for d in documents],
        "language": ["en"] * len(documents),
        "language_score": [1.0] * len(documents),
        "file": ["file"] * len(documents),
        "offset": list(places),
        "length": [1] * len(documents),
        "record": [str(place) for place in places],
    }
    return pa.RecordBatch.from_pydict(columns, schema=DOCUMENTS)
