"""What the tests ask of Airflow, run by Airflow's own interpreter: python driver.py DAG_FILE QUESTION JSON.

The last line of stdout is the answer, as JSON.
"""

import importlib.util
import json
import sys
from datetime import timedelta

from airflow.sdk import DAG


def load(path):
    """The DAG of a file."""
    spec = importlib.util.spec_from_file_location("dag_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    [dag] = [value for value in vars(module).values() if isinstance(value, DAG)]
    return dag


def describe(path, given):
    """The graph, the schedule, and every top-level module that was loaded to get there."""
    dag = load(path)
    return {
        "modules": sorted({name.split(".")[0] for name in sys.modules}),
        "tasks": {task.task_id: sorted(task.upstream_task_ids) for task in dag.topological_sort()},
        "commands": sorted({task.bash_command for task in dag.tasks}),
        "retries": sorted({task.retries for task in dag.tasks}),
        "schedule": dag.schedule,
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
    }


def accepted(path, given):
    """Of the values given for each parameter, those it accepts."""
    from airflow.sdk.exceptions import ParamValidationError

    dag = load(path)

    def accepts(name, value):
        try:
            dag.params.get_param(name).resolve(value)
        except ParamValidationError:
            return False
        return True

    return {name: [value for value in values if accepts(name, value)] for name, values in given.items()}


def test(path, given):
    """Run every task here and now, retries without delay, once for each set of parameters: final states and tries."""

    def run(parameters):
        dag = load(path)  # anew: a run leaves its parameters in the object
        for task in dag.tasks:
            task.retry_delay = timedelta(0)
        done = dag.test(run_conf=parameters)
        tasks = {instance.task_id: [instance.state, instance.try_number] for instance in done.get_task_instances()}
        return {"run": done.state, "tasks": tasks}

    return [run(parameters) for parameters in given]


if __name__ == "__main__":
    answer = {"describe": describe, "accepted": accepted, "test": test}[sys.argv[2]]
    print("\n" + json.dumps(answer(sys.argv[1], json.loads(sys.argv[3]))))
