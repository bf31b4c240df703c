"""The DAG files as text: what they import, and that nothing is looked up when they are parsed."""

import ast
import json
import sys

import pytest

from pipeline.build import STAGES
from tests.shared import ROOT

FILES = sorted((ROOT / "dags").glob("*.py"))
TREES = {path.stem: ast.parse(path.read_text()) for path in FILES}


@pytest.mark.parametrize("name", TREES)
def test_only_the_sdk_and_the_standard_provider_are_imported(name):
    for node in ast.walk(TREES[name]):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for imported in names:
            assert (
                imported.startswith(("airflow.sdk", "airflow.providers.standard."))
                or imported == "corpusmill_operator"
                or imported.split(".")[0] in sys.stdlib_module_names
            ), imported


def called_at_parse_time(tree):
    """Names of what is called outside functions."""
    stack, names = list(tree.body), set()
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call):
            names.add(ast.unparse(node.func))
        stack.extend(ast.iter_child_nodes(node))
    return names


@pytest.mark.parametrize("name", TREES)
def test_nothing_is_looked_up_when_a_file_is_parsed(name):
    called = called_at_parse_time(TREES[name])
    assert called
    assert not {c for c in called if c.split(".")[0] in ("Variable", "Connection", "os", "open", "subprocess")}
    assert not {c for c in called if c in ("datetime.now", "datetime.utcnow", "datetime.today")}


def test_the_two_dags_cover_the_stages_in_order():
    (stages,) = [
        ast.literal_eval(node.value)
        for node in TREES["build_corpus"].body
        if isinstance(node, ast.Assign) and node.targets[0].id == "STAGES"
    ]
    assert [*stages, "train", "report"] == list(STAGES)


def test_the_pools_of_the_operators_are_those_to_import():
    pools = json.loads((ROOT / "dags/pools.json").read_text())
    named = {
        node.value.value
        for node in TREES["corpusmill_operator"].body
        if isinstance(node, ast.Assign) and node.targets[0].id in ("WIKIMEDIA", "CORPUS")
    }
    assert pools.keys() == named
    assert (pools["corpusmill_wikimedia"]["slots"], pools["corpusmill_corpus"]["slots"]) == (3, 1)
