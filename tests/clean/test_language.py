"""Language identification on real sentences and on nothing."""

import csv
import gzip
import re
from collections import Counter

import pyarrow as pa
import pytest

from pipeline.clean import language
from pipeline.errors import UsageError
from tests.shared import shared


def test_common_languages_and_texts_without_any():
    texts = [
        "Hello, how are you today?\nFine.",
        "Où est la bibliothèque ?",
        "これは日本語の文章です。",
        "",
        "123 !!",
        None,
    ]
    labels, scores = language.identify(pa.array(texts))
    assert labels.to_pylist() == ["en", "fr", "ja", "und", "und", "und"]
    assert scores.type == pa.float32()
    assert all(score > 0.8 for score in scores.to_pylist()[:3])
    assert scores.to_pylist()[3:] == [0, 0, 0]


def test_the_same_alone_and_in_a_batch():
    texts = ["Das ist ein Haus.", "odd \x00 \u2028 \r text", "x", "中文"]
    together = language.identify(pa.array(texts))
    alone = [language.identify(pa.array([text])) for text in texts]
    assert together[0].to_pylist() == [labels[0].as_py() for labels, _ in alone]
    assert together[1].to_pylist() == [scores[0].as_py() for _, scores in alone]


def test_accuracy_on_labelled_sentences():
    with gzip.open(shared("langid/lingua-sentences-A.tsv.gz"), "rt", encoding="utf-8") as stream:
        rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))[::5]
    labels, _ = language.identify(pa.array([text for _, text in rows]))
    right = Counter(truth for (truth, _), label in zip(rows, labels.to_pylist(), strict=True) if truth == label)
    total = Counter(truth for truth, _ in rows)
    for code in [
        "ar",
        "de",
        "en",
        "es",
        "fa",
        "fi",
        "fr",
        "he",
        "hi",
        "hu",
        "it",
        "ja",
        "ko",
        "nl",
        "pl",
        "pt",
        "ru",
        "th",
        "tr",
        "uk",
        "vi",
        "zh",
    ]:
        assert right[code] >= 0.94 * total[code], code


def test_short_text_is_judged_in_lower_case():
    texts = ["BIBLIOTHÈQUE NATIONALE DE FRANCE", "bibliothèque nationale de france"]
    labels, scores = language.identify(pa.array(texts))
    assert labels.to_pylist() == ["fr", "fr"]
    assert scores[0] == scores[1]


def test_confusable_languages_count_as_the_wanted_one():
    serbocroatian = "Zagreb je glavni grad i najveći grad te države, a leži na rijeci Savi."
    english = "This is an ordinary sentence in English."
    texts = pa.array([serbocroatian, english, "", "Ini adalah kalimat biasa dalam bahasa Indonesia."])
    plain, before = language.identify(texts)
    assert plain[0].as_py() in {"hr", "bs", "sh", "sr"}
    for wanted in ("bs", "hr"):
        labels, scores = language.identify(texts, [wanted, "ms"])
        assert labels.to_pylist() == [wanted, "en", "und", "ms"]
        assert scores[0].as_py() >= before[0].as_py() - 1e-6
        assert scores.to_pylist()[1:3] == before.to_pylist()[1:3]
    assert language.identify(texts, ["en"]) == (plain, before)


def test_codes():
    labels = re.findall(rb"__label__([a-z]+)\0", language.model_path().read_bytes())
    assert sorted(set(language.codes().values())) == sorted({label.decode() for label in labels})
    assert [language.check(code) for code in ("en", "DEU", "nb", "yue", "cmn")] == ["en", "de", "no", "yue", "zh"]
    with pytest.raises(UsageError, match="'eng'"):
        language.check("engl")
