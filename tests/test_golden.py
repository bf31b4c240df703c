"""What the stages make of the small corpus, by VERSION: output that changes under the same VERSION would be skipped
as up to date in corpora that exist. If a change is meant, raise the stage's VERSION in pipeline/stages and run

    python -m tests.test_golden
"""

import hashlib
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.stages import dedup, ingest
from tests.corpus import corpusmill, write_config

GOLDEN = Path(__file__).parent / "golden.json"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"  # its Unicode tables have a say


def digest_of(corpus: Path, folders: tuple[str, ...], columns: list[str]) -> str:
    value = hashlib.sha256()
    for path in sorted(path for folder in folders for path in (corpus / folder).glob("*.parquet")):
        names = [name for name in columns if name in pq.read_schema(path).names]
        for row in pq.read_table(path, columns=names).to_pylist():
            value.update(repr(sorted(row.items())).encode())
    return value.hexdigest()


def found(corpus: Path) -> dict:
    return {
        "ingest": [
            ingest.VERSION,
            digest_of(corpus, ("documents", "dropped"), ["id", "text", "title", "url", "reason"]),
        ],
        "signatures": [ingest.VERSION, digest_of(corpus, ("signatures",), ["id", "text_hash", "bands"])],
        # other documents have other duplicates, under the same code
        "dedup": [[ingest.VERSION, dedup.VERSION], digest_of(corpus, ("duplicates",), ["id", "keeper", "reason"])],
    }


def test_the_same_version_gives_the_same_output(built_corpus):
    golden = json.loads(GOLDEN.read_text())
    if golden["python"] != PYTHON:
        pytest.skip(f"tests/golden.json was made with Python {golden['python']}")
    assert found(built_corpus) == golden["stages"], "see the docstring of tests/test_golden.py"


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        done = corpusmill("build", write_config(Path(folder)), "--until", "dedup")
        assert done.returncode == 0, done.stderr
        value = {"python": PYTHON, "stages": found(Path(folder) / "corpus")}
    for stage, (version, digest) in json.loads(GOLDEN.read_text())["stages"].items():
        if value["stages"][stage][0] == version and value["stages"][stage][1] != digest:
            raise SystemExit(f"{stage}: other output under the same VERSION {version}; raise it first")
    GOLDEN.write_text(json.dumps(value, indent=1) + "\n")
