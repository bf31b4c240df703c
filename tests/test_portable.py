"""The build on a portable runner: Beam's job service and a worker pool, in processes that have none of our code."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from pipeline.stages import ingest
from tests.corpus import DATA, command, corpusmill, data_files, write_config
from tests.processes import alive, wait_for
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


class Cluster:
    """A worker pool on loopback and job services beside it, in a Python that has none of our code."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.staged = folder / "staged"  # our code as workers get it, a folder each
        for package in ("clean", "parse"):  # as in an image that was built with its kernels compiled
            kept = self.staged / ".compiled" / package
            kept.mkdir(parents=True)
            for file in (ROOT / f"pipeline/{package}/__pycache__").glob("*.nb?"):
                shutil.copy(file, kept)
        self.wheel = wheel(folder)
        self.python = foreign_python(folder / "python")
        boot = folder / "boot"
        boot.write_text(f"#!{self.python}\n" + (ROOT / "tests/portable/boot.py").read_text())
        boot.chmod(0o755)
        self.processes: list[subprocess.Popen] = []
        self.port = free_port()
        arguments = [f"--service_port={self.port}", f"--container_executable={boot}"]
        self.pool = self.start(self.port, "worker.worker_pool_main", *arguments)

    def start(self, port: int, module: str, *arguments: str) -> subprocess.Popen:
        """Start a service of Beam's and wait until it listens."""
        line = [self.python, "-m", f"apache_beam.runners.{module}", *arguments]
        with (self.folder / f"{port}.log").open("a") as log:
            process = subprocess.Popen(line, cwd=self.folder, env=bare(STAGED=str(self.staged)), stdout=log, stderr=log)
        self.processes.append(process)
        listening(process, port)
        return process

    def start_jobs(self, port: int) -> subprocess.Popen:
        """Start a job service."""
        return self.start(port, "portability.local_job_service_main", f"--port={port}")

    def options(self, jobs: int) -> list[str]:
        """The options of a build by the job service at a port."""
        options = [f"--job_endpoint=localhost:{jobs}", "--environment_type=EXTERNAL"]
        options += [f"--environment_config=localhost:{self.port}", "--direct_num_workers=2"]
        return ["--runner", "PortableRunner", "--", *options, f"--extra_package={self.wheel}"]

    def workers(self) -> list[int]:
        """The worker processes that live."""
        found = Path(f"/proc/{self.pool.pid}/task").glob("*/children")
        return [pid for path in found for pid in map(int, path.read_text().split()) if alive(pid)]

    def stop(self) -> None:
        """Stop all."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, store):  # the workers take its address from the environment
    """Worker pool and wheel; job services are started as they are needed."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def options(cluster):
    """The options of a build by a job service that stays."""
    port = free_port()
    cluster.start_jobs(port)
    return cluster.options(port)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The data files of the build in one process."""
    folder = tmp_path_factory.mktemp("here")
    assert corpusmill("build", write_config(folder), "--until", "shards").returncode == 0
    return data_files(folder / "corpus")


def test_the_build_is_the_same_on_a_portable_runner(tmp_path, cluster, options, reference):
    config = write_config(tmp_path / "cluster")
    built = corpusmill("build", config, "--until", "shards", *options)
    assert built.returncode == 0, built.stderr
    assert len(list(cluster.staged.glob("*/pipeline/cli.py"))) >= 2, "each worker installs the staged wheel"
    assert data_files(tmp_path / "cluster/corpus") == reference


def test_a_job_service_that_dies_is_named_and_the_same_command_goes_on(tmp_path, cluster, reference):
    config = write_config(tmp_path)
    corpus = tmp_path / "corpus"
    port = free_port()
    service = cluster.start_jobs(port)
    line = command("ingest", config, *cluster.options(port))
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as build:
        assert wait_for(build, lambda: list(corpus.glob("ledger/ingest/*.json")))
        service.kill()
        said = build.communicate(timeout=60)[1]
    assert build.returncode == 1
    assert f"localhost:{port}: the job service failed in stage ingest (UNAVAILABLE" in said
    assert "to mend: see that the runner is up and what it logged; the same command goes on" in said
    assert "Traceback" not in said
    deadline = time.monotonic() + 60
    while cluster.workers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert cluster.workers() == []
    committed = {path: path.stat().st_mtime_ns for path in corpus.glob("ledger/ingest/*.json")}
    refused = corpusmill("ingest", config, *cluster.options(port))
    assert refused.returncode == 1
    assert f"localhost:{port}: no job service answers here; stage ingest was not started" in refused.stderr
    cluster.start_jobs(port)
    again = corpusmill("ingest", config, *cluster.options(port))
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in committed} == committed
    written = tuple(f"{folder}/" for folder in ingest.FOLDERS)
    assert data_files(corpus) == {name: data for name, data in reference.items() if name.startswith(written)}


def test_an_interrupted_build_cancels_its_job(tmp_path, cluster):
    config = write_config(tmp_path)
    port = free_port()
    cluster.start_jobs(port)
    line = command("ingest", config, *cluster.options(port))
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as build:
        assert wait_for(build, lambda: list((tmp_path / "corpus").glob("ledger/ingest/*.json")))
        build.send_signal(signal.SIGINT)
        said = build.communicate(timeout=60)[1]
    assert build.returncode == 130
    assert "Traceback" not in said
    with grpc.insecure_channel(f"localhost:{port}") as channel:
        jobs = beam_job_api_pb2_grpc.JobServiceStub(channel).GetJobs(beam_job_api_pb2.GetJobsRequest()).job_info
    assert [job.state for job in jobs] == [beam_job_api_pb2.JobState.CANCELLED]


def test_an_object_store_is_the_storage_that_workers_share(tmp_path, options, store):
    name = "zhwiki-20180517-pages-articles-excerpt.xml.bz2"
    store.put_file(str(DATA / name), f"bucket/dumps/{name}")
    config = write_config(tmp_path / "remote", {"wiki": [f"s3://bucket/dumps/{name}"]})
    built = corpusmill("build", config, "--corpus", "s3://bucket/portable", "--until", "dedup", *options)
    assert built.returncode == 0, built.stderr
    store.get("bucket/portable", str(tmp_path / "fetched"), recursive=True)
    here = write_config(tmp_path / "here", {"wiki": [name]})
    assert corpusmill("build", here, "--until", "dedup").returncode == 0
    assert data_files(tmp_path / "fetched") == data_files(tmp_path / "here/corpus")


def test_a_job_service_that_is_not_there_is_refused_at_once(tmp_path):
    config = write_config(tmp_path, {"wiki": ["zhwiki-*"]})
    port = free_port()
    refused = corpusmill("ingest", config, "--runner", "PortableRunner", "--", f"--job_endpoint=localhost:{port}")
    assert refused.returncode == 1
    assert f"localhost:{port}: no job service answers here; stage ingest was not started" in refused.stderr
    assert "to mend: start the job service, or correct --job_endpoint; then the same command" in refused.stderr
    assert "Traceback" not in refused.stderr
