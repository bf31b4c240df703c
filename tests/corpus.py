"""Small corpora of real pages for tests: files of the bundled sample, a small vocabulary, two tiny models."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.shared import ROOT

DATA = ROOT / "examples" / "data"

TWO_WORKERS = ("--runner", "FnApiRunner", "--", "--direct_running_mode=multi_processing", "--direct_num_workers=2")
"""Two worker processes, also for work so small that `--workers 2` starts none."""

SMALL = {
    "wiki": ["zhwiki-*", "enwiki-20141107-*", "itwiki-*"],
    "web": ["CC-MAIN-*", "web-*"],
}

_RUNS = """
[run.lstm]
steps = 6
batch = 4
context = 32
device = "cpu"
[run.lstm.model]
kind = "lstm"
layers = 1
d_model = 32

[run.transformer]
steps = 6
batch = 4
context = 32
device = "cpu"
[run.transformer.model]
kind = "transformer"
layers = 1
d_model = 32
heads = 2
"""


def write_config(folder: Path, files: dict[str, list[str]] | None = None, *, runs: bool = False) -> Path:
    """A configuration over files of the bundled sample; its corpus lies in ``folder``/corpus."""
    files = files or SMALL
    folder.mkdir(parents=True, exist_ok=True)
    lines = ['name = "test"', 'root = "corpus"', 'unit = "200 kB"']
    for name, patterns in files.items():
        paths = [p if os.path.isabs(p) or "://" in p else str(DATA / p) for p in patterns]
        kind = "warc" if name.startswith("web") else "wikimedia"
        lines += ["[[source]]", f'name = "{name}"', f'format = "{kind}"', f"paths = {json.dumps(paths)}"]
    lines += [
        "[clean]",
        "language_score = 0.3",
        "[[clean.rules]]",
        'statistic = "characters"',
        "min = 200",
        "[tokenizer]",
        'kind = "bpe"',
        f"vocab_size = {4000 if sum(map(len, files.values())) > 4 else 1500}",  # what so little text supports
        'sample = "400 kB"',
        "[shards]",
        "tokens = 100_000",
        "validation = 0.1",
        _RUNS if runs else "",
    ]
    path = folder / "corpus.toml"
    path.write_text("\n".join(lines))
    return path


def corpusmill(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a user does."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=280, **options)


def command(*arguments: object) -> list[str]:
    """The command line of `corpusmill` in the environment of the tests."""
    return [str(Path(sys.executable).parent / "corpusmill"), *map(str, arguments)]


def digests(corpus: Path) -> dict[str, str]:
    """The digest of each closed stage that must be equal between builds of the same corpus."""
    stages = ("ingest", "dedup", "tokenizer", "shards")
    return {stage: json.loads((corpus / f"ledger/{stage}.json").read_text())["digest"] for stage in stages}


def data_files(corpus: Path) -> dict[str, bytes]:
    """The content of every data file of a corpus: what must be byte-identical."""
    folders = ("documents", "dropped", "signatures", "statistics", "duplicates", "lines", "tokenizer", "shards")
    return {
        path.relative_to(corpus).as_posix(): path.read_bytes()
        for folder in folders
        for path in sorted((corpus / folder).rglob("*"))
        if path.is_file()
    }


def copy(corpus: Path, to: Path) -> Path:
    """A copy of a built corpus that a test may damage."""
    shutil.copytree(corpus, to)
    return to
