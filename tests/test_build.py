"""One build of real pages, and what must hold of it: accounting, resume, faults, damage."""

import bz2
import gzip
import hashlib
import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from pipeline import cli
from pipeline.build import Builder, StageFailed, useful_workers
from pipeline.config import load
from pipeline.errors import CorpusmillError, UsageError
from pipeline.ledger import Ledger, Unit
from pipeline.report import report
from pipeline.report.funnel import funnel
from pipeline.schema import DOCUMENTS, DROPPED, DUPLICATES
from pipeline.shards.read import open_shards
from pipeline.stages import dedup, encode
from pipeline.storage import Root
from pipeline.verify import verify
from tests.corpus import DATA, command, copy, corpusmill, digests, write_config

ONE = {"wiki": ["enwiki-20141107-*"]}


def rows(corpus, folder):
    return sum(pq.read_metadata(path).num_rows for path in (corpus / folder).glob("*.parquet"))


@pytest.mark.parametrize(
    ("limit", "sizes", "workers"),
    [
        (4, [4_000_000], 1),
        (4, [4_000_000] * 3, 1),
        (4, [8_000_000] * 3, 3),
        (2, [64_000_000] * 9, 2),
        (8, [640_000_000], 1),
        (1, [64_000_000] * 9, 1),
    ],
)
def test_worker_processes_start_where_they_pay(limit, sizes, workers):
    assert useful_workers(limit, [Unit("ingest", str(n), "", size, {}) for n, size in enumerate(sizes)]) == workers


def test_every_record_is_accounted_for(built_corpus):
    facts = funnel(Root(str(built_corpus)))
    ingest, dedup, shards = (facts["stages"][s]["counts"] for s in ("ingest", "dedup", "shards"))
    lost = sum(ingest["dropped"].values()) + sum(ingest["errors"].values())
    assert ingest["read"] == ingest["kept"] + lost
    assert rows(built_corpus, "documents") == rows(built_corpus, "signatures") == ingest["kept"] == dedup["read"]
    assert rows(built_corpus, "dropped") == lost
    assert rows(built_corpus, "duplicates") == sum(dedup["dropped"].values()) == ingest["kept"] - dedup["kept"]
    documents = 0
    for split in ("train", "validation"):
        opened = open_shards(built_corpus / "shards", split, paranoid=True)
        documents += opened.n_docs
        assert opened.n_tokens > 0
    assert documents == shards["kept"] == dedup["kept"]


def test_parts_have_the_schemas_of_the_contract(built_corpus):
    for folder, schema in (("documents", DOCUMENTS), ("dropped", DROPPED), ("duplicates", DUPLICATES)):
        for path in (built_corpus / folder).glob("*.parquet"):
            assert pq.read_schema(path).equals(schema), path
    for path in (built_corpus / "signatures").glob("*.parquet"):
        assert json.loads(pq.read_schema(path).metadata[b"minhash"])["bands"] == 14


def test_every_drop_says_why_and_every_duplicate_names_a_kept_document(built_corpus):
    dropped = pq.read_table(built_corpus / "dropped").to_pylist()
    assert {"redirect", "namespace", "characters"} <= {row["reason"] for row in dropped}
    for row in dropped:
        if row["reason"] == "characters":
            assert row["value"] < row["threshold"] == 200
            assert len(row["text"]) == row["value"]
    duplicates = pq.read_table(built_corpus / "duplicates").to_pylist()
    copies = {row["id"] for row in duplicates}
    kept = {row["id"] for row in pq.read_table(built_corpus / "documents", columns=["id"]).to_pylist()} - copies
    assert duplicates
    assert all(row["keeper"] in kept and row["reason"].startswith("duplicate_") for row in duplicates)


def test_no_duplicate_and_no_dropped_document_reaches_the_shards(built_corpus):
    copies = {row["id"] for row in pq.read_table(built_corpus / "duplicates").to_pylist()}
    documents = {row["id"] for row in pq.read_table(built_corpus / "documents", columns=["id"]).to_pylist()}
    found = [d.id for split in ("train", "validation") for d in open_shards(built_corpus / "shards", split).documents()]
    assert len(found) == len(set(found))
    assert set(found) == documents - copies


