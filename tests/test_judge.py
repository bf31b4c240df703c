"""Judging, as [clean] asks for it: every step, the keys it makes, and the accounts."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.clean import quality, stats
from pipeline.config import Clean
from pipeline.errors import CorpusmillError, InputError, UsageError
from pipeline.ledger import Counts, digest
from pipeline.parse.record import Parsed
from pipeline.stages import judge

ENGLISH = (
    "The old bridge over the river was built of stone and wood in the year of the great flood. "
    "It has three arches, and it is known to all that live there.\nPeople still walk over it to the market."
)
QUESTION = "Which of the two rivers that meet below the old town is the longer one?"


def judged(texts: list[str], **clean) -> judge.Assessed:
    return a_judge(**clean).assess(pa.array(texts, pa.string()))


def a_judge(**clean) -> judge.Judge:
    value = Clean.model_validate(clean)
    return judge.Judge(value, judge.find_material(value))


def reasons(texts: list[str], **clean) -> list[str | None]:
    by = a_judge(**clean)
    names = [*(limit.reason for limit in by.limits.values()), None]
    return [names[place] for place in by.assess(pa.array(texts, pa.string())).verdict.tolist()]


def key(**clean) -> str:
    value = Clean.model_validate(clean)
    return digest(judge.settings(value, judge.find_material(value)))


def test_a_preset_with_rules_on_top():
    texts = [ENGLISH * 3, ENGLISH.replace("\n", " ") * 2, "Short."]
    rules = [{"statistic": "characters", "max": 500, "reason": "long"}]
    assert reasons(texts, preset="gopher", rules=rules) == ["long", None, "gopher_words"]
    with pytest.raises(ValueError, match="did you mean 'gopher'"):
        Clean.model_validate({"preset": "gofer"})


def test_languages_are_checked_and_have_their_own_thresholds():
    clean = Clean.model_validate({"languages": ["eng", "deu"], "language_scores": {"deu": 1.0}})
    assert (clean.languages, clean.language_scores) == (["en", "de"], {"de": 1.0})
    with pytest.raises(ValueError, match="'eng'"):
        Clean.model_validate({"languages": ["engl"]})
    texts = [ENGLISH, "Ja das ist Hip Hop.", "Voici une phrase tout à fait ordinaire."]
    assert reasons(texts, languages=["en", "de"], language_scores={"de": 1.0}) == [None, "language_score", "language"]
    found = judged(texts, languages=["en", "de"], language_scores={"de": 1.0})
    assert found.thresholds[1] == 1.0
    assert found.values[1] == pytest.approx(found.scores[1].as_py())
    assert np.isnan(found.values[2])


def test_line_rules_edit_and_are_counted_for_kept_documents_only():
    lines = [
        {"test": "without", "value": ["cookie"], "reason": "boilerplate"},
        {"test": "without", "value": ["lorem ipsum"], "reason": "filler", "drop": "document"},
    ]
    texts = [f"{ENGLISH}\nWe use cookies.", "We use cookies.\nLorem ipsum dolor."]
    found = judged(texts, lines=lines)
    assert found.texts.to_pylist() == [ENGLISH, texts[1]]  # a dropped document keeps the text it came with
    assert found.amounts == {"lines_removed:boilerplate": 1}
    assert (found.values[1], found.thresholds[1], found.details[1]) == (1, 0, "fatal_lines")


def test_normalisation_comes_first_and_is_counted():
    texts = ["Th\u00e9 caf\u0065\u0301  is\r\nopen\u200b.", "It is cafÃ©."]
    found = judged(texts, normalise={"mojibake": True})
    assert found.texts.to_pylist() == ["Th\u00e9 caf\u00e9 is\nopen.", "It is café."]
    counted = {"mojibake": 1, "line_ends": 1, "controls": 1, "spaces": 1, "nfc": 1}
    assert found.amounts == {f"normalised:{name}": n for name, n in counted.items()}
    assert judged(texts, normalise={"changes": ["line_ends"]}).amounts == {"normalised:line_ends": 1}
    with pytest.raises(ValueError, match="there are mojibake"):
        Clean.model_validate({"normalise": {"changes": ["tabs"]}})


def test_personal_data_is_replaced_with_a_key_that_stays_out_of_the_ledger(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef\n")
    pii = {"key": str(secret), "kinds": ["email"]}
    texts = ["Write to jane@doe.org or +49 30 1234567.", "Write to jane@doe.org again."]
    found = judged(texts, pii=pii)
    first, second = (text.split()[2] for text in found.texts.to_pylist())
    assert first == second.removesuffix(".")
    assert first.endswith("@example.com")
    assert found.amounts == {"pii:email": 2}
    clean = Clean.model_validate({"pii": pii})
    assert "0123" not in json.dumps(judge.find_material(clean).to_json())
    before = key(pii=pii)
    secret.write_text("another secret, as long")
    assert key(pii=pii) != before
    secret.write_text("short")
    with pytest.raises(UsageError, match="16 to 64 bytes"):
        a_judge(pii=pii)


def test_benchmarks_are_kept_out_and_named(tmp_path):
    path = tmp_path / "quiz.jsonl"
    path.write_text(json.dumps({"question": "Too short?"}) + "\n" + json.dumps({"question": QUESTION}) + "\n")
    texts = [ENGLISH, f"A quiz. {QUESTION.upper()} Nobody knows."]
    wanted = {"paths": [str(tmp_path / "*.jsonl")]}
    found = judged(texts, decontaminate=wanted)
    assert reasons(texts, decontaminate=wanted) == [None, "contaminated"]
    assert found.details == [None, "quiz.jsonl:2"]
    assert found.values[1] > found.thresholds[1] == 0
    assert reasons(texts, decontaminate={**wanted, "share": 0.9}) == [None, None]
    cut = judged(texts, decontaminate={**wanted, "action": "cut"})
    assert cut.texts.to_pylist() == [ENGLISH, "A quiz. ? Nobody knows."]
    assert cut.amounts == {"cut_spans": 1, "cut_characters": len(QUESTION) - 1}
    with pytest.raises(UsageError, match="no benchmark file"):
        a_judge(decontaminate={"paths": [str(tmp_path / "*.parquet")]})


def test_flagged_words(tmp_path):
    path = tmp_path / "en.txt"
    path.write_text("# our list\nbridge\nGREAT flood\n")
    words = {"flagged_words": {"en": str(path)}, "rules": [{"statistic": "flagged_word_share", "max": 0.05}]}
    texts = [
        ENGLISH,
        ENGLISH.replace("bridge", "tower"),
        "Eine Brücke, bridge, über den Fluss ist nicht genug für alle.",
    ]
    found = judged(texts, **words)
    assert reasons(texts, **words) == ["flagged_word_share", None, None]
    total = stats.compute(pa.array([ENGLISH]), names=["words"]).column(0)[0].as_py()
    assert found.values[0] == pytest.approx(3 / total)
    with pytest.raises(ValueError, match=r"clean\.flagged_words"):
        Clean.model_validate({"rules": words["rules"]})
    path.write_text("# nothing\n")
    with pytest.raises(UsageError, match="no entry"):
        a_judge(**words)


FUNCTION = """
def exclamations(texts, languages):
    return [text.count("!") + {add} for text in texts.to_pylist()]

