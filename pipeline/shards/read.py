"""Read shards: verified, mapped into memory, sliced without a copy. Needs pyarrow and numpy alone.

    shards = open_shards("corpus/shards")
    tokens = shards.read(0, 1025)
    for document in shards.documents():
        ...

A split is one long stream of tokens, its shards end to end in index order; positions in it run from 0 to ``n_tokens``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import CorpusmillError
from pipeline.shards.format import FORMAT, INDEX, VERSION, Header, fingerprint, index_bytes, schema

REBUILD = "corpusmill shards CORPUS_TOML rebuilds them; corpusmill verify CORPUS says what else is amiss"
# Two changes within one tick of the clock leave one time stamp: a younger file is not remembered as verified.
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class Document:
    """One document of a split: its id, dump, size of its text in UTF-8 bytes, and where its tokens lie."""

    id: bytes
    source: str
    n_bytes: int
    start: int
    stop: int


def open_shards(directory: str | os.PathLike[str], split: str = "train", paranoid: bool = False) -> Shards:
    """Open one split of the shards in ``directory``.

    Checks the index against its fingerprint, and each shard against the index: size, SHA-256, schema and header. A
    shard that passed is remembered by size and time stamps in the user's cache (``$XDG_CACHE_HOME/corpusmill``) and not
    hashed again while these stand; ``paranoid`` hashes always. Raises CorpusmillError for whatever does not match,
    with the file, the digest expected and found, and the command that mends it.
    """
    folder = Path(directory)
    index = read_index(folder)
    if split not in index["splits"]:
        raise CorpusmillError(
            f"no split {split!r}; there are: {', '.join(sorted(index['splits']))}",
            file=str(folder / INDEX),
            mend=REBUILD,
        )
    rows = index["splits"][split]["shards"]
    _check_listing(folder, index)
    _verify(folder, rows, index["fingerprint"], paranoid)
    expected = schema(Header.from_dict(index), split)
    return Shards(folder, split, index, [_map(folder / row["path"], row, expected) for row in rows])


def read_index(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of the index in ``directory``, checked against its fingerprint. CorpusmillError where it fails."""
    path = Path(directory, INDEX)
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CorpusmillError("no shards here: the index is missing", file=str(path), mend=REBUILD) from error
    try:
        index = json.loads(data)
        stated, found = index["fingerprint"], fingerprint(index)
        known = index["format"] == FORMAT and index["version"] == VERSION
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusmillError(f"not an index of shards: {error!r}", file=str(path), mend=REBUILD) from error
    if stated != found:
        raise CorpusmillError(
            f"the index was altered: fingerprint {stated} expected, {found} found", file=str(path), mend=REBUILD
        )
    if not known:
        raise CorpusmillError(
            f"format {index['format']!r} version {index['version']!r}; this reader knows {FORMAT!r} version {VERSION}",
            file=str(path),
            mend="install the version of corpusmill that wrote it, or rebuild: corpusmill shards CORPUS_TOML",
        )
    if data != index_bytes(index):
        raise CorpusmillError(
            f"the index was altered: SHA-256 {hashlib.sha256(index_bytes(index)).hexdigest()} expected, "
            f"{hashlib.sha256(data).hexdigest()} found",
            file=str(path),
            mend=REBUILD,
        )
    return index


def read_shard(directory: str | os.PathLike[str], name: str, paranoid: bool = False) -> pa.RecordBatch:
    """The documents of one shard, verified as `open_shards` does, whatever the state of the others."""
    folder = Path(directory)
    index = read_index(folder)
    for split, content in index["splits"].items():
        for row in content["shards"]:
            if row["path"] == name:
                _verify(folder, [row], index["fingerprint"], paranoid)
                return _map(folder / name, row, schema(Header.from_dict(index), split))
    raise CorpusmillError(f"no shard {name!r} here", file=str(folder / INDEX), mend="see the names in the index")


def find_document(directory: str | os.PathLike[str], id: bytes) -> list[dict[str, Any]]:
    """Where a document lies: path of the shard, split, row, and tokens there, in the order of the index."""
    folder = Path(directory)
    index = read_index(folder)
    found = []
    for split, content in index["splits"].items():
        for row in content["shards"]:
            batch = _map(folder / row["path"], row, schema(Header.from_dict(index), split))
            for at in np.flatnonzero(pc.equal(batch["doc_id"], pa.scalar(id, pa.binary(16)))).tolist():
                tokens = len(batch["tokens"][at])
                found.append({"path": row["path"], "split": split, "row": at, "tokens": tokens})
    return found


