"""The bundled sample is what examples/README.md says it is, and its configurations build."""

from __future__ import annotations

import hashlib
import json
import re

import pyarrow.parquet as pq

from pipeline.storage import Root
from pipeline.verify import verify
from tests.corpus import TWO_WORKERS, corpusmill, data_files
from tests.shared import ROOT

EXAMPLES = ROOT / "examples"
ROW = re.compile(
    r"^\| \[(?P<name>[^\]]+)\]\(data/(?P=name)\) \| (?P<bytes>\d+) \| `(?P<sha256>[0-9a-f]{64})` \|", re.MULTILINE
)


def stated() -> dict[str, tuple[int, str]]:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    return {row["name"]: (int(row["bytes"]), row["sha256"]) for row in ROW.finditer(text)}


def test_table_names_every_file_with_its_size_and_digest():
    found = {}
    for path in (EXAMPLES / "data").iterdir():
        content = path.read_bytes()
        found[path.name] = (len(content), hashlib.sha256(content).hexdigest())
    assert stated() == found


def test_sample_stays_small():
    assert 3_000_000 <= sum(size for size, _ in stated().values()) <= 6_000_000


def test_the_cleaning_example_accounts_for_every_document_with_the_same_bytes_on_two_workers(tmp_path):
    some = ("data/enwiki-20141107-*", "data/zhwiki-*"), ("data/CC-MAIN-2024-*", "data/web-*")
    overrides = [f"--set=source.{n}.paths={json.dumps(paths)}" for n, paths in enumerate(some)]
    for name, more in (("one", ()), ("two", TWO_WORKERS)):
        arguments = ("--corpus", tmp_path / name, "--until", "ingest", *overrides, *more)
        done = corpusmill("build", EXAMPLES / "cleaning.toml", *arguments)
        assert done.returncode == 0, done.stderr
    one, two = data_files(tmp_path / "one"), data_files(tmp_path / "two")
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
    assert verify(Root(str(tmp_path / "two"))).damage == []
    stage, other = (json.loads((tmp_path / f"{name}/ledger/ingest.json").read_text()) for name in ("one", "two"))
    assert stage["digest"] == other["digest"]
    assert stage["units"] == 5
    counts = stage["counts"]
    folders = ("documents", "dropped", "statistics")
    rows = {folder: pq.read_table(tmp_path / "one" / folder).to_pylist() for folder in folders}
    assert len(rows["documents"]) == counts["kept"] > 5
    assert len(rows["dropped"]) == counts["read"] - counts["kept"]
    judged = [row for row in rows["dropped"] if row["detail"]]  # of the others the parser made no document
    assert {row["reason"] for row in judged} >= {"language", "gopher_word_length"}
    assert {row["id"] for row in judged + rows["documents"]} == {row["id"] for row in rows["statistics"]}
