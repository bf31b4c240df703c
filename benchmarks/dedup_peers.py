"""What benchmarks/dedup.py asks of other tools; runs in an interpreter that has them, and knows nothing of corpusmill.

    python benchmarks/dedup_peers.py signatures PEER DOCUMENTS.json
    python benchmarks/dedup_peers.py clusters PEER DOCUMENTS.jsonl FOLDER
    python benchmarks/dedup_peers.py similarities PEER DOCUMENTS.jsonl PAIRS.json

The last line of the output is JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import best, peak_bytes

NGRAM, BANDS, ROWS = 5, 14, 8


def main() -> None:
    what, *arguments = sys.argv[1:]
    command: Callable[..., Any] = {"signatures": signatures, "clusters": clusters, "similarities": similarities}[what]
    with contextlib.redirect_stdout(io.StringIO()):
        found = command(*arguments)
    print(json.dumps(found))


def signatures(peer: str, path: str) -> dict[str, float]:
    """Processor seconds over the documents of a JSON file, by what was timed."""
    documents = json.loads(Path(path).read_text())
    grams = [[" ".join(words[i : i + NGRAM]) for i in range(len(words) - 4)] for words in map(str.split, documents)]
    if peer == "datasketch":
        import datasketch

        def sketch(sets: list[list[bytes]]) -> None:
            for items in sets:
                datasketch.MinHash(BANDS * ROWS).update_batch(items)

        def grams_of(text: str) -> list[bytes]:
            words = text.split()
            return [" ".join(words[i : i + NGRAM]).encode() for i in range(len(words) - 4)]

        encoded = [[gram.encode() for gram in items] for items in grams]
        return {
            "datasketch, shingles given": best(lambda: sketch(encoded)),
            "datasketch, shingles by split": best(lambda: sketch([grams_of(text) for text in documents])),
        }
    if peer == "rensa":
        import rensa

        def sign(sets: list[list[str]]) -> None:
            for items in sets:
                rensa.RMinHash(num_perm=BANDS * ROWS, seed=1).update(items)

        def strings_of(text: str) -> list[str]:
            words = text.split()
            return [" ".join(words[i : i + NGRAM]) for i in range(len(words) - 4)]

        return {
            "rensa, shingles given": best(lambda: sign(grams)),
            "rensa, shingles by split": best(lambda: sign([strings_of(text) for text in documents])),
        }
    if peer == "datatrove":
        from datatrove.pipeline.dedup import MinhashDedupSignature
        from datatrove.pipeline.dedup.minhash import MinhashConfig

        step = MinhashDedupSignature(tempfile.mkdtemp(), MinhashConfig())

        def stage() -> None:
            for text in documents:
                step.get_signature(step.get_shingles(text))

        return {"datatrove, its signature stage": best(stage)}
    import numpy
    import text_dedup.minhash as other
    from text_dedup.utils import xxh3_32hash

    draw = numpy.random.RandomState(42)
    prime, most = numpy.uint32((1 << 32) - 5), numpy.uint32((1 << 32) - 1)
    settings = {
        "num_perm": BANDS * ROWS,
        "ngram_size": NGRAM,
        "min_length": NGRAM,
        "hashranges": [(i, i + ROWS) for i in range(0, BANDS * ROWS, ROWS)],
        "permutations": tuple(draw.randint(low, prime, BANDS * ROWS, dtype=numpy.uint32) for low in (1, 0)),
        "hash_func": xxh3_32hash,
        "dtype": numpy.uint32,
        "max_hash": most,
        "modulo_prime": prime,
    }
    return {"text-dedup, its embed function": best(lambda: [other.embed_func(d, 0, **settings) for d in documents])}


def clusters(peer: str, path: str, folder: str) -> dict[str, Any]:
    """Deduplicate a JSONL file ("text", "id") whole: the label of each document's cluster, the documents that stay,
    the seconds of each step and the peak memory."""
    labels, kept, took = (_datatrove if peer == "datatrove" else _text_dedup)(path, Path(folder))
    return {"labels": labels, "kept": kept, "took": took, "peak": peak_bytes()}


def _datatrove(path: str, folder: Path) -> tuple[list[int], int, dict[str, float]]:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config = MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=ROWS)
    reader = JsonlReader(str(Path(path).parent), glob_pattern=Path(path).name)
    at = {name: str(folder / name) for name in ("signatures", "buckets", "clusters", "kept")}
    steps = {
        "signatures": (1, [reader, MinhashDedupSignature(at["signatures"], config)]),
        "buckets": (BANDS, [MinhashDedupBuckets(at["signatures"], at["buckets"], config=config, lines_to_buffer=-1)]),
        "cluster": (
            1,
            [MinhashDedupCluster(at["buckets"], at["clusters"], config, save_cluster_id=True, lines_to_buffer=-1)],
        ),
        "filter": (1, [reader, MinhashDedupFilter(at["clusters"]), JsonlWriter(at["kept"], compression=None)]),
    }
    took = {}
    for name, (tasks, pipeline) in steps.items():
        began = time.perf_counter()
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(folder / "logs" / name)).run()
        took[name] = time.perf_counter() - began
    labels = list(range(len(Path(path).read_text().splitlines())))
    first: dict[int, int] = {}
    for document, cluster in struct.iter_unpack("<2I", (folder / "clusters/000000.clusters").read_bytes()):
        labels[document] = first.setdefault(cluster, document)
    return labels, sum(len(p.read_text().splitlines()) for p in (folder / "kept").glob("*.jsonl")), took


def _text_dedup(path: str, folder: Path) -> tuple[list[int], int, dict[str, float]]:
    os.environ["HF_DATASETS_OFFLINE"] = "1"
    import datasets
    from text_dedup.minhash import main as text_dedup

    arguments = f"--path json --data_files {path} --split train --column text --output {folder}/kept --debug "
    arguments += f"--cache_dir {folder}/cache --num_proc 1 --ngram {NGRAM} --min_length {NGRAM} "
    arguments += f"--num_perm {BANDS * ROWS} --b {BANDS} --r {ROWS} --hash_func xxh3 --hash_bits 32"
    began = time.perf_counter()
    text_dedup(arguments.split(), standalone_mode=False)
    took = {"all": time.perf_counter() - began}
    forest = pickle.loads((folder / "kept/uf.pkl").read_bytes())
    labels = [forest.find(n) for n in range(len(Path(path).read_text().splitlines()))]
    return labels, len(datasets.load_from_disk(f"{folder}/kept")), took


def similarities(peer: str, path: str, pairs_path: str) -> dict[str, list[float]]:
    """The Jaccard similarity of pairs of documents (by line) under the peer's own shingles."""
    texts = [json.loads(line)["text"] for line in Path(path).read_text().splitlines()]
    pairs = json.loads(Path(pairs_path).read_text())
    sets = {document: _shingles(peer, texts[document]) for document in {n for pair in pairs for n in pair}}
    return {"similarities": [len(sets[a] & sets[b]) / max(len(sets[a] | sets[b]), 1) for a, b in pairs]}


def _shingles(peer: str, text: str, step: list[Any] = []) -> set[Any]:  # noqa: B006  the tokenizer is loaded once
    if peer == "datatrove":
        from datatrove.pipeline.dedup import MinhashDedupSignature

        if not step:
            step.append(MinhashDedupSignature(tempfile.mkdtemp()))
        return set(step[0].get_shingles(text).ravel().tolist())
    from text_dedup.minhash import NON_ALPHA
    from text_dedup.utils import ngrams

    return {" ".join(gram) for gram in ngrams(NON_ALPHA.split(text.lower()), NGRAM, NGRAM)}


if __name__ == "__main__":
    main()
