"""Normalisation: what changes, what is counted, and that it settles."""

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean.normalise import CHANGES, NFC, classic, normalise
from pipeline.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected", "counted"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd", {"line_ends": 3}),
        ("a\x00b\ufeffc\u200bd\x85e", "abcd\ne", {"controls": 3, "line_ends": 1}),
        ("a  b\tc\u00a0d", "a b c d", {"spaces": 3}),
        ("a \n  b", "a\nb", {"line_edges": 1, "spaces": 1}),
        ("a\n\n\n\nb", "a\n\nb", {"blank_lines": 1}),
        ("\n a \n", "a", {"line_edges": 2, "text_edges": 2}),
        ("e\u0301 \u1112\u1161\u11ab", "é 한", {NFC: 1}),
        ("全角　空白 ok", "全角　空白 ok", {}),
        ("", "", {}),
    ],
)
def test_each_change(text, expected, counted):
    found, counts = normalise(pa.array([text]))
    assert found[0].as_py() == expected
    assert {name: int(count[0]) for name, count in counts.items() if count[0]} == counted


@given(
    st.lists(
        st.text(alphabet="ab é\u0301\t\r\n \u00a0\u3000\x00\x85\u2028\ufeff中\u1112\u1161\u0344", max_size=30),
        max_size=4,
    )
)
def test_twice_is_once_and_the_batch_does_not_matter(texts):
    once, _ = normalise(pa.array(texts, pa.string()))
    twice, counts = normalise(once)
    assert twice.equals(once)
    assert not any(count.any() for count in counts.values())
    assert once.to_pylist() == [normalise(pa.array([text]))[0][0].as_py() for text in texts]
    assert all(unicodedata.is_normalized("NFC", text) for text in once.to_pylist())


def test_only_the_changes_asked_for():
    found, counts = normalise(pa.array(["a  b\r\n\u0000"]), ["line_ends"])
    assert found[0].as_py() == "a  b\n\x00"
    assert list(counts) == ["line_ends"]
    with pytest.raises(UsageError):
        normalise(pa.array(["a"]), ["tabs"])
    assert NFC not in CHANGES


def test_classic_preprocessing():
    texts = pa.array(["<p>The Cats' 3 toys, and <b>it</b> wasn't l'été 2 < 3!", "Le chat et la souris", None, "<" * 9])
    assert classic(texts, "en").to_pylist() == ["cats toys l été", "le chat et la souris", "", ""]
    assert classic(texts, pa.array(["en", "fr", "und", None])).to_pylist()[1] == "chat souris"
