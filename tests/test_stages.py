"""The pure halves of the stages, against plain Python."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.config import Clean, Config, Shards, Source, load
from pipeline.errors import UsageError, without_query
from pipeline.ledger import Counts, Ledger
from pipeline.parse.record import Parsed
from pipeline.schema import ENCODED, document_id
from pipeline.shards.format import Header
from pipeline.shards.read import open_shards
from pipeline.stages import encode, ingest, judge, shards, work
from pipeline.stages.parts import writing_parts
from pipeline.storage import Root
from pipeline.units import find_files, unit_name

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
RECORDS = st.lists(st.tuples(TEXTS, st.sampled_from(["", "redirect", "error:xml"])), max_size=12)
RULES = st.lists(
    st.tuples(st.sampled_from(["characters", "words", "lines", "letter_share"]), st.floats(0, 30)), max_size=3
)


@settings(max_examples=60, deadline=None)
@given(RECORDS, RULES, st.sampled_from([[], ["en"], ["de", "zh"]]), st.floats(0, 1))
def test_judging_keeps_or_drops_every_record_with_a_reason(records, rules, languages, score):
    batch = [Parsed(f"x:{i}", text, "u", "t", None, i, 1, str(i), reason) for i, (text, reason) in enumerate(records)]
    clean = Clean.model_validate(
        {
            "languages": languages,
            "language_score": score,
            "rules": [{"statistic": name, "min": bound} for name, bound in rules],
        }
    )
    judged = judge.Judge(clean, judge.find_material(clean)).judge(batch, "source", "file")
    kept, lost = judged.kept, judged.dropped
    counts = Counts(read=len(batch))
    judge.count(counts, judged)
    counts.check("batch")
    ids = kept.column("id").to_pylist() + lost.column("id").to_pylist()
    assert sorted(ids) == sorted(document_id(r.identity) for r in batch)
    for row in lost.to_pylist():
        if row["reason"] in ("characters", "words", "lines", "letter_share", "language_score"):
            assert row["value"] < row["threshold"]
    for row in kept.to_pylist():
        assert row["language_score"] >= np.float32(score) - 1e-6


def test_what_was_read_before_a_fault_is_delivered():
    from pipeline.errors import InputError

    def records():
        for i in range(5):
            yield Parsed(f"x:{i}", "text", "", "", None, 0, 1, "")
        raise InputError("cut", file="f", offset=7)

    batches = ingest.in_batches(records())
    assert len(next(batches)) == 5
    with pytest.raises(InputError, match="cut"):
        next(batches)


@pytest.mark.parametrize("folder", ["dumps", "dumps [2024]*"])
def test_a_file_is_named_by_its_path_below_what_is_no_pattern(tmp_path, folder):
    for name in ("x.xml", "01/a.xml", "02/b.xml"):
        (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).touch()

    def names(*patterns):
        paths = [f"{tmp_path}/{folder}/{pattern}" for pattern in patterns]
        found = find_files(Source.model_validate({"name": "w", "format": "wikimedia", "paths": paths}))
        assert all(path.endswith(f"/{name}") for name, path in found.items())
        return list(found)

    assert names("*.xml", "02/b.xml") == ["b.xml", "x.xml"]
    assert names("**/*.xml") == ["01/a.xml", "02/b.xml", "x.xml"]
    assert names("0*/*.xml") == ["01/a.xml", "02/b.xml"]
    with pytest.raises(UsageError, match="no file matches"):
        names("03/*")


def test_a_file_is_there_once_and_a_link_to_nothing_is_named(tmp_path):
    (tmp_path / "n/2024").mkdir(parents=True)
    (tmp_path / "n/2024/a.xml").touch()
    (tmp_path / "n/b.xml").symlink_to("2024/a.xml")

    def found():
        paths = [f"{tmp_path}/n/**/*.xml", f"{tmp_path}/n/2024/*.xml"]
        return list(find_files(Source.model_validate({"name": "w", "format": "wikimedia", "paths": paths})))

    assert found() == ["2024/a.xml"]
    (tmp_path / "n/c.xml").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"c\.xml: a link to nothing: nowhere"):
        found()


def test_names_too_long_or_not_utf8_become_units(tmp_path):
    page = "<page><title>T</title><id>7</id><revision><id>8</id><text>Text.</text></revision></page>"
    for name in ("\u6f22" * 31 + "1.xml", "\u6f22" * 31 + "2.xml", b"caf\xe9.xml"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), os.fsencode(name)))).write_text(
            f"<mediawiki>{page}</mediawiki>"
        )
    source = {"name": "w", "format": "wikimedia", "paths": [str(tmp_path / "*.xml")]}
    config, root = Config.model_validate({"source": [source]}), Root(str(tmp_path / "corpus"))
    units = ingest.plan(config, root)
    assert [work.process(root.url, unit) for unit in units] == [""] * 3
    assert len({unit.name for unit in units}) == 3
    assert "caf\\xe9.xml" in [unit.spec["inputs"]["file"] for unit in units]
    assert unit_name("w", "a b.xml", 0) == "w--a%20b.xml--0000000000000"


@pytest.mark.parametrize(
    "text",
    ["403 for https://h/a/b.gz?X-Amz-Signature=s3cret&x=/y", "<Info('http://h/a?s3cret')>", "https://h/?s3cret: gone"],
)
def test_messages_have_no_signature(text):
    assert "s3cret" not in without_query(text)
    assert without_query("s3://b/a?.gz is /x/y?.gz") == "s3://b/a?.gz is /x/y?.gz"


@pytest.mark.parametrize("url", ["http://me:s3cret@h/a.gz", "https://s3cret@h/a.gz", "ftp://me:s3cret@h/a.gz"])
def test_an_address_with_a_password_is_refused_without_it(tmp_path, url):
    path = tmp_path / "c.toml"
    path.write_text(f'[[source]]\nname = "w"\nformat = "warc"\npaths = ["{url}"]')
    with pytest.raises(UsageError, match="user or password") as caught:
        load(str(path))
    assert "s3cret" not in str(caught.value)


def test_only_the_last_part_of_a_split_page_becomes_a_document(tmp_path):
    """The content exports split a page of many revisions: only its last file holds the page as it is."""
    page = "<page><title>T</title><ns>0</ns><id>7</id><revision><id>{0}</id><text>Text {0}.</text></revision></page>"
    for revisions, number in (("1r50", 50), ("51r99", 99)):
        path = tmp_path / f"xwiki-2025-11-01-p7r{revisions}.xml"
        path.write_text(f"<mediawiki>{page.format(number)}</mediawiki>")
    source = {"name": "w", "format": "wikimedia", "paths": [str(tmp_path / "*.xml")]}
    config, root = Config.model_validate({"source": [source]}), Root(str(tmp_path / "corpus"))
    rows = [ingest.process(root, unit) for unit in ingest.plan(config, root)]
    assert [(row.counts.read, row.counts.kept, row.counts.dropped) for row in rows] == [
        (1, 0, {"superseded": 1}),
        (1, 1, {}),
    ]


@given(st.integers(0, 2**63), st.binary(min_size=16, max_size=16))
def test_the_place_in_the_shuffle_is_a_function_of_seed_and_id(seed, document):
    assert encode.place(seed, document) == encode.place(seed, document)
    assert encode.place(seed, document) != encode.place(seed + 1, document)


HEADER = Header("ab" * 32, 500, {"unk": 0, "eos": 2}, seed=7, lineage="cd" * 32)


def exchange(root, name, documents, run):
    """An exchange file of documents (key, id, tokens), in sorted runs of so many documents."""
    with writing_parts(root) as parts:
        part = parts.add(f"encoded/{name}.parquet", ENCODED)
        for first in range(0, len(documents), run):
            rows = sorted(documents[first : first + run])
            columns = {
                "split": ["train"] * len(rows),
                "key": [key for key, _, _ in rows],
                "doc_id": [id for _, id, _ in rows],
                "epoch": [0] * len(rows),
                "source": ["s"] * len(rows),
                "n_bytes": [3 * len(tokens) for _, _, tokens in rows],
                "n_tokens": [len(tokens) for _, _, tokens in rows],
                "tokens": [np.array(tokens, np.uint16).tobytes() for _, _, tokens in rows],
            }
            for batch in pa.table(columns, ENCODED).to_batches(5):
                part.write(batch, own_row_group=True)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=60).filter(any),
    st.integers(20, 3000),
    st.integers(0, 5),
    st.integers(1, 40),
    st.booleans(),
)
@example([0, 16, 0, 14, 0], 20, 0, 1, True)  # rows without tokens, of the key where an edge falls
def test_shards_cover_the_shuffle_evenly_whatever_the_documents(tmp_path_factory, sizes, target, seed, run, ties):
    root = Root(str(tmp_path_factory.mktemp("even")))
    documents, at = [], 0
    for i, size in enumerate(sizes):
        id = i.to_bytes(16, "big")
        key = encode.place(seed, id) >> (61 if ties else 0)
        documents.append((key, id, [(at + k) % 500 for k in range(size)]))
        at += size
    exchange(root, "a", documents[::2], run)
    exchange(root, "b", documents[1::2], run)
    settings = Config.model_validate({"shards": {"tokens": target}})
    units = shards.plan(settings, root, "key", HEADER)
    rows = {unit.name: shards.process(root, unit) for unit in units}
    for row in rows.values():
        Ledger(root).commit(row)
    shards.process(root, shards.plan_index("key", HEADER, units, 0))
    stream = [token for _, _, tokens in sorted(documents) for token in tokens]
    found = open_shards(root.path("shards"))
    assert found.read(0, len(stream)).tolist() == stream
    share = len(stream) / len(units)
    assert all(abs(len(tokens) - share) <= 0.01 * share + 1 for tokens in found.shard_tokens())
    whole = [(d.id, d.n_bytes, found.read(d.start, d.stop).tolist()) for d in found.documents()]
    assert whole == [(id, 3 * len(tokens), tokens) for _, id, tokens in sorted(documents)]
    assert sum(row.counts.kept for row in rows.values()) == found.n_docs == len(sizes)
    assert found.n_bytes == 3 * len(stream)
    assert shards.even_ranges(root, "validation", target) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**60), st.floats(0, 3), st.floats(0, 0.4), st.floats(0, 0.4))
def test_the_mix_holds_on_average_and_copies_stay_on_one_side(seed, epochs, validation, test):
    settings = Shards(seed=seed, epochs={"s": epochs}, validation=validation, test=test)
    drawn = [encode.draw(settings, i.to_bytes(16, "big"), "s") for i in range(2000)]
    train = [copies for split, copies in drawn if split == "train"]
    assert {copies for split, copies in drawn if split != "train"} <= {0, 1}
    assert set(train) <= {int(epochs), int(epochs) + 1}
    assert abs(np.mean(train) - epochs) < 0.12
    for split, share in (("validation", validation), ("test", test)):
        assert abs(sum(found == split for found, _ in drawn) / len(drawn) - share) < 0.07
    more = Shards(seed=seed, epochs={"s": 1.0}, validation=validation, test=test)
    assert [split for split, _ in drawn] == [encode.draw(more, i.to_bytes(16, "big"), "s")[0] for i in range(2000)]


def test_a_source_of_the_mix_without_documents_is_named(capsys):
    sources = [{"name": name, "format": "warc", "paths": ["x"]} for name in ("a", "b", "c")]
    config = Config.model_validate({"source": sources, "shards": {"epochs": {"a": 2, "b": 2}}})
    assert len(encode.plan(config, "key", [("a--x--0", 3), ("b--y--0", 0), ("c--z--0", 0)])) == 3
    assert capsys.readouterr().err == "shards: no document of 'b' was kept: its shards.epochs have no effect\n"


def test_defaults_of_the_configuration_are_the_documented_ones():
    params = Config().dedup.minhash.params()
    assert (params.ngram, params.bands, params.rows) == (5, 14, 8)
