"""Write one shard: the same arrays give the same bytes.

Placing the file (temporary name, fsync, rename) is the caller's; so is the index, which `format.build_index` makes of
the descriptions returned here and which is written last.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from pipeline.errors import CorpusmillError
from pipeline.shards.format import Header, build_index, index_bytes, schema, shard_name
from pipeline.storage import HashingSink

__all__ = ["Header", "build_index", "index_bytes", "shard_name", "write_shard"]


def write_shard(
    sink: BinaryIO | str,
    name: str,
    header: Header,
    split: str,
    *,
    tokens: np.ndarray,
    offsets: np.ndarray,
    n_bytes: np.ndarray,
    doc_ids: np.ndarray,
    sources: Sequence[str] | pa.Array,
    first_tokens: np.ndarray | None = None,
) -> dict[str, Any]:
    """Write documents as one shard to ``sink`` (a path or an open binary file) and describe it for the index.

    ``tokens`` holds the ids of all documents end to end, ``offsets`` (documents + 1) where each begins, ``n_bytes`` the
    UTF-8 size of each document's text, ``doc_ids`` (documents, 16) uint8 their ids, ``first_tokens`` what each row's
    document has before it (None: all rows begin one). ``name`` is the final file name; ``.parquet`` writes Parquet.
    Raises CorpusmillError for token ids outside the vocabulary, ValueError for arrays that do not fit together.
    """
    first = np.zeros(len(n_bytes), np.uint32) if first_tokens is None else np.asarray(first_tokens, np.uint32)
    batch = _batch(name, header, split, tokens, offsets, n_bytes, doc_ids, sources, first)
    write = _write_parquet if name.endswith(".parquet") else _write
    if isinstance(sink, str):
        with open(sink, "wb") as file:
            digest = write(file, batch)
    else:
        digest = write(sink, batch)
    return {
        "path": PurePath(name).name,
        "bytes": digest.bytes,
        "sha256": digest.sha256.hexdigest(),
        "n_tokens": len(tokens),
        "n_docs": int(np.count_nonzero(first == 0)),
        "n_rows": len(n_bytes),
        "n_bytes": int(np.sum(n_bytes, dtype=np.int64)),
    }


def _batch(
    name: str,
    header: Header,
    split: str,
    tokens: np.ndarray,
    offsets: np.ndarray,
    n_bytes: np.ndarray,
    doc_ids: np.ndarray,
    sources: Sequence[str] | pa.Array,
    first_tokens: np.ndarray,
) -> pa.RecordBatch:
    """The arrays as one record batch, checked, without copying what already has the right type."""
    documents = len(n_bytes)
    if not len(offsets) - 1 == len(doc_ids) == len(sources) == len(first_tokens) == documents:
        raise ValueError(
            f"{len(offsets)} offsets, {len(doc_ids)} ids, {len(sources)} sources for {documents} documents"
        )
    if offsets[0] != 0 or offsets[-1] != len(tokens) or np.any(np.diff(offsets) < 0):
        raise ValueError(f"offsets do not divide {len(tokens)} tokens")
    if doc_ids.shape != (documents, 16) or doc_ids.dtype != np.uint8:
        raise ValueError(f"document ids of shape {doc_ids.shape} {doc_ids.dtype}, expected ({documents}, 16) uint8")
    if len(tokens) > np.iinfo(np.int32).max:
        raise CorpusmillError(
            f"{len(tokens)} tokens in one shard, the most is 2**31 - 1", file=name, mend="make the shards smaller"
        )
    if documents and (n_bytes.min() < 0 or n_bytes.max() > np.iinfo(np.uint32).max):
        raise ValueError("n_bytes outside uint32")
    if len(tokens) and (tokens.min() < 0 or tokens.max() >= header.vocab_size):
        wrong = np.flatnonzero((tokens < 0) | (tokens >= header.vocab_size))[0]
        raise CorpusmillError(
            f"token {int(tokens[wrong])} at position {wrong} is outside the vocabulary of {header.vocab_size} pieces",
            file=name,
            mend="encode with the tokenizer that the shards name",
        )
    values = pa.array(np.ascontiguousarray(tokens, header.dtype))
    lists = pa.ListArray.from_arrays(pa.array(np.asarray(offsets, np.int32)), values)
    ids = pa.Array.from_buffers(pa.binary(16), documents, [None, pa.py_buffer(np.ascontiguousarray(doc_ids))])
    names = sources if isinstance(sources, pa.Array) else pa.array(sources, pa.string())
    if names.null_count:
        raise ValueError("a document without a source")
    layout = schema(header, split)
    lists = lists.cast(layout.field("tokens").type)
    columns = [lists, pa.array(np.asarray(n_bytes, np.uint32)), ids, names, pa.array(first_tokens)]
    return pa.record_batch(columns, schema=layout)


def _write(file: BinaryIO, batch: pa.RecordBatch) -> HashingSink:
    sink = HashingSink(file)
    with pa.ipc.new_file(pa.PythonFile(sink, mode="w"), batch.schema) as writer:
        writer.write_batch(batch)
    sink.flush()
    return sink


def _write_parquet(file: BinaryIO, batch: pa.RecordBatch) -> HashingSink:
    import pyarrow.parquet as pq

    sink = HashingSink(file)
    with pq.ParquetWriter(
        pa.PythonFile(sink, mode="w"), batch.schema, compression="zstd", write_page_checksum=True
    ) as writer:
        writer.write_batch(batch)
    sink.flush()
    return sink
