"""Our signatures as objects of datasketch (a package of its own: `pip install datasketch`), for its indexes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.dedup.minhash import SCHEME, MinHashParams, signatures

if TYPE_CHECKING:
    from datasketch import LeanMinHash


def lean_minhashes(texts: pa.Array | Sequence[str], params: MinHashParams) -> Iterator[LeanMinHash]:
    """Yield the signature of each text as a `datasketch.LeanMinHash`, to query a `datasketch.MinHashLSH` with.

    A text too short to have shingles gives an empty one. Only objects made with the same ``params`` can be compared.
    """
    from datasketch import LeanMinHash

    array = texts if isinstance(texts, (pa.Array, pa.ChunkedArray)) else pa.array(texts, pa.string())
    for values in signatures(array, params):
        yield LeanMinHash(seed=params.seed, hashvalues=values, scheme=SCHEME)
