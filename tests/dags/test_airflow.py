"""The DAGs in a real Airflow: what they are, and each of them end to end against a mirror, with the real command."""

import json
import os
import shlex
import subprocess
import sys
from urllib.parse import quote

import pytest

from tests.corpus import command, corpusmill, write_config
from tests.mirror import CRAWL, Instead, Mirror
from tests.shared import ROOT

DAGS = ["fetch_wikipedia", "fetch_commoncrawl", "build_corpus", "train_model"]


def the_command(folder, before=""):
    """A command that runs the code under test, in whatever environment Airflow starts it."""
    script = folder / "corpusmill"
    real = f"exec env PYTHONPATH={shlex.quote(str(ROOT))} {shlex.quote(command()[0])}"
    script.write_text(f'#!/bin/sh\nreal() {{ {real} "$@"; }}\n{before}\nreal "$@"\n')
    script.chmod(0o755)
    return script


@pytest.mark.slow
def test_reading_the_files_loads_our_own_module_and_nothing_else(answers):
    """Counted in modules, not in seconds: what a DAG file costs beyond the SDK that any DAG needs."""
    described = answers["describe"]
    loaded = {module for dag in described.values() for module in dag["modules"]}
    assert {m for m in loaded if m.split(".")[0] not in sys.stdlib_module_names} == {*DAGS, "corpusmill_operator"}


GRAPHS = {
    "fetch_wikipedia": {
        "wikis": [],
        "dump.wait": ["wikis"],
        "dump.fetch": ["dump.wait", "wikis"],
        "announce": ["dump.fetch"],
        "complete": ["dump.fetch"],
    },
    "fetch_commoncrawl": {"crawl": [], "fetch": ["crawl"]},
    "build_corpus": {
        "ingest": [],
        "dedup": ["ingest"],
        "tokenizer": ["dedup"],
        "shards": ["tokenizer"],
        "dumps_are_whole": ["shards"],
    },
    "train_model": {"corpora": [], "model.train": ["corpora"], "model.report": ["corpora", "model.train"]},
}
SCHEDULES = {
    "fetch_wikipedia": "@monthly",
    "fetch_commoncrawl": "@weekly",
    "build_corpus": ["corpusmill_dumps"],
    "train_model": ["corpusmill_shards"],
}
OUTLETS = {
    "fetch_wikipedia": {"announce": ["corpusmill_dumps"]},
    "fetch_commoncrawl": {"fetch": ["corpusmill_dumps"]},
    "build_corpus": {"shards": ["corpusmill_shards"]},
    "train_model": {},
}


@pytest.mark.slow
def test_graphs_schedules_assets_and_pools(answers):
    described = answers["describe"]
    assert {name: dag["dag_id"] for name, dag in described.items()} == {name: name for name in DAGS}
    assert {name: dag["tasks"] for name, dag in described.items()} == GRAPHS
    assert {name: dag["schedule"] for name, dag in described.items()} == SCHEDULES
    assert {name: dag["outlets"] for name, dag in described.items()} == OUTLETS
    assert not any(dag["catchup"] for dag in described.values())
    one_at_a_time = {name for name, dag in described.items() if dag["max_active_runs"] == 1}
    assert one_at_a_time == {"fetch_commoncrawl", "build_corpus", "train_model"}
    pools = {task: pool for dag in described.values() for task, pool in dag["pools"].items()}
    assert pools == {
        **dict.fromkeys(["dump.wait", "dump.fetch"], "corpusmill_wikimedia"),
        **dict.fromkeys(["ingest", "dedup", "tokenizer", "shards", "model.train", "model.report"], "corpusmill_corpus"),
    }
    retries = {task: n for dag in described.values() for task, n in dag["retries"].items()}
    assert {task for task, n in retries.items() if n == 0} == {"dumps_are_whole"}


_CORPUS = {
    "config": ([None, "/etc/corpus.toml", "/a b/$(x).toml"], ["", "corpus.toml", "--help", "/etc/passwd", 1]),
    "corpus": ([None, "/data/corpus", "s3://bucket/corpus"], ["", "corpus", "--set=root=/", "://"]),
    "workers": ([None, "auto", "1", "16"], ["", "0", "-1", "2; reboot", "1.5", 2]),
}
PARAMETERS = {
    "build_corpus": _CORPUS,
    "train_model": _CORPUS,
    "fetch_wikipedia": {
        "config": _CORPUS["config"],
        "wikis": ([None, ["zhwiki", "be_x_oldwiki"]], ["zhwiki", ["--help"], ["../x"], ["Z"], [1]]),
        "date": ([None, "latest", "2026-11-01"], ["20261101", "newest", "", "2026-11-01; x"]),
        "kind": (["content", "legacy"], ["", "history", None]),
    },
    "fetch_commoncrawl": {
        "crawl": (["latest", "CC-MAIN-2026-43"], ["", "CC-MAIN-2026", "../x", None]),
        "kind": (["wet", "warc"], ["wat", None]),
        "files": ([1, 10], [0, -1, "10", None]),
        "sample": ([None, 0.01, 1], [0, 1.5, "1"]),
        "seed": ([0, 7], [-1, 0.5]),
    },
}


