"""The shards stage on real pages: the mix, the splits, memory, formats, and what `datasets` makes of them."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import cli
from pipeline.build import Builder
from pipeline.config import load
from pipeline.shards.read import open_shards
from pipeline.storage import Root
from pipeline.trace import find
from pipeline.verify import verify
from tests.corpus import copy


def ids(corpus, split):
    return [(document.id, document.source) for document in open_shards(corpus / "shards", split).documents()]


def bands_of(corpus):
    """The MinHash bands of every document."""
    rows = [row for path in (corpus / "signatures").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    return {row["id"]: [(i, band) for i, band in enumerate(row["bands"]) if band] for row in rows}


@pytest.fixture(scope="module")
def mixed(built, tmp_path_factory):
    """The small corpus with sources mixed, three splits, Parquet shards and begin pieces."""
    corpus = copy(built.parent / "corpus", tmp_path_factory.mktemp("mixed") / "corpus")
    settings = [
        "shards.epochs={wiki=2.5, web=0.4}",
        "shards.test=0.1",
        'shards.format="parquet"',
        "shards.bos=true",
        "shards.seed=3",
    ]
    Builder(load(str(built), settings, str(corpus))).build("shards")
    return corpus


def test_the_mix_is_accounted_for(mixed, capsys):
    kept = json.loads((mixed / "ledger/dedup.json").read_text())["counts"]["kept"]
    counts = json.loads((mixed / "ledger/shards.json").read_text())["counts"]
    assert counts["read"] == kept == counts["kept"] + counts["dropped"]["not_in_mix"]
    train, held = Counter(ids(mixed, "train")), Counter(ids(mixed, "validation") + ids(mixed, "test"))
    assert counts["amounts"]["copies"] == sum(n - 1 for n in train.values()) > 0
    assert len(train) + len(held) == counts["kept"]
    assert {n for (_, source), n in train.items() if source == "wiki"} == {2, 3}
    assert {n for (_, source), n in train.items() if source == "web"} == {1}
    assert set(held.values()) == {1}
    assert not {id for id, _ in train} & {id for id, _ in held}
    tokens = {name: n for name, n in counts["amounts"].items() if name.startswith("tokens:") and name.count(":") == 2}
    assert sum(tokens.values()) == counts["amounts"]["tokens"]
    assert cli.main(["status", str(mixed)]) == 0
    assert f"{counts['amounts']['copies']} copies" in capsys.readouterr().out
    left_out = {row for path in (mixed / "documents").glob("web--*") for row in pq.read_table(path)["id"].to_pylist()}
    left_out -= {id for id, _ in train} | {id for id, _ in held}
    left_out -= {row for path in (mixed / "duplicates").glob("*") for row in pq.read_table(path)["id"].to_pylist()}
    assert {find(Root(str(mixed)), id=id.hex())[0]["fate"] for id in left_out} == {"not in the mix"}
    assert verify(Root(str(mixed))).damage == []


def test_documents_begin_and_end_as_configured(mixed):
    shards = open_shards(mixed / "shards", "test")
    for document in shards.documents():
        tokens = shards.read(document.start, document.stop)
        assert (tokens[0], tokens[-1]) == (shards.special_ids["bos"], shards.special_ids["eos"])


@pytest.mark.parametrize("corpus", ["built_corpus", "mixed"])
def test_near_duplicates_are_never_on_two_sides(request, corpus):
    corpus = request.getfixturevalue(corpus)
    bands = bands_of(corpus)
    side: dict[tuple[int, int], set[str]] = {}
    for split in json.loads((corpus / "shards/index.json").read_text())["splits"]:
        for id, _ in ids(corpus, split):
            for band in bands[id]:
                side.setdefault(band, set()).add(split)
    assert len(side) > 100
    assert [band for band, splits in side.items() if len(splits) > 1] == []


def test_sizes_are_even_to_one_percent(built_corpus):
    index = json.loads((built_corpus / "shards/index.json").read_text())
    for split in index["splits"].values():
        sizes = [shard["n_tokens"] for shard in split["shards"]]
        assert max(sizes) - min(sizes) <= 0.01 * np.mean(sizes) + 1
    assert index["splits"]["train"]["n_rows"] > index["splits"]["train"]["n_docs"]  # some were cut, and are whole again


def test_a_batch_is_as_mixed_as_a_true_permutation(built_corpus):
    """Distinct sources and shards of documents next to each other, against 200 random orders of the same documents."""
    shards = open_shards(built_corpus / "shards")
    parts = {}
    for path in sorted((built_corpus / "documents").glob("*.parquet")):
        parts |= dict.fromkeys(pq.read_table(path, columns=["id"])["id"].to_pylist(), path.name)
    order = [parts[document.id] for document in shards.documents()]
    batch = 8

    def distinct(names):
        return np.mean([len(set(names[i : i + batch])) for i in range(0, len(names) - batch + 1, batch)])

    random = np.random.default_rng(0)
    shuffled = [distinct([order[i] for i in random.permutation(len(order))]) for _ in range(200)]
    assert distinct(order) >= np.quantile(shuffled, 0.005)
    assert distinct(order) > 1.3 * distinct(sorted(order))


def test_datasets_loads_documents_and_shards(built_corpus, mixed, tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the extra [dev]")
    datasets.disable_progress_bars()
    for corpus in (built_corpus, mixed):
        documents = datasets.load_dataset(str(corpus / "documents"), cache_dir=str(tmp_path))["train"]
        assert len(documents) == sum(pq.read_metadata(path).num_rows for path in (corpus / "documents").iterdir())
        assert documents[0]["text"]
        shards = datasets.load_dataset(str(corpus / "shards"), cache_dir=str(tmp_path))
        index = json.loads((corpus / "shards/index.json").read_text())
        assert {split: len(rows) for split, rows in shards.items()} == {
            split: content["n_rows"] for split, content in index["splits"].items()
        }
        opened = open_shards(corpus / "shards", "validation")
        assert shards["validation"][0]["tokens"] == opened.table()["tokens"][0].as_py()