def wrong(texts, languages):
    return [1]

def broken(texts, languages):
    raise ZeroDivisionError("oh")
"""


def test_a_function_of_the_users_own(tmp_path, monkeypatch):
    module = tmp_path / "own_rules.py"
    module.write_text(FUNCTION.replace("{add}", "0"))
    monkeypatch.syspath_prepend(str(tmp_path))
    rule = {"statistic": "own_rules:exclamations", "max": 1, "reason": "loud"}
    texts = [ENGLISH, "Wow! Wow! Wow!", "Oh!"]
    assert reasons(texts, rules=[rule]) == [None, "loud", None]
    found = judged(texts, rules=[rule])
    assert (found.values[1], found.thresholds[1], found.details[1]) == (3, 1, "own_rules:exclamations")
    before, stated = key(rules=[rule]), key(rules=[{**rule, "version": "1"}])
    module.write_text(FUNCTION.replace("{add}", "1"))
    assert key(rules=[rule]) != before  # the content of the source file counts
    assert key(rules=[{**rule, "version": "1"}]) == stated
    assert key(rules=[{**rule, "version": "2"}]) != stated
    for name, error in [("own_rules:none", UsageError), ("no_such_module:f", UsageError)]:
        with pytest.raises(error, match=name.split(":")[0]):
            a_judge(rules=[{**rule, "statistic": name}])
    for name, cause in [("own_rules:wrong", "3 texts"), ("own_rules:broken", "ZeroDivisionError: oh")]:
        with pytest.raises(CorpusmillError, match=cause):
            judged(texts, rules=[{**rule, "statistic": name}])
    with pytest.raises(ValueError, match="did you mean 'words'"):
        Clean.model_validate({"rules": [{"statistic": "word", "min": 1}]})


def test_the_key_covers_what_files_hold_and_not_where_they_lie(tmp_path):
    def everything(folder: Path, question: str, word: str) -> str:
        folder.mkdir(exist_ok=True)
        (folder / "quiz.txt").write_text(question)
        (folder / "en.txt").write_text(word)
        return key(decontaminate={"paths": [str(folder / "quiz.txt")]}, flagged_words={"en": str(folder / "en.txt")})

    first = everything(tmp_path / "a", QUESTION, "word")
    assert everything(tmp_path / "b", QUESTION, "word") == first
    assert everything(tmp_path / "b", QUESTION + " Yes.", "word") != first
    assert everything(tmp_path / "b", QUESTION, "words") != first


def test_a_file_that_changes_during_the_build_is_refused(tmp_path):
    path = tmp_path / "quiz.txt"
    path.write_text(QUESTION)
    clean = Clean.model_validate({"decontaminate": {"paths": [str(path)]}})
    material = judge.Material.from_json(json.loads(json.dumps(judge.find_material(clean).to_json())))
    path.write_text(QUESTION + " It is.")
    with pytest.raises(CorpusmillError, match="changed while"):
        judge.Judge(clean, material)


ODD = {
    "empty": "",
    "one character": "x",
    "one digit": "7",
    "white space": " \n\t \u00a0\n",
    "one line of 10 MB": "word and " * 1_150_000,
    "one word of 10 MB": "x" * 10_000_000,
    "100,000 short lines": "line no\n" * 100_000,
    "100,000 different lines": "\n".join(f"line {n}" for n in range(100_000)),
    "right to left": "\u202eשלום עולם, זה טקסט בעברית עם סימני כיוון\u202c. " * 50,
    "emoji": "😀👩‍👩‍👧🏳️‍🌈 " * 2_000,
    "odd Unicode": "a\u0301\u0327\U000e0041\ufdd0\U0010fffe\u200d\u2028\u0600" * 500,
    "private use": "\ue000\uf8ff\U000f0000 " * 500,
    "unknown language": "qzx vbrk wmpf jjht ggy " * 100,
    "braces": "{" * 100_000,
}


@pytest.mark.parametrize("name", ODD)
def test_odd_input_gets_a_verdict_with_a_reason(name):
    """The suite's time limit is the judge of linear time."""
    by = a_judge(preset="fineweb", normalise={}, statistics=True)
    records = [Parsed("x:1", ODD[name], "", "", None, 0, 1, "1")]
    found = by.judge(records, "source", "file")
    assert found.kept.num_rows == 0
    (row,) = found.dropped.to_pylist()
    assert row["text"] == ODD[name]
    assert row["reason"] in {limit.reason for limit in by.limits.values()}
    assert row["value"] is not None
    assert row["language"]
    (measured,) = found.statistics.to_pylist()
    assert measured["reason"] == row["reason"]


