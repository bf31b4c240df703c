"""Signatures against datasketch, and the documents that have none."""

import gzip
import hashlib
import json

import datasketch.lsh
import numpy as np
import pyarrow as pa
import pytest
from datasketch import LeanMinHash, MinHash, MinHashLSH
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup import minhash
from pipeline.dedup.minhash import MinHashParams
from pipeline.dedup.shingles import shingles
from tests.shared import shared

SMALL = MinHashParams(ngram=2, bands=4, rows=3)


def reference(hashes: np.ndarray, params: MinHashParams) -> np.ndarray:
    sketch = MinHash(num_perm=params.permutations, seed=params.seed, scheme=params.scheme, hashfunc=int)
    sketch.update_batch((hashes & np.uint64(0xFFFFFFFF)).tolist())
    return sketch.hashvalues


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=20), max_size=10), st.integers(1, 2**32 - 1))
def test_equal_to_datasketch_for_the_same_shingle_hashes(sets, seed):
    params = MinHashParams(bands=4, rows=3, seed=seed)
    offsets = np.concatenate(([0], np.cumsum([len(s) for s in sets]))).astype(np.int64)
    hashes = np.array([h for s in sets for h in s], np.uint64)
    found = minhash.minima(hashes, offsets, params)
    assert found.shape == (len(sets), 12)
    for row, start, stop in zip(found, offsets[:-1], offsets[1:], strict=True):
        assert row.tolist() == reference(hashes[start:stop], params).tolist()


@pytest.mark.parametrize("params", minhash.PRESETS.values(), ids=minhash.PRESETS)
def test_equal_to_datasketch_on_real_text(params):
    text = shared("text/tinyshakespeare.txt").read_text()
    texts = pa.array([text[start : start + 40_000] for start in range(0, 200_000, 40_000)])
    found = minhash.signatures(texts, params)
    hashes, offsets = shingles(texts, params.ngram, params.unit)
    for row, start, stop in zip(found, offsets[:-1], offsets[1:], strict=True):
        assert row.tolist() == reference(hashes[start:stop], params).tolist()


def test_signatures_serve_datasketch_lsh():
    params = MinHashParams(ngram=3, bands=16, rows=8)
    text = " ".join(f"sentence {number} of the long history of a town" for number in range(60))
    texts = [text, text + "with one more sentence", "something else entirely, without any word in common here"]
    index = MinHashLSH(params=(params.bands, params.rows), num_perm=params.permutations)
    sketches = [
        LeanMinHash(seed=params.seed, hashvalues=row, scheme=params.scheme)
        for row in minhash.signatures(pa.array(texts), params)
    ]
    for name, sketch in enumerate(sketches):
        index.insert(name, sketch)
    assert sorted(index.query(sketches[0])) == [0, 1]
    assert index.query(sketches[2]) == [2]


def test_short_documents_have_no_signature_and_no_bucket():
    texts = pa.array(["", "one", "one two", "!!! ???", None])
    found = minhash.signatures(texts, SMALL)
    assert minhash.signed(found).tolist() == [False, False, True, False, False]
    bands = minhash.band_hashes(found, SMALL)
    assert bands.shape == (5, 4)
    assert (bands[[0, 1, 3, 4]] == minhash.NO_BAND).all()
    assert (bands[2] != minhash.NO_BAND).all()


def test_band_hashes_are_equal_where_the_rows_are():
    values = np.arange(24, dtype=np.uint32).reshape(2, 12)
    values[1, 3:6] = values[0, 3:6]
    bands = minhash.band_hashes(values, SMALL)
    assert (bands[0] == bands[1]).tolist() == [False, True, False, False]
    assert len(set(bands.ravel().tolist())) == 7


def test_band_hashes_of_other_parameters_are_refused():
    with pytest.raises(ValueError, match="12 permutations"):
        minhash.band_hashes(np.zeros((2, 11), np.uint32), SMALL)


def test_text_hashes():
    texts = ["a b", " a\n\tb ", "A b", "a b.", "", "é", "e\u0301"]
    found = minhash.text_hashes(pa.array(texts))
    assert found.shape == (7, 16)
    assert found[0].tobytes() == found[1].tobytes() == hashlib.blake2b(b"a b", digest_size=16).digest()
    assert found[5].tobytes() == found[6].tobytes()
    assert len({row.tobytes() for row in found}) == 5
    assert minhash.text_hashes(pa.array([], pa.string())).shape == (0, 16)


@pytest.mark.parametrize(
    "wrong",
    [{"ngram": 0}, {"bands": 0}, {"rows": -1}, {"unit": "words"}, {"seed": -1}, {"seed": 2**32}, {"scheme": "sha1"}],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MinHashParams(**wrong)


@settings(max_examples=20)
@given(st.floats(0.3, 0.9))
def test_estimate_and_candidate_probability_follow_theory(share):
    params = MinHashParams(bands=16, rows=4)
    rng = np.random.default_rng(int(share * 1e6))
    pairs, size = 60, 400
    common = int(size * 2 * share / (1 + share))
    sets = []
    for _ in range(pairs):
        shingle = rng.integers(0, 2**64, 2 * size - common, dtype=np.uint64)
        sets += [shingle[:size], shingle[size - common :]]
    offsets = np.arange(2 * pairs + 1) * size
    found = minhash.minima(np.concatenate(sets), offsets, params)
    true = common / (2 * size - common)
    estimate = minhash.jaccard(found[::2], found[1::2]).mean()
    assert abs(estimate - true) < 0.04
    bands = minhash.band_hashes(found, params)
    candidates = (bands[::2] == bands[1::2]).any(axis=1).mean()
    assert abs(candidates - params.probability(true)) < 0.3


def test_exact_similarity():
    left = pa.array(["a b c d", "a b", "", "a b a b"])
    right = pa.array(["a b c x", "c d", "", "b a b"])
    found = minhash.similarity(left, right, SMALL)
    np.testing.assert_allclose(found, [2 / 4, 0, np.nan, 1])
    with pytest.raises(ValueError, match="one by one"):
        minhash.similarity(left, right[:2], SMALL)


def test_exact_similarity_of_real_revisions():
    with gzip.open(shared("neardup/enwiki-revision-pairs-2014-2016.jsonl.gz"), "rt", encoding="utf-8") as stream:
        pairs = [json.loads(line) for line in stream]
    params = MinHashParams()
    left, right = (pa.array([pair[side] for pair in pairs]) for side in "ab")
    exact = minhash.similarity(left, right, params)
    estimate = minhash.jaccard(minhash.signatures(left, params), minhash.signatures(right, params))
    assert np.abs(exact - estimate).mean() < 0.04
    assert np.abs(exact - [pair["jaccard_w5"] for pair in pairs]).mean() < 0.05  # there the words were cut differently


def test_bands_and_rows_for_a_threshold():
    params = MinHashParams.for_threshold(0.8, 128, ngram=3)
    assert (params.ngram, params.bands, params.rows) == (3, *datasketch.lsh._optimal_param(0.8, 128, 0.5, 0.5))
    assert params.curve()[0] == (0, 0)
    assert params.curve()[-1] == (1, 1)
    with pytest.raises(ValueError, match="threshold"):
        MinHashParams.for_threshold(1.0)
