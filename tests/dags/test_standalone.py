"""`airflow standalone`, as the README starts it: a fetch triggers the build, the build the training, through assets."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from tests.corpus import write_config
from tests.dags.test_airflow import the_command
from tests.mirror import Mirror, free_port

WITHIN = 200  # seconds, on a busy machine; idle it takes a third


class Api:
    """Airflow's REST API, asked as a browser would."""

    def __init__(self, url):
        self.url = url
        self.token = ""

    def ask(self, method, path, body=None):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def runs(self, dag):
        return self.ask("GET", f"/api/v2/dags/{dag}/dagRuns")["dag_runs"]


def until(deadline, ask):
    """The first answer that is not empty; the server may not be up yet."""
    while time.monotonic() < deadline:
        try:
            if answer := ask():
                return answer
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.5)
    return None


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_backfilled_dump_becomes_a_trained_model_through_assets(airflow_python, airflow_home, tmp_path):
    dumps = tmp_path / "dumps"
    config = write_config(tmp_path, {"wiki": [str(dumps / "wikimedia/*/*/*.bz2")]}, runs=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + WITHIN
    with Mirror() as mirror:
        text = config.read_text().replace("validation = 0.1", "validation = 0.6")  # so that a few documents have some
        config.write_text(text + mirror.table(folder="dumps"))
        variables = {
            **airflow_home,
            "PATH": f"{os.path.dirname(airflow_python)}:{os.environ['PATH']}",
            "AIRFLOW_VAR_CORPUSMILL_CONFIG": str(config),
            "AIRFLOW_VAR_CORPUSMILL_COMMAND": str(the_command(tmp_path)),
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__TRIGGERER__DEFAULT_CAPACITY": "1",
        }
        log = (tmp_path / "standalone.log").open("w+")
        process = subprocess.Popen(
            [airflow_python, "-m", "airflow", "standalone"],
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            api = Api(url)
            api.token = until(deadline, lambda: api.ask("GET", "/auth/token"))["access_token"]
            for dag in ("train_model", "build_corpus", "fetch_wikipedia"):
                assert until(deadline, lambda dag=dag: api.ask("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False}))
            day = "2018-06-01T00:00:00Z"
            about = {"dag_id": "fetch_wikipedia", "from_date": day, "to_date": day, "dag_run_conf": {}}
            api.ask("POST", "/api/v2/backfills", about)

            def finished():
                # without the run of this month, which waits for a dump that the mirror will never have
                runs = [run for dag in ("fetch_wikipedia", "build_corpus", "train_model") for run in api.runs(dag)]
                states = {(r["dag_id"], r["run_type"]): r["state"] for r in runs if r["run_type"] != "scheduled"}
                over = "failed" in states.values() or states.get(("train_model", "asset_triggered")) == "success"
                return states if over else None

            states = until(deadline, finished)
            log.seek(0)
            assert states == {
                ("fetch_wikipedia", "backfill"): "success",
                ("build_corpus", "asset_triggered"): "success",
                ("train_model", "asset_triggered"): "success",
            }, log.read()
            (run,) = api.runs("train_model")
            place = f"/api/v2/dags/train_model/dagRuns/{run['dag_run_id']}/taskInstances/model.report"
            links = api.ask("GET", f"{place}/links?map_index=0")["extra_links"]
            assert links == {"Report": (tmp_path / "corpus/report.html").as_uri()}
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            log.close()
    assert (tmp_path / "dumps/wikimedia/enwiki/2018-06-01/listing.json").exists()  # the month of the backfill
    assert {path.name for path in (tmp_path / "corpus/runs").iterdir()} == {"lstm", "transformer"}
