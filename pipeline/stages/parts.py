"""Write parts: several files of one unit that become visible together, hashed as they are written."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import CorpusmillError
from pipeline.storage import HashingSink, Root

ROW_GROUP_BYTES = 32_000_000  # Arrow bytes a row group: bounds what a reader must hold


class PartWriter:
    """One Parquet part: batches go in, row groups of a fixed size come out whatever the batches were.

    A part that is opened very often names the columns in ``sought`` by which its row groups are found: only these
    have statistics then, and none a dictionary, so that its footer is a fifth as large.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema, sought: list[str] | None = None):
        self.schema = schema
        self.rows = 0
        self._sink = HashingSink(file)
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._sink, mode="w"),
            schema,
            compression="zstd",
            write_page_checksum=True,
            write_statistics=sought or True,
            use_dictionary=not sought,
        )

    def write(self, batch: pa.RecordBatch, own_row_group: bool = False) -> None:
        """Append rows; ``batch`` has the part's schema."""
        if not batch.num_rows:
            return
        self.rows += batch.num_rows
        self._waiting.append(batch)
        self._waiting_bytes += batch.nbytes
        if own_row_group or self._waiting_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self.schema)
            self._writer.write_table(table, row_group_size=table.num_rows)
            self._waiting, self._waiting_bytes = [], 0

    def abandon(self) -> None:
        """Let go of the file; a writer collected later would try to finish it. No effect after `close`."""
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()

    def close(self) -> dict[str, Any]:
        """Finish the file; returns its size, digest and number of rows."""
        self._flush()
        self._writer.close()
        return {"bytes": self._sink.bytes, "sha256": self._sink.sha256.hexdigest(), "rows": self.rows}


class Parts:
    """The files of one unit while they are written; ``outputs`` names them once they are committed."""

    def __init__(self, root: Root, stack: contextlib.ExitStack):
        self.outputs: list[dict[str, Any]] = []
        self._root = root
        self._stack = stack
        self._writers: list[tuple[str, PartWriter, BinaryIO]] = []

    def add(self, name: str, schema: pa.Schema, sought: list[str] | None = None) -> PartWriter:
        """Begin the part ``name`` (relative to the corpus); ``sought`` as in `PartWriter`."""
        file = open(self._stack.enter_context(self._root.writing(name)), "wb")  # noqa: SIM115  closed in _finish
        self._stack.callback(file.close)
        writer = PartWriter(file, schema, sought)
        self._stack.callback(writer.abandon)
        self._writers.append((name, writer, file))
        return writer

    def _finish(self) -> None:
        for name, writer, file in self._writers:
            facts = writer.close()
            file.close()
            self.outputs.append({"path": name, **facts})


@contextlib.contextmanager
def writing_parts(root: Root) -> Iterator[Parts]:
    """Write the parts of one unit; they get their final names on leaving, none of them after an exception."""
    with contextlib.ExitStack() as stack:
        parts = Parts(root, stack)
        yield parts
        parts._finish()


def write_file(root: Root, name: str, data: bytes) -> dict[str, Any]:
    """Commit a small file; returns its entry for a ledger row."""
    root.write(name, data)
    return {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def read_batches(root: Root, name: str, columns: list[str] | None = None, rows: int = 4096) -> Iterator[pa.RecordBatch]:
    """The rows of a committed Parquet part; a damaged part is refused by name."""
    with reading(root, name) as parquet:
        yield from parquet.iter_batches(batch_size=rows, columns=columns)


def read_rows(root: Root, name: str, rows: np.ndarray, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Some rows (ascending numbers) of a committed Parquet part, in order; row groups without any are not read."""
    with reading(root, name) as parquet:
        first = 0
        for group in range(parquet.num_row_groups):
            last = first + parquet.metadata.row_group(group).num_rows
            if np.searchsorted(rows, first) < np.searchsorted(rows, last):
                for batch in parquet.iter_batches(batch_size=4096, row_groups=[group], columns=columns):
                    here = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + batch.num_rows)]
                    if len(here):
                        yield batch.take(pa.array(here - first))
                    first += batch.num_rows
            first = last


@contextlib.contextmanager
def reading(root: Root, name: str) -> Iterator[pq.ParquetFile]:
    """Open a committed Parquet part; a damaged one is refused by name."""
    try:
        with root.open(name) as file, pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:
        cause = "it is missing" if isinstance(error, FileNotFoundError) else error
        raise CorpusmillError(
            f"cannot read this part: {cause}",
            file=root.path(name),
            mend=f"corpusmill verify {root.url} --repair, then build again",
        ) from error
