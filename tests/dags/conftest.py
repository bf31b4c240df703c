"""A real Airflow, which lives in an environment of its own."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.shared import ROOT

OURS = ROOT / ".venv-airflow/bin/python"
DAGS = ROOT / "dags"


@pytest.fixture(scope="session")
def airflow_python():
    """The interpreter that has Airflow."""
    named = os.environ.get("CORPUSMILL_AIRFLOW_PYTHON")
    if not named and not OURS.exists():
        pytest.skip(
            "no Airflow here: `make airflow` makes .venv-airflow, or name a python in CORPUSMILL_AIRFLOW_PYTHON"
        )
    return named or str(OURS)


@pytest.fixture(scope="module")
def airflow_home(airflow_python, tmp_path_factory):
    """The environment variables of an Airflow with a database of its own, its pools in it.

    One a module: a scheduler would find the runs of another.
    """
    home = tmp_path_factory.mktemp("airflow")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    variables = {
        **kept,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONDONTWRITEBYTECODE": "1",
        "AIRFLOW_VAR_CORPUSMILL_WIKIS": "enwiki",
    }
    for command in (["db", "migrate"], ["pools", "import", DAGS / "pools.json"]):
        subprocess.run([airflow_python, "-m", "airflow", *command], env=variables, capture_output=True, check=True)
    return variables


@pytest.fixture(scope="module")
def ask(airflow_python, airflow_home):
    """Ask driver.py about the DAGs, with Variables of Airflow as keywords: the answer and all that was logged."""

    def ask(questions, **variables):
        done = subprocess.run(
            [airflow_python, Path(__file__).with_name("driver.py"), DAGS, json.dumps(questions)],
            env={**airflow_home, **{f"AIRFLOW_VAR_CORPUSMILL_{name.upper()}": str(v) for name, v in variables.items()}},
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr

    return ask
