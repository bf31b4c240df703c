"""The data card: what the Hub and `datasets` make of it, how to rebuild from it, and that a user's edits stay."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.build import Builder
from pipeline.config import Config, load
from pipeline.report.card import front_matter as matter
from pipeline.report.card import licences, toml, yaml
from pipeline.report.funnel import funnel
from pipeline.storage import Root
from pipeline.verify import verify
from tests.corpus import copy

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WORDS = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=12)
KEYS = st.from_regex(r"k[a-z_]{1,8}", fullmatch=True)


def values(keys):
    return st.dictionaries(
        KEYS,
        st.recursive(
            st.one_of(WORDS, st.integers(-(2**40), 2**40), st.booleans()),
            lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
            max_leaves=8,
        ),
        max_size=4,
    )


def front_matter(card: str):
    import yaml as reader

    return reader.safe_load(card.split("---\n")[1])


@given(values(WORDS.filter(bool)))
def test_toml_is_what_it_was(value):
    assert tomllib.loads("\n".join(toml(value))) == value


@given(values(KEYS))
def test_yaml_is_what_it_was(value):
    reader = pytest.importorskip("yaml")
    assert (reader.safe_load("\n".join(yaml(value))) or {}) == value


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("CC BY-SA 4.0", ["cc-by-sa-4.0"]),
        ("CC BY-SA 3.0 / GFDL, Wikipedia contributors", ["cc-by-sa-3.0", "gfdl"]),
        ("cc-by-4.0", ["cc-by-4.0"]),
        ("by page", ["other"]),
        ("", ["unknown"]),
    ],
)
def test_licences_by_the_names_of_the_hub(words, names):
    assert licences(words) == names


def test_the_hub_finds_licences_languages_sizes_and_configs(built_corpus):
    pytest.importorskip("yaml")
    front = front_matter((built_corpus / "README.md").read_text())
    assert front["license"] == ["unknown"]
    assert {"en", "it", "zh"} <= set(front["language"])
    assert front["size_categories"] == ["n<1K"]
    assert [config["config_name"] for config in front["configs"]] == ["documents"]


def test_parquet_shards_are_a_config_of_their_own(built_corpus):
    facts = funnel(Root(str(built_corpus)))
    for split in facts["splits"].values():
        for shard in split["shards"]:
            shard["path"] = shard["path"].replace(".arrow", ".parquet")
    front = matter(facts)
    assert [config["config_name"] for config in front["configs"]] == ["documents", "shards"]
    assert {s["name"]: s["num_examples"] for s in front["dataset_info"][1]["splits"]} == {
        name: split["n_rows"] for name, split in facts["splits"].items()
    }


def test_datasets_loads_the_corpus_by_its_card(built_corpus, tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the extra [dev]")
    datasets.disable_progress_bars()
    documents = datasets.load_dataset(str(built_corpus), cache_dir=str(tmp_path))
    assert (
        documents["train"].num_rows == json.loads((built_corpus / "ledger/ingest.json").read_text())["counts"]["kept"]
    )


def test_the_configuration_on_the_card_builds_the_corpus(built, built_corpus):
    card = (built_corpus / "README.md").read_text()
    given = tomllib.loads(card.split("```toml\n")[1].split("```")[0])
    found, expected = Config.model_validate(given), load(str(built))
    places = {"root": True, "source": True, "fetch": {"folder"}}
    assert found.model_dump(exclude=places) == expected.model_dump(exclude=places)
    licences_of = {source.name: (source.format, source.licence, source.namespaces) for source in found.source}
    assert licences_of == {s.name: (s.format, s.licence, s.namespaces) for s in expected.source}
    read = set(json.loads((built_corpus / "ledger/inputs.json").read_text()))
    assert {path for source in found.source for path in source.paths} == {name.rsplit("/", 1)[1] for name in read}


def test_a_card_that_was_edited_stays(built, built_corpus, tmp_path, capsys):
    corpus = copy(built_corpus, tmp_path / "corpus")
    card = corpus / "README.md"
    settings = ["report.croissant=true"]
    Builder(load(str(built), settings, str(corpus))).build()
    assert json.loads((corpus / "croissant.json").read_text())["recordSet"]
    assert '"croissant": true' not in card.read_text()
    assert "croissant = true" in card.read_text()  # not edited: written again
    card.write_text(card.read_text() + "\nMy own words.\n")
    assert verify(Root(str(corpus))).sound
    Builder(load(str(built), [], str(corpus))).build()
    assert card.read_text().endswith("My own words.\n")
    assert "README.md was edited and stays" in capsys.readouterr().err
    assert "croissant = false" in (corpus / "ledger/card.md").read_text()
    assert not (corpus / "croissant.json").exists()
    card.unlink()
    Builder(load(str(built), settings, str(corpus))).build()
    assert card.read_bytes() == (corpus / "ledger/card.md").read_bytes()


def test_croissant_names_every_file_with_its_digest(built, built_corpus, tmp_path):
    corpus = copy(built_corpus, tmp_path / "corpus")
    Builder(load(str(built), ["report.croissant=true"], str(corpus))).build()
    found = json.loads((corpus / "croissant.json").read_text())
    files = {file["contentUrl"]: file["sha256"] for file in found["distribution"]}
    root = Root(str(corpus))
    assert files == {
        name: root.sha256(name)
        for folder in ("documents", "shards")
        for name in root.sizes(folder)
        if "index" not in name
    }
