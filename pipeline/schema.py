"""Arrow schemas of the datasets in a corpus: the contracts between stages and with whoever reads a corpus."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pyarrow as pa

ID_BYTES = 16
ID = pa.binary(ID_BYTES)
TIMESTAMP = pa.timestamp("ms", tz="UTC")

_IDENTITY = [
    pa.field("id", ID, nullable=False),  # BLAKE2b-128 of the record's identity: see document_id
]
_ORIGIN = [
    pa.field("source", pa.string(), nullable=False),  # name of the [[source]] in the configuration
    pa.field("url", pa.string()),
    pa.field("title", pa.string()),
    pa.field("timestamp", TIMESTAMP),
    pa.field("language", pa.string()),
    pa.field("language_score", pa.float32()),
    pa.field("file", pa.string(), nullable=False),  # name of the dump file, unique within the source
    pa.field(
        "offset", pa.int64(), nullable=False
    ),  # compressed bytes: start of the stream or member that holds the record
    pa.field("length", pa.int64(), nullable=False),
    pa.field("record", pa.string(), nullable=False),  # finds the record there: WARC-Record-ID, page and revision id
]

DOCUMENTS = pa.schema([*_IDENTITY, pa.field("text", pa.string(), nullable=False), *_ORIGIN])

DROPPED = pa.schema(
    [
        *_IDENTITY,
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("detail", pa.string()),  # what was measured (a statistic), or the benchmark item that was found
        pa.field("keeper", ID),  # of a duplicate: the document that stays
        pa.field("text", pa.string()),
        *_ORIGIN,
    ]
)

DUPLICATES = pa.schema(
    [
        *(field for field in DROPPED if field.name not in ("text", "detail")),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("keeper_source", pa.string()),
        pa.field("keeper_part", pa.string()),
        pa.field("keeper_row", pa.int64()),
    ]
)
"""Drops of the dedup stage. `row` is the document's row in its part, where the text still is; the keeper is in row
`keeper_row` of `documents/<keeper_part>.parquet`. `value` is the Jaccard similarity to the keeper, as far as it is
known: 1 where the texts are equal, exact with [dedup] verify, else estimated from the shared bands; null where the two
share no band and other documents lie between them."""

LINES = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # of the document, in its part
        pa.field("start", pa.int64(), nullable=False),  # the bytes of the text that are cut out: [start, stop)
        pa.field("stop", pa.int64(), nullable=False),
        pa.field("hash", pa.uint64(), nullable=False),  # of the line's normalised words
    ]
)
"""The repeated lines of a part of documents, one row each, ascending; kept documents are read without them."""


def signatures_schema(bands: int, stamp: dict[str, Any]) -> pa.Schema:
    """One row a document: exact-text hash, UTF-8 size of the text, and one 64-bit hash per band (all 0 for a text too
    short to have shingles).

    ``stamp`` is what signatures must share to be compared; it stands in the metadata.
    """
    return pa.schema(
        [
            *_IDENTITY,
            pa.field("text_hash", pa.binary(16), nullable=False),
            pa.field("text_bytes", pa.int64(), nullable=False),
            pa.field("bands", pa.list_(pa.field("item", pa.uint64(), nullable=False), bands), nullable=False),
        ],
        metadata={"minhash": json.dumps(stamp, sort_keys=True)},
    )


ENCODED = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("key", pa.uint64(), nullable=False),  # position in the global shuffle
        pa.field("doc_id", ID, nullable=False),
        pa.field("epoch", pa.uint32(), nullable=False),  # 0, or which further copy of the document this is
        pa.field("source", pa.string(), nullable=False),
        pa.field("n_bytes", pa.uint32(), nullable=False),
        pa.field("n_tokens", pa.uint32(), nullable=False),
        pa.field("tokens", pa.large_binary(), nullable=False),  # little-endian token ids, of the width the shards have
    ]
)


def document_id(identity: str) -> bytes:
    """The 16-byte id of a record: BLAKE2b-128 of what names it across dumps, independent of file and position."""
    return hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=ID_BYTES).digest()
