"""What the tests ask of Airflow, run by Airflow's own interpreter: python driver.py DAGS_FOLDER JSON.

Given are questions and what they are about; the last line of stdout is the answer to each, as JSON. One process
answers them all, because starting Airflow takes longer than most of its answers.
"""

import importlib
import json
import subprocess
import sys
from datetime import timedelta

from airflow.sdk import DAG


def load(name):
    """The DAG of a file, anew: a run leaves its parameters in the object."""
    module = importlib.reload(importlib.import_module(name))
    [dag] = [value for value in vars(module).values() if isinstance(value, DAG)]
    return dag


def any_dag():
    """A DAG that could be anyone's: what it loads is what the SDK costs."""
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import BaseOperatorLink, BaseSensorOperator, Param, TriggerRule, task, task_group
    from airflow.sdk.exceptions import AirflowFailException

    assert all((BaseOperatorLink, BaseSensorOperator, TriggerRule, AirflowFailException))
    params = {"a": Param(None, type=["null", "string"], pattern="^a$")}
    with DAG("any", schedule="@daily", params=params):

        @task
        def one():
            return [1]

        @task
        def two(x):
            return x

        @task_group
        def group(x):
            two(x) >> EmptyOperator(task_id="three")

        group.expand(x=one())


def describe(names):
    """Graph, schedule and settings of each DAG, and the modules that reading its file loads beyond the SDK's."""
    any_dag()
    answer = {}
    for name in names:
        before = set(sys.modules)
        dag = load(name)
        answer[name] = {
            "dag_id": dag.dag_id,
            "modules": sorted(set(sys.modules) - before),
            "tasks": {t.task_id: sorted(t.upstream_task_ids) for t in dag.topological_sort()},
            "pools": {t.task_id: t.pool for t in dag.tasks if t.pool != "default_pool"},
            "outlets": {t.task_id: [asset.name for asset in t.outlets] for t in dag.tasks if t.outlets},
            "retries": {t.task_id: t.retries for t in dag.tasks},
            "schedule": str(dag.schedule) if isinstance(dag.schedule, str) else [asset.name for asset in dag.schedule],
            "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs,
        }
    return answer


def accepted(given):
    """Of the values given for each parameter of each DAG, those that it accepts."""
    from airflow.sdk.exceptions import ParamValidationError

    def accepts(dag, name, value):
        try:
            dag.params.get_param(name).resolve(value)
        except ParamValidationError:
            return False
        return True

    return {
        name: {param: [v for v in values if accepts(load(name), param, v)] for param, values in params.items()}
        for name, params in given.items()
    }


def test(given):
    """Run DAGs here and now, one after the other, retries and pokes without delay: final states, tries and links.

    A string among them is a command of the shell, for what happens between two runs.
    """

    def run(name, parameters):
        dag = load(name)
        for task in dag.tasks:
            for setting in ("retry_delay", "poke_interval"):
                if hasattr(task, setting):
                    setattr(task, setting, timedelta(0) if setting == "retry_delay" else 0)
        done = dag.test(run_conf=parameters)
        tasks, results = {}, {}
        for instance in done.get_task_instances():
            place = instance.task_id if instance.map_index < 0 else f"{instance.task_id}[{instance.map_index}]"
            tasks[place] = [instance.state, instance.try_number]
            link = instance.xcom_pull(
                task_ids=instance.task_id, key="_link_Report", map_indexes=instance.map_index, run_id=done.run_id
            )
            if link:
                results[place] = link
        return {"run": done.state, "tasks": tasks, "links": results}

    answers = []
    for step in given:
        if isinstance(step, str):
            subprocess.run(step, shell=True, check=True)
        else:
            answers.append(run(*step))
    return answers


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    given = json.loads(sys.argv[2])
    questions = {"describe": describe, "accepted": accepted, "test": test}
    print("\n" + json.dumps({question: questions[question](value) for question, value in given.items()}))