RULE = st.tuples(st.sampled_from(["characters", "words", "lines", "letter_share"]), st.floats(0, 30)).map(
    lambda pair: {"statistic": pair[0], "min": pair[1]}
)
LINE = st.sampled_from(
    [
        {"test": "min_words", "value": 2, "reason": "few_words"},
        {"test": "without", "value": ["{", "b"], "reason": "phrase"},
        {"test": "without", "value": ["."], "reason": "dot", "drop": "document"},
        {"test": "ends_with", "value": [".", "!"], "reason": "no_end"},
    ]
)
CLEAN = st.fixed_dictionaries(
    {},
    optional={
        "normalise": st.just({}),
        "languages": st.sampled_from([["en"], ["de", "zh"]]),
        "language_score": st.floats(0, 1),
        "language_scores": st.dictionaries(st.sampled_from(["en", "zh"]), st.floats(0, 1)),
        "preset": st.sampled_from(quality.names()),
        "lines": st.lists(LINE, max_size=3),
        "rules": st.lists(RULE, max_size=3),
        "statistics": st.booleans(),
    },
)
RECORDS = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
        | st.text("ab .{\n!中", max_size=200)
        | st.sampled_from([ENGLISH, ENGLISH * 4]),
        st.sampled_from(["", "", "redirect", "error:xml"]),
    ),
    max_size=8,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RECORDS, CLEAN)
