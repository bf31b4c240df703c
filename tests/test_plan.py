"""What `corpusmill plan` foresees, beside what the build of the same dumps found."""

import json
import os

import pytest

from pipeline.build import Builder
from pipeline.config import load
from pipeline.ledger import Ledger
from pipeline.plan import estimate
from pipeline.storage import Root
from tests.corpus import corpusmill, write_config


def test_a_plan_from_the_whole_input_finds_what_the_build_finds(built, built_corpus):
    facts = estimate(load(str(built)), sample=10**9)
    dry = Builder(load(str(built))).plan()
    rows = Ledger(Root(str(built_corpus))).rows("ingest")
    assert facts["bytes"] == sum(file["bytes"] for file in dry["files"].values())
    assert facts["files"] == len(dry["files"])
    assert facts["documents"] == sum(row.counts.kept for row in rows)
    assert facts["disk"]["shards"] == pytest.approx(
        sum(p.stat().st_size for p in built_corpus.glob("shards/*")), rel=0.1
    )
    assert facts["exchange"] == facts["documents"] * (24 + 24 + 14 * 16)
    assert all(row["core_seconds"] > 0 and row["workers"] == 1 for row in facts["stages"].values())


@pytest.mark.slow
def test_a_plan_from_a_sample_scales_it_and_leaves_no_trace(tmp_path):
    config = write_config(tmp_path / "it", {"wiki": ["jawiki-*", "enwiki-20141107-*"]})
    before = sorted(tmp_path.rglob("*"))
    done = corpusmill(
        "plan", config, "--sample", "600 kB", "--workers", "2", "--json", env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["sample"] < 610_000 < facts["bytes"]
    built = corpusmill("ingest", config)
    assert built.returncode == 0, built.stderr
    rows = Ledger(Root(str(config.parent / "corpus"))).rows("ingest")
    kept = sum(row.counts.kept for row in rows)
    assert 0.5 * kept < facts["documents"] < 2 * kept, "a head is no average, but no other thing either"
    assert sorted(p for p in tmp_path.rglob("*") if "corpus/" not in str(p) + "/") == before