def _check_listing(folder: Path, index: dict[str, Any]) -> None:
    """Refuse a shard that the index does not name: it is left over from another build."""
    named = {row["path"] for part in index["splits"].values() for row in part["shards"]}
    extra = sorted(
        name
        for name in os.listdir(folder)
        if name.endswith(".arrow") and not name.startswith(".") and name not in named
    )
    if extra:
        raise CorpusmillError(
            f"not named by {INDEX} (left over from another build?)",
            file=str(folder / extra[0]),
            mend=f"delete it, or: {REBUILD}",
        )


def _verify(folder: Path, rows: list[dict[str, Any]], mark: str, paranoid: bool) -> None:
    """Check size and SHA-256 of every shard, hashing only what is not remembered as verified."""
    memory = _Memory(folder, mark)
    for row in rows:
        path = folder / row["path"]
        try:
            status = path.stat()
        except FileNotFoundError as error:
            raise CorpusmillError(
                f"shard missing: SHA-256 {row['sha256']} expected", file=str(path), mend=REBUILD
            ) from error
        if status.st_size != row["bytes"]:
            raise CorpusmillError(
                f"shard of {status.st_size} bytes, {row['bytes']} expected (SHA-256 {row['sha256']} expected)",
                file=str(path),
                mend=REBUILD,
            )
        if not paranoid and memory.holds(row, status):
            continue
        with open(path, "rb") as file:
            found = _sha256(file)
        if found != row["sha256"]:
            raise CorpusmillError(
                f"shard damaged: SHA-256 {row['sha256']} expected, {found} found", file=str(path), mend=REBUILD
            )
        memory.remember(row, status)
    memory.save()


def _sha256(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


class _Memory:
    """Which shards of a directory were verified, by size, inode and time stamps; lost without harm."""

    def __init__(self, folder: Path, mark: str):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "corpusmill", "verified")
        self.path = cache / (hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32] + ".json")
        self.mark = mark
        self.changed = False
        self.known: dict[str, list[int]] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # an unreadable memory is an empty one
            content = json.loads(self.path.read_bytes())
            if content["fingerprint"] == mark:
                self.known = dict(content["verified"])

    @staticmethod
    def _stamp(status: os.stat_result) -> list[int]:
        return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]

    def holds(self, row: dict[str, Any], status: os.stat_result) -> bool:
        return self.known.get(row["path"]) == self._stamp(status)

    def remember(self, row: dict[str, Any], status: os.stat_result) -> None:
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS:
            self.known[row["path"]] = self._stamp(status)
            self.changed = True

    def save(self) -> None:
        if not self.changed:
            return
        with contextlib.suppress(OSError):  # a read-only home costs a hash at the next opening, nothing else
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False) as file:
                json.dump({"fingerprint": self.mark, "verified": self.known}, file)
            os.replace(file.name, self.path)


