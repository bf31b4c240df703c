"""Shingles against a plain Python reading of their definition."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean import characters
from pipeline.dedup.shingles import shingles, word_hashes

# Words, separators, scripts without spaces, marks, compatibility forms, code points of two to four bytes.
ALPHABET = "aAbB zZ09.,'-\n\t_éÉßſﬁ½²™ñΣςσдД中文ァｱﾞกำ한가가आ्\u0301\u00a0\u200b“”…𝐀😀𠀀İⱯɐ"
TEXTS = st.lists(st.text(alphabet=ALPHABET, max_size=40), max_size=8)


def units(text: str) -> list[str]:
    """The words of a text, one code point at a time."""
    words: list[str] = []
    open_word = False
    for char in unicodedata.normalize("NFKC", text):
        if unicodedata.category(char)[0] not in "LMN" or ord(char) >= characters.LIMIT:
            open_word = False
            continue
        folded = char.casefold()
        if len(folded) != 1 or len(folded.encode()) != len(char.encode()):
            folded = char
        alone = any(first <= ord(char) <= last for first, last in characters.UNSPACED)
        if alone or not open_word:
            words.append("")
        words[-1] += folded
        open_word = not alone
    return words


def equal_alike(found: list[int], expected: list) -> bool:
    """Whether equal items have equal hashes and different items different ones."""
    return len(found) == len(expected) and len(set(zip(found, expected, strict=True))) == len(set(found)) == len(
        set(expected)
    )


@given(TEXTS)
def test_word_hashes_are_those_of_the_normalised_words(texts):
    hashes, offsets = word_hashes(pa.array(texts, pa.string()))
    expected = [units(text) for text in texts]
    assert np.diff(offsets).tolist() == [len(words) for words in expected]
    assert equal_alike(hashes.tolist(), [word for words in expected for word in words])


@given(TEXTS, st.integers(1, 6))
def test_word_ngrams(texts, n):
    hashes, offsets = shingles(pa.array(texts, pa.string()), n)
    expected = [[tuple(w[i : i + n]) for i in range(len(w) - n + 1)] for w in map(units, texts)]
    assert np.diff(offsets).tolist() == [len(grams) for grams in expected]
    assert equal_alike(hashes.tolist(), [gram for grams in expected for gram in grams])


@given(st.lists(st.text(alphabet="abé ., 中", max_size=30), max_size=6), st.integers(1, 5))
def test_character_ngrams(texts, n):
    hashes, offsets = shingles(pa.array(texts, pa.string()), n, "char")
    expected = []
    for text in texts:
        squeezed = " ".join("".join(char if char in "abé中" else " " for char in text).split())
        expected.append([squeezed[i : i + n] for i in range(len(squeezed) - n + 1)])
    assert np.diff(offsets).tolist() == [len(grams) for grams in expected]
    assert equal_alike(hashes.tolist(), [gram for grams in expected for gram in grams])


def test_what_normalisation_makes_equal():
    alike = ["Straße, ﬁn: “Don’t” №5 Ｈello", "  straße ﬁN — don't #NO5; hello\n"]
    hashes, offsets = word_hashes(pa.array(alike))
    assert hashes[: offsets[1]].tolist() == hashes[offsets[1] :].tolist()


def test_digits_stay():
    hashes, _ = word_hashes(pa.array(["1998", "1999"]))
    assert hashes[0] != hashes[1]


def test_hashes_do_not_depend_on_the_batch():
    texts = ["the quick brown fox, " * 3000, "", "中文 " * 9000, "é" * 70000, "tail of the batch"]
    whole, offsets = shingles(pa.array(texts), 3)
    for place, text in enumerate(texts):
        alone, _ = shingles(pa.array([text]), 3)
        assert alone.tolist() == whole[offsets[place] : offsets[place + 1]].tolist()


def test_sliced_chunked_large_and_null_arrays():
    texts = pa.array(["skip me", "one two three", None, "one two three"])
    hashes, offsets = shingles(texts.slice(1), 2)
    assert np.diff(offsets).tolist() == [2, 0, 2]
    assert hashes[:2].tolist() == hashes[2:].tolist()
    again, _ = shingles(pa.chunked_array([texts.slice(1, 1), texts.slice(3)]).cast(pa.large_string()), 2)
    assert again.tolist() == hashes.tolist()


def test_no_documents():
    hashes, offsets = shingles(pa.array([], pa.string()), 5)
    assert len(hashes) == 0
    assert offsets.tolist() == [0]


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="string array"):
        shingles(pa.array([1]), 5)
    with pytest.raises(ValueError, match="at least 1"):
        shingles(pa.array(["a"]), 0)
    with pytest.raises(ValueError, match="unit"):
        shingles(pa.array(["a"]), 1, "line")
