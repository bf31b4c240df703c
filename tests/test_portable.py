"""The build on a portable runner: Beam's job service and a worker pool, in processes that have none of our code."""

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

import pytest

from tests.corpus import DATA, corpusmill, data_files, write_config
from tests.shared import ROOT

pytestmark = pytest.mark.slow


def foreign_python(folder: Path) -> Path:
    """A Python with the packages we stand on and without ours: a path file reads none of the folder it names."""
    venv.create(folder, with_pip=False)
    site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "packages.pth").write_text(sysconfig.get_path("purelib"))
    python = folder / "bin" / "python"
    for package in ("pipeline", "tokenizer", "train"):
        found = subprocess.run(
            [python, "-c", f"import {package}"], cwd=folder, env=bare(), capture_output=True, text=True
        )
        assert "ModuleNotFoundError" in found.stderr
    return python


def bare(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more


def wheel(folder: Path) -> Path:
    """Our wheel, as `pip wheel .` makes it."""
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "pipeline", "tokenizer", "train"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    make = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*make, folder, source], check=True)
    return next(folder.glob("*.whl"))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def listening(process: subprocess.Popen, port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the service ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the service does not listen")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, store):  # the workers take its address from the environment
    """Beam options for a job service and a worker pool on loopback."""
    folder = tmp_path_factory.mktemp("cluster")
    python = foreign_python(folder / "python")
    boot = folder / "boot"
    boot.write_text(f"#!{python}\n" + (ROOT / "tests/portable/boot.py").read_text())
    boot.chmod(0o755)
    started = f"--container_executable={boot}"
    staged = folder / "staged"
    jobs, pool = free_port(), free_port()
    services = [
        ([python, "-m", "apache_beam.runners.portability.local_job_service_main", f"--port={jobs}"], jobs),
        ([python, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={pool}", started], pool),
    ]
    running = []
    for command, port in services:
        log = (folder / f"{port}.log").open("w")
        process = subprocess.Popen(command, cwd=folder, env=bare(STAGED=str(staged)), stdout=log, stderr=log)
        running.append(process)
        listening(process, port)
    options = [f"--job_endpoint=localhost:{jobs}", "--environment_type=EXTERNAL"]
    options += [f"--environment_config=localhost:{pool}", "--direct_num_workers=2", f"--extra_package={wheel(folder)}"]
    yield ["--runner", "PortableRunner", "--", *options], staged
    for process in running:
        process.terminate()
    for process in running:
        process.wait(30)


def test_the_build_is_the_same_on_a_portable_runner(tmp_path, cluster):
    options, staged = cluster
    config = write_config(tmp_path / "cluster")
    built = corpusmill("build", config, "--until", "shards", *options)
    assert built.returncode == 0, built.stderr
    assert len(list(staged.glob("*/pipeline/cli.py"))) >= 2, "each worker installs the staged wheel"
    here = write_config(tmp_path / "here")
    assert corpusmill("build", here, "--until", "shards").returncode == 0
    assert data_files(tmp_path / "cluster/corpus") == data_files(tmp_path / "here/corpus")


def test_an_object_store_is_the_storage_that_workers_share(tmp_path, cluster, store):
    name = "zhwiki-20180517-pages-articles-excerpt.xml.bz2"
    store.put_file(str(DATA / name), f"bucket/dumps/{name}")
    config = write_config(tmp_path / "remote", {"wiki": [f"s3://bucket/dumps/{name}"]})
    built = corpusmill("build", config, "--corpus", "s3://bucket/portable", "--until", "dedup", *cluster[0])
    assert built.returncode == 0, built.stderr
    store.get("bucket/portable", str(tmp_path / "fetched"), recursive=True)
    here = write_config(tmp_path / "here", {"wiki": [name]})
    assert corpusmill("build", here, "--until", "dedup").returncode == 0
    assert data_files(tmp_path / "fetched") == data_files(tmp_path / "here/corpus")


def test_a_job_service_that_is_down_is_named(tmp_path):
    config = write_config(tmp_path, {"wiki": ["zhwiki-*"]})
    port = free_port()
    options = ["--runner", "PortableRunner", "--", f"--job_endpoint=localhost:{port}", "--job_server_timeout=2"]
    built = corpusmill("ingest", config, *options)
    assert built.returncode == 1
    assert f"localhost:{port}" in built.stderr
    assert "Traceback" not in built.stderr
