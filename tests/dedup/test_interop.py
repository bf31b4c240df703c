"""Signatures in the hands of datasketch itself."""

import numpy as np
import pyarrow as pa
from datasketch import LeanMinHash, MinHash, MinHashLSH

from pipeline.dedup import minhash
from pipeline.dedup.interop import lean_minhashes
from pipeline.dedup.shingles import shingles
from tests.dedup.test_stage import edited, prose

PARAMS = minhash.PRESETS["fineweb"]


def test_signatures_are_those_of_datasketch():
    text = prose(1)
    hashes, _ = shingles(pa.array([text]), PARAMS.ngram)
    low = (hashes & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    theirs = MinHash(PARAMS.permutations, seed=PARAMS.seed, scheme=minhash.SCHEME, hashfunc=int)
    theirs.update_batch(low.tolist())
    (ours,) = lean_minhashes([text], PARAMS)
    assert isinstance(ours, LeanMinHash)
    assert ours == LeanMinHash(theirs)


def test_an_index_of_datasketch_finds_what_our_bands_find():
    texts = [edited(prose(n % 10), n, n % 4) for n in range(80)] + ["too short"]
    index = MinHashLSH(num_perm=PARAMS.permutations, params=(PARAMS.bands, PARAMS.rows))
    sketches = list(lean_minhashes(texts, PARAMS))
    for name, sketch in enumerate(sketches[:-1]):
        index.insert(name, sketch)
    bands = minhash.band_hashes(minhash.signatures(pa.array(texts), PARAMS), PARAMS)
    found = 0
    for name, sketch in enumerate(sketches[:-1]):
        neighbours = np.flatnonzero((bands[:-1] == bands[name]).any(axis=1)).tolist()
        assert sorted(index.query(sketch)) == neighbours
        found += len(neighbours) - 1
    assert found > 20
    assert sketches[-1].is_empty()
    again = LeanMinHash(seed=PARAMS.seed, hashvalues=sketches[0].hashvalues, scheme=minhash.SCHEME)
    assert again.jaccard(sketches[10]) == minhash.jaccard(sketches[0].hashvalues, sketches[10].hashvalues)
