import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from pipeline import __version__, cli
from pipeline.errors import UsageError
from tests.corpus import DATA, corpusmill, write_config
from tests.shared import ROOT


def commands():
    (sub,) = (a for a in cli.parser()._actions if hasattr(a, "choices") and isinstance(a.choices, dict))
    return sub.choices


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_has_help_with_an_example_and_stands_in_the_readme(name, capsys):
    assert cli.main([name, "--help"]) == 0
    assert f"example: corpusmill {name}" in capsys.readouterr().out
    assert f"corpusmill {name}" in (ROOT / "README.md").read_text()


def test_the_examples_in_the_help_parse():
    for name, parser in commands().items():
        example = re.fullmatch(r"example: corpusmill (.+)", parser.epilog)[1].replace("'The city'", "x").split(" > ")[0]
        assert cli.parser().parse_args(example.split()).command == name


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"corpusmill {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["build"],
        ["build", "absent.toml"],
        ["build", "CONFIG", "--workers", "none"],
        ["build", "CONFIG", "--until", "nowhere"],
        ["build", "CONFIG", "--set", "nonsense"],
        ["build", "CONFIG", "--set", "clean.rule=1"],
        ["build", "CONFIG", "--", "--parallelism=2"],
        ["build", "NOFILES"],
        ["config", "show"],
        ["config", "curve"],
        ["build", "CONFIG", "--memory", "much"],
        ["unlock", "local/folder"],
        ["trace", "x", "--title", "A", "--limit", "0"],
        ["trace", "x", "--title", "A", "--limit", "-1"],
        ["inspect", "x", "--kept", "1", "--seed", "99999999999999999999"],
        ["inspect", "x", "--kept", "-1"],
        ["duplicates", "x", "--copies", "-1"],
        ["model", "summary", "--depth", "0"],
        ["model", "summary", "--depth", "-3"],
        ["model", "summary", "--vocab", "-5"],
        ["plan", "CONFIG", "--sample", "-5 MB"],
        ["plan", "CONFIG", "--sample", "0"],
        ["config", "init", "--set", "unit=1"],
        ["config", "schema", "--set", "unit=1"],
        ["config", "init", "corpus.toml"],
        ["trace", "x"],
        ["model", "summary", "corpus.toml", "--depth", "4"],
        ["model", "summary", "--run", "lstm"],
        ["sample", "x", "--top-p", "2"],
        ["status", "x", "--", "--parallelism=2"],
        ["build", "CONFIG", "--set", "source.7.name=a"],
    ],
)
def test_wrong_usage_is_status_2(tmp_path, capsys, arguments):
    paths = {
        "CONFIG": str(write_config(tmp_path / "a")),
        "NOFILES": str(write_config(tmp_path / "b", {"wiki": ["nothing-*"]})),
    }
    assert cli.main([paths.get(a, a) for a in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: ") or "\n  to mend: " in said


def test_a_size_may_be_digits_alone():
    from pipeline.commands.common import memory, size

    assert size("--sample", "500000") == size("--sample", "500 kB") == 500_000
    assert memory("8000000000") == memory("8GB") == 8_000_000_000
    assert memory("auto") > 0
    with pytest.raises(UsageError, match=r"--sample takes a size above 0 .*, not '-5 MB'"):
        size("--sample", "-5 MB")


@pytest.mark.parametrize(
    "command",
    [["status"], ["inspect"], ["duplicates"], ["verify"], ["tokenizer", "report"], ["trace", "--title", "A"]],
    ids=" ".join,
)
def test_the_toml_in_place_of_the_corpus_is_status_2(tmp_path, capsys, command):
    config = write_config(tmp_path)
    assert cli.main([*command, str(config)]) == 2
    assert f"{config}: this is a file, not a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [["status"], ["verify"], ["verify", "--repair"], ["tokenizer", "report"], ["trace", "--title", "A"]],
    ids=" ".join,
)
def test_a_folder_without_a_corpus_is_status_1_and_stays_as_it_is(tmp_path, capsys, command):
    for folder in (tmp_path, tmp_path / "absent"):
        assert cli.main([*command, str(folder)]) == 1
        assert "corpusmill build CONFIG" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_two_files_of_one_name_are_refused(tmp_path, capsys):
    (tmp_path / "sub").mkdir()
    for folder in ("", "sub"):
        (tmp_path / folder / "x.xml").write_text("<mediawiki/>")
    config = write_config(tmp_path, {"wiki": [str(tmp_path / "x.xml"), str(tmp_path / "sub/x.xml")]})
    assert cli.main(["build", str(config), "--dry-run"]) == 2
    assert "separate [[source]] entries" in capsys.readouterr().err


def test_config_init_show_schema(tmp_path, capsys):
    assert cli.main(["config", "init"]) == 0
    (tmp_path / "c.toml").write_text(capsys.readouterr().out)
    assert cli.main(["config", "show", str(tmp_path / "c.toml"), "--set", "shards.seed=3"]) == 0
    assert json.loads(capsys.readouterr().out)["shards"]["seed"] == 3
    assert cli.main(["config", "curve", str(tmp_path / "c.toml"), "--set", "dedup.minhash.rows=4"]) == 0
    curve = capsys.readouterr().out
    assert "14 bands x 4 rows" in curve
    assert f"0.80{1 - (1 - 0.8**4) ** 14:>12.4f}" in curve
    assert cli.main(["config", "schema"]) == 0
    assert "source" in json.loads(capsys.readouterr().out)["properties"]


def test_the_schema_of_one_key(capsys):
    assert cli.main(["config", "schema", "clean.rules"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["type"] == "array"
    assert set(found["$defs"]) == {"RuleConfig"}
    assert "words" in {one.get("const") for one in found["$defs"]["RuleConfig"]["properties"]["statistic"]["oneOf"]}
    for key in ("clean.rules.min", "clean.rules.0.min"):
        assert cli.main(["config", "schema", key]) == 0
        assert json.loads(capsys.readouterr().out)["description"] == "smallest value kept"
    assert cli.main(["config", "schema", "run.mine.optimizer"]) == 0
    assert cli.main(["config", "schema", "run.mine.model.d_model"]) == 0
    assert cli.main(["config", "schema", "dedup.lines"]) == 0
    assert "min_words" in json.loads(capsys.readouterr().out.split("\n}\n")[-2] + "}")["properties"]


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("train.optimizer", "near it: run.NAME.optimizer"),
        ("clean.ruels", "near it: clean.rules"),
        ("nonsense", "shards"),
        ("clean.rules.min.more", "near it: clean.rules.min"),
        ("", "shards"),
    ],
)
def test_an_unknown_key_of_the_schema_is_refused_with_those_near_it(capsys, key, near):
    assert cli.main(["config", "schema", key]) == 2
    said = capsys.readouterr().err
    assert near in said
    assert "to mend: corpusmill config schema " in said


def test_a_wrong_configuration_names_the_part_of_the_schema(tmp_path, capsys):
    config = str(write_config(tmp_path))
    for override, part in (
        ("clean.rules.0.max=x", "clean.rules.max"),
        ("clean.rule=1", "clean"),
        ("nonsense=1", ""),
        ("tokenizer.character_coverage=0.97", "tokenizer.character_coverage"),
    ):
        assert cli.main(["config", "show", config, "--set", override]) == 2
        assert capsys.readouterr().err.endswith(f"to mend: corpusmill config schema {part}".rstrip() + "\n")


def test_doctor(capsys):
    assert cli.main(["doctor", "--json"]) == 0
    found = {row["check"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["package pipeline is corpusmill's"]["ok"]
    assert found["apache-beam"]["ok"]
    assert found["Beam runs a pipeline"]["ok"]
    assert found["extra [pipeline]"]["detail"] == "complete"


def not_installed(tmp_path, *without):
    """`corpusmill doctor` where the packages are found but for corpusmill's own metadata and those of ``without``."""
    (tmp_path / "site").mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(("corpusmill", "__editable__", *without)):
            (tmp_path / "site" / path.name).symlink_to(path)
    code = "from pipeline.cli import main; raise SystemExit(main(['doctor']))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "clone"), str(tmp_path / "site")])}
    command = [sys.executable, "-S", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)


def test_doctor_in_a_clone_that_was_not_installed(tmp_path):
    for name in ("pipeline", "tokenizer", "train"):
        (tmp_path / "clone").mkdir(exist_ok=True)
        shutil.copytree(ROOT / name, tmp_path / "clone" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "clone")
    done = not_installed(tmp_path, "brotli", "_brotli", "safetensors")
    assert done.returncode == 0, done.stderr
    assert re.search(r"installation +not installed; a clone: .*pip install '\.\[pipeline,train\]'", done.stdout)
    assert re.search(r"ok +apache-beam +\d", done.stdout)
    assert re.search(r"extra \[pipeline\] +without brotli; in a clone of corpusmill: pip", done.stdout)
    (tmp_path / "clone/pyproject.toml").unlink()
    shutil.rmtree(tmp_path / "site")
    done = not_installed(tmp_path)
    assert done.returncode == 1
    assert re.search(r"NO +installation +not installed, and what it needs is not stated", done.stdout)


def test_doctor_finds_a_foreign_package(tmp_path):
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/__init__.py").write_text("")
    code = "from pipeline.cli import main; raise SystemExit(main(['doctor']))"
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(r"NO +package tokenizer is corpusmill's +found in", done.stdout)


def test_status_and_json_of_a_built_corpus(built, built_corpus, capsys):
    assert cli.main(["status", str(built_corpus)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^read +\d", text, re.M)
    assert re.search(r"^transformer +\d", text, re.M)
    done = corpusmill("build", built, "--json")
    value = json.loads(done.stdout)
    assert set(value["stages"].values()) == {"up to date"}
    assert value["funnel"]["stages"]["ingest"]["counts"]["read"] > 0


def test_eval_and_sample_of_a_trained_run(built_corpus):
    run = built_corpus / "runs/lstm"
    done = corpusmill("eval", run, "--json")
    recorded = json.loads((run / "result.json").read_text())["validation"]
    found = json.loads(done.stdout)
    assert found["validation"]["loss"] == pytest.approx(recorded["loss"], rel=1e-6)
    assert set(found["sources"]) == {"wiki", "web"}
    assert {"en", "it"} <= set(found["languages"])
    assert sum(group["tokens"] for group in found["languages"].values()) == found["validation"]["tokens"]
    tables = corpusmill("eval", run).stdout.split("\n\n")
    assert [re.match(r"\w+ +loss +perplexity", table) and table.split()[0] for table in tables] == [
        "validation",
        "sources",
        "languages",
    ]
    absent = corpusmill("eval", run, "--split", "test")
    assert absent.returncode == 1
    assert "no split test here; there are train, validation\n  to mend: give shards.test" in absent.stderr
    first = corpusmill("sample", run, "--prompt", "The city", "--tokens", "12", "--seed", "3")
    again = corpusmill("sample", run, "--prompt", "The city", "--tokens", "12", "--seed", "3")
    assert first.returncode == 0, first.stderr
    assert first.stdout == again.stdout
    silent = corpusmill("sample", run, "--prompt", "The city", "--prompt", "A", "--tokens", "0")
    assert silent.stdout == "The city\n\nA\n"
    assert len(first.stdout) > len("The city")


def test_model_summary_diagram_and_export(built, built_corpus, tmp_path, capsys):
    run = built_corpus / "runs/transformer"
    parameters = json.loads((run / "result.json").read_text())["parameters"]
    for which in ([str(run)], [str(built), "--run", "transformer", "--vocab", "4000"]):
        assert cli.main(["model", "summary", *which, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["parameters"] == parameters
        assert cli.main(["model", "diagram", *which]) == 0
        assert capsys.readouterr().out.startswith("<svg")
    options = (["--depth", "8"], ["--preset", "gpu"])
    wrong = [
        [str(built), "--run", "none"],
        [str(run), "--set", "name=b"],
        ["--depth", "0"],
        [str(run), "--run", "lstm"],
    ]
    for which in (*wrong, *([str(built), *option] for option in options)):
        assert cli.main(["model", "summary", *which]) == 2
    assert cli.main(["model", "export", str(run), str(built)]) == 1
    assert cli.main(["model", "export", str(run), str(tmp_path / "out")]) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"model.safetensors", "config.json", "tokenizer.model"}


def test_the_bundled_sample_is_cut_into_units(tmp_path):
    done = corpusmill("build", ROOT / "examples/sample.toml", "--corpus", tmp_path / "c", "--dry-run", "--json")
    plan = json.loads(done.stdout)
    assert sum(file["bytes"] for file in plan["files"].values()) == sum(p.stat().st_size for p in DATA.iterdir())
    multistream = next(f for path, f in plan["files"].items() if "multistream" in path)
    assert multistream["units"] > 1
    single = next(f for path, f in plan["files"].items() if "enwiki-2016" in path)
    assert (single["units"], single["note"]) == (1, "one compressed stream: cannot be cut")


def test_trace_in_the_folder_of_the_shards_and_by_half_an_id(built_corpus, monkeypatch, capsys):
    monkeypatch.chdir(built_corpus / "shards")
    (shard,) = (built_corpus / "shards").glob("train-00000-*.arrow")
    assert cli.main(["trace", shard.name, "0", "--json"]) == 0
    id = json.loads(capsys.readouterr().out)[0]["document"]["id"]
    assert cli.main(["trace", "..", "--id", id.upper()]) == 0
    assert cli.main(["trace", "..", "--id", id[:2]]) == 2
    assert f"not {id[:2]!r}" in capsys.readouterr().err


def test_a_split_asked_for_twice_is_exported_once_and_never_into_a_corpus(built_corpus, tmp_path, capsys):
    export = ["export", str(built_corpus), "--format", "nanogpt", "--split", "train", "--split", "train", "--output"]
    assert cli.main([*export, str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"train.bin", "meta.pkl"}
    assert re.findall(r"/([^/]+): \d[\d,]* (\w+)", capsys.readouterr().out) == [
        ("train.bin", "documents"),
        ("meta.pkl", "pieces"),
    ]
    for inside in (built_corpus, built_corpus / "shards/nano", built_corpus / "own/deeper"):
        assert cli.main([*export, str(inside)]) == 2
        assert "inside a corpus" in capsys.readouterr().err


def test_a_tokenizer_may_be_a_file_of_any_name(built_corpus, tmp_path, capsys):
    (tmp_path / "spm.bin").write_bytes((built_corpus / "tokenizer/tokenizer.model").read_bytes())
    assert cli.main(["tokenizer", "encode", str(tmp_path / "spm.bin"), "--text", "a city"]) == 0
    assert capsys.readouterr().out.split()
