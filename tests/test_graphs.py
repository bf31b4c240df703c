"""The graphs of all jobs stay in the subset that every portable runner takes."""

import ast
import importlib

import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from pipeline.dedup.components import forest_merge
from pipeline.jobs import dedup as jobs
from pipeline.jobs.runner import Runner, beam, map_units
from pipeline.ledger import Unit
from pipeline.stages import dedup
from tests.portable.recording import pipelines
from tests.shared import ROOT

PRIMITIVES = {
    "beam:transform:impulse:v1",
    "beam:transform:pardo:v1",
    "beam:transform:group_by_key:v1",
    "beam:transform:combine_grouped_values:v1",
    "beam:transform:flatten:v1",
}
UNITS = [Unit("encode", name, "key", 1, {}) for name in ("a", "b")]
RECORDING = Runner(1, ("--runner=tests.portable.recording.RecordingRunner",))
JOBS = {
    ("runner", "map_units"): lambda root, units: map_units(root, units, RECORDING),
    ("dedup", "meet"): lambda root, units: jobs.meet(
        root, units, RECORDING, dedup.near_blocks, dedup.edges, forest_merge, 1, range(1)
    ),
    ("dedup", "compare"): lambda root, units: jobs.compare(root, units, RECORDING),
    ("dedup", "count_lines"): lambda root, units: jobs.count_lines(root, units, RECORDING, 2, 1, range(1)),
}


def starts_a_pipeline(node: ast.AST) -> bool:
    return any(isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "run" for n in ast.walk(node))


def test_every_job_is_looked_at():
    found = set()
    for path in (ROOT / "pipeline/jobs").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and starts_a_pipeline(node):
                found.add((path.stem, node.name))
    assert found == set(JOBS)


@pytest.mark.parametrize("job", JOBS.values(), ids=[name for _, name in JOBS])
def test_the_graph_is_portable(job, tmp_path):
    pipelines.clear()
    job(str(tmp_path), UNITS)
    parts = pipelines[0].components
    consumed = {name for t in parts.transforms.values() for name in t.inputs.values()}
    leaves = 0
    for transform in parts.transforms.values():
        if transform.subtransforms or set(transform.outputs.values()) <= set(transform.inputs.values()):
            continue  # a composite, or one of nothing
        assert transform.spec.urn in PRIMITIVES, transform.unique_name
        assert set(transform.outputs) <= {"None"}, f"{transform.unique_name} has tagged outputs"
        leaves += not consumed.intersection(transform.outputs.values())
        if transform.spec.urn == "beam:transform:pardo:v1":
            fn = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
            special = fn.restriction_coder_id, fn.requests_finalization, fn.state_specs, fn.timer_family_specs
            assert not any(special), f"{transform.unique_name} is splittable, stateful, or wants to be told of commits"
    assert leaves == 1
    assert {w.window_fn.urn for w in parts.windowing_strategies.values()} == {"beam:window_fn:global_windows:v1"}
    assert all(name.isascii() for name in (t.unique_name for t in parts.transforms.values()))


@pytest.mark.parametrize("job", JOBS.values(), ids=[name for _, name in JOBS])
def test_the_graph_does_not_carry_the_units(job, tmp_path):
    """Dataflow takes graphs of 10 MB; a month of Common Crawl is 90,000 units of 1.4 kB."""
    sizes = []
    for count in (2000, 8000):
        pipelines.clear()
        job(str(tmp_path), [Unit("encode", f"{n:06}", "key", 1, {"spec": "x" * 1000}) for n in range(count)])
        sizes.append(pipelines[0].ByteSize())
    assert sizes[1] - sizes[0] < 1000
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]  # what a job leaves for its workers


def test_no_job_emits_when_a_bundle_ends():
    for path in (ROOT / "pipeline/jobs").glob("*.py"):
        module = importlib.import_module(f"pipeline.jobs.{path.stem}" if path.stem != "__init__" else "pipeline.jobs")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, beam.DoFn) and value is not beam.DoFn:
                assert value.finish_bundle is beam.DoFn.finish_bundle
