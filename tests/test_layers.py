"""The dependency rules of ARCHITECTURE.md, read from the import statements."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared import ROOT

PACKAGES = ("pipeline", "tokenizer", "train")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def offenders(files: list[Path], forbidden: tuple[str, ...]) -> list[str]:
    def hit(name: str) -> bool:
        return any(name == f or name.startswith(f"{f}.") for f in forbidden)

    return [f"{path.relative_to(ROOT)}: {name}" for path in files for name in sorted(imports(path)) if hit(name)]


def test_beam_only_in_jobs():
    files = [p for p in modules(*PACKAGES) if "jobs" not in p.relative_to(ROOT).parts]
    assert offenders(files, ("apache_beam",)) == []
    assert offenders(modules("pipeline/jobs"), ("apache_beam",)) != []


def test_torch_only_in_train():
    assert offenders(modules("pipeline", "tokenizer", "dags"), ("torch", "safetensors")) == []
    assert offenders(modules("train"), ("torch",)) != []


def test_airflow_only_in_dags_and_dags_know_only_the_command():
    assert offenders(modules(*PACKAGES), ("airflow",)) == []
    assert offenders(modules("dags"), (*PACKAGES, "apache_beam")) == []
    assert offenders(modules("dags"), ("airflow",)) != []


def test_network_only_in_sources():
    network = ("urllib.request", "http.client", "requests", "httpx", "aiohttp", "ftplib", "urllib3", "ssl")
    files = [p for p in modules(*PACKAGES) if "sources" not in p.relative_to(ROOT).parts]
    assert offenders(files, network) == []


ROOMS = ["pipeline/parse", "pipeline/clean", "pipeline/dedup", "pipeline/shards", "tokenizer"]


@pytest.mark.parametrize("folder", ROOMS)
def test_the_rooms_know_nothing_of_stages_and_jobs(folder):
    house = (
        "pipeline.stages",
        "pipeline.jobs",
        "pipeline.build",
        "pipeline.cli",
        "pipeline.commands",
        "pipeline.ledger",
        "pipeline.config",
    )
    assert offenders(modules(folder), house) == []


def test_stages_know_nothing_of_jobs_and_the_command_line():
    assert (
        offenders(modules("pipeline/stages"), ("pipeline.jobs", "pipeline.build", "pipeline.cli", "pipeline.commands"))
        == []
    )


def loaded_by(code: str) -> set[str]:
    code += "\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_the_reader_of_shards_needs_pyarrow_and_numpy_alone():
    heavy = {"apache_beam", "torch", "pydantic", "sentencepiece", "fsspec", "scipy", "mwparserfromhell"}
    assert loaded_by("import pipeline.shards.read") & heavy == set()


def test_help_imports_nothing_heavy():
    heavy = {"apache_beam", "torch", "pydantic", "pyarrow", "numpy", "sentencepiece", "fsspec"}
    code = "from pipeline.cli import main\nassert main(['--help']) == 0\nassert main(['build', '--help']) == 0"
    assert loaded_by(code) & heavy == set()


def test_the_packages_imported_are_ours():
    from pipeline.doctor import PACKAGES as checked
    from pipeline.doctor import checks

    verdicts = {what: ok for what, ok, _ in checks()}
    assert all(verdicts[f"package {name} is corpusmill's"] for name in checked)
