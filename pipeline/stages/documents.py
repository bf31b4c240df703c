"""Read the kept documents of a corpus: what ingest kept, less what deduplication named a copy, without the lines that
it found repeated. Documents are never written again; who reads them applies what later stages committed beside them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.dedup.lines import without
from pipeline.stages.parts import read_batches
from pipeline.storage import Root


def kept(root: Root, unit: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The kept documents of one ingest unit, in the order of the dump.

    A record that occurs twice in one part is kept where it comes first, so rows are matched by position, not by id.
    """
    lost = _columns(root, f"duplicates/{unit}.parquet", ["row"])[0]
    cuts = None
    if "text" in columns and root.size(f"lines/{unit}.parquet") is not None:
        cuts = _columns(root, f"lines/{unit}.parquet", ["row", "start", "stop"])
    first = 0
    for batch in read_batches(root, f"documents/{unit}.parquet", columns):
        last = first + batch.num_rows
        rows = np.setdiff1d(np.arange(first, last), lost)
        batch = batch.take(pa.array(rows - first))
        if cuts is not None:
            here = slice(*np.searchsorted(cuts[0], (first, last)))
            texts = without(batch.column("text"), np.searchsorted(rows, cuts[0][here]), cuts[1][here], cuts[2][here])
            place = batch.schema.get_field_index("text")
            batch = batch.set_column(place, batch.schema.field(place), texts)
        first = last
        yield batch


def _columns(root: Root, name: str, columns: list[str]) -> list[np.ndarray]:
    """Whole columns of a part, of whole numbers (int64)."""
    batches = list(read_batches(root, name, columns))
    return [
        np.concatenate([np.empty(0, np.int64), *(batch[column].to_numpy() for batch in batches)]) for column in columns
    ]
