"""Judge a batch of parsed records: every record becomes a row of documents or a row of dropped, with a reason."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean import language, rules, stats
from pipeline.config import Clean
from pipeline.ledger import Counts
from pipeline.parse.record import Parsed
from pipeline.schema import DOCUMENTS, DROPPED, TIMESTAMP, document_id


def judge(batch: list[Parsed], clean: Clean, source: str, file: str) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Documents kept and records dropped of one batch, as rows of the two schemas."""
    columns = _columns(batch, source, file)
    texts = columns["text"]
    reasons: list[str | None] = [record.reason or None for record in batch]
    values = [record.value for record in batch]
    thresholds = [record.threshold for record in batch]
    alive = np.flatnonzero([reason is None for reason in reasons])
    labels: list[Any] = [None] * len(batch)
    scores: list[Any] = [None] * len(batch)
    if len(alive):
        living = texts.take(pa.array(alive))
        found, certainty = language.identify(living)
        checks = [rule.rule() for rule in clean.rules]
        names = rules.statistics(checks) or ["characters"]  # a table without columns would have no rows
        failed, measured, limit = rules.judge(stats.compute(living, found, names), checks)
        for row, i in enumerate(alive.tolist()):
            labels[i], scores[i] = found[row].as_py(), certainty[row].as_py()
            if clean.languages and labels[i] not in clean.languages:
                reasons[i] = "language"
            elif scores[i] < clean.language_score:
                reasons[i], values[i], thresholds[i] = "language_score", scores[i], clean.language_score
            elif failed[row] >= 0:
                reasons[i], values[i], thresholds[i] = checks[failed[row]].reason, measured[row], limit[row]
    columns["language"] = pa.array(labels, pa.string())
    columns["language_score"] = pa.array(scores, pa.float32())
    columns["stage"] = pa.array(["ingest"] * len(batch), pa.string())
    columns["reason"] = pa.array(reasons, pa.string())
    columns["value"] = pa.array(values, pa.float64())
    columns["threshold"] = pa.array(thresholds, pa.float64())
    columns["keeper"] = pa.nulls(len(batch), DROPPED.field("keeper").type)
    kept = pa.array([reason is None for reason in reasons], pa.bool_())
    lost = pa.array([reason is not None for reason in reasons], pa.bool_())
    return (
        pa.record_batch([columns[name] for name in DOCUMENTS.names], schema=DOCUMENTS).filter(kept),
        pa.record_batch([columns[name] for name in DROPPED.names], schema=DROPPED).filter(lost),
    )


def _columns(batch: list[Parsed], source: str, file: str) -> dict[str, pa.Array]:
    n = len(batch)
    return {
        "id": pa.array([document_id(record.identity) for record in batch], DOCUMENTS.field("id").type),
        "text": pa.array([record.text for record in batch], pa.string()),
        "source": pa.array([source] * n, pa.string()),
        "url": pa.array([record.url for record in batch], pa.string()),
        "title": pa.array([record.title for record in batch], pa.string()),
        "timestamp": pa.array([record.timestamp for record in batch], TIMESTAMP),
        "file": pa.array([file] * n, pa.string()),
        "offset": pa.array([record.offset for record in batch], pa.int64()),
        "length": pa.array([record.length for record in batch], pa.int64()),
        "record": pa.array([record.record for record in batch], pa.string()),
    }


def count(counts: Counts, kept: pa.RecordBatch, lost: pa.RecordBatch) -> None:
    """Add what became of one batch to the unit's counts."""
    counts.kept += kept.num_rows
    for reason in lost.column("reason").to_pylist():
        counts.drop(reason)
    for code, n in Counter(kept.column("language").to_pylist()).items():
        counts.measure(f"language:{code}", n)
    counts.measure("text_bytes", pc.sum(pc.binary_length(kept.column("text"))).as_py() or 0)
