"""`corpusmill tokenizer`, and models that users bring."""

from __future__ import annotations

import hashlib
import json
import subprocess

import pytest

from pipeline import cli
from pipeline.build import Builder
from pipeline.config import load
from pipeline.errors import UsageError
from tests.corpus import command, copy
from tests.tokenizer.real import pages
from tokenizer.train import TokenizerOptions, train

TEXTS = ["The city of Rome", "Größe  und\tMaß", "東京都 😀", ""]


def run(*arguments: object, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command("tokenizer", *arguments), input=given, capture_output=True, text=True, timeout=100)


def test_encode_and_decode_are_inverse(built_corpus):
    ids = run("encode", built_corpus, given="\n".join(TEXTS) + "\n")
    assert ids.returncode == 0, ids.stderr
    assert len(ids.stdout.splitlines()) == len(TEXTS)
    back = run("decode", built_corpus / "tokenizer", given=ids.stdout)
    assert back.stdout.split("\n")[:-1] == TEXTS
    ends = run("encode", built_corpus / "tokenizer/tokenizer.model", "--text", TEXTS[0], "--bos", "--eos", "--pieces")
    assert ends.stdout.startswith("<s> ")
    assert ends.stdout.endswith(" </s>\n")


@pytest.mark.parametrize(
    ("what", "given", "message"),
    [
        ("encode", b"good\nbad \xff\n", "line 2 of the input is not UTF-8"),
        ("encode", b"a\0b\n", "NUL"),
        ("encode", b"\xed\xa0\x80\n", "not UTF-8"),  # a lone surrogate
        ("decode", b"1 x\n", "no token ids"),
        ("decode", b"-4\n", "no token ids"),
        ("decode", b"999999\n", "token id 999999"),
    ],
)
def test_what_cannot_be_encoded_is_refused(built_corpus, what, given, message):
    done = subprocess.run(command("tokenizer", what, built_corpus), input=given, capture_output=True, timeout=100)
    assert done.returncode == 1
    assert message in done.stderr.decode()


def test_report_by_language_beside_a_baseline(built_corpus, capsys):
    assert cli.main(["tokenizer", "report", str(built_corpus), "--baseline", str(built_corpus), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    whole = found["languages"][-1]
    assert whole["documents"] == sum(row["documents"] for row in found["languages"][:-1]) > 0
    assert whole["round_trip_failures"] == whole["unknown"] == 0
    assert whole["baseline"]["model"]["bytes_per_token"] == whole["bytes_per_token"] > 1
    assert found["vocabulary"]["used"] <= found["vocabulary"]["pieces"]
    assert cli.main(["tokenizer", "report", str(built_corpus)]) == 0
    assert "vocabulary: " in capsys.readouterr().out


def test_the_stage_is_meant_where_no_word_is_given():
    for words in (["tokenizer", "c.toml"], ["tokenizer", "train", "c.toml"], ["tokenizer", "--workers=2", "c.toml"]):
        options = cli.parser().parse_args(words)
        assert (options.config, options.until) == ("c.toml", "tokenizer")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A model of other settings than ours: with NFKC, without bytes."""
    path = tmp_path_factory.mktemp("foreign") / "mine.model"
    options = TokenizerOptions(kind="bpe", vocab_size=700, byte_fallback=False, normalizer="nfkc")
    path.write_bytes(train([text for language, text in pages() if language == "en"][:3], options).model)
    return path


def test_a_model_is_brought(built, built_corpus, foreign, tmp_path):
    corpus = copy(built_corpus, tmp_path / "corpus")
    config = load(str(built), [f"tokenizer.model={foreign}"], str(corpus))
    assert Builder(config).build("shards").stages["tokenizer"] == "built"
    assert (corpus / "tokenizer/tokenizer.model").read_bytes() == foreign.read_bytes()
    assert not (corpus / "tokenizer/tokenizer.json").exists()
    manifest = json.loads((corpus / "tokenizer/manifest.json").read_text())
    digest = hashlib.sha256(foreign.read_bytes()).hexdigest()
    assert manifest["model_sha256"] == digest
    assert "it normalises text" in manifest["no_transformers"]
    assert json.loads((corpus / "shards/index.json").read_text())["tokenizer_sha256"] == digest
    moved = tmp_path / "elsewhere.model"
    moved.write_bytes(foreign.read_bytes())
    config = load(str(built), [f"tokenizer.model={moved}"], str(corpus))
    assert set(Builder(config).build("shards").stages.values()) == {"up to date"}


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_what_is_no_model_is_refused(built, built_corpus, tmp_path, content):
    path = tmp_path / "mine.model"
    if content is not None:
        path.write_bytes(content)
    config = load(str(built), [f"tokenizer.model={path}"], str(copy(built_corpus, tmp_path / "corpus")))
    with pytest.raises(UsageError, match=r"mine\.model: tokenizer\.model: .*\n  to mend: name a \.model file"):
        Builder(config).build("tokenizer")


def test_weights_and_reserved_ids_reach_the_model(built, built_corpus, tmp_path):
    corpus = copy(built_corpus, tmp_path / "corpus")
    settings = ["tokenizer.reserved=3", "tokenizer.weights={it=0}", "tokenizer.sample=100 kB"]
    Builder(load(str(built), [*settings, "tokenizer.vocab_size=1500"], str(corpus))).build("tokenizer")
    lines = (corpus / "tokenizer/tokenizer.vocab").read_text().split("\n")
    assert [line.split("\t")[0] for line in lines[4:7]] == [f"<reserved_{i}>" for i in range(3)]
    manifest = json.loads((corpus / "tokenizer/manifest.json").read_text())
    assert manifest["options"]["reserved"] == 3
    assert "▁della\t" not in "\n".join(lines)  # no Italian was seen
