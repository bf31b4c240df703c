"""Read shards: verified, mapped into memory, sliced without a copy. Needs pyarrow and numpy alone.

    shards = open_shards("corpus/shards")
    tokens = shards.read(0, 1025)
    for document in shards.documents():
        ...

A split is one long stream of tokens, its shards end to end in index order; positions in it run from 0 to ``n_tokens``.
Shards on remote storage are copied once into a cache, by their digests, and read from there.
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

from pipeline.errors import CorpusmillError
from pipeline.shards.format import COUNTS, FORMAT, INDEX, SUFFIXES, VERSION, Header, fingerprint, index_bytes, schema
from pipeline.storage import expand, is_url, open_input, sha256_of

BUILD = "corpusmill shards CORPUS_TOML"
REBUILD = f"corpusmill verify CORPUS --repair, then {BUILD}"  # by itself a build trusts parts that keep their size
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


def open_shards(
    directory: str | os.PathLike[str],
    split: str = "train",
    paranoid: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> Shards:
    """Open one split of the shards in ``directory``, a folder or a URL that fsspec knows.

    Checks the index against its fingerprint, and each shard against the index: size, SHA-256, schema and header. A
    shard that passed is remembered by size and time stamps in the user's cache (``$XDG_CACHE_HOME/corpusmill``) and not
    hashed again while these stand; ``paranoid`` hashes always. Shards at a URL are fetched into ``cache`` (default: the
    user's), each checked on its way, and not again while they are there. Raises CorpusmillError for whatever does not
    match, with the file, the digest expected and found, and the command that mends it.
    """
    index = read_index(directory)
    if split not in index["splits"]:
        raise CorpusmillError(
            f"no split {split!r}; there are: {', '.join(sorted(index['splits']))}",
            file=os.path.join(directory, INDEX),
            mend=REBUILD,
        )
    rows = index["splits"][split]["shards"]
    _check_listing(directory, index)
    folder = _here(directory, rows, index["fingerprint"], cache)
    _verify(folder, rows, index["fingerprint"], paranoid, folder != Path(directory))
    expected = schema(Header.from_dict(index), split)
    return Shards(Path(folder), split, index, [_map(folder / row["path"], row, expected) for row in rows])


def read_index(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of the index in ``directory``, checked against its fingerprint. CorpusmillError where it fails."""
    path = os.path.join(directory, INDEX)
    try:
        with open_input(path) as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CorpusmillError("no shards here: the index is missing", file=str(path), mend=BUILD) from error
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


def read_shard(
    directory: str | os.PathLike[str],
    name: str,
    paranoid: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> pa.RecordBatch:
    """The rows of one shard, verified as `open_shards` does, whatever the state of the others."""
    index = read_index(directory)
    for split, content in index["splits"].items():
        for row in content["shards"]:
            if row["path"] == name:
                folder = _here(directory, [row], index["fingerprint"], cache)
                _verify(folder, [row], index["fingerprint"], paranoid, folder != Path(directory))
                return _map(folder / name, row, schema(Header.from_dict(index), split))
    raise CorpusmillError(
        f"no shard {name!r} here", file=os.path.join(directory, INDEX), mend="see the names in the index"
    )


def find_document(directory: str | os.PathLike[str], id: bytes) -> list[dict[str, Any]]:
    """Where a document lies: path of the shard, split, row, tokens there and first token, in the order of the index.

    The ids alone are looked at, and the shards are not verified: `read_shard` does that.
    """
    index = read_index(directory)
    found = []
    for split, content in index["splits"].items():
        folder = _here(directory, content["shards"], index["fingerprint"], None)
        for row in content["shards"]:
            batch = _map(folder / row["path"], row, schema(Header.from_dict(index), split))
            ids = np.frombuffer(batch["doc_id"].buffers()[1], np.uint8).reshape(-1, 16)[: batch.num_rows]
            for at in np.flatnonzero((ids == np.frombuffer(id, np.uint8)).all(axis=1)).tolist():
                place = {"tokens": len(batch["tokens"][at]), "first_token": batch["first_token"][at].as_py()}
                found.append({"path": row["path"], "split": split, "row": at, **place})
    return found


def _here(
    directory: str | os.PathLike[str], rows: list[dict[str, Any]], mark: str, cache: str | os.PathLike[str] | None
) -> Path:
    """The local folder of the shards: ``directory`` itself, or the cache, into which absent ones are fetched."""
    if not is_url(str(directory)):
        return Path(directory)
    folder = Path(cache) if cache else _user_cache("shards")
    folder = folder / mark[:32]
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        if not (folder / row["path"]).exists():
            _fetch(f"{directory}/{row['path']}", folder / row["path"], row)
    return folder


def _fetch(url: str, path: Path, row: dict[str, Any]) -> None:
    """Copy one shard; it gets its name once its digest is right, so that a name in the cache is a whole shard."""
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as copy:
        try:
            with open_input(url) as file:
                while block := file.read(1 << 22):
                    digest.update(block)
                    copy.write(block)
            if digest.hexdigest() != row["sha256"]:
                raise CorpusmillError(
                    f"shard damaged: SHA-256 {row['sha256']} expected, {digest.hexdigest()} found",
                    file=url,
                    mend=REBUILD,
                )
            copy.flush()
            os.replace(copy.name, path)
        except FileNotFoundError as error:
            raise CorpusmillError(f"shard missing: SHA-256 {row['sha256']} expected", file=url, mend=REBUILD) from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(copy.name)


def _user_cache(name: str) -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "corpusmill", name)


def _check_listing(directory: str | os.PathLike[str], index: dict[str, Any]) -> None:
    """Refuse a shard that the index does not name: it is left over from another build."""
    named = {row["path"] for part in index["splits"].values() for row in part["shards"]}
    if is_url(str(directory)):
        names = [path.rsplit("/", 1)[1] for suffix in SUFFIXES for path in expand(f"{directory}/*{suffix}")]
    else:
        names = [name for name in os.listdir(directory) if name.endswith(SUFFIXES) and not name.startswith(".")]
    if extra := sorted(set(names) - named):
        raise CorpusmillError(
            f"not named by {INDEX} (left over from another build?)",
            file=os.path.join(directory, extra[0]),
            mend=f"delete it, or: {REBUILD}",
        )


def _verify(folder: Path, rows: list[dict[str, Any]], mark: str, paranoid: bool, cached: bool = False) -> None:
    """Check size and SHA-256 of every shard, hashing only what is not remembered as verified."""
    memory = _Memory(folder, mark)
    mend = f"rm -r {folder}: the shards are fetched again" if cached else REBUILD
    for row in rows:
        path = folder / row["path"]
        try:
            status = path.stat()
        except FileNotFoundError as error:
            raise CorpusmillError(
                f"shard missing: SHA-256 {row['sha256']} expected", file=str(path), mend=mend
            ) from error
        if status.st_size != row["bytes"]:
            raise CorpusmillError(
                f"shard of {status.st_size} bytes, {row['bytes']} expected (SHA-256 {row['sha256']} expected)",
                file=str(path),
                mend=mend,
            )
        if not paranoid and memory.holds(row, status):
            continue
        with open(path, "rb") as file:
            found = sha256_of(file)
        if found != row["sha256"]:
            raise CorpusmillError(
                f"shard damaged: SHA-256 {row['sha256']} expected, {found} found", file=str(path), mend=mend
            )
        memory.remember(row, status)
    memory.save()


class _Memory:
    """Which shards of a directory were verified, by size, inode and time stamps; lost without harm."""

    def __init__(self, folder: Path, mark: str):
        self.path = _user_cache("verified") / (hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32] + ".json")
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
    """One shard as its record batch, mapped into memory (Parquet: decoded), after checking it against the index."""
    try:
        found, batches = _parquet(path, expected) if path.suffix == ".parquet" else _arrow(path)
    except (pa.ArrowInvalid, FileNotFoundError, OSError) as error:
        raise CorpusmillError(f"not a shard: {error}", file=str(path), mend=REBUILD) from error
    if not found.equals(expected, check_metadata=True):
        raise CorpusmillError(
            f"a shard of another tokenizer, split or build: {expected.metadata} expected, {found.metadata} found",
            file=str(path),
            mend=REBUILD,
        )
    if len(batches) != 1:
        raise CorpusmillError(f"{len(batches)} record batches, one expected", file=str(path), mend=REBUILD)
    begins = np.count_nonzero(batches[0]["first_token"].to_numpy() == 0)
    counts = {"n_rows": batches[0].num_rows, "n_docs": begins, "n_tokens": len(_values(batches[0]))}
    for name, count in counts.items():
        if count != row[name]:
            raise CorpusmillError(f"{name} is {count}, the index says {row[name]}", file=str(path), mend=REBUILD)
    return batches[0]


