"""The DAG in a real Airflow, which lives in an environment of its own."""

import hashlib
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
    """Ask driver.py a question about the DAG; Variables of Airflow as keywords."""

    def ask(question, given=None, **variables):
        done = subprocess.run(
            [python, Path(__file__).with_name("driver.py"), DAG_FILE, question, json.dumps(given or {})],
            env={**home, **{f"AIRFLOW_VAR_CORPUSMILL_{name.upper()}": str(v) for name, v in variables.items()}},
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1]) | {"log": done.stdout + done.stderr}

    return ask


@pytest.mark.slow
def test_the_graph_is_the_funnel_and_nothing_heavy_is_imported(ask):
    dag = ask("describe")
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
    answer = ask("accepted", {name: good[name] + bad[name] for name in good})
    assert {name: answer[name] for name in good} == good


def contents(corpus):
    """Name, time of change and digest of every file of a corpus."""
    files = sorted(path for path in corpus.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}


@pytest.mark.slow
def test_a_run_builds_a_corpus_retries_safely_and_the_next_run_changes_nothing(ask, tmp_path):
    folder = tmp_path / "it's $(touch pwned) {{ 7 * 7 }} `x`; &"
    config = write_config(folder, {"wiki": ["enwiki-20141107-*"]}, runs=True)
    corpus = folder / "corpus"
    dies_once = folder / "corpusmill"
    dies_once.write_text(
        f'#!/bin/sh\n"{command()[0]}" "$@" || exit\n'
        f'if [ "$1" = dedup ] && mkdir "$(dirname "$0")/died"; then kill -9 $$; fi\n'
    )
    dies_once.chmod(0o755)

    first = ask("test", command=dies_once, config=config)
    assert first["run"] == "success", first["log"]
    assert first["tasks"] == {stage: ["success", 2 if stage == "dedup" else 1] for stage in STAGES}
    assert corpusmill("verify", corpus).returncode == 0
    assert {path.name for path in (corpus / "runs").iterdir()} == {"lstm", "transformer"}
    assert (corpus / "report.html").stat().st_size > 0

    before = contents(corpus)
    again = ask("test", {"config": str(config), "workers": "2"}, command=command()[0])
    assert again["tasks"] == {stage: ["success", 1] for stage in STAGES}, again["log"]
    assert contents(corpus) == before
    assert list(tmp_path.rglob("pwned")) == []


@pytest.mark.slow
def test_a_failing_stage_stops_those_after_it_and_its_log_says_why(ask, tmp_path):
    config = tmp_path / "corpus.toml"
    config.write_text('name = "x"\nroot = "corpus"\n[tokeniser]\n')
    failed = ask("test", command=command()[0], config=config)
    assert failed["run"] == "failed"
    assert failed["tasks"]["ingest"] == ["failed", 3]
    assert {state for stage, (state, _) in failed["tasks"].items() if stage != "ingest"} == {"upstream_failed"}
    assert "tokeniser" in failed["log"]
    assert not (tmp_path / "corpus").exists()
