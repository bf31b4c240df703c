"""The same bytes on one worker and two, from inputs in any order, and after a kill at any moment. Real processes."""

import os
import signal
import subprocess
import time

import pytest

from tests.corpus import SMALL, TWO_WORKERS, command, corpusmill, data_files, write_config
from tests.processes import alive, descendants, wait_for

UNTIL = (
    "--until",
    "shards",
    "--set",
    "dedup.url=true",
    "--set",
    "dedup.verify=0.6",
    "--set",
    "dedup.lines.documents=3",
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The data files of an undisturbed build in one process."""
    folder = tmp_path_factory.mktemp("reference")
    done = corpusmill("build", write_config(folder, SMALL), *UNTIL)
    assert done.returncode == 0, done.stderr
    return data_files(folder / "corpus")


def assert_same(found, reference):
    assert found.keys() == reference.keys()
    assert [name for name in found if found[name] != reference[name]] == []


@pytest.mark.slow
def test_two_workers_give_the_same_bytes(tmp_path, reference):
    done = corpusmill("build", write_config(tmp_path, SMALL), *UNTIL, *TWO_WORKERS)
    assert done.returncode == 0, done.stderr
    assert_same(data_files(tmp_path / "corpus"), reference)


def test_the_order_of_inputs_changes_nothing(tmp_path, reference):
    turned = {name: list(reversed(patterns)) for name, patterns in reversed(SMALL.items())}
    done = corpusmill("build", write_config(tmp_path, turned), *UNTIL)
    assert done.returncode == 0, done.stderr
    assert_same(data_files(tmp_path / "corpus"), reference)


def start(*arguments):
    return subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_in_every_stage_and_run_again(tmp_path, reference):
    config = write_config(tmp_path, SMALL)
    corpus = tmp_path / "corpus"
    moments = [
        ("while a part is written", lambda: list(corpus.glob("documents/.tmp-*"))),
        ("between units", lambda: len(list(corpus.glob("ledger/ingest/*.json"))) >= 3),
        ("in the last unit", lambda: len(list(corpus.glob("ledger/ingest/*.json"))) >= 8),
        ("in dedup", lambda: list(corpus.glob("ledger/dedup/*.json"))),
        ("in the tokenizer", lambda: list(corpus.glob("ledger/running/tokenizer/*.json"))),
        ("while encoding", lambda: list(corpus.glob("ledger/encode/*.json"))),
        ("while a shard is written", lambda: list(corpus.glob("shards/train-*"))),
        ("before the index", lambda: len(list(corpus.glob("ledger/shards/train-*"))) >= 8),
    ]
    killed = []
    for moment, seen in moments:
        process = start("build", config, *UNTIL)
        if wait_for(process, seen):
            process.send_signal(signal.SIGKILL)
            killed.append(moment)
        process.communicate()
    assert len(killed) >= 6, killed  # a moment that passes between two looks is not a failure of the build
    done = corpusmill("build", config, *UNTIL)
    assert done.returncode == 0, done.stderr
    assert_same(data_files(corpus), reference)
    leftovers = [path for path in corpus.rglob("*") if path.name.startswith(".tmp-") or "running" in path.name]
    assert [path for path in leftovers if path.is_file()] == []


DIES = """
import os, signal
with open("/proc/self/cmdline", "rb") as file:
    beam_worker = b"sdk_worker_main" in file.read()
if beam_worker:
    replace = os.replace
    def replace_or_die(source, target):
        for folder in os.environ["DIES_IN"].split():
            mark = os.path.join(os.environ["MARKS"], folder.replace("/", "-"))
            if f"/corpus/{folder}/" in os.fspath(target) and not os.path.exists(mark):
                open(mark, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
        return replace(source, target)
    os.replace = replace_or_die
"""


@pytest.mark.slow
def test_a_worker_killed_in_each_stage_is_named_and_the_next_run_goes_on(tmp_path):
    deaths = {
        "documents": "in stage ingest, while processing w",
        "exchange/edges": "in stage dedup, between units",
        "duplicates": "in stage dedup, while processing w",
        "encoded": "in stage encode, while processing w",
        "shards": "in stage shards, while processing train-",
    }
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(DIES)
    (tmp_path / "marks").mkdir()
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, "MARKS": str(tmp_path / "marks"), "DIES_IN": " ".join(deaths)}
    files = {"wiki": ["enwiki-20141107-*", "itwiki-*"]}
    config = write_config(tmp_path, files)
    for folder, where in deaths.items():
        done = corpusmill("build", config, "--until", "shards", *TWO_WORKERS, env=env)
        assert done.returncode == 1
        assert (tmp_path / "marks" / folder.replace("/", "-")).exists()
        assert "Worker subprocess exited" in done.stderr
        assert where in done.stderr
        assert "to mend: run the same command again" in done.stderr
    undisturbed = write_config(tmp_path / "undisturbed", files)
    for each in (config, undisturbed):
        done = corpusmill("build", each, "--until", "shards", env=env)
        assert done.returncode == 0, done.stderr
    assert_same(data_files(tmp_path / "corpus"), data_files(undisturbed.parent / "corpus"))


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["driver", "interrupt"])
def test_a_death_leaves_no_orphan_and_a_corpus_that_goes_on(tmp_path, reference, victim):
    config = write_config(tmp_path, SMALL)
    corpus = tmp_path / "corpus"
    process = start("build", config, *UNTIL, *TWO_WORKERS)

    assert wait_for(process, lambda: list(corpus.glob("ledger/running/*/*.json")))
    below = descendants(process.pid)
    os.kill(process.pid, signal.SIGKILL if victim == "driver" else signal.SIGINT)
    process.communicate(timeout=60)
    if victim == "interrupt":
        assert process.returncode == 130
    deadline = time.monotonic() + 30
    while any(map(alive, below)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [pid for pid in below if alive(pid)] == []
    done = corpusmill("build", config, *UNTIL)
    assert done.returncode == 0, done.stderr
    assert_same(data_files(corpus), reference)


def test_a_second_run_on_the_same_corpus_is_refused(tmp_path):
    config = write_config(tmp_path, SMALL)
    first = start("build", config, *UNTIL)
    assert wait_for(first, lambda: list((tmp_path / "corpus").glob("ledger/running/ingest/*.json")))
    second = corpusmill("build", config, *UNTIL)
    first.kill()
    first.communicate()
    assert second.returncode == 1
    assert 'another run holds this corpus: {"host": ' in second.stderr
    assert str(first.pid) in second.stderr