def _arrow(path: Path) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    return reader.schema, [reader.get_batch(number) for number in range(reader.num_record_batches)]


def _parquet(path: Path, expected: pa.Schema) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """Parquet has a name of its own for the items of a list, which is all that may differ."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, use_threads=False)
    if table.schema.names != expected.names or table.schema.metadata != expected.metadata:
        return table.schema, []
    table = table.cast(expected).combine_chunks()
    return table.schema, table.to_batches() or [pa.RecordBatch.from_pylist([], expected)]


def _values(batch: pa.RecordBatch) -> pa.Array:
    """The tokens of a shard, end to end."""
    return cast(pa.ListArray, batch["tokens"]).values


class Shards:
    """The tokens and documents of one split. Made by `open_shards`.

    ``n_tokens``, ``n_docs``, ``n_bytes`` (UTF-8 bytes of the texts), ``vocab_size``, ``dtype``, ``special_ids``,
    ``tokenizer_sha256``, ``fingerprint`` (of all splits), ``split`` and ``directory`` describe it, ``bos`` and ``eos``
    whether documents begin and end with these pieces. Documents are whole
    here, whatever edge of a shard cuts them; ``n_rows`` counts the pieces.
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
        self.n_tokens, self.n_docs, self.n_rows, self.n_bytes = (int(index["splits"][split][name]) for name in COUNTS)
        self.shard_names: list[str] = [row["path"] for row in index["splits"][split]["shards"]]
        self._batches = batches
        self._tokens = [_values(batch).to_numpy(zero_copy_only=True) for batch in batches]
        self._starts = [0, *np.cumsum([len(tokens) for tokens in self._tokens], dtype=np.int64).tolist()]
        # Text is never encoded as these pieces: where the header does not say, the first and the last token do.
        self.bos = self._holds("bos", 0) if header.bos is None else header.bos
        self.eos = self._holds("eos", self.n_tokens - 1) if header.eos is None else header.eos

    def _holds(self, role: str, position: int) -> bool:
        return self.n_tokens > 0 and int(self.read(position, position + 1)[0]) == self.special_ids.get(role)

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
        rows = np.concatenate([*parts, [self.n_tokens]]).astype(np.int64)
        return rows[self._begins]

    @cached_property
    def _begins(self) -> np.ndarray:
        """The row in which each document begins, and the number of rows: (n_docs + 1,) int64."""
        parts = [
            np.flatnonzero(batch["first_token"].to_numpy() == 0) + base
            for batch, base in zip(self._batches, self._rows, strict=False)
        ]
        return np.concatenate([*parts, [self.n_rows]]).astype(np.int64)

    @cached_property
    def _bytes(self) -> np.ndarray:
        """The UTF-8 bytes of each row."""
        return np.concatenate([batch["n_bytes"].to_numpy() for batch in self._batches] or [np.empty(0, np.uint32)])

    @cached_property
    def _rows(self) -> list[int]:
        return [0, *np.cumsum([batch.num_rows for batch in self._batches], dtype=np.int64).tolist()]

    def document(self, number: int) -> Document:
        """Document ``number`` of the split."""
        if not 0 <= number < self.n_docs:
            raise IndexError(f"document {number} of {self.n_docs}")
        first, last = self._begins[number : number + 2].tolist()
        shard = bisect_right(self._rows, first) - 1
        batch, row = self._batches[shard], first - self._rows[shard]
        return Document(
            id=batch["doc_id"][row].as_py(),
            source=batch["source"][row].as_py(),
            n_bytes=int(self._bytes[first:last].sum(dtype=np.int64)),
            start=int(self.offsets[number]),
            stop=int(self.offsets[number + 1]),
        )

    def documents(self) -> Iterator[Document]:
        """All documents in order."""
        return (self.document(number) for number in range(self.n_docs))

    def document_at(self, position: int) -> Document:
        """The document that holds the token at ``position``."""
        if not 0 <= position < self.n_tokens:
            raise IndexError(f"token {position} of {self.n_tokens}")
        return self.document(int(np.searchsorted(self.offsets, position, side="right")) - 1)

    def facts(self) -> pa.Table:
        """One row a document, in order: doc_id, source, n_bytes (int64, of the whole text)."""
        first = pa.array(self._begins[:-1])
        rows = self.table().select(["doc_id", "source"]).take(first)
        sizes = np.add.reduceat(self._bytes.astype(np.int64), self._begins[:-1]) if self.n_docs else self._bytes
        return rows.append_column("n_bytes", pa.array(sizes, pa.int64()))

    def table(self) -> pa.Table:
        """All rows with all columns (tokens, n_bytes, doc_id, source, first_token), over the mapped shards."""
        if not self._batches:
            raise CorpusmillError(f"split {self.split!r} has no shards", file=str(self.directory / INDEX), mend=REBUILD)
        return pa.Table.from_batches(self._batches)
