"""Shards: what is written is what is read, the same bytes every time, and nothing else is accepted."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import CorpusmillError
from pipeline.shards.format import Header, build_index, index_bytes, shard_name
from pipeline.shards.read import find_document, open_shards, read_shard
from pipeline.shards.write import write_shard
from tests.shared import ROOT

HEADER = Header("ab" * 32, 500, {"unk": 0, "eos": 2}, seed=7, lineage="cd" * 32)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def arrays(documents: list[list[int]], first: int = 0) -> dict:
    return {
        "tokens": np.array([token for document in documents for token in document], np.int64),
        "offsets": np.cumsum([0, *map(len, documents)]),
        "n_bytes": np.array([3 * len(document) for document in documents], np.int64),
        "doc_ids": np.array([[(first + i) % 256] * 16 for i in range(len(documents))], np.uint8).reshape(-1, 16),
        "sources": [f"dump{(first + i) % 3}" for i in range(len(documents))],
    }


def write_corpus(
    folder: Path, splits: dict[str, list[list[list[int]]]], header: Header = HEADER, format: str = "arrow"
) -> Path:
    """``splits`` holds the documents of each shard of each split."""
    folder.mkdir(parents=True, exist_ok=True)
    described: dict[str, list[dict]] = {}
    for split, shards in splits.items():
        described[split] = []
        for number, documents in enumerate(shards):
            name = shard_name(split, number, len(shards), format)
            row = write_shard(str(folder / name), name, header, split, **arrays(documents, 10 * number))
            described[split].append(row)
    (folder / "index.json").write_bytes(index_bytes(build_index(header, described)))
    return folder


def sample(folder: Path) -> Path:
    rng = random.Random(1)
    documents = [[[rng.randrange(500) for _ in range(rng.randrange(1, 30))] for _ in range(9)] for _ in range(3)]
    return write_corpus(folder, {"train": documents[:2], "validation": documents[2:]})


def open_both(folder: Path) -> None:
    open_shards(folder, "train")
    open_shards(folder, "validation")


documents_of_shards = st.lists(st.lists(st.lists(st.integers(0, 499), max_size=9), max_size=6), max_size=4)


@settings(max_examples=60, deadline=None)
@given(documents_of_shards, st.integers(1, 7), st.data())
def test_round_trip(tmp_path_factory, shards, length, data):
    folder = write_corpus(tmp_path_factory.mktemp("shards"), {"train": shards})
    found = open_shards(folder)
    flat = [token for documents in shards for document in documents for token in document]
    assert found.read(0, len(flat)).tolist() == flat
    start = data.draw(st.integers(0, len(flat)))
    stop = data.draw(st.integers(start, len(flat)))
    assert found.read(start, stop).tolist() == flat[start:stop]

    expected = [document for documents in shards for document in documents]
    assert [found.read(d.start, d.stop).tolist() for d in found.documents()] == expected
    assert [d.n_bytes for d in found.documents()] == [3 * len(document) for document in expected]
    assert [(d.id, d.source) for d in found.documents()] == [
        (bytes([10 * number + i] * 16), f"dump{(10 * number + i) % 3}")
        for number, documents in enumerate(shards)
        for i in range(len(documents))
    ]
    assert np.diff(found.offsets).tolist() == list(map(len, expected))
    assert (found.n_tokens, found.n_docs, found.n_bytes) == (len(flat), len(expected), 3 * len(flat))
    for position in range(len(flat)):
        document = found.document_at(position)
        assert document.start <= position < document.stop

    # Every target is in exactly one window, after its own predecessor.
    windows = [window.tolist() for window in found.windows(length)]
    assert len(windows) == found.n_windows(length)
    assert [token for window in windows for token in window[1:]] == flat[1:]
    assert [token for window in windows for token in window[:-1]] == flat[:-1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.lists(st.integers(1, 300), max_size=8))
def test_a_document_cut_by_the_edges_of_shards_is_whole(tmp_path_factory, sizes, edges):
    folder = tmp_path_factory.mktemp("cut")
    starts = np.cumsum([0, *sizes])
    tokens = np.arange(starts[-1]) % 500
    edges = sorted({0, int(starts[-1]), *(edge for edge in edges if edge < starts[-1])})
    rows = []
    for number, (low, high) in enumerate(pairwise(edges)):
        pieces = [(i, max(low, a), min(high, b)) for i, (a, b) in enumerate(pairwise(starts)) if a < high and b > low]
        name = shard_name("train", number, len(edges) - 1)
        given = {
            "tokens": tokens[low:high],
            "offsets": np.cumsum([0, *(b - a for _, a, b in pieces)]),
            "n_bytes": np.array([2 * (b - a) for _, a, b in pieces]),
            "doc_ids": np.array([[i] * 16 for i, _, _ in pieces], np.uint8),
            "sources": ["s"] * len(pieces),
            "first_tokens": np.array([a - starts[i] for i, a, _ in pieces]),
        }
        rows.append(write_shard(str(folder / name), name, HEADER, "train", **given))
    (folder / "index.json").write_bytes(index_bytes(build_index(HEADER, {"train": rows})))
    found = open_shards(folder)
    assert (found.n_docs, found.n_bytes) == (len(sizes), 2 * len(tokens))
    assert found.offsets.tolist() == starts.tolist()
    assert found.facts()["doc_id"].to_pylist() == [bytes([i] * 16) for i in range(len(sizes))]
    assert found.facts()["n_bytes"].to_pylist() == [2 * size for size in sizes]
    for i, document in enumerate(found.documents()):
        assert document.id == bytes([i] * 16)
        assert document.n_bytes == 2 * sizes[i]
        assert found.read(document.start, document.stop).tolist() == tokens[starts[i] : starts[i + 1]].tolist()
        assert found.document_at(document.stop - 1) == document
        places = find_document(folder, document.id)
        assert sum(place["tokens"] for place in places) == sizes[i]
        assert [place["first_token"] for place in places] == list(np.cumsum([0, *(p["tokens"] for p in places)])[:-1])


def test_parquet_shards_read_like_arrow_ones(tmp_path):
    documents = [[[i, i + 1] * i for i in range(20)], [[7] * 300]]
    arrow = open_shards(write_corpus(tmp_path / "a", {"train": documents}))
    folder = write_corpus(tmp_path / "p", {"train": documents}, format="parquet")
    parquet = open_shards(folder)
    assert parquet.read(0, parquet.n_tokens).tolist() == arrow.read(0, arrow.n_tokens).tolist()
    assert list(parquet.documents()) == list(arrow.documents())
    path = folder / parquet.shard_names[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorpusmillError, match="damaged: SHA-256") as caught:
        open_shards(folder)
    assert "verify CORPUS --repair" in caught.value.mend  # a build alone goes by sizes


def upload(folder: Path, url: str) -> None:
    import fsspec

    for path in folder.iterdir():
        with fsspec.open(f"{url}/{path.name}", "wb") as file:
            file.write(path.read_bytes())


def test_remote_shards_are_fetched_once_and_checked(tmp_path):
    import fsspec

    folder, url, cache = sample(tmp_path / "local"), f"memory://{tmp_path.name}", tmp_path / "cache"
    upload(folder, url)
    local, remote = open_shards(folder), open_shards(url, cache=cache)
    assert list(remote.documents()) == list(local.documents())
    assert remote.read(0, remote.n_tokens).tolist() == local.read(0, local.n_tokens).tolist()
    assert read_shard(url, local.shard_names[1], cache=cache).equals(read_shard(folder, local.shard_names[1]))
    filesystem = fsspec.filesystem("memory")
    (cached,) = cache.rglob(local.shard_names[0])
    filesystem.rm(f"/{tmp_path.name}/{local.shard_names[0]}")
    assert open_shards(url, cache=cache).n_tokens == local.n_tokens  # what is cached is not fetched again
    cached.write_bytes(b"x" * cached.stat().st_size)
    with pytest.raises(CorpusmillError, match=r"damaged(.|\n)*rm -r .*fetched again"):
        open_shards(url, cache=cache)
    cached.unlink()
    with pytest.raises(CorpusmillError, match="shard missing: SHA-256"):
        open_shards(url, cache=cache)
    data = bytearray((folder / local.shard_names[0]).read_bytes())
    data[-100] ^= 1
    with fsspec.open(f"{url}/{local.shard_names[0]}", "wb") as file:
        file.write(data)
    with pytest.raises(CorpusmillError, match="damaged: SHA-256"):
        open_shards(url, cache=cache)
    assert not cached.exists()
    with fsspec.open(f"{url}/train-00007-of-00009.arrow", "wb") as file:
        file.write(b"old")
    with pytest.raises(CorpusmillError, match=r"train-00007-of-00009\.arrow: not named"):
        open_shards(url, cache=cache)
    with pytest.raises(CorpusmillError, match="index is missing"):
        open_shards(f"{url}/nowhere", cache=cache)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 10**6)])
def test_reading_outside_the_split_is_an_error(tmp_path, start, stop):
    with pytest.raises(IndexError):
        open_shards(sample(tmp_path)).read(start, stop)


def test_same_arrays_same_bytes(tmp_path):
    first, second = sample(tmp_path / "a"), sample(tmp_path / "b")
    for path in sorted(first.iterdir()):
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_path_and_file_sinks_agree_and_are_described_truly(tmp_path):
    name = shard_name("train", 0, 1)
    row = write_shard(str(tmp_path / name), name, HEADER, "train", **arrays([[1, 2], [3]]))
    sink = io.BytesIO()
    assert write_shard(sink, name, HEADER, "train", **arrays([[1, 2], [3]])) == row
    data = (tmp_path / name).read_bytes()
    assert data == sink.getvalue()
    assert row == {
        "path": name,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "n_tokens": 3,
        "n_docs": 2,
        "n_rows": 2,
        "n_bytes": 9,
    }


def test_layout_is_the_contract(tmp_path):
    folder = sample(tmp_path)
    reader = pa.ipc.open_file(str(folder / "train-00000-of-00002.arrow"))
    assert reader.num_record_batches == 1
    assert {field.name: str(field.type) for field in reader.schema} == {
        "tokens": "list<item: uint16 not null>",
        "n_bytes": "uint32",
        "doc_id": "fixed_size_binary[16]",
        "source": "string",
        "first_token": "uint32",
    }
    metadata = json.loads(reader.schema.metadata[b"corpusmill"])
    assert metadata["split"] == "train"
    assert metadata["tokenizer_sha256"] == HEADER.tokenizer_sha256
    assert metadata["special_ids"] == {"unk": 0, "eos": 2}


def test_reading_inside_a_shard_copies_nothing(tmp_path):
    shards = open_shards(sample(tmp_path))
    base = shards.shard_tokens()[1]
    view = shards.read(shards.n_tokens - 5, shards.n_tokens)
    assert np.shares_memory(view, base)
    assert not view.flags.writeable


@pytest.mark.parametrize(("vocabulary", "dtype"), [(65_536, "uint16"), (65_537, "uint32")])
def test_token_type_follows_the_vocabulary(tmp_path, vocabulary, dtype):
    header = Header("ab" * 32, vocabulary, {}, 0, "")
    folder = write_corpus(tmp_path, {"train": [[[0, vocabulary - 1]]]}, header)
    shards = open_shards(folder)
    assert shards.dtype == dtype
    assert shards.read(0, 2).tolist() == [0, vocabulary - 1]


@pytest.mark.parametrize("token", [500, -1, 70_000])
def test_token_outside_the_vocabulary_is_refused(token):
    with pytest.raises(CorpusmillError, match=rf"token {token} at position 1 .*500 pieces"):
        write_shard(io.BytesIO(), "train-00000-of-00001.arrow", HEADER, "train", **arrays([[1, token]]))


@pytest.mark.parametrize(
    "change",
    [
        {"offsets": np.array([0, 1, 2])},
        {"offsets": np.array([0, 4, 3])},
        {"n_bytes": np.array([1])},
        {"n_bytes": np.array([1, -1])},
        {"doc_ids": np.zeros((2, 8), np.uint8)},
        {"sources": pa.array(["a", None])},
    ],
)
def test_arrays_that_do_not_fit_are_refused(change):
    with pytest.raises(ValueError):
        write_shard(io.BytesIO(), "train-00000-of-00001.arrow", HEADER, "train", **{**arrays([[1, 2], [3]]), **change})


def test_any_flipped_bit_is_refused(tmp_path):
    folder = sample(tmp_path)
    files = sorted(folder.iterdir())
    rng = random.Random(2)
    refused = 0
    for _ in range(200):
        path = rng.choice(files)
        data = bytearray(path.read_bytes())
        whole = bytes(data)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        with pytest.raises(CorpusmillError) as caught:
            open_both(folder)
        message = str(caught.value)
        refused += path.name in message and "corpusmill shards CORPUS_TOML" in message
        if path.suffix == ".arrow":
            assert hashlib.sha256(whole).hexdigest() in message
            assert hashlib.sha256(data).hexdigest() in message
        path.write_bytes(whole)
    assert refused == 200
    open_shards(folder)


def test_damage_is_seen_after_verification_was_remembered(tmp_path):
    folder = sample(tmp_path)
    path = folder / "train-00000-of-00002.arrow"
    long_ago = path.stat().st_mtime_ns - 10**10
    os.utime(path, ns=(long_ago, long_ago))
    open_shards(folder)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(long_ago, long_ago))
    with pytest.raises(CorpusmillError, match="damaged"):
        open_shards(folder, paranoid=True)


def test_verified_shards_are_not_hashed_again_unless_paranoid(tmp_path, monkeypatch):
    folder = sample(tmp_path)
    from pipeline.shards import read

    monkeypatch.setattr(read, "_SETTLED_NS", -1)
    hashed = []
    digest = read.sha256_of
    monkeypatch.setattr(read, "sha256_of", lambda file: (hashed.append(file.name), digest(file))[1])
    open_shards(folder)
    open_shards(folder)
    assert len(hashed) == 2
    open_shards(folder, paranoid=True)
    assert len(hashed) == 4


def test_unwritable_cache_costs_nothing_but_time(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    monkeypatch.setattr("pipeline.shards.read._SETTLED_NS", -1)
    assert open_shards(sample(tmp_path)).n_docs == 18


def break_missing(folder: Path) -> None:
    (folder / "train-00001-of-00002.arrow").unlink()


def break_extra(folder: Path) -> None:
    (folder / "train-00002-of-00003.arrow").write_bytes(b"old")


def break_truncated(folder: Path) -> None:
    path = folder / "train-00001-of-00002.arrow"
    path.write_bytes(path.read_bytes()[:-8])


def break_index_missing(folder: Path) -> None:
    (folder / "index.json").unlink()


def break_index_format(folder: Path) -> None:
    rewrite_index(folder, lambda index: index.update(version=99))


def break_index_rehashed_over_foreign_shard(folder: Path) -> None:
    """An index that agrees with itself and with the files' digests, but not with what the shards say of themselves."""
    rewrite_index(folder, lambda index: index.update(tokenizer_sha256="ee" * 32))


