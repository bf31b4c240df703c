"""Read the kept documents of a corpus: what ingest kept, less what deduplication named a copy."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.stages.parts import read_batches
from pipeline.storage import Root


def kept(root: Root, unit: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The kept documents of one ingest unit, in the order of the dump.

    A record that occurs twice in one part is kept where it comes first, so rows are matched by position, not by id.
    """
    lost = pa.chunked_array(
        [batch.column("row") for batch in read_batches(root, f"duplicates/{unit}.parquet", ["row"])], pa.int64()
    )
    first = 0
    for batch in read_batches(root, f"documents/{unit}.parquet", columns):
        rows = pa.array(range(first, first + batch.num_rows), pa.int64())
        first += batch.num_rows
        yield batch.filter(pc.invert(pc.is_in(rows, value_set=lost.combine_chunks())))
