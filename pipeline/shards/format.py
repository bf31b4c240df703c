"""What a directory of shards is: file names, Arrow schema, `index.json`.

A shard is an uncompressed Arrow IPC file with exactly one record batch, so that the tokens of all its documents lie in
one contiguous buffer that a reader maps into memory and slices without a copy. (A Parquet shard holds the same columns,
smaller on disk, and is decoded into memory.) Arrow does not notice a flipped bit; the index therefore carries the
SHA-256 of every shard, and a fingerprint over itself.

A row is a document, or a piece of one that a shard's edge cuts: ``first_token`` says how many of the document's tokens
lie in the rows before it, which end the shard before. ``n_docs`` counts documents where they begin, ``n_rows`` rows;
of a document that is cut, each piece has its tokens' share of ``n_bytes``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

FORMAT = "corpusmill-shards"
VERSION = 2
INDEX = "index.json"
METADATA_KEY = b"corpusmill"
COUNTS = ("n_tokens", "n_docs", "n_rows", "n_bytes")
SHARD_FIELDS = ("path", "bytes", "sha256", *COUNTS)
SUFFIXES = (".arrow", ".parquet")


@dataclass(frozen=True)
class Header:
    """What all shards of a corpus share.

    ``special_ids`` maps a role (``"eos"``, ``"unk"``, ...) to its piece id; roles the tokenizer lacks are left out.
    ``seed`` is that of the shuffle and ``lineage`` a digest of what the shards were made from. ``bos`` and ``eos``: do
    documents begin and end with these pieces? None in shards that were written before headers said so.
    """

    tokenizer_sha256: str
    vocab_size: int
    special_ids: Mapping[str, int]
    seed: int
    lineage: str
    bos: bool | None = None
    eos: bool | None = None

    @property
    def dtype(self) -> np.dtype:
        """The token type: uint16 while every piece fits, else uint32."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    def to_dict(self) -> dict[str, Any]:
        """The header as it stands in the index and in each shard's metadata."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "tokenizer_sha256": self.tokenizer_sha256,
            "vocab_size": self.vocab_size,
            "special_ids": dict(self.special_ids),
            "dtype": self.dtype.name,
            "seed": self.seed,
            "lineage": self.lineage,
            **{name: value for name, value in (("bos", self.bos), ("eos", self.eos)) if value is not None},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Header:
        """The header in an index. KeyError where a part is missing."""
        optional = ("bos", "eos")
        return cls(
            **{name: values[name] for name in cls.__dataclass_fields__ if name in values or name not in optional}
        )


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, ASCII. Digests are taken over this."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def schema(header: Header, split: str) -> pa.Schema:
    """The Arrow schema of a shard, with the header and split in its metadata."""
    return pa.schema(
        [
            pa.field(
                "tokens", pa.list_(pa.field("item", pa.from_numpy_dtype(header.dtype), nullable=False)), nullable=False
            ),
            pa.field("n_bytes", pa.uint32(), nullable=False),
            pa.field("doc_id", pa.binary(16), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("first_token", pa.uint32(), nullable=False),
        ],
        metadata={METADATA_KEY: canonical({**header.to_dict(), "split": split})},
    )


def shard_name(split: str, number: int, count: int, format: str = "arrow") -> str:
    """File name of shard ``number`` of ``count``, as the Hugging Face Hub writes it: ``train-00000-of-00008.arrow``."""
    if not 0 <= number < count:
        raise ValueError(f"shard {number} of {count}")
    return f"{split}-{number:05d}-of-{count:05d}.{format}"


def build_index(header: Header, splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The content of `index.json`: header, shards and totals by split, fingerprint.

    ``splits`` maps a split to its shards in reading order, each as `write_shard` described it.
    """
    index: dict[str, Any] = header.to_dict()
    index["splits"] = {
        split: {
            **{name: sum(shard[name] for shard in shards) for name in COUNTS},
            "shards": [{name: shard[name] for name in SHARD_FIELDS} for shard in shards],
        }
        for split, shards in splits.items()
    }
    index["fingerprint"] = fingerprint(index)
    return index


def fingerprint(index: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over the canonical JSON of the index without its fingerprint: the identity of the whole corpus."""
    return hashlib.sha256(canonical({name: index[name] for name in index if name != "fingerprint"})).hexdigest()


def index_bytes(index: Mapping[str, Any]) -> bytes:
    """The bytes of `index.json`. A reader accepts these bytes alone, so that no change to the file goes unseen."""
    return (json.dumps(index, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()