@pytest.mark.slow
def test_parameters_are_refused_before_a_run_starts(answers):
    accepted = {dag: {name: good for name, (good, _) in params.items()} for dag, params in PARAMETERS.items()}
    assert answers["accepted"] == accepted


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder whose name is a trap for whoever lets a shell or a template read it."""
    return tmp_path_factory.mktemp("place") / "it's $(touch pwned) {{ 7 + 7 }} `x`; &"


@pytest.fixture(scope="module")
def mirror():
    with Mirror() as mirror:
        yield mirror


# the first `ingest` is killed as soon as it has claimed a unit
DIES_ONCE = """
if [ "$4" = ingest ] && [ ! -e "$0.died" ] && [ -e "$(dirname "$2")/dumps" ]; then
  touch "$0.died"
  real "$@" & pid=$!
  while kill -0 $pid && ! ls "$(dirname "$2")"/corpus/ledger/running/ingest/*.json; do :; done >/dev/null 2>&1
  kill -9 $pid
  exit 137
fi
"""


# what happens between two months: the ledger is remembered, a damaged dump joins
BETWEEN = """
cd "$(dirname "$AIRFLOW_VAR_CORPUSMILL_CONFIG")"
cp -a corpus/ledger/ingest before
mkdir dumps/wikimedia/enwiki/hurt
head -c 4000 dumps/wikimedia/enwiki/20180501/*.bz2 > dumps/wikimedia/enwiki/hurt/hurt.xml.bz2
"""


@pytest.fixture(scope="module")
def answers(ask, place, mirror):
    """What Airflow says of the DAGs, and what became of two months of them; and its log."""
    dumps = place / "dumps"
    paths = {"wiki": [str(dumps / "wikimedia/*/*/*.bz2")], "web": [str(dumps / "commoncrawl/*/wet/*.gz")]}
    config = write_config(place, paths, runs=True)
    text = config.read_text().replace("validation = 0.1", "validation = 0.4")  # so that ten documents have some
    config.write_text(text + mirror.table(folder="dumps"))
    wrong = place / "wrong.toml"
    wrong.write_text('name = "x"\nroot = "never"\n[tokeniser]\n')
    status = "/enwiki/20180501/dumpstatus.json"
    waiting = mirror.files[status].replace(b'"done", "updated"', b'"in-progress", "updated"')
    assert waiting != mirror.files[status]
    mirror.misbehave(status, Instead(waiting), Instead(waiting))
    questions = {
        "describe": DAGS,
        "accepted": {
            dag: {name: good + bad for name, (good, bad) in params.items()} for dag, params in PARAMETERS.items()
        },
        "test": [
            ["build_corpus", {"config": str(wrong)}],
            ["fetch_wikipedia", {"wikis": ["enwiki"], "date": "2018-05-01", "kind": "legacy"}],
            ["fetch_commoncrawl", {"files": 1}],
            ["build_corpus", {}],
            BETWEEN,
            ["fetch_wikipedia", {"wikis": ["enwiki", "nowiki"], "date": "2018-06-01"}],
            ["build_corpus", {}],
            ["train_model", {"config": str(config), "corpus": str(place / "corpus")}],
        ],
    }
    answer, log = ask(questions, config=config, command=the_command(place, DIES_ONCE))
    return {**answer, "log": log}


@pytest.fixture(scope="module")
def runs(answers):
    """The runs in order, and the log."""
    return [*answers["test"], answers["log"]]


def states(run):
    return {task: state for task, (state, _) in run["tasks"].items()}


@pytest.mark.slow
def test_a_wrong_configuration_fails_at_once_and_its_log_says_why(runs, place):
    failed, *_, log = runs
    assert failed["run"] == "failed"
    assert failed["tasks"]["ingest"] == ["failed", 1]
    assert set(states(failed).values()) == {"failed", "upstream_failed"}
    assert "unknown key 'tokeniser'; did you mean 'tokenizer'?" in log
    assert not (place / "never").exists()


@pytest.mark.slow
def test_dumps_are_waited_for_and_fetched(runs, mirror, place):
    _, wikipedia, crawl, *_, log = runs
    assert wikipedia["run"] == crawl["run"] == "success", log
    assert set(states(wikipedia)) == {"wikis", "dump.wait[0]", "dump.fetch[0]", "announce", "complete"}
    assert "the dump is not complete: in-progress" in log
    assert mirror.script["/enwiki/20180501/dumpstatus.json"] == []
    name = "enwiki-20180501-pages-articles-multistream.xml.bz2"
    assert (place / "dumps/wikimedia/enwiki/20180501" / name).read_bytes() == mirror.files[f"/enwiki/20180501/{name}"]
    assert len(list((place / f"dumps/commoncrawl/{CRAWL}/wet").glob("*.gz"))) == 1
    assert "to fetch" in log  # what the command says of its progress


@pytest.mark.slow
def test_a_killed_task_leaves_nothing_half_done_and_its_retry_completes(runs, place):
    built, log = runs[3], runs[-1]
    assert (place / "corpusmill.died").exists()
    assert built["run"] == "success", log
    assert built["tasks"]["ingest"] == ["success", 2]
    assert {try_number for task, (_, try_number) in built["tasks"].items() if task != "ingest"} == {1}
    assert json.loads(corpusmill("verify", place / "corpus", "--json").stdout)["damage"] == []
    assert list((place / "corpus").rglob(".tmp-*")) == []
    assert list(place.parent.rglob("pwned")) == []


def rows(folder):
    """The rows of ingest by unit, and when each was written."""
    files = folder.glob("*.json")
    return {path.stem: (path.stat().st_mtime_ns, json.loads(path.read_text())["fault"]) for path in files}


@pytest.mark.slow
def test_a_wiki_that_fails_keeps_no_other_away_and_the_run_says_so(runs):
    fetched, log = runs[4], runs[-1]
    assert fetched["run"] == "failed"
    assert states(fetched) == {
        "wikis": "success",
        "dump.wait[0]": "success",
        "dump.fetch[0]": "success",
        "dump.wait[1]": "failed",
        "dump.fetch[1]": "upstream_failed",
        "announce": "success",
        "complete": "upstream_failed",
    }
    assert "no wiki is called 'nowiki'; near it: enwiki" in log


@pytest.mark.slow
def test_a_new_dump_is_added_and_a_damaged_one_is_named_at_the_end(runs, place):
    built, log = runs[5], runs[-1]
    before, after = rows(place / "before"), rows(place / "corpus/ledger/ingest")
    assert before.items() < after.items()  # what was built from the dumps of May is as it was
    assert sum("2018-06-01" in unit for unit in after) == 2
    assert {unit for unit, (_, fault) in after.items() if fault} == {u for u in after if "hurt.xml" in u}
    assert states(built) == {
        **dict.fromkeys(["ingest", "dedup", "tokenizer", "shards"], "success"),
        "dumps_are_whole": "failed",
    }
    assert built["run"] == "failed"
    assert "FAULT in wiki--enwiki%2Fhurt%2Fhurt.xml.bz2" in log


@pytest.mark.slow
def test_models_are_trained_and_the_report_is_linked(runs, place):
    trained, log = runs[6:]
    assert trained["run"] == "success", log
    assert {path.name for path in (place / "corpus/runs").iterdir()} == {"lstm", "transformer"}
    report = place / "corpus/report.html"
    assert trained["links"] == {"model.report[0]": f"file://{quote(str(report))}"}
    assert report.stat().st_size > 0
    assert (place / "corpus/ledger/train.json").exists()


def test_a_build_that_was_told_to_stop_is_no_success(airflow_python, tmp_path):
    """What `build --json` prints then has "stopped"; the task fails, so that a retry goes on."""
    said = '{"stopped": "run lstm stopped at step 3", "stages": {"train": "stopped"}}'
    fake = tmp_path / "corpusmill"
    fake.write_text(f"#!/bin/sh\necho {shlex.quote(said)}\n")
    fake.chmod(0o755)
    code = (
        "from corpusmill_operator import StageOperator\n"
        "StageOperator(task_id='t', stage='train', config='c', corpus='', workers='').execute({})"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    ours = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW_VAR_CORPUSMILL_COMMAND": str(fake),
        "PYTHONPATH": str(ROOT / "dags"),
    }
    done = subprocess.run([airflow_python, "-c", code], env={**kept, **ours}, capture_output=True, text=True)
    assert "RuntimeError: run lstm stopped at step 3; a retry goes on from there" in done.stderr
