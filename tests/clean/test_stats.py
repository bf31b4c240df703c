"""Statistics against plain Python readings of their definitions."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.clean import segments, stats
from pipeline.errors import UsageError

ALPHABET = "ab AB.,'’\n-•…#{}3 é中。!?\t\u00a0😀"
TEXT = st.text(alphabet=ALPHABET, max_size=80) | st.lists(
    st.sampled_from(["a", "b", "the cat", "on", ".", "\n", "\n\n", "...", "sat"]), max_size=60
).map(" ".join)
TEXTS = st.lists(TEXT, max_size=5)


def units(text: str) -> list[tuple[str, bool]]:
    """(unit, is a symbol) of a text, as `segments` finds them (tested by examples below)."""
    found = segments.Segments(pa.array([text]))
    return [
        (found.data[start:end].tobytes().decode(), bool(kind))
        for start, end, kind in zip(found.units.starts, found.units.ends, found.units.symbols, strict=True)
    ]


def duplicates(items: list[str]) -> tuple[int, int]:
    seen: set[str] = set()
    again = [item for item in items if item in seen or seen.add(item)]  # type: ignore[func-returns-value]
    return len(again), sum(map(len, again))


def top(words: list[str], n: int) -> int:
    grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    if not grams:
        return 0
    gram, times = grams.most_common(1)[0]
    return len(" ".join(gram)) * times


def greedy(words: list[str], n: int) -> int:
    seen: set[tuple] = set()
    total = at = 0
    while at <= len(words) - n:
        gram = tuple(words[at : at + n])
        if gram in seen:
            total += len("".join(gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return total


def expected(text: str) -> dict[str, float]:
    pieces = units(text)
    words = [unit for unit, symbol in pieces if not symbol]
    every = [unit for unit, _ in pieces]
    lines = text.split("\n")
    seen = [line for line in lines if line.strip()]
    counted = lines[:-1] if lines[-1] == "" else lines
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line:
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    blocks = ["\n".join(block) for block in paragraphs if block]
    repeated, repeated_characters = duplicates(seen)
    again, again_characters = duplicates(blocks)

    def share(part: float, whole: float) -> float:
        return part / whole if whole else 0.0

    def ellipsis(line: str) -> bool:
        return line.rstrip().endswith(("...", "…"))

    return {
        "characters": len(text),
        "words": len(words),
        "symbols": len(every) - len(words),
        "mean_word_length": share(sum(map(len, words)), len(words)),
        "alphabetic_word_share": share(sum(any(c.isalpha() for c in unit) for unit in every), len(every)),
        "hash_word_ratio": share(text.count("#"), len(every)),
        "ellipsis_word_ratio": share(text.count("...") + text.count("…"), len(every)),
        "newline_word_ratio": share(text.count("\n"), len(every)),
        "lines": len(seen),
        "bullet_line_share": share(sum(line.lstrip().startswith(("•", "-")) for line in counted), len(counted)),
        "ellipsis_line_share": share(sum(map(ellipsis, counted)), len(counted)),
        "terminal_line_share": share(sum(line.endswith((".", "!", "?", "。")) for line in seen), len(seen)),
        "short_line_share": share(sum(len(line) <= 30 for line in seen), len(seen)),
        "letter_share": share(sum(c.isalpha() for c in text), len(text)),
        "space_share": share(sum(c.isspace() for c in text), len(text)),
        "curly_brackets": text.count("{"),
        "duplicate_line_share": share(repeated, len(seen)),
        "duplicate_line_character_share": share(repeated_characters, len(text)),
        "duplicate_line_text_share": share(repeated_characters, len(text.replace("\n", ""))),
        "duplicate_paragraph_share": share(again, len(blocks)),
        "duplicate_paragraph_character_share": share(again_characters, len(text)),
        **{f"top_{n}gram_character_share": share(top(every, n), len(text)) for n in (2, 3, 4)},
        **{f"duplicate_{n}gram_character_share": share(greedy(every, n), len(text)) for n in range(5, 11)},
    }


@given(TEXTS)
@example(["", "\n", "a\n", "\n\na", "  \n a"])
@example(["the cat sat . " * 12 + "on the mat"])
def test_every_statistic(texts):
    table = stats.compute(pa.array(texts, pa.string()))
    assert table.column_names == list(stats.DEFINITIONS)
    assert table.num_rows == len(texts)
    for row, text in zip(table.to_pylist(), texts, strict=True):
        for name, value in expected(text).items():
            assert row[name] == pytest.approx(value), name


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Hello, world!", "Hello , world !"),
        ("It's o'clock; don't", "It 's o'clock ; don 't"),
        ("It’s", "It ’s"),
        ("well-known COVID-19 and/or 10/12", "well - known COVID-19 and / or 10/12"),
        ("3.5 1,000 a,b U.S.A end.Start", "3.5 1,000 a , b U.S.A end . Start"),
        ("a_b x@y.com 2+2", "a_b x@y.com 2 + 2"),
        ("wait... so -- ((x))", "wait ... so -- ( ( x ) )"),
        ("Mr. X. said vs. the U.S. to end.", "Mr. X. said vs. the U.S. to end ."),
        ("5-minute 2011–2012 C++ /etc -x @name --y", "5 - minute 2011–2012 C++ /etc -x @name --y"),
        ('see http://a.org/b-c/d?e=f, href="http://a.org/b"', 'see http://a.org/b-c/d?e=f , href="http://a.org / b "'),
        ('end."He a..b p><em', 'end . " He a .. b p><em'),
        ("中文，测试。ok", "中 文 ， 测 试 。 ok"),
        ("नमस्ते दुनिया।", "नमस्ते दुनिया ।"),
        ("…“é”😀", "… “ é ” 😀"),
    ],
)
def test_words_and_symbols(text, pieces):
    assert [unit for unit, _ in units(text)] == pieces.split()


def test_sentences():
    texts = ["One. Two! Three?", 'He said: "No." Then he left.', "3.5 is one... two", "第一。第二。", "", "..."]
    table = stats.compute(pa.array(texts), names=["sentences"])
    assert table.column("sentences").to_pylist() == [3, 2, 1, 2, 0, 1]


def test_stop_words_follow_the_language():
    texts = pa.array(["the cat of the house and The dog", "the cat of the house"])
    assert stats.compute(texts, "en", ["stop_words"]).column(0).to_pylist() == [3, 2]
    french = pa.array(["le chat de la maison et des jardins"])
    assert stats.compute(french, "fr", ["stop_words"]).column(0).to_pylist() == [5]
    unknown, english = stats.compute(texts, pa.array(["xx", "en"]), ["stop_words"]).column(0).to_pylist()
    assert np.isnan(unknown)
    assert english == 2


def test_documents_do_not_touch():
    texts = [
        "one two.",
        "three",
        ".four",
        "..",
        "..",
        "a\n",
        "\na",
        "",
        "é",
        "'s",
        "Mr",
        ".",
        "x://",
        "y/z",
        "a-",
        "-b",
        "@",
        "c",
    ]
    together = stats.compute(pa.array(texts)).to_pylist()
    alone = [stats.compute(pa.array([text])).to_pylist()[0] for text in texts]
    assert together == alone


def test_only_the_named_columns():
    assert stats.compute(pa.array(["a"]), names=["words", "characters"]).column_names == ["characters", "words"]


def test_an_unknown_statistic_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'mean_word_length'"):
        stats.compute(pa.array(["a"]), names=["mean_word_len"])


@pytest.mark.parametrize(
    "text",
    ["x" * 2_000_000, "a b " * 500_000, "line\n" * 100_000, "." * 1_000_000, "ab " * 30 + "\u202eעברית 😀‍👩" * 50_000],
    ids=["one-word", "two-words", "short-lines", "dots", "odd"],
)
def test_large_odd_documents_are_computed(text):
    row = stats.compute(pa.array([text])).to_pylist()[0]
    assert row["characters"] == len(text)
    assert all(np.isfinite(value) for value in row.values())
