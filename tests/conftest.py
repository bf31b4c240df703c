"""A corpus that is built once and shared by tests that only read it (or copy it first)."""

import os
from pathlib import Path

import pytest

from tests.corpus import corpusmill, write_config

os.environ.setdefault("OMP_NUM_THREADS", "1")  # models of these tests are too small for more, and processes run beside


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a small corpus that `corpusmill build` has finished, models included."""
    config = write_config(tmp_path_factory.mktemp("built"), runs=True)
    done = corpusmill("build", config)
    assert done.returncode == 0, done.stderr
    return config


@pytest.fixture
def built_corpus(built: Path) -> Path:
    """The folder of the built corpus. Read only."""
    return built.parent / "corpus"


@pytest.fixture(scope="session")
def store():
    """An S3 server with an empty bucket; the environment points s3fs at it."""
    s3fs = pytest.importorskip("s3fs", reason="needs the extra [s3]")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = s3fs.S3FileSystem()
    filesystem.mkdir("bucket")
    yield filesystem
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
