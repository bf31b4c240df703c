"""`corpusmill inspect`: the same numbers as the ledger, and as a rebuild under other thresholds."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import cli, inspection
from pipeline.ledger import Ledger
from pipeline.storage import Root
from tests.corpus import corpusmill, data_files, write_config

CLEAN = """
[clean]
preset = "gopher"
languages = ["eng", "it", "zh"]
language_score = 0.3
statistics = true
[clean.language_scores]
it = 0.5
[clean.normalise]
[clean.flagged_words]
it = "words.txt"
[[clean.lines]]
test = "without"
value = ["is a ", " che ", "是"]
reason = "phrases"
[[clean.rules]]
statistic = "words"
min = 80
reason = "few_words"
[[clean.rules]]
statistic = "flagged_word_share"
max = 0.02
[clean.decontaminate]
paths = ["quiz.txt"]
ngram = 5
[clean.pii]
key = "secret"
"""


def config(folder: Path) -> Path:
    """A small corpus with every step of [clean]."""
    path = write_config(folder, {"wiki": ["zhwiki-*", "enwiki-20141107-*", "itwiki-*"]})
    text = path.read_text()
    head, tail = text.index("[clean]"), text.index("[tokenizer]")
    path.write_text(text[:head] + CLEAN + text[tail:])
    (folder / "words.txt").write_text("di\nnel 1900\n")
    (folder / "quiz.txt").write_text(
        "Too short\nanarchism is a political philosophy that advocates stateless societies\n"
    )
    (folder / "secret").write_text("a secret for tests only")
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = config(tmp_path_factory.mktemp("inspected"))
    done = corpusmill("build", path, "--until", "dedup")
    assert done.returncode == 0, done.stderr
    assert "1 of 2 benchmark items have too few words" in done.stderr
    return path.parent / "corpus"


def inspect(corpus: Path, capsys, *arguments: str) -> dict:
    assert cli.main(["inspect", str(corpus), "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_rules_dropped_what_the_ledger_says(corpus, capsys):
    counts = Ledger(Root(str(corpus))).stage("ingest")["counts"]
    rules = inspect(corpus, capsys)["rules"]
    by_reason: dict[str, int] = {}
    for row in rules:
        by_reason[row["reason"]] = by_reason.get(row["reason"], 0) + row["dropped"]
    parser = {"redirect", "namespace", "empty"}
    assert {reason: n for reason, n in by_reason.items() if n} == {
        reason: n for reason, n in counts["dropped"].items() if reason not in parser
    }
    assert sum(by_reason.values()) > 10
    assert counts["amounts"]["lines_removed:phrases"] > 0


def test_what_if_is_what_a_rebuild_would_give(corpus, tmp_path, capsys):
    changes = {"gopher_words.min": "20", "few_words.threshold": "200", "language_score.it.min": "0.9"}
    rules = inspect(corpus, capsys, *[x for key, value in changes.items() for x in ("--set", f"{key}={value}")])[
        "rules"
    ]
    path = config(tmp_path)
    text = path.read_text().replace("it = 0.5", "it = 0.9").replace("min = 80", "min = 200")
    preset = "\n".join(
        f'[[clean.rules]]\nstatistic = "{row["statistic"]}"\nreason = "{row["reason"]}"\n'
        + "".join(f"{side} = {row[f'would_{side}']}\n" for side in ("min", "max") if row[f"would_{side}"] is not None)
        for row in rules
        if row["rule"].startswith("gopher_")
    )
    # The preset's rules become rules of our own; the line rules, which would come before those, are left out.
    text = text.replace('preset = "gopher"\n', "").replace("[[clean.rules]]", preset + "[[clean.rules]]", 1)
    text = text[: text.index("[[clean.lines]]")] + text[text.index("[[clean.rules]]") :]
    path.write_text(text)
    before = inspect(corpus, capsys)["rules"]
    assert [row["dropped"] for row in before] == [row["dropped"] for row in rules]
    assert [row["would_drop"] for row in rules] != [row["dropped"] for row in rules]
    done = corpusmill("build", path, "--until", "ingest")
    assert done.returncode == 0, done.stderr
    dropped = Ledger(Root(str(path.parent / "corpus"))).stage("ingest")["counts"]["dropped"]
    for row in rules:
        if row["rule"].startswith("gopher_") or row["rule"] == "language":
            assert dropped.get(row["reason"], 0) == row["would_drop"], row


def test_distributions_have_the_thresholds_on_them(corpus, capsys):
    stored = np.concatenate(
        [pq.read_table(path).column("words").to_numpy() for path in sorted((corpus / "statistics").glob("*.parquet"))]
    )
    (found,) = inspect(corpus, capsys, "--statistic", "words", "--set", "few_words.min=90")["statistics"]
    assert found["documents"] == len(stored) == sum(bin["documents"] for bin in found["bins"])
    assert found["quantiles"]["0.5"] in stored
    assert found["limits"] == {"gopher_words": [50, 100000], "few_words": [90]}
    assert cli.main(["inspect", str(corpus), "--statistic", "few_words", "--statistic", "words"]) == 0
    assert "<- few_words 80" in capsys.readouterr().out
    assert cli.main(["inspect", str(corpus), "--statistic", "wrods"]) == 2
    assert "did you mean 'words'" in capsys.readouterr().err


def test_documents_are_chosen_by_seed_and_filter(corpus, capsys):
    first = inspect(corpus, capsys, "--dropped", "4", "--reason", "gopher_words")["documents"]
    assert len(first) == 4
    assert all(row["reason"] == "gopher_words" and row["value"] < row["threshold"] == 50 for row in first)
    assert first == inspect(corpus, capsys, "--reason", "gopher_words", "--dropped", "4")["documents"]
    other = inspect(corpus, capsys, "--dropped", "4", "--reason", "gopher_words", "--seed", "1")["documents"]
    assert {row["id"] for row in first} != {row["id"] for row in other}
    kept = inspect(corpus, capsys, "--kept", "3", "--language", "en", "--source", "wiki")["documents"]
    assert [(row["kept"], row["language"]) for row in kept] == [(True, "en")] * 3
    (one,) = inspect(corpus, capsys, "--id", kept[0]["id"])["documents"]
    assert one == kept[0]
    assert len(one["text"]) > 80
    would = inspect(corpus, capsys, "--set", "few_words.min=10000", "--dropped", "2", "--reason", "few_words")[
        "documents"
    ]
    assert all(row["threshold"] == 10000 and not row["kept"] for row in would)
    assert any(
        row["was"] == "kept"
        for row in inspect(corpus, capsys, "--set", "few_words.min=10000", "--dropped", "200", "--reason", "few_words")[
            "documents"
        ]
    )


def test_what_no_document_has_is_said(built_corpus, capsys):
    for arguments, said in (
        (["--language", "xx"], "no document has language 'xx'"),
        (["--dropped", "3", "--reason", "typo"], "no dropped document has reason 'typo'"),
        (["--kept", "--source", "wiki", "--id", "zz"], "no kept document has source 'wiki', id 'zz'"),
        (["--kept", "--reason", "characters"], "no kept document has reason 'characters'"),
    ):
        assert cli.main(["inspect", str(built_corpus), *arguments]) == 0
        assert capsys.readouterr().out.endswith(f"\n{said}\n")
    assert cli.main(["inspect", str(built_corpus), "--kept", "1"]) == 0
    assert "\nno " not in capsys.readouterr().out


def test_without_stored_statistics_they_are_measured_again(built_corpus, capsys):
    counts = Ledger(Root(str(built_corpus))).stage("ingest")["counts"]
    found = inspect(built_corpus, capsys, "--set", "characters.threshold=1000", "--statistic", "characters")
    (rule,) = [row for row in found["rules"] if row["rule"] == "characters"]
    assert rule["dropped"] == counts["dropped"]["characters"] < rule["would_drop"]
    assert sum(row["dropped"] for row in found["rules"]) + counts["kept"] == found["statistics"][0]["documents"]
    same = inspection.rules_table(inspection.open_corpus(Root(str(built_corpus)), ["characters.min=200"]))
    assert all(row["dropped"] == row["would_drop"] for row in same)


@pytest.mark.parametrize("change", ["characters.min=x", "letters.min=3", "characters.most=3", "nothing"])
def test_a_change_that_fits_nowhere_is_refused(built_corpus, capsys, change):
    assert cli.main(["inspect", str(built_corpus), "--set", change]) == 2
    assert "--set" in capsys.readouterr().err


def test_other_thresholds_need_stored_statistics_where_texts_were_changed(built_corpus, tmp_path):
    root = Root(str(built_corpus))
    view = inspection.open_corpus(root, [])
    edited = {"lines": [{"test": "min_words", "value": 2, "reason": "few"}]}
    assert inspection._edits(view.clean.model_validate(edited)) == "lines were removed"
    assert inspection._edits(view.clean) == ""


@pytest.mark.slow
def test_every_step_gives_the_same_bytes_on_two_workers(corpus):
    path, other = corpus.parent / "corpus.toml", corpus.parent / "two"
    done = corpusmill("build", path, "--until", "ingest", "--workers", "2", "--corpus", other)
    assert done.returncode == 0, done.stderr
    one, two = data_files(corpus), data_files(other)
    assert any(name.startswith("statistics/") for name in two)
    assert two == {name: one[name] for name in two}