def test_shards_are_even_and_decode_to_the_documents(built_corpus):
    from tokenizer.encode import load as load_model

    index = json.loads((built_corpus / "shards/index.json").read_text())
    sizes = [shard["n_tokens"] for shard in index["splits"]["train"]["shards"]]
    assert len(sizes) > 3
    longest = max(d.stop - d.start for d in open_shards(built_corpus / "shards", "train").documents())
    assert max(abs(size - sum(sizes) / len(sizes)) for size in sizes) <= longest  # even to within one document
    model = load_model((built_corpus / "tokenizer/tokenizer.model").read_bytes())
    texts = {row["id"]: row["text"] for row in pq.read_table(built_corpus / "documents").to_pylist()}
    shards = open_shards(built_corpus / "shards", "validation")
    for document in shards.documents():
        tokens = shards.read(document.start, document.stop).tolist()
        assert tokens[-1] == model.special_ids["eos"]
        assert model.processor.decode(tokens[:-1]) == texts[document.id]
        assert document.n_bytes == len(texts[document.id].encode())


def test_models_are_trained_and_the_report_tells_it(built_corpus):
    facts = funnel(Root(str(built_corpus)))
    assert facts["runs"].keys() == {"lstm", "transformer"}
    page = (built_corpus / "report.html").read_text()
    card = (built_corpus / "README.md").read_text()
    for text in (page, card):
        assert "transformer" in text
        assert f"{facts['stages']['ingest']['counts']['read']:,}" in text
        assert "unknown piece" not in text
    assert card.startswith("---\n")
    facts["runs"]["lstm"]["validation"]["unknown"] = 0.25
    assert "<p>25 % of the tokens are the unknown piece: bits/byte leave out" in report.page(facts)


