"""The DAG in a real Airflow, which lives in an environment of its own."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from pipeline.build import STAGES
from tests.corpus import command, corpusmill, write_config
from tests.shared import ROOT

DAG_FILE = ROOT / "dags/build_corpus.py"
OURS = ROOT / ".venv-airflow/bin/python"


@pytest.fixture(scope="module")
def python():
    """The interpreter that has Airflow."""
    named = os.environ.get("CORPUSMILL_AIRFLOW_PYTHON")
    if not named and not OURS.exists():
        pytest.skip(
            "no Airflow here: `make airflow` makes .venv-airflow, or name a python in CORPUSMILL_AIRFLOW_PYTHON"
        )
    return named or str(OURS)


@pytest.fixture(scope="module")
def home(python, tmp_path_factory):
    """The environment variables of an Airflow with a database of its own."""
    home = tmp_path_factory.mktemp("airflow")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    variables = {
        **kept,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAG_FILE.parent),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    subprocess.run([python, "-m", "airflow", "db", "migrate"], env=variables, capture_output=True, check=True)
    return variables


@pytest.fixture(scope="module")
def ask(python, home):
    """Ask driver.py about the DAG, with Variables of Airflow as keywords: the answer and all that was logged."""

    def ask(question, given=None, **variables):
        done = subprocess.run(
            [python, Path(__file__).with_name("driver.py"), DAG_FILE, question, json.dumps(given)],
            env={**home, **{f"AIRFLOW_VAR_CORPUSMILL_{name.upper()}": str(v) for name, v in variables.items()}},
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr

    return ask


@pytest.mark.slow
def test_the_graph_is_the_funnel_and_nothing_heavy_is_imported(ask):
    dag, _ = ask("describe")
    stages = list(STAGES)
    assert dag["tasks"] == {stage: stages[max(0, n - 1) : n] for n, stage in enumerate(stages)}
    assert list(dag["tasks"]) == stages
    assert (dag["schedule"], dag["catchup"], dag["max_active_runs"]) == ("@monthly", False, 1)
    assert min(dag["retries"]) > 0
    heavy = {"apache_beam", "pyarrow", "numpy", "pandas", "torch", "sentencepiece", "scipy"}
    assert not (heavy | {"pipeline", "tokenizer", "train", "fastapi"}) & set(dag["modules"])


@pytest.mark.slow
def test_parameters_are_refused_before_a_run_starts(ask):
    good = {
        "config": [None, "/etc/corpus.toml", "/a b/$(x).toml"],
        "corpus": [None, "/data/corpus", "s3://bucket/corpus"],
        "workers": [None, "auto", "1", "16"],
    }
    bad = {
        "config": ["", "corpus.toml", "--help", "/etc/passwd", 1],
        "corpus": ["", "corpus", "--set=root=/", "://"],
        "workers": ["", "0", "-1", "2; reboot", "1.5", 2],
    }
    answer, _ = ask("accepted", {name: good[name] + bad[name] for name in good})
    assert answer == good


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder whose name is a trap for whoever lets a shell or a template read it."""
    return tmp_path_factory.mktemp("place") / "it's $(touch pwned) {{ 7 * 7 }} `x`; &"


@pytest.fixture(scope="module")
def runs(ask, place):
    """Two runs: one of a wrong configuration, one of a small corpus whose dedup task is killed once. And their log."""
    config = write_config(place, {"wiki": ["enwiki-20141107-*"]}, runs=True)
    wrong = place / "wrong.toml"
    wrong.write_text('name = "x"\nroot = "never"\n[tokeniser]\n')
    dies_once = place / "corpusmill"
    dies_once.write_text(
        f'#!/bin/sh\n"{command()[0]}" "$@" || exit\n'
        'if [ "$1" = dedup ] && mkdir "$(dirname "$0")/died"; then kill -9 $$; fi\n'
    )
    dies_once.chmod(0o755)
    return ask("test", [{"config": str(wrong)}, {}], command=dies_once, config=config)


@pytest.mark.slow
def test_a_failing_stage_stops_those_after_it_and_its_log_says_why(runs, place):
    (failed, _), log = runs
    assert failed["run"] == "failed"
    assert failed["tasks"] == {s: ["failed", 3] if s == "ingest" else ["upstream_failed", 0] for s in STAGES}
    assert "unknown key 'tokeniser'; did you mean 'tokenizer'?" in log
    assert not (place / "never").exists()


@pytest.mark.slow
def test_a_run_builds_the_corpus_though_a_task_was_killed(runs, place):
    (_, built), log = runs
    assert built["run"] == "success", log
    assert built["tasks"] == {stage: ["success", 2 if stage == "dedup" else 1] for stage in STAGES}
    verified = corpusmill("verify", place / "corpus")
    assert verified.returncode == 0, verified.stdout
    assert {path.name for path in (place / "corpus/runs").iterdir()} == {"lstm", "transformer"}
    assert (place / "corpus/report.html").stat().st_size > 0


def contents(corpus):
    """Time of change and bytes of every file of a corpus but the lock, which names its last holder."""
    files = [path for path in corpus.rglob("*") if path.is_file() and path != corpus / "ledger/lock"]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.slow
def test_another_run_changes_nothing(runs, ask, place):
    before = contents(place / "corpus")
    assert before
    parameters = {"config": str(place / "corpus.toml"), "corpus": str(place / "corpus"), "workers": "2"}
    [again], log = ask("test", [parameters], command=command()[0])
    assert again["tasks"] == {stage: ["success", 1] for stage in STAGES}, log
    after = contents(place / "corpus")
    assert [str(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path)] == []
    assert list(place.parent.rglob("pwned")) == []
