"""A corpus on an object store: moto's S3 server on loopback, reached through s3fs."""

import threading

import pytest

from pipeline import storage
from pipeline.build import Builder
from pipeline.cli import main
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
    for place in ("s3://bucket/locked", "s3://nobucket/x"):
        assert main(["unlock", place]) == 1  # nothing was locked there


class Busy:
    """A front of the store that answers writes with 503: the next ``refusals``, or all from the first of a path."""

    def __init__(self):
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self.store = DomainDispatcherApplication(create_backend_app)
        self.refusals = 0
        self.refuses_from = ""
        self.refused = []

    def __call__(self, environ, start_response):
        writes = environ["REQUEST_METHOD"] in ("PUT", "POST", "DELETE")
        if writes and self.refuses_from and self.refuses_from in environ["PATH_INFO"]:
            self.refusals = 10**9
        if writes and self.refusals:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            self.refusals -= 1
            self.refused.append(environ["PATH_INFO"])
            start_response("503 Service Unavailable", [("Content-Type", "application/xml")])
            return [b"<Error><Code>ServiceUnavailable</Code><Message>come back later</Message></Error>"]
        return self.store(environ, start_response)


@pytest.fixture
def busy(store, monkeypatch):
    """The store behind a front that can refuse, at an address of its own; nothing waits between tries."""
    s3fs = pytest.importorskip("s3fs")
    from werkzeug.serving import make_server

    front = Busy()
    server = make_server("127.0.0.1", 0, front, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(storage, "_WAITS", (0,) * len(storage._WAITS))
    s3fs.S3FileSystem.clear_instance_cache()
    yield front
    server.shutdown()
    thread.join()
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_store_that_refuses_writes_for_a_while_is_ridden_out(tmp_path, busy, store):
    config = write_config(tmp_path, {"wiki": ["zhwiki-*", "enwiki-20141107-*"]})
    for refused, stage in ((6, "ingest"), (12, "dedup")):
        busy.refusals = 6  # fewer than there are tries
        assert Builder(load(str(config), root="s3://bucket/refusing")).build(stage).stages[stage] == "built"
        assert len(busy.refused) == refused
    Builder(load(str(config))).build("dedup")
    store.get("bucket/refusing", str(tmp_path / "fetched"), recursive=True)
    assert data_files(tmp_path / "fetched") == data_files(tmp_path / "corpus")


def test_a_store_that_refuses_for_longer_fails_by_name_and_the_same_build_goes_on(tmp_path, busy):
    config = write_config(tmp_path, {"wiki": ["zhwiki-*", "enwiki-20141107-*"]})
    busy.refuses_from = "/documents/"
    with pytest.raises(CorpusmillError, match=r"the storage stays busy.*the corpus stays locked[^*]*corpusmill unlock"):
        Builder(load(str(config), root="s3://bucket/refused")).build("dedup")
    assert 20 < len(busy.refused) < 60  # each kind of write was asked for patiently once, not for every unit
    busy.refuses_from, busy.refusals = "", 0
    assert main(["unlock", "s3://bucket/refused"]) == 0
    assert set(Builder(load(str(config), root="s3://bucket/refused")).build("dedup").stages.values()) == {"built"}
    assert verify(Root("s3://bucket/refused")).damage == []