def test_a_finished_build_does_nothing_needs_no_beam_and_reads_each_row_once(built):
    code = (
        "import sys; from pipeline.build import Builder; from pipeline.config import load\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, given: event == 'open' and opened.append(str(given[0])))\n"
        f"stages = Builder(load({str(built)!r})).build().stages\n"
        "rows = [name for name in opened if '/ledger/ingest/' in name]\n"
        "print(set(stages.values()), [m for m in ('apache_beam', 'torch', 'numba') if m in sys.modules])\n"
        "print(len(rows), len(set(rows)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    rows = len(list((built.parent / "corpus/ledger/ingest").iterdir()))
    assert done.stdout.splitlines() == ["{'up to date'} []", f"{rows} {rows}"], done.stderr


def test_a_dry_run_tells_the_state_and_changes_nothing(tmp_path, built):
    config = write_config(tmp_path, ONE)
    fresh = corpusmill("build", config, "--dry-run")
    assert "ingest      to do" in fresh.stdout
    assert "shards      after ingest" in fresh.stdout
    assert not (tmp_path / "corpus").exists()
    plan = json.loads(corpusmill("build", built, "--dry-run", "--json").stdout)
    assert {stage["state"] for stage in plan["stages"]} == {"up to date"}
    assert plan["stages"][0]["units"] == plan["stages"][0]["units_committed"] > len(plan["files"])


def test_another_version_of_a_library_reruns_what_it_has_a_say_in_and_nothing_else(tmp_path, monkeypatch, built):
    def to_do(name, version):
        """What a build would do with that version installed: the first stage, and the sources of its units."""
        facts = tmp_path / name / f"{name.replace('-', '_')}-{version}.dist-info/METADATA"
        facts.parent.mkdir(parents=True)
        facts.write_text(f"Name: {name}\nVersion: {version}\n")
        with monkeypatch.context() as context:
            context.syspath_prepend(tmp_path / name)
            builder = Builder(load(str(built)))
            stages = [stage["stage"] for stage in builder.plan()["stages"] if stage["state"] != "up to date"]
            units = builder.ledger.pending("ingest", builder._units("ingest"), ("documents",))
        return stages[:1], {unit.spec["source"]["name"] for unit in units}

    assert to_do("resiliparse", "99") == (["ingest"], {"web"})
    assert to_do("fasttext-predict", "99") == (["ingest"], {"web", "wiki"})
    assert to_do("sentencepiece", "99") == (["tokenizer"], set())
    for name in ("ftfy", "trafilatura", "pyarrow"):  # not in use by this configuration, or without a say in texts
        assert to_do(name, "99") == ([], set())


@pytest.mark.skipif(importlib.util.find_spec("trafilatura") is not None, reason="trafilatura is installed")
def test_an_extractor_that_is_not_installed_is_refused_before_anything_is_read(tmp_path):
    config = write_config(tmp_path, {"web": ["CC-MAIN-2024*"]})
    with pytest.raises(UsageError, match=r"trafilatura is not installed[^*]*pip install trafilatura"):
        Builder(load(str(config), ["source.0.web.extractor=trafilatura"])).build("ingest")
    assert not (tmp_path / "corpus/ledger/inputs.json").exists()


@pytest.mark.parametrize(
    ("setting", "cause"),
    [
        ("tokenizer.model=none.model", "none.model"),
        ('tokenizer.user_symbols=["a b"]', "white space"),
        ("tokenizer.weights.xx=2", "xx"),
        ("tokenizer.weights.de=2", "none of clean.languages"),
    ],
)
def test_what_the_tokenizer_would_refuse_is_refused_before_ingest(tmp_path, capsys, setting, cause):
    path = write_config(tmp_path)
    more = ["--set", setting, "--set", 'clean.languages=["en"]']
    assert cli.main(["build", str(path), *more]) == cli.main(["build", str(path), "--dry-run", *more]) == 2
    assert cause in capsys.readouterr().err
    assert not (tmp_path / "corpus/ledger/ingest").exists()


def test_a_changed_setting_reruns_what_depends_on_it_and_nothing_else(tmp_path):
    config = write_config(tmp_path, {"wiki": ["enwiki-20141107-*"], "web": ["CC-MAIN-2024*"]})

    def build(*overrides):
        stages = Builder(load(str(config), list(overrides))).build("shards").stages
        return [stage for stage, state in stages.items() if state == "built"]

    assert build() == ["ingest", "dedup", "tokenizer", "shards"]
    assert build() == []
    before = digests(tmp_path / "corpus")
    # a threshold that lets the same documents through: they are read again, and nothing behind them changes
    assert build("clean.rules.0.min=201") == ["ingest"]
    # one that drops some: everything behind them changes
    assert build("clean.rules.0.min=5000") == ["ingest", "dedup", "tokenizer", "shards"]
    assert build() == ["ingest", "dedup", "tokenizer", "shards"]
    assert build("shards.seed=5") == ["shards"]
    assert build("shards.seed=5", "tokenizer.vocab_size=900") == ["tokenizer", "shards"]
    assert build("shards.seed=5", "tokenizer.vocab_size=900", "dedup.near=false")[0] == "dedup"
    build()
    assert digests(tmp_path / "corpus") == before
    # with a tokenizer that does not change with the documents, the shards still do
    (tmp_path / "own.model").write_bytes((tmp_path / "corpus/tokenizer/tokenizer.model").read_bytes())
    own = f"tokenizer.model={tmp_path / 'own.model'}"
    build(own)
    assert build(own, "clean.rules.0.min=5000") == ["ingest", "dedup", "shards"]


def test_a_source_that_leaves_the_configuration_leaves_the_corpus(tmp_path):
    both = write_config(tmp_path, {"wiki": ["enwiki-20141107-*"], "web": ["CC-MAIN-2024*"]})
    Builder(load(str(both))).build("dedup")
    assert list((tmp_path / "corpus/documents").glob("web--*"))
    Builder(load(str(write_config(tmp_path, ONE)))).build("dedup")
    assert not list((tmp_path / "corpus/documents").glob("web--*"))
    assert not list((tmp_path / "corpus/duplicates").glob("web--*"))
    assert verify(Root(str(tmp_path / "corpus"))).damage == []


@pytest.mark.parametrize("kind", ["cut.xml.bz2", "cut.warc.gz", "empty.xml.bz2", "html.warc.gz", "doctype.xml"])
def test_a_malformed_file_fails_by_name_and_the_rest_is_built(tmp_path, kind):
    bad = tmp_path / f"bad-{kind}"
    wiki = (DATA / "zhwiki-20180517-pages-articles-excerpt.xml.bz2").read_bytes()
    warc = (DATA / "CC-MAIN-2024-22-whirlwind.warc.gz").read_bytes()
    bad.write_bytes(
        {
            "cut.xml.bz2": wiki[: len(wiki) // 2],
            "cut.warc.gz": warc[:-300],
            "empty.xml.bz2": b"",
            "html.warc.gz": gzip.compress(b"<html>not an archive</html>" * 99),
            "doctype.xml": b'<!DOCTYPE x [<!ENTITY a "b">]>' + bz2.decompress(wiki),
        }[kind]
    )
    name = "web" if "warc" in kind else "wiki"
    config = write_config(tmp_path, {name: [str(bad)], "wiki2": ["enwiki-20141107-*"]})
    done = corpusmill("build", config, "--until", "shards")
    assert done.returncode == 3
    assert f"FAULT in {name}--bad-{kind}" in done.stdout
    assert "built" in done.stdout
    corpus = tmp_path / "corpus"
    row = json.loads((corpus / f"ledger/ingest/{name}--bad-{kind}--0000000000000.json").read_text())
    assert row["fault"]
    assert f"bad-{kind}" in row["fault"]
    found = verify(Root(str(corpus)))
    assert found.damage == []
    assert {unit.rsplit("--", 1)[0] for unit in found.faults} == {f"{name}--bad-{kind}"}
    again = corpusmill("build", config, "--until", "shards")
    assert again.returncode == 3
    assert "up to date" in again.stdout


def test_a_unit_that_fails_is_named_and_the_others_are_committed(tmp_path):
    config = write_config(tmp_path, {"wiki": ["enwiki-20141107-*", "itwiki-*"]})
    assert Builder(load(str(config))).plan()["stages"][0]["units"] == 4
    blocked = tmp_path / "corpus/dropped/wiki--enwiki-20141107-pages-articles-excerpt.xml--0000000000000.parquet"
    blocked.mkdir(parents=True)  # the part cannot take its name
    with pytest.raises(StageFailed, match=r"1 of 4 units failed[^*]*enwiki-20141107[^*]*OSError|IsADirectoryError"):
        Builder(load(str(config))).build("ingest")
    assert len(list((tmp_path / "corpus/ledger/ingest").iterdir())) == 3
    assert not (tmp_path / "corpus/ledger/ingest.json").exists()
    blocked.rmdir()
    assert Builder(load(str(config))).build("ingest").stages == {"ingest": "built"}


def test_verify_passes_and_one_changed_byte_of_any_part_fails_it(tmp_path, built_corpus):
    assert verify(Root(str(built_corpus))).sound
    corpus = copy(built_corpus, tmp_path / "corpus")
    folders = ("documents", "dropped", "signatures", "duplicates", "tokenizer", "shards", "runs/*/checkpoints")
    parts = [sorted(p for p in corpus.glob(f"{folder}/**/*") if p.is_file()) for folder in folders]
    assert all(parts)
    for path in [files[len(files) // 2] for files in parts] + [corpus / "shards/index.json", corpus / "report.html"]:
        good = path.read_bytes()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 1
        path.write_bytes(bad)
        found = verify(Root(str(corpus)))
        assert [str(path) in trouble for trouble in found.damage] == [True], path
        path.write_bytes(good)
    assert verify(Root(str(corpus))).sound


def test_verify_of_a_corpus_built_up_to_a_stage_says_what_is_not_built(tmp_path, capsys):
    config = write_config(tmp_path, ONE, runs=True)
    corpus = tmp_path / "corpus"
    Builder(load(str(config))).build("dedup")
    assert cli.main(["verify", str(corpus)]) == 0
    said = capsys.readouterr().out
    assert "sound as far as it was built; not built: tokenizer, shards, train, report (corpusmill build" in said
    assert "NOT" not in said
    found = verify(Root(str(corpus)))
    assert (found.sound, found.not_built) == (True, ["tokenizer", "shards", "train", "report"])
    part = next((corpus / "documents").iterdir())
    part.write_bytes(part.read_bytes()[:-1])
    assert cli.main(["verify", str(corpus)]) == 1
    assert "NOT sound as far" in capsys.readouterr().out


@pytest.mark.parametrize(
    "leave",
    [
        lambda root: root.write("exchange/bands", b""),
        lambda root: root.write("ledger/running/lists/dedup/0.json", b""),
        lambda root: root.write("runs/small/run.json", b"{}"),
        lambda root: Ledger(root).close("encode", "key"),
    ],
    ids=["dedup", "its lists", "training", "encoded"],
)
def test_verify_of_a_build_that_was_stopped_in_a_stage_is_not_sound(tmp_path, leave):
    config = write_config(tmp_path, ONE, runs=True)
    root = Root(str(tmp_path / "corpus"))
    Builder(load(str(config))).build("ingest")
    assert verify(root).sound
    leave(root)
    assert not verify(root).sound


def test_verify_tells_what_was_not_built_from_what_was_not_finished(tmp_path):
    config = write_config(tmp_path, ONE)
    corpus = tmp_path / "corpus"
    Builder(load(str(config))).build("shards")
    found = verify(Root(str(corpus)))
    assert (found.sound, found.not_built) == (True, ["report"])
    claim = corpus / "ledger/running/report/report.json"  # killed in its first unit
    claim.parent.mkdir(parents=True)
    claim.write_text("{}")
    found = verify(Root(str(corpus)))
    assert (len(found.incomplete), found.not_built) == (1, [])
    claim.unlink()
    (corpus / "ledger/dedup.json").unlink()  # killed while documents were compared: the next build clears the exchange
    (corpus / "exchange/reserve").write_bytes(b"x")
    found = verify(Root(str(corpus)))
    assert found.damage == []
    assert found.incomplete == ["stage dedup is not complete; corpusmill build CONFIG goes on with it"]
    Builder(load(str(config))).build("shards")
    assert verify(Root(str(corpus))).sound
    for path in (corpus / "ledger").glob("tokenizer*"):  # what the shards were made from
        path.unlink() if path.is_file() else shutil.rmtree(path)
    shutil.rmtree(corpus / "tokenizer")
    found = verify(Root(str(corpus)))
    assert found.incomplete == ["stage tokenizer is not complete; corpusmill build CONFIG goes on with it"]
    shutil.rmtree(corpus / "ledger/ingest")
    (corpus / "ledger/ingest.json").unlink()
    assert not verify(Root(str(corpus))).sound


def test_verify_sees_missing_stray_and_edited(tmp_path, built_corpus):
    corpus = copy(built_corpus, tmp_path / "corpus")
    part = next((corpus / "documents").iterdir())
    good = part.read_bytes()
    part.unlink()
    (corpus / "shards/train-00099-of-00099.arrow").write_bytes(b"stray")
    row = next((corpus / "ledger/dedup").iterdir())
    row.write_text(row.read_text().replace('"kept"', '"kept" '))  # same value, so this one is no damage
    done = corpusmill("verify", corpus)
    assert done.returncode == 1
    assert f"{part}: missing" in done.stdout
    assert "train-00099-of-00099.arrow: no ledger row" in done.stdout
    part.write_bytes(good)
    (corpus / "shards/train-00099-of-00099.arrow").unlink()
    assert corpusmill("verify", corpus).returncode == 0
    value = json.loads(row.read_text())
    value["counts"]["read"] += 1
    row.write_text(json.dumps(value))
    assert "does not match its digest" in corpusmill("verify", corpus).stdout


def test_verify_sees_a_stage_row_that_is_not_the_sum_of_its_units(tmp_path, built_corpus):
    corpus = copy(built_corpus, tmp_path / "corpus")
    row = corpus / "ledger/dedup.json"
    good = json.loads(row.read_text())
    for change in ({"counts": {**good["counts"], "read": good["counts"]["read"] + 1}}, {"units": 1}, {"digest": "0"}):
        row.write_text(json.dumps({**good, **change}))
        assert [d for d in verify(Root(str(corpus))).damage if "does not match its units' rows" in d], change
    assert len(verify(Root(str(corpus)), repair=True).damage) == 1
    assert verify(Root(str(corpus))).incomplete


def test_documents_that_a_stage_loses_fail_the_run(tmp_path, monkeypatch):
    config = write_config(tmp_path, ONE)
    process = dedup.process

    def lossy(root, unit):
        row = process(root, unit)
        row.counts.read, row.counts.kept = row.counts.read - 1, row.counts.kept - 1
        return row

    with monkeypatch.context() as context:
        context.setattr(dedup, "process", lossy)
        with pytest.raises(CorpusmillError, match=r"accounting broken: stage ingest kept \d+ documents, stage dedup"):
            Builder(load(str(config))).build("dedup")
    assert not (tmp_path / "corpus/ledger/dedup.json").exists()


def test_verify_sees_a_stage_that_is_older_than_the_one_before_it(tmp_path):
    config = write_config(tmp_path, ONE)
    Builder(load(str(config))).build("dedup")
    Builder(load(str(config), ["clean.rules.0.min=5000"])).build("ingest")
    found = verify(Root(str(tmp_path / "corpus")))
    assert found.damage == []
    assert any("stage ingest kept" in line and "not built since" in line for line in found.incomplete)


def test_repair_and_build_give_the_same_corpus_again(tmp_path):
    config = write_config(tmp_path, ONE)
    corpus = tmp_path / "corpus"
    Builder(load(str(config))).build("shards")
    before = digests(corpus)
    for folder in ("documents", "shards"):
        path = sorted((corpus / folder).iterdir())[0]
        data = bytearray(path.read_bytes())
        data[100] ^= 255
        path.write_bytes(data)
    assert len(verify(Root(str(corpus)), repair=True).damage) == 2
    stages = Builder(load(str(config))).build("shards").stages
    assert (stages["ingest"], stages["shards"]) == ("built", "built")
    assert digests(corpus) == before
    assert verify(Root(str(corpus))).damage == []


def test_a_damaged_run_is_repaired_and_trained_to_the_same_bits(tmp_path, built):
    corpus = copy(built.parent / "corpus", tmp_path / "corpus")
    result = json.loads((corpus / "runs/lstm/result.json").read_text())
    weights = corpus / "runs/lstm" / result["checkpoint"] / "weights.safetensors"
    damages = (weights.unlink, lambda: weights.write_bytes(b"x"), (weights.parents[1] / "latest").unlink)
    for number, damage in enumerate(damages):
        damage()
        if number == 1:  # as if the run had not been finished: no row names its files
            (corpus / "ledger/train/lstm.json").unlink()
        found = corpusmill("verify", corpus, "--repair")
        assert found.returncode == 1
        assert len([line for line in found.stdout.splitlines() if line.startswith("DAMAGED") and "runs/" in line]) == 1
        done = corpusmill("build", built, "--corpus", corpus)
        assert done.returncode == 0, done.stderr
        assert json.loads((corpus / "runs/lstm/result.json").read_text())["files"] == result["files"]
        assert verify(Root(str(corpus))).sound


def test_a_lost_shard_is_written_again(tmp_path):
    config = write_config(tmp_path, ONE)
    Builder(load(str(config))).build("shards")
    before = digests(tmp_path / "corpus")
    next((tmp_path / "corpus/shards").glob("train-*")).unlink()
    assert Builder(load(str(config))).build("shards").stages["shards"] == "built"
    assert digests(tmp_path / "corpus") == before


def test_a_changed_input_file_is_read_again(tmp_path):
    source = tmp_path / "copy.xml"
    text = (DATA / "enwiki-20141107-pages-articles-excerpt.xml").read_text()
    source.write_text(text)
    config = write_config(tmp_path, {"wiki": [str(source)]})
    Builder(load(str(config))).build("ingest")
    source.write_text(text.replace("the", "teh"))
    assert Builder(load(str(config))).build("ingest").stages == {"ingest": "built"}


def test_nothing_kept_is_refused_with_the_cure(tmp_path):
    config = write_config(tmp_path, ONE)
    with pytest.raises(CorpusmillError, match=r"no document was kept[^*]*\[clean\]"):
        Builder(load(str(config), ["clean.rules.0.min=1e9"])).build("shards")


def test_a_run_of_a_changed_configuration_is_kept_aside(tmp_path, built):
    config = built.parent / "again.toml"
    config.write_text(built.read_text())
    corpus = copy(built.parent / "corpus", tmp_path / "corpus")
    done = corpusmill("build", config, "--corpus", corpus, "--set", "run.lstm.steps=7")
    assert done.returncode == 0, done.stderr
    assert "the earlier run is now" in done.stderr
    assert len(list((corpus / "runs").glob("lstm.*"))) == 1
    assert json.loads((corpus / "runs/lstm/result.json").read_text())["steps"] == 7
    assert verify(Root(str(corpus))).sound


def test_going_back_to_a_configuration_brings_its_run_back(tmp_path, built):
    corpus = copy(built.parent / "corpus", tmp_path / "corpus")
    first = (corpus / "runs/lstm/result.json").read_bytes()
    for steps in ("7", "6", "7", "6"):
        Builder(load(str(built), [f"run.lstm.steps={steps}"], str(corpus))).build("train")
    assert (corpus / "runs/lstm/result.json").read_bytes() == first
    assert len(list((corpus / "runs").glob("lstm*"))) == 2


@pytest.mark.parametrize("left", [["lstm"], []])
def test_a_run_that_leaves_the_configuration_leaves_the_report_and_its_files_stay(tmp_path, built, left):
    corpus = copy(built.parent / "corpus", tmp_path / "corpus")
    before = (corpus / "report.html").read_bytes(), (corpus / "README.md").read_bytes()
    weights = {path: path.read_bytes() for path in corpus.glob("runs/*/checkpoints/*/weights.safetensors")}
    assert len(weights) == 2
    config = load(str(built), root=str(corpus))
    fewer = config.model_copy(update={"run": {name: config.run[name] for name in left}})
    assert Builder(fewer).build().stages["report"] == "built"
    assert list(funnel(Root(str(corpus)))["runs"]) == left
    for file in ("report.html", "README.md"):
        assert [name for name in ("lstm", "transformer") if name in (corpus / file).read_text()] == left
    assert {path: path.read_bytes() for path in weights} == weights
    assert verify(Root(str(corpus))).sound
    assert set(Builder(fewer).build().stages.values()) - {"up to date"} <= {
        "nothing to do: the configuration has no [run.NAME]"
    }
    Builder(config).build()  # its run is there again, without training
    assert ((corpus / "report.html").read_bytes(), (corpus / "README.md").read_bytes()) == before
    assert {path: path.read_bytes() for path in weights} == weights


def test_a_row_never_vouches_for_the_parts_of_another_build(tmp_path):
    config = write_config(tmp_path, ONE)
    Builder(load(str(config))).build("dedup")
    before = digests_of_data(tmp_path / "corpus")
    code = (
        "import os, signal, sys; from pipeline.build import Builder; from pipeline.config import load\n"
        "from pipeline.ledger import Ledger\n"
        # killed when the parts have their names and the row has not
        "Ledger.commit = lambda self, row: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Builder(load(sys.argv[1], ['dedup.minhash.seed=2'])).build('dedup')"
    )
    assert subprocess.run([sys.executable, "-c", code, str(config)]).returncode == -signal.SIGKILL
    assert digests_of_data(tmp_path / "corpus") != before
    assert Builder(load(str(config))).build("dedup").stages["ingest"] == "built"
    assert digests_of_data(tmp_path / "corpus") == before


def digests_of_data(corpus):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in corpus.glob("signatures/*")}


def test_only_a_corpus_of_this_name_or_an_empty_folder_is_built_in(tmp_path):
    config = write_config(tmp_path, ONE)
    mine = tmp_path / "corpus/tokenizer/mine.py"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(CorpusmillError, match="not a corpus, and not empty"):
        Builder(load(str(config))).build("ingest")
    assert mine.read_text() == "mine"
    mine.unlink()
    Builder(load(str(config))).build("ingest")
    with pytest.raises(CorpusmillError, match="this is the corpus 'test', not 'other'"):
        Builder(load(str(config), ['name="other"'])).build("ingest")
    with pytest.raises(UsageError, match=r"no \[\[source\]\]"):
        Builder(load(str(config), ["source=[]"])).build("ingest")


def test_a_stranger_s_folder_is_left_as_it_was(tmp_path):
    config = write_config(tmp_path, ONE)
    mine = [tmp_path / "corpus" / name for name in ("documents/.tmp-notes.txt", "documents/a", "ledger/running/2024")]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    with pytest.raises(CorpusmillError, match="not a corpus, and not empty"):
        Builder(load(str(config))).build("ingest")
    assert sorted(path for path in (tmp_path / "corpus").rglob("*") if path.is_file()) == sorted(mine)


def test_what_was_encoded_from_units_that_are_gone_is_not_in_the_shards(tmp_path):
    config = write_config(tmp_path, {"wiki": ["enwiki-20141107-*", "itwiki-*"]})
    Builder(load(str(config))).build("tokenizer")
    builder = Builder(load(str(config)))
    sizes = {row.unit: row.counts.kept for row in builder.ledger.rows("dedup")}
    for unit in encode.plan(builder.config, "key", sizes.items()):
        encode.process(builder.root, unit)  # killed before the row is written
    config = write_config(tmp_path, ONE)
    Builder(load(str(config))).build("shards")
    assert verify(Root(str(tmp_path / "corpus"))).damage == []


@pytest.mark.parametrize("stage", ["ingest", "dedup"])
def test_a_lost_row_is_made_again_by_one_build(tmp_path, stage):
    config = write_config(tmp_path, {"wiki": ["enwiki-20141107-*", "itwiki-*"]})
    Builder(load(str(config))).build("shards")
    before = digests(tmp_path / "corpus")
    next((tmp_path / f"corpus/ledger/{stage}").glob("wiki--it*")).unlink()
    Builder(load(str(config))).build("shards")
    assert digests(tmp_path / "corpus") == before


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"config": {}, "digest": ""}'])
@pytest.mark.parametrize("name", ["config", "ingest", "dedup"])
def test_a_spoilt_ledger_file_is_refused_and_its_own_mend_mends_it(tmp_path, built, name, text):
    config = load(str(built), [f'root="{copy(built.parent / "corpus", tmp_path / "corpus")}"'])
    path = tmp_path / f"corpus/ledger/{name}.json"
    path.write_text(text)
    with pytest.raises(CorpusmillError, match=re.escape(path.name)) as error:
        Builder(config).build("shards")
    assert "delete" in error.value.mend
    path.unlink()
    Builder(config).build("shards")
    assert verify(Root(config.root)).damage == []


def test_a_refused_build_leaves_the_recorded_configuration(tmp_path, built):
    config = write_config(tmp_path, ONE)
    Builder(load(str(config))).build("ingest")
    path = tmp_path / "corpus/ledger/config.json"
    before = path.read_bytes()
    with pytest.raises(CorpusmillError):
        Builder(load(str(config), ['source.0.paths=["nothing*"]', "seed=5"])).build("ingest")
    assert path.read_bytes() == before


def test_a_row_under_another_name_is_named(tmp_path, built):
    config = load(str(built), [f'root="{copy(built.parent / "corpus", tmp_path / "corpus")}"'])
    row = next((tmp_path / "corpus/ledger/ingest").glob("*.json"))
    stray = row.with_name("copy.json")
    stray.write_bytes(row.read_bytes())
    with pytest.raises(CorpusmillError, match=r"copy\.json"):
        Builder(config).build("ingest")
    assert any("copy.json" in damage for damage in verify(Root(config.root), repair=True).damage)
    assert not stray.exists()


def test_what_a_killed_run_left_is_tidied_and_strays_are_mended_by_a_build(tmp_path):
    config = write_config(tmp_path, ONE)
    corpus = tmp_path / "corpus"
    Builder(load(str(config))).build("shards")
    stray = [corpus / "encoded/left.parquet", corpus / "documents/stray.parquet"]
    for path in stray:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    assert sum("no ledger row names this file" in d for d in verify(Root(str(corpus))).damage) == 2
    assert set(Builder(load(str(config))).build("shards").stages.values()) == {"up to date"}
    assert verify(Root(str(corpus))).damage == []


def test_neither_the_place_of_the_dumps_nor_that_of_the_corpus_is_in_its_bytes(tmp_path):
    found = []
    for place in ("here", "there/deeper"):
        dump = tmp_path / place / "dumps"
        dump.mkdir(parents=True)
        text = (DATA / "enwiki-20141107-pages-articles-excerpt.xml").read_text()
        (dump / "a.xml").write_text(text)
        (dump / "cut.xml").write_text(text[: len(text) // 2].replace("<id>", "<id>1"))
        config = write_config(tmp_path / place, {"wiki": [str(dump / "*.xml")]})
        Builder(load(str(config))).build()
        files = {p.relative_to(config.parent).as_posix(): p for p in sorted((config.parent / "corpus").rglob("*.*"))}
        keep = {n: p.read_bytes() for n, p in files.items() if p.is_file() and "/ledger/" not in n}
        stages = ("ingest", "dedup", "tokenizer", "shards", "report")
        rows = [json.loads((config.parent / f"corpus/ledger/{stage}.json").read_text()) for stage in stages]
        found.append((keep, rows))
    assert found[0] == found[1]
    assert str(tmp_path) not in found[0][0]["corpus/README.md"].decode()


@pytest.mark.slow
def test_training_that_is_told_to_stop_saves_and_has_not_failed(tmp_path, built, built_corpus):
    config = tmp_path / "corpus.toml"
    config.write_text(built.read_text())
    corpus = copy(built_corpus, tmp_path / "corpus")
    asked = command("train", config, "--json", "--set", "run.lstm.steps=1000000")
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        told = []
        for line in process.stderr:
            told.append(line)
            if line.startswith("train lstm: step"):
                process.send_signal(signal.SIGTERM)
        printed = json.loads(process.stdout.read())
    assert process.returncode == 0, told
    assert "stopped at step" in printed["stopped"]
    before = dict.fromkeys(("ingest", "dedup", "tokenizer", "shards"), "done")
    assert (printed["stages"], printed["faults"]) == ({**before, "train": "stopped"}, {})
    assert printed["funnel"]["stages"]["ingest"]["counts"]["read"] > 0
    assert any("stopped at step" in line for line in told)
    assert any("the same command goes on from the checkpoint" in line for line in told)
    assert list(corpus.glob("runs/lstm/checkpoints/latest"))
    assert not list(corpus.glob("ledger/failed/train/*"))
