"""What the system or the storage refuses: the command says what, where, and what mends it, without a traceback."""

import os
import re
import subprocess
import sys

import pytest

from pipeline import cli
from pipeline.errors import CorpusmillError
from pipeline.storage import Root
from tests.corpus import copy, corpusmill, write_config
from tests.shared import ROOT


def refused(capsys, *arguments):
    """What a command that fails says, which is no traceback."""
    status = cli.main([str(a) for a in arguments])
    said = capsys.readouterr().err
    assert status in (1, 2)
    assert said.startswith("corpusmill: ")
    assert "\n  to mend: " in said
    return said


def limited(code, size, *arguments):
    """Run code in a process that can write no file over ``size`` bytes: what a full disk does."""
    limit = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
    )
    command = [sys.executable, "-c", limit + code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # half of a module would be left
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)


@pytest.mark.parametrize(
    ("corpus", "cause"),
    [
        ("/proc/corpus", "/proc/corpus: No such file or directory"),
        ("/dev/null/x", "/dev/null/x.*: Not a directory"),
        ("CONFIG/x", "corpus.toml/x.*: Not a directory"),
        ("file:///tmp/corpus", "name it /tmp/corpus"),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9/x.*: Connect"),
    ],
)
def test_a_root_that_cannot_be_is_refused_by_name(tmp_path, capsys, corpus, cause):
    config = write_config(tmp_path)
    assert re.search(cause, refused(capsys, "build", config, "--corpus", corpus.replace("CONFIG", str(config))))


def test_a_store_that_cannot_do_what_is_asked_is_named():
    with pytest.raises(CorpusmillError, match=r"http://127.0.0.1:9/x: the storage does not do what is asked"):
        Root("http://127.0.0.1:9/x").remove("ledger/lock")


def test_a_server_that_is_not_there_is_named(capsys):
    assert "http://127.0.0.1:9/x: Connect" in refused(capsys, "status", "http://127.0.0.1:9/x")


@pytest.mark.parametrize("command", ["status", "verify", "unlock"])
def test_a_store_without_credentials_is_named(tmp_path, monkeypatch, capsys, command):
    s3fs = pytest.importorskip("s3fs", reason="needs the extra [s3]")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        assert "s3://bucket/x" in refused(capsys, command, "s3://bucket/x")
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_store_without_the_bucket_is_named(store, tmp_path, capsys):
    config = write_config(tmp_path)
    assert "s3://absent/x" in refused(capsys, "build", config, "--corpus", "s3://absent/x")


@pytest.mark.parametrize("key", ["clean.flagged_words.en", "clean.pii.key"])
def test_a_folder_in_place_of_a_file_of_clean_is_refused(tmp_path, capsys, key):
    config = write_config(tmp_path)
    assert "Is a directory" in refused(capsys, "build", config, "--set", f'{key}="{tmp_path}"')


def test_a_full_disk_fails_by_name_and_the_same_build_goes_on(tmp_path):
    config = write_config(tmp_path, {"wiki": ["itwiki-*"]})
    code = "from pipeline.cli import main; raise SystemExit(main(['ingest', sys.argv[1]]))"
    for size in (100, 20_000):  # not even the configuration; not the parts
        done = limited(code, size, config)
        assert done.returncode == 1
        assert "File too large" in done.stderr
        assert "to mend: " in done.stderr
        assert "Traceback" not in done.stderr
    assert corpusmill("ingest", config).returncode == 0


def test_a_failure_that_cannot_be_recorded_is_said(tmp_path):
    code = (
        "from pipeline.ledger import Unit; from pipeline.stages.work import process\n"
        "print(process(sys.argv[1], Unit('absent', 'unit', 'key', 1, {})))"
    )
    done = limited(code, 150, tmp_path)
    assert "No module named" in done.stdout
    assert done.stderr.startswith("absent: unit: ModuleNotFoundError")


def test_files_of_a_corpus_that_are_gone_are_named(built_corpus, tmp_path, capsys):
    corpus = copy(built_corpus, tmp_path / "corpus")
    (corpus / "tokenizer/tokenizer.model").unlink()
    output = tmp_path / "exported"
    said = refused(capsys, "export", corpus, "--format", "nanogpt", "--output", output)
    assert "tokenizer.model: No such file" in said
    assert not output.exists()
    for folder in ("documents", "duplicates"):
        for part in (corpus / folder).iterdir():
            part.unlink()
    for command in (["inspect", corpus, "--kept"], ["tokenizer", "report", corpus], ["duplicates", corpus]):
        assert "it is missing" in refused(capsys, *command)


@pytest.mark.parametrize("command", [["config", "init"], ["config", "schema"], ["model", "summary", "--help"]])
def test_results_are_utf_8_whatever_the_locale(command):
    def printed(encoding):
        done = subprocess.run(
            [os.path.join(os.path.dirname(sys.executable), "corpusmill"), *command],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert printed("ascii") == printed("utf-8")