def test_accounts_hold_for_any_rules(records, clean):
    batch = [Parsed(f"x:{i}", text, "", "", None, i, 1, str(i), reason) for i, (text, reason) in enumerate(records)]
    by = a_judge(**clean)
    found = by.judge(batch, "source", "file")
    counts = Counts(read=len(batch))
    judge.count(counts, found)
    counts.check("batch")
    assert counts.errors.get("error:xml", 0) == sum(reason == "error:xml" for _, reason in records)
    known = {limit.reason for limit in by.limits.values()}
    for row in found.dropped.to_pylist():
        text, reason = records[int(row["record"])]
        assert row["text"] == text
        assert row["reason"] == reason if reason else row["reason"] in known
        if row["threshold"] is not None:
            assert row["value"] != row["threshold"]
            assert row["detail"]
    # What every rule measured leads to the same verdicts, so thresholds can be changed from the statistics alone.
    assert (found.statistics is not None) == by.clean.statistics
    if found.statistics is not None:
        assert found.statistics.num_rows == sum(not reason for _, reason in records)
        table = pa.table(found.statistics)
        values = [table.column(f"rule.{name}").fill_null(np.nan).to_numpy() for name in by.limits]
        verdict, _, _ = judge.first_failing(values, list(by.limits.values()), table.num_rows)
        again = [list(by.limits.values())[place].reason if place >= 0 else None for place in verdict.tolist()]
        assert again == table.column("reason").to_pylist()
    # Storing statistics changes no verdict and no text.
    other = a_judge(**{**clean, "statistics": not by.clean.statistics}).judge(batch, "source", "file")
    assert other.kept.equals(found.kept)
    assert other.dropped.equals(found.dropped)
    assert other.amounts == found.amounts


@pytest.mark.parametrize(
    ("name", "data", "clean", "cause"),
    [
        ("fl.txt", b"a\xff", {"flagged_words": {"en": "FILE"}}, "at byte 1: not UTF-8"),
        ("bm.jsonl", b'{"a":1}\n{"b"', {"decontaminate": {"paths": ["FILE"]}}, "at byte 8: not a line of JSON"),
        ("bm.parquet", b"PAR1", {"decontaminate": {"paths": ["FILE"]}}, "not a Parquet file"),
    ],
)
def test_a_file_of_clean_that_cannot_be_read_is_refused_with_what_mends_it(tmp_path, name, data, clean, cause):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=cause) as refused:
        a_judge(**json.loads(json.dumps(clean).replace("FILE", str(path))))
    assert refused.value.mend
