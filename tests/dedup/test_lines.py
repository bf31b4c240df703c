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


@given(TEXTS, st.integers(1, 4), st.integers(1, 5))
def test_lines_in_many_documents_are_removed(texts, least, ranges):
    array = pa.array(texts, pa.string())
    half = len(texts) // 2
    batches = [lines.pack_lines(part, ranges) for part in (array.slice(half), array.slice(0, half))]
    found = np.concatenate(
        [lines.repeated([batch[r] for batch in batches if r in batch], least) for r in range(ranges)]
    )
    assert (np.diff(found.astype(object)) > 0).all()
    counts = Counter(name for text in texts for name in {key(line) for line in text.split("\n")} if len(name) >= 4)
    gone = {name for name, count in counts.items() if count >= least}
    left, removed = lines.remove(array, found)
    for place, text in enumerate(texts):
        dropped = [line for line in text.split("\n") if key(line) in gone]
        assert removed[place] == len(dropped)
        kept = [line.strip() for line in text.split("\n") if line.strip() and key(line) not in gone]
        assert left[place].as_py() == ("\n".join(kept) if dropped else text)


def test_nothing_to_remove():
    texts = pa.array(["a b c d\n\nx", ""])
    left, removed = lines.remove(texts, np.empty(0, np.uint64))
    assert left.equals(texts)
    assert removed.tolist() == [0, 0]
    assert lines.pack_lines(pa.array([], pa.string())) == {}