def break_index_counts(folder: Path) -> None:
    rewrite_index(folder, lambda index: index["splits"]["train"]["shards"][0].update(n_tokens=1))


def break_index_shape(folder: Path) -> None:
    (folder / "index.json").write_text("[]")


def rewrite_index(folder: Path, change) -> None:
    from pipeline.shards.format import fingerprint

    index = json.loads((folder / "index.json").read_bytes())
    change(index)
    index["fingerprint"] = fingerprint(index)
    (folder / "index.json").write_bytes(index_bytes(index))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_missing, "train-00001-of-00002.arrow: shard missing"),
        (break_extra, "train-00002-of-00003.arrow: not named"),
        (break_truncated, "train-00001-of-00002.arrow: shard of .* bytes"),
        (break_index_missing, "index is missing"),
        (break_index_format, "version 99"),
        (break_index_rehashed_over_foreign_shard, "another tokenizer"),
        (break_index_counts, "n_tokens is"),
        (break_index_shape, "not an index"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path, damage, message):
    folder = sample(tmp_path)
    open_shards(folder)
    damage(folder)
    with pytest.raises(CorpusmillError, match=message) as caught:
        open_shards(folder)
    assert caught.value.mend


def test_absent_split_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(CorpusmillError, match=r"no split 'test'; there are: train, validation"):
        open_shards(sample(tmp_path), "test")


def test_reader_needs_pyarrow_and_numpy_alone(tmp_path):
    folder = sample(tmp_path)
    program = f"""
import sys

class Refuse:
    allowed = {{"pyarrow", "numpy", "pipeline"}} | set(sys.stdlib_module_names)
    def find_spec(self, name, path=None, target=None):
        known = name.partition(".")[0] in self.allowed or name.startswith("_sysconfigdata")  # named by platform
        if not known:
            raise ModuleNotFoundError(f"blocked {{name}}", name=name)

sys.meta_path.insert(0, Refuse())
from pipeline.shards.read import find_document, open_shards, read_shard
shards = open_shards({str(folder)!r})
print(shards.n_tokens, len(shards.table()))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(open_shards(folder).n_tokens), "18"]
