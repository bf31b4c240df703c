"""A corpus on an object store: moto's S3 server on loopback, reached through s3fs."""

import pytest

from pipeline.build import Builder
from pipeline.config import load
from pipeline.errors import CorpusmillError
from pipeline.storage import Root, expand, open_input
from pipeline.verify import verify
from tests.corpus import DATA, data_files, write_config

FILES = ["zhwiki-20180517-pages-articles-excerpt.xml.bz2", "itwiki-20130628-pages-articles-multistream-excerpt.xml.bz2"]


def test_a_build_on_the_store_equals_the_local_one(tmp_path, store):
    for name in FILES:
        store.put_file(str(DATA / name), f"bucket/dumps/{name}")
    remote = write_config(tmp_path / "remote", {"wiki": [f"s3://bucket/dumps/{name}" for name in FILES]})
    local = write_config(tmp_path / "local", {"wiki": FILES})
    built = Builder(load(str(remote), root="s3://bucket/corpus")).build("shards")
    assert set(built.stages.values()) == {"built"}
    assert Builder(load(str(remote), root="s3://bucket/corpus")).build("shards").stages["shards"] == "up to date"
    Builder(load(str(local))).build("shards")
    store.get("bucket/corpus", str(tmp_path / "fetched"), recursive=True)
    found, wanted = data_files(tmp_path / "fetched"), data_files(tmp_path / "local/corpus")
    assert found.keys() == wanted.keys()
    assert [name for name in found if found[name] != wanted[name]] == []
    root = Root("s3://bucket/corpus")
    assert verify(root).damage == []
    part = next(iter(root.sizes("documents")))
    data = bytearray(root.read(part))
    data[50] ^= 1
    root.write(part, bytes(data))
    assert [part in trouble for trouble in verify(root).damage] == [True]


def test_the_operations_of_a_root(store):
    root = Root("s3://bucket/ops")
    assert root.sizes("a") == {}
    assert root.read_json("absent.json") is None
    root.write("a/b.json", b"[1]")
    assert (root.sizes("a"), root.size("a/b.json"), root.read_json("a/b.json")) == ({"a/b.json": 3}, 3, [1])
    before = root.stamps("a")
    assert before.keys() == {"a/b.json"}
    root.remove("a/b.json")
    root.remove("a/b.json")
    assert root.size("a/b.json") is None


def test_inputs_are_found_and_read_by_range(store):
    store.put_file(str(DATA / FILES[0]), "bucket/in/a.xml.bz2")
    assert expand("s3://bucket/in/*.bz2") == ["s3://bucket/in/a.xml.bz2"]
    assert expand("s3://bucket/in/none*") == []
    with open_input("s3://bucket/in/a.xml.bz2") as file:
        file.seek(100)
        assert file.read(10) == (DATA / FILES[0]).read_bytes()[100:110]


def test_a_second_run_is_refused_until_unlocked(store):
    from pipeline.cli import main

    root = Root("s3://bucket/locked")
    with root.lock(), pytest.raises(CorpusmillError, match="corpusmill unlock s3://bucket/locked"), root.lock():
        pass
    with root.lock():  # released on leaving
        pass
    root.write("ledger/lock", b"left by a killed run")
    with pytest.raises(CorpusmillError, match="left by a killed run"), root.lock():
        pass
    assert main(["unlock", "s3://bucket/locked"]) == 0
    with root.lock():
        pass