def _map(path: Path, row: dict[str, Any], expected: pa.Schema) -> pa.RecordBatch:
    """Map one shard into memory as its record batch, after checking that it is what the index says."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except pa.ArrowInvalid as error:
        raise CorpusmillError(f"not an Arrow file: {error}", file=str(path), mend=REBUILD) from error
    if not reader.schema.equals(expected, check_metadata=True):
        found, wanted = reader.schema.metadata, expected.metadata
        raise CorpusmillError(
            f"a shard of another tokenizer, split or build: {wanted} expected, {found} found",
            file=str(path),
            mend=REBUILD,
        )
    if len(batches) != 1:
        raise CorpusmillError(f"{len(batches)} record batches, one expected", file=str(path), mend=REBUILD)
    counts = {"n_docs": batches[0].num_rows, "n_tokens": len(cast(pa.ListArray, batches[0]["tokens"]).values)}
    for name, count in counts.items():
        if count != row[name]:
            raise CorpusmillError(f"{name} is {count}, the index says {row[name]}", file=str(path), mend=REBUILD)
    return batches[0]


class Shards:
    """The tokens and documents of one split. Made by `open_shards`.

    ``n_tokens``, ``n_docs``, ``n_bytes`` (UTF-8 bytes of the texts), ``vocab_size``, ``dtype``, ``special_ids``,
    ``tokenizer_sha256``, ``fingerprint`` (of all splits), ``split`` and ``directory`` describe it.
    """

    def __init__(self, directory: Path, split: str, index: dict[str, Any], batches: list[pa.RecordBatch]):
        header = Header.from_dict(index)
        self.directory = directory
        self.split = split
        self.fingerprint: str = index["fingerprint"]
        self.tokenizer_sha256 = header.tokenizer_sha256
        self.vocab_size = header.vocab_size
        self.special_ids: dict[str, int] = dict(header.special_ids)
        self.dtype = header.dtype
        self.n_tokens: int = index["splits"][split]["n_tokens"]
        self.n_docs: int = index["splits"][split]["n_docs"]
        self.n_bytes: int = index["splits"][split]["n_bytes"]
        self.shard_names: list[str] = [row["path"] for row in index["splits"][split]["shards"]]
        self._batches = batches
        self._tokens = [batch["tokens"].values.to_numpy(zero_copy_only=True) for batch in batches]
        self._starts = [0, *np.cumsum([len(tokens) for tokens in self._tokens], dtype=np.int64).tolist()]

    def __len__(self) -> int:
        return self.n_tokens

    def __repr__(self) -> str:
        return f"Shards({str(self.directory)!r}, {self.split}: {self.n_tokens:,} tokens, {self.n_docs:,} documents)"

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens ``start`` to ``stop`` of the split: a read-only view inside one shard, a copy across shards.

        IndexError outside the split, rather than fewer tokens than asked for.
        """
        if not 0 <= start <= stop <= self.n_tokens:
            raise IndexError(f"tokens {start} to {stop} of {self.n_tokens}")
        if start == stop:
            return np.empty(0, self.dtype)
        starts = self._starts
        first = bisect_right(starts, start, hi=len(self._tokens)) - 1
        if stop <= starts[first + 1]:
            return self._tokens[first][start - starts[first] : stop - starts[first]]
        last = bisect_left(starts, stop) - 1
        return np.concatenate(
            [self._tokens[i][max(start - starts[i], 0) : stop - starts[i]] for i in range(first, last + 1)]
        )

    def shard_tokens(self) -> list[np.ndarray]:
        """The tokens of each shard, as views."""
        return list(self._tokens)

    def n_windows(self, length: int) -> int:
        """How many windows of ``length`` targets the split has; the last may be shorter."""
        return -(-max(self.n_tokens - 1, 0) // length)

    def window(self, number: int, length: int) -> np.ndarray:
        """Window ``number``: ``length`` + 1 tokens, the last being the first of the next window: no target is lost.

        Inputs are ``window[:-1]``, targets ``window[1:]``. The last window holds what is left, at least two tokens.
        """
        if not 0 <= number < self.n_windows(length):
            raise IndexError(f"window {number} of {self.n_windows(length)}")
        return self.read(number * length, min((number + 1) * length + 1, self.n_tokens))

    def windows(self, length: int) -> Iterator[np.ndarray]:
        """All windows of ``length`` targets in order."""
        return (self.window(number, length) for number in range(self.n_windows(length)))

    @cached_property
    def offsets(self) -> np.ndarray:
        """Where each document begins, and the end of the last: (n_docs + 1,) int64 positions."""
        parts = [
            batch["tokens"].offsets.to_numpy()[:-1] + base
            for batch, base in zip(self._batches, self._starts, strict=False)
        ]
        return np.concatenate([*parts, [self.n_tokens]]).astype(np.int64)

    @cached_property
    def _rows(self) -> list[int]:
        return [0, *np.cumsum([batch.num_rows for batch in self._batches], dtype=np.int64).tolist()]

    def document(self, number: int) -> Document:
        """Document ``number`` of the split."""
        if not 0 <= number < self.n_docs:
            raise IndexError(f"document {number} of {self.n_docs}")
        shard = bisect_right(self._rows, number) - 1
        batch, row = self._batches[shard], number - self._rows[shard]
        ends = batch["tokens"].offsets
        return Document(
            id=batch["doc_id"][row].as_py(),
            source=batch["source"][row].as_py(),
            n_bytes=batch["n_bytes"][row].as_py(),
            start=self._starts[shard] + ends[row].as_py(),
            stop=self._starts[shard] + ends[row + 1].as_py(),
        )

    def documents(self) -> Iterator[Document]:
        """All documents in order."""
        return (self.document(number) for number in range(self.n_docs))

    def document_at(self, position: int) -> Document:
        """The document that holds the token at ``position``."""
        if not 0 <= position < self.n_tokens:
            raise IndexError(f"token {position} of {self.n_tokens}")
        return self.document(int(np.searchsorted(self.offsets, position, side="right")) - 1)

    def table(self) -> pa.Table:
        """All columns (tokens, n_bytes, doc_id, source) as one Arrow table over the mapped shards."""
        if not self._batches:
            raise CorpusmillError(f"split {self.split!r} has no shards", file=str(self.directory / INDEX), mend=REBUILD)
        return pa.Table.from_batches(self._batches)
