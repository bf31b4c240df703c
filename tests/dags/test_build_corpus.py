"""The DAG that builds a corpus, as text: what it imports, and the command of each stage as bash sees it."""

import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import SandboxedEnvironment

from pipeline.build import STAGES
from pipeline.cli import parser
from tests.shared import ROOT

DAGS = sorted((ROOT / "dags").glob("*.py"))
TREE = ast.parse((ROOT / "dags/build_corpus.py").read_text())


def constant(name):
    """The value of a constant of the DAG file, read without Airflow."""
    return next(ast.literal_eval(n.value) for n in TREE.body if isinstance(n, ast.Assign) and n.targets[0].id == name)


def arguments(stage, params=None, variables=None):
    """What the command of a stage is started with, after Jinja (once, as Airflow does) and a real bash."""
    context = {"task": {"task_id": stage}, "params": params or {}, "var": {"value": variables or {}}}

    def render(template):
        return SandboxedEnvironment().from_string(template).render(context)

    with tempfile.TemporaryDirectory() as folder:
        command = Path(folder) / "a command"
        command.write_text(f"#!{sys.executable} -IS\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
        command.chmod(0o755)
        context["var"]["value"] = {"corpusmill_command": str(command), **context["var"]["value"]}
        environment = {name: render(template) for name, template in constant("ENVIRONMENT").items()}
        done = subprocess.run(
            ["bash", "-c", render(constant("COMMAND"))],
            env={"PATH": os.environ["PATH"], **environment},
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert os.listdir(folder) == ["a command"]  # nothing else was run
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, "bash", stderr=done.stderr)
    return json.loads(done.stdout)


@pytest.mark.parametrize("path", DAGS, ids=lambda path: path.name)
def test_only_the_sdk_and_the_standard_provider_are_imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert (
                name == "airflow.sdk"
                or name.startswith("airflow.providers.standard.")
                or (name.split(".")[0] in sys.stdlib_module_names)
            ), name


def test_nothing_is_looked_up_when_the_file_is_parsed():
    names = {node.id for node in ast.walk(TREE) if isinstance(node, ast.Name)}
    assert not names & {"Variable", "Connection", "os", "open"}


def test_one_task_for_each_stage_in_order():
    assert constant("STAGES") == tuple(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_every_command_is_one_that_corpusmill_knows(stage):
    variables = {"corpusmill_config": "/etc/corpus.toml"}
    options = parser().parse_args(arguments(stage, variables=variables))
    assert (options.command, options.config, options.workers, options.corpus) == (stage, "/etc/corpus.toml", "1", None)

    variables |= {"corpusmill_workers": "auto", "corpusmill_corpus": "s3://bucket/corpus"}
    options = parser().parse_args(arguments(stage, variables=variables))
    assert (options.command, options.workers, options.corpus) == (stage, "auto", "s3://bucket/corpus")

    params = {"config": "/home/a.toml", "workers": "2", "corpus": "/data/a"}
    options = parser().parse_args(arguments(stage, params, variables))
    assert (options.config, options.workers, options.corpus) == ("/home/a.toml", "2", "/data/a")


def test_a_run_without_a_configuration_says_what_to_set():
    with pytest.raises(subprocess.CalledProcessError) as error:
        arguments("ingest")
    assert "set the Variable corpusmill_config or the parameter config" in error.value.stderr


HOSTILE = [
    "/a b.toml; touch pwned",
    "/$(touch pwned).toml",
    "/`touch pwned`.toml",
    "/'; touch pwned; '\".toml",
    "/x\ntouch pwned\n.toml",
    "/{{ task.task_id }}{% raw %}.toml",
    "/* ? ~ \\ ! #.toml",
]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("source", ["params", "variables"])
def test_a_value_is_one_argument_whatever_it_holds(value, source):
    if source == "params":
        given = {"params": {"config": value, "corpus": value, "workers": value}}
    else:
        given = {"variables": {f"corpusmill_{name}": value for name in ("config", "corpus", "workers")}}
    assert arguments("ingest", **given) == ["ingest", value, f"--workers={value}", f"--corpus={value}"]


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_text_is_one_argument(value):
    expected = ["dedup", value, f"--workers={value}", f"--corpus={value}"]
    assert arguments("dedup", {"config": value, "corpus": value, "workers": value}) == expected
