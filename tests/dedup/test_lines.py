"""Repeated lines against a dictionary of normalised lines."""

import re
from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedup import lines

LINES = [
    "One two three four five",
    "one, TWO three: four five!",
    "short one",
    "a b c d",
    "d c b a",
    "",
    "  a b c d  ",
    "é b c d",
]
TEXTS = st.lists(st.lists(st.sampled_from(LINES), max_size=6).map("\n".join), max_size=8)


def key(line: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", line.lower()))


@given(TEXTS, st.integers(1, 4), st.integers(1, 5), st.integers(1, 3))
def test_lines_in_many_documents_are_removed(texts, least, ranges, passes):
    array = pa.array(texts, pa.string())
    half = len(texts) // 2
    hashes = [lines.line_hashes(part) for part in (array.slice(half), array.slice(0, half))]
    chosen = [range(n * ranges // passes, (n + 1) * ranges // passes) for n in range(passes)]
    batches = [lines.pack_lines(part, ranges, some) for some in chosen if some for part in hashes]
    known = np.concatenate(
        [lines.repeated([batch[r] for batch in batches if r in batch], least) for r in range(ranges)]
    )
    assert (np.diff(known.astype(object)) > 0).all()
    counts = Counter(name for text in texts for name in {key(line) for line in text.split("\n")} if len(name) >= 4)
    gone = {name for name, count in counts.items() if count >= least}
    found = lines.found(lines.line_hashes(array), known)
    left = lines.without(array, found.documents, found.starts, found.stops)
    for place, text in enumerate(texts):
        dropped = [line for line in text.split("\n") if key(line) in gone]
        assert (found.documents == place).sum() == len(dropped)
        kept = [line.strip() for line in text.split("\n") if line.strip() and key(line) not in gone]
        assert [line.strip() for line in left[place].as_py().split("\n") if line.strip()] == kept
        if not dropped:
            assert left[place].as_py() == text


def test_what_is_left_keeps_its_form():
    text = (
        "  Title\n\nMenu home about contact\n\n\tFirst paragraph here.\nIts second line.\n\nAll rights reserved here\n"
    )
    array = pa.array([text, "é Menu home about contact", ""])
    gone = np.sort(lines.line_hashes(pa.array(["menu home about contact\nall rights reserved here"])).hashes)
    found = lines.found(lines.line_hashes(array), gone)
    assert lines.without(array, found.documents, found.starts, found.stops).to_pylist() == [
        "  Title\n\n\tFirst paragraph here.\nIts second line.",
        "é Menu home about contact",
        "",
    ]


def test_paragraphs():
    array = pa.array(["One two three\nfour five.\n\nSix seven eight nine.", "one two THREE four five\n\n\nlast words"])
    first, second = (lines.line_hashes(array.slice(n, 1), unit="paragraph") for n in (0, 1))
    assert len(first.hashes) == len(second.hashes) == 2
    assert first.hashes[0] == second.hashes[0] != 0
    found = lines.found(lines.line_hashes(array, unit="paragraph"), first.hashes[:1])
    left = lines.without(array, found.documents, found.starts, found.stops)
    assert left.to_pylist() == ["Six seven eight nine.", "last words"]


def test_nothing_to_remove():
    texts = pa.array(["a b c d\n\nx", ""])
    found = lines.found(lines.line_hashes(texts), np.empty(0, np.uint64))
    assert lines.without(texts, found.documents, found.starts, found.stops).equals(texts)
    assert lines.pack_lines(lines.line_hashes(pa.array([], pa.string()))) == {}


@given(TEXTS, st.integers(1, 4), st.integers(1, 5))
def test_the_first_copy_may_stay(texts, least, ranges):
    array = pa.array(texts, pa.string())
    half = len(texts) // 2
    numbers = np.arange(len(texts)) + 10
    parts = [(array.slice(half), numbers[half:]), (array.slice(0, half), numbers[:half])]  # in no order
    batches = [lines.pack_lines(lines.line_hashes(part), ranges, None, of) for part, of in parts]
    known = [lines.repeated_first([b[r] for b in batches if r in b], least) for r in range(ranges)]
    hashes, first = np.ascontiguousarray(np.concatenate(known).T)
    counts = Counter(name for text in texts for name in {key(line) for line in text.split("\n")} if len(name) >= 4)
    seen: set[tuple[str, ...]] = set()
    for place, text in enumerate(texts):  # a document at a time, as parts are
        one = array.slice(place, 1)
        found = lines.found(lines.line_hashes(one), hashes)
        if len(found.hashes):
            found = lines.but_first(found, numbers[place : place + 1], hashes, first)
        left = lines.without(one, found.documents, found.starts, found.stops)[0].as_py()
        stay = []
        for line in text.split("\n"):
            if counts[key(line)] < least or key(line) not in seen:
                stay.append(line.strip())
            seen.add(key(line))
        assert [line.strip() for line in left.split("\n") if line.strip()] == [line for line in stay if line]
