"""What cannot be written whole is refused and goes on: a full disk, a kill in the middle, a foreign tokenizer."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

from pipeline.build import Builder
from pipeline.config import load
from pipeline.errors import CorpusmillError
from pipeline.shards.read import open_shards
from tests.corpus import command, copy, corpusmill, data_files
from train.loop import train

OTHER = ("--set", "shards.seed=9", "--until", "shards")


@pytest.fixture(scope="module")
def expected(built, tmp_path_factory):
    """The files of an undisturbed build with another shuffle."""
    corpus = copy(built.parent / "corpus", tmp_path_factory.mktemp("expected") / "corpus")
    Builder(load(str(built), ["shards.seed=9"], str(corpus))).build("shards")
    return data_files(corpus)


def test_a_full_disk_is_refused_and_the_same_command_goes_on(built, built_corpus, tmp_path):
    corpus = copy(built_corpus, tmp_path / "corpus")
    large = ("--set", "shards.tokens=10_000_000", "--until", "shards")  # one shard of 2 MB

    def small_files():
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails as on a full disk, with an OSError
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    arguments = command("build", built, "--corpus", corpus, *large)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=200, preexec_fn=small_files)
    assert done.returncode == 1
    assert "train-00000-of-00001.arrow: OSError: [Errno 27] File too large" in done.stderr
    assert "the same command does these units only" in done.stderr
    assert not (corpus / "shards/index.json").exists()
    assert list(corpus.rglob(".tmp-*")) == []
    with pytest.raises(CorpusmillError, match="index is missing") as caught:
        open_shards(corpus / "shards")
    assert "corpusmill shards CORPUS_TOML" in caught.value.mend
    done = corpusmill("build", built, "--corpus", corpus, *large)
    assert done.returncode == 0, done.stderr
    for split in ("train", "validation"):
        assert open_shards(corpus / "shards", split).n_tokens == open_shards(built_corpus / "shards", split).n_tokens


@pytest.mark.slow
def test_killed_between_two_shards_it_goes_on(built, built_corpus, tmp_path, expected):
    corpus = copy(built_corpus, tmp_path / "corpus")
    code = f"""
import os, signal
from pipeline.build import Builder
from pipeline.config import load
from pipeline.stages import shards
write, written = shards.write_shard, []
def write_and_die(path, *rest, **named):
    written.append(path)
    facts = write(path, *rest, **named)
    if len(written) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return facts
shards.write_shard = write_and_die
Builder(load({str(built)!r}, ["shards.seed=9"], {str(corpus)!r})).build("shards")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=200)
    assert done.returncode == -9
    assert list((corpus / "shards").glob(".tmp-*"))
    with pytest.raises(CorpusmillError, match="index is missing"):
        open_shards(corpus / "shards")
    done = corpusmill("build", built, "--corpus", corpus, *OTHER)
    assert done.returncode == 0, done.stderr
    assert data_files(corpus) == expected


@pytest.mark.slow
def test_another_unit_size_gives_the_same_shards(built, built_corpus, tmp_path):
    """Documents in other parts and other exchange files: the order of the shuffle has no say of theirs."""
    config = tmp_path / "corpus.toml"
    config.write_text(built.read_text().replace('unit = "200 kB"', 'unit = "64 MB"'))
    done = corpusmill("build", config, "--until", "shards")
    assert done.returncode == 0, done.stderr
    other = json.loads((tmp_path / "corpus/shards/index.json").read_text())["splits"]
    index = json.loads((built_corpus / "shards/index.json").read_text())["splits"]
    for split in index:
        mine, theirs = open_shards(built_corpus / "shards", split), open_shards(tmp_path / "corpus/shards", split)
        assert [(d.id, d.start, d.stop) for d in mine.documents()] == [
            (d.id, d.start, d.stop) for d in theirs.documents()
        ]
        assert [shard["n_tokens"] for shard in index[split]["shards"]] == [
            s["n_tokens"] for s in other[split]["shards"]
        ]
        for name in mine.shard_names:
            first, second = ((root / "shards" / name) for root in (built_corpus, tmp_path / "corpus"))
            assert first.read_bytes() == second.read_bytes()


def test_shards_of_another_tokenizer_are_refused_by_a_run(built, built_corpus, tmp_path):
    """A model of the same size, trained on another sample: nothing but its digest tells it from the run's own."""
    corpus = copy(built_corpus, tmp_path / "corpus")
    config = load(str(built), ["tokenizer.seed=7"], str(corpus))
    Builder(config).build("shards")
    own, other = open_shards(built_corpus / "shards"), open_shards(corpus / "shards")
    assert (own.vocab_size, own.special_ids) == (other.vocab_size, other.special_ids)
    assert own.tokenizer_sha256 != other.tokenizer_sha256
    done = corpusmill("eval", built_corpus / "runs/lstm", "--data", corpus / "shards")
    assert done.returncode == 1
    assert "another tokenizer than the model's" in done.stderr
    assert done.stdout == ""
    done = corpusmill("sample", corpus / "runs/lstm", "--prompt", "The", "--tokens", "2")
    assert done.returncode == 1
    assert "another tokenizer than the model's" in done.stderr
    before = (corpus / "runs/lstm/result.json").read_bytes()
    with pytest.raises(CorpusmillError, match="this run has another corpus"):
        train(config.run["lstm"], str(corpus / "shards"), str(corpus / "runs/lstm"))
    assert (corpus / "runs/lstm/result.json").read_bytes() == before
