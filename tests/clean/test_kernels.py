"""The compiled kernels against numpy forms of them, on real and on odd text; and where nothing can be cached."""

import csv
import gzip
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean.segments import Segments
from tests.clean.numpy_forms import NumpySegments
from tests.corpus import DATA
from tests.shared import ROOT, shared

PIECES = [
    *("a", "b", "1", "2.5", "x", "é", "É", "中", "ก", "ab", "Mr", "Mr.", "Ph.D", "e.g", "Jan", "http", "C++", "😀"),
    *(".", "..", "...", "'s", "'ve", "’s", "'", "’", "-", "--", "–", "/", "//", "://", "+", "@", "~", "^", "|", "$"),
    *("=", "<", ">", "*", ":", ",", "#", "{", "…", "•", "_", "!", '"', "\\"),
    *("\n", " ", "\u00a0", "\t", "\U000e0041", "\u0301"),
]
TEXTS = st.lists(st.lists(st.sampled_from(PIECES), max_size=16).map("".join) | st.text(max_size=30), max_size=4)


def check(texts: list[str]) -> None:
    array = pa.array(texts, pa.string())
    for found, expected in zip(Segments(array).units, NumpySegments(array).units(), strict=True):
        np.testing.assert_array_equal(found, expected)


@given(TEXTS)
def test_words_and_symbols_are_those_of_the_numpy_form(texts):
    check(texts)


def test_on_sentences_in_75_languages():
    with gzip.open(shared("langid/lingua-sentences-A.tsv.gz"), "rt", encoding="utf-8") as stream:
        rows = [text for _, text in csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)]
    check(rows)


def test_on_dumps():
    check([path.read_bytes().decode("utf-8", "replace") for path in sorted(DATA.glob("*.xml"))])


STATISTICS = (
    "import pyarrow as pa; from pipeline.clean import stats; "
    "print(stats.compute(pa.array(['one two. Three!']), names=['words', 'sentences']).to_pylist())"
)
EXTRACTION = (
    "from pipeline.parse.html import extract; "
    "print(repr(extract(b'<p>' + b'The house stands on a hill, and the road leads to it. ' * 5).text[:9]))"
)


@pytest.mark.parametrize(
    ("code", "printed"),
    [(STATISTICS, "[{'words': 3.0, 'sentences': 2.0}]\n"), (EXTRACTION, "'The house'\n")],
    ids=["clean", "parse"],
)
def test_without_a_folder_to_cache_in(tmp_path, code, printed):
    """The same results where the package and the home folder cannot be written to: compiled in memory."""
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    blocked = tmp_path / "file"
    blocked.write_text("")
    for room in ("clean", "parse"):
        (tmp_path / f"pipeline/{room}/__pycache__").write_text("")  # no folder can be made here, for root neither
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "HOME": str(blocked), "XDG_CACHE_HOME": str(blocked)}
    env |= {"PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed
