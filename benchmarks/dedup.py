"""Deduplication: signatures from text beside other tools, clusters of synthetic signatures, recall and precision on
near copies.

    python benchmarks/dedup.py                                         all three tables (the last needs the shared test
    material) python benchmarks/dedup.py signatures --peer-python /venv/python   peers that this interpreter has:
    datasketch, rensa,
                                                                       datatrove, text-dedup
    python benchmarks/dedup.py clusters --documents 10000000

Signatures: word 5-grams, 112 permutations, WikiText-2 in documents of 5 KB, one core, seconds of the processor (so
that a busy machine does not count), best of three rounds. Every peer reads the same documents and shingles them as it
does by itself.

Clusters: half of the documents are in planted clusters of sizes 2 to 100,000, each member sharing one band with
another member and nothing else, so that a single lost bucket shows. The result must be exactly the planted clusters.

Quality: pairs made from real documents by replacing words, and real pairs of the shared material; the candidates of
the banding beside the probability that theory gives them, and the precision of what verification keeps.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
DOCUMENT_BYTES = 5_000
PEERS = ("datasketch", "rensa", "datatrove", "text-dedup")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", nargs="?", choices=("signatures", "clusters", "quality"), help="one table only")
    parser.add_argument("--documents", type=int, default=1_000_000, help="signatures to cluster")
    parser.add_argument("--peer-python", help="an interpreter that has the peers installed")
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)  # what the peer interpreter is asked to run
    options = parser.parse_args()
    if options.peer:
        print(json.dumps(run_peer(*options.peer)))
        return
    sys.path.insert(0, str(ROOT))
    if options.part in (None, "signatures"):
        signatures(options.peer_python)
    if options.part in (None, "clusters"):
        clusters(options.documents)
    if options.part in (None, "quality"):
        quality()


def real_text() -> str:
    """WikiText-2, all splits, as one text."""
    with zipfile.ZipFile(SHARED / "text/wikitext-2.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith((".tokens", ".txt", ".raw")))
        return "".join(io.TextIOWrapper(archive.open(name), "utf-8").read() for name in names)


def best(function: Callable[[], object]) -> float:
    """Processor seconds of the best of three runs."""
    times = []
    for _ in range(3):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def signatures(peer_python: str | None) -> None:
    import pyarrow as pa

    from pipeline.dedup import minhash
    from pipeline.dedup.shingles import shingles

    text = real_text()
    documents = [text[start : start + DOCUMENT_BYTES] for start in range(0, len(text) - DOCUMENT_BYTES, DOCUMENT_BYTES)]
    texts = pa.array(documents)
    params = minhash.PRESETS["fineweb"]
    batches = [texts.slice(start, 500) for start in range(0, len(texts), 500)]
    size = sum(len(document.encode()) for document in documents)
    print(f"\nsignatures: {len(documents)} documents, {size / 1e6:.1f} MB, 14 x 8 permutations, word 5-grams")
    print(f"{'what':44}{'documents/s':>12}{'MB/s':>8}")

    def row(name: str, seconds: float, count: int = len(documents)) -> None:
        print(f"{name:44}{count / seconds:12,.0f}{size * count / len(documents) / seconds / 1e6:8.1f}", flush=True)

    row("corpusmill, text to signature", best(lambda: [minhash.signatures(batch, params) for batch in batches]))
    row("  of it shingles", best(lambda: [shingles(batch, 5) for batch in batches]))
    row("corpusmill, exact text hash", best(lambda: [minhash.text_hashes(batch) for batch in batches]))
    some = documents[:400]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(some, file)
        file.flush()
        for peer in PEERS:
            command = [peer_python or sys.executable, __file__, "--peer", peer, file.name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{peer:44}{'not measured: ' + done.stderr.strip().splitlines()[-1][:60]}")
                continue
            for name, seconds in json.loads(done.stdout.splitlines()[-1]).items():
                row(name, seconds, len(some))


def run_peer(peer: str, path: str) -> dict[str, float]:
    """Processor seconds of a peer over the documents of a JSON file, by what was timed (runs in the peer's
    interpreter)."""
    documents = json.loads(Path(path).read_text())
    grams = [[" ".join(words[i : i + 5]) for i in range(len(words) - 4)] for words in map(str.split, documents)]
    if peer == "datasketch":
        import datasketch

        def sketch(sets: list[list[bytes]]) -> None:
            for items in sets:
                datasketch.MinHash(112).update_batch(items)

        def grams_of(text: str) -> list[bytes]:
            words = text.split()
            return [" ".join(words[i : i + 5]).encode() for i in range(len(words) - 4)]

        encoded = [[gram.encode() for gram in items] for items in grams]
        return {
            "datasketch, shingles given": best(lambda: sketch(encoded)),
            "datasketch, shingles by split": best(lambda: sketch([grams_of(text) for text in documents])),
        }
    if peer == "rensa":
        import rensa

        def sign(sets: list[list[str]]) -> None:
            for items in sets:
                rensa.RMinHash(num_perm=112, seed=1).update(items)

        def strings_of(text: str) -> list[str]:
            words = text.split()
            return [" ".join(words[i : i + 5]) for i in range(len(words) - 4)]

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
        "num_perm": 112,
        "ngram_size": 5,
        "min_length": 5,
        "hashranges": [(i, i + 8) for i in range(0, 112, 8)],
        "permutations": tuple(draw.randint(low, prime, 112, dtype=numpy.uint32) for low in (1, 0)),
        "hash_func": xxh3_32hash,
        "dtype": numpy.uint32,
        "max_hash": most,
        "modulo_prime": prime,
    }
    return {"text-dedup, its embed function": best(lambda: [other.embed_func(d, 0, **settings) for d in documents])}


class Planted:
    """Signatures of documents in known clusters, made chunk by chunk so that memory is the clusterer's own."""

    def __init__(self, documents: int):
        from pipeline.dedup import minhash

        self.params = minhash.PRESETS["fineweb"]
        rng = np.random.default_rng(7)
        large = [size for size in (100_000, 30_000, 10_000, 3_000) if size < documents // 8]
        small = np.minimum(2 + rng.pareto(1.3, documents // 4).astype(np.int64), 1_000)
        sizes = np.concatenate([np.array(large, np.int64), small])
        self.sizes = sizes[np.cumsum(sizes) <= documents // 2]
        self.starts = np.concatenate(([0], np.cumsum(self.sizes)))
        self.clustered = int(self.starts[-1])
        self.cluster = np.repeat(np.arange(len(self.sizes), dtype=np.int32), self.sizes)
        self.place = rng.permutation(
            documents
        )  # documents come in no order: the first `clustered` places are in clusters

    def chunk(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and signatures of documents. Member m of a cluster copies band m mod 14 of member (m - 1) // 2."""
        from pipeline.clean.hashing import mix

        params = self.params
        places = self.place[first:last]
        inside = places < self.clustered
        member = np.where(inside, places - self.starts[self.cluster[np.minimum(places, self.clustered - 1)]], 0)
        band = member % params.bands
        parent = np.maximum(member - 1, 0) // 2
        while (copied := (parent > 0) & (parent % params.bands == band)).any():
            parent = np.where(copied, (parent - 1) // 2, parent)  # whose own value that band has
        values = places.astype(np.uint64)[:, None] * np.uint64(params.permutations)
        signatures = mix(values + np.arange(params.permutations, dtype=np.uint64)).astype(np.uint32)
        copies = np.flatnonzero(member > 0)
        columns = (band[copies] * params.rows)[:, None] + np.arange(params.rows)
        owners = (places - member + parent)[copies].astype(np.uint64)[:, None] * np.uint64(params.permutations)
        signatures[copies[:, None], columns] = mix(owners + columns.astype(np.uint64)).astype(np.uint32)
        return np.arange(first, last), signatures

    def exact(self, found: np.ndarray) -> bool:
        """Whether these (document, label) rows are the planted clusters, each labelled by its smallest document."""
        documents = np.flatnonzero(self.place < self.clustered)
        cluster = self.cluster[self.place[documents]]
        smallest = np.full(len(self.sizes), len(self.place))
        np.minimum.at(smallest, cluster, documents)
        if len(found) != len(documents):
            return False
        return bool((found[:, 0] == documents).all() and (found[:, 1] == smallest[cluster]).all())


def clusters(count_of_all: int) -> None:
    from pipeline.dedup import components, lsh, minhash

    print(f"\n{'clusters of documents':>22} bands s  pack s  edges s  forest s   all s    GB  exact")
    step = 100_000
    for count in sorted({max(count_of_all // 10, step), count_of_all}):
        planted = Planted(count)
        took = dict.fromkeys(("bands", "pack", "edges", "forest"), 0.0)

        def timed(name: str, function: Callable, *arguments, took: dict[str, float] = took):
            start = time.process_time()
            result = function(*arguments)
            took[name] += time.process_time() - start
            return result

        blocks: dict[tuple[int, int], list[bytes]] = {}
        for first in range(0, count, step):
            documents, values = planted.chunk(first, min(first + step, count))
            hashes = timed("bands", minhash.band_hashes, values, planted.params)
            for band in range(planted.params.bands):
                packed = timed("pack", lsh.pack_band, hashes[:, band], documents, -(-count // 250_000))
                for index, block in packed.items():
                    blocks.setdefault((band, index), []).append(block)
        forest = components.EMPTY
        waiting: list[np.ndarray] = []  # a forest is copied when it grows: add to it as much as it has
        for key in list(blocks):
            waiting.append(timed("edges", lsh.star, blocks.pop(key), lsh.BAND_RECORD))
            if sum(map(len, waiting)) * 16 > len(forest) or not blocks:
                forest = timed("forest", components.forest_add, forest, np.concatenate(waiting))
                waiting = []
        result = timed("forest", components.clusters, forest)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        columns = "".join(f"{value:{width}.1f}" for value, width in zip(took.values(), (8, 8, 9, 10), strict=True))
        verdict = "yes" if planted.exact(result) else "NO"
        print(f"{count:22,}{columns}{sum(took.values()):8.1f}{memory:6.1f}  {verdict}", flush=True)


def quality() -> None:
    import pyarrow as pa

    from pipeline.dedup import minhash

    text = real_text()
    rng = np.random.default_rng(11)
    originals = [text[start : start + DOCUMENT_BYTES].split() for start in range(0, 10_000_000, DOCUMENT_BYTES)]
    vocabulary = np.array(sorted({word for words in originals[:200] for word in words}), dtype=object)
    left, right = [], []
    for words in originals:
        copy = np.array(words, dtype=object)
        # A word replaced changes five 5-grams on each side: J = (1 - c) / (1 + c) with c = 1 - (1 - p)^5.
        wanted = rng.uniform(0.4, 0.97)
        share = 1 - (1 - (1 - wanted) / (1 + wanted)) ** 0.2
        hit = rng.random(len(words)) < share
        copy[hit] = rng.choice(vocabulary, int(hit.sum()))
        left.append(" ".join(words))
        right.append(" ".join(copy))
    params = minhash.PRESETS["fineweb"]
    pairs = [("planted", left, right), *_real_pairs()]
    print(f"\nquality, 14 x 8: {'pairs':28}{'Jaccard':>12}{'pairs':>8}{'found':>8}{'theory':>8}")
    for name, a, b in pairs:
        one, two = (minhash.signatures(pa.array(side), params) for side in (a, b))
        true = np.nan_to_num(minhash.similarity(pa.array(a), pa.array(b), params))
        bands = [minhash.band_hashes(side, params) for side in (one, two)]
        candidate = ((bands[0] == bands[1]) & (bands[0] != minhash.NO_BAND)).any(axis=1)
        edges = np.append(np.arange(0, 0.7, 0.1), [0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.01])
        for low, high in pairwise(edges.tolist()):
            rows = (true >= low) & (true < high)
            if rows.any():
                theory = params.probability(true[rows]).mean()
                span = f"{low:.2f}-{min(high, 1):.2f}"
                print(f"{'':17}{name:28}{span:>12}{rows.sum():8}{candidate[rows].mean():8.3f}{theory:8.3f}")
        if name == "planted":
            estimate = minhash.jaccard(one, two)
            for how, score in (("estimate from signatures", estimate), ("exact, from the texts", true)):
                kept = candidate & (score >= 0.8)
                wanted_pairs = true >= 0.8
                precision, recall = (true[kept] >= 0.8).mean(), kept[wanted_pairs].mean()
                print(f"{'':17}verified at .8 by {how:26} precision {precision:.3f}, recall {recall:.3f}")


def _real_pairs() -> list[tuple[str, list[str], list[str]]]:
    with gzip.open(SHARED / "neardup/enwiki-revision-pairs-2014-2016.jsonl.gz", "rt", encoding="utf-8") as stream:
        revisions = [json.loads(line) for line in stream]
    lines = (SHARED / "neardup/mccormick_1000.train").read_text().splitlines()
    articles = dict(line.split(" ", 1) for line in lines)
    truth = [line.split() for line in (SHARED / "neardup/mccormick_1000.truth").read_text().splitlines()]
    with zipfile.ZipFile(SHARED / "neardup/clough-stevenson-abc.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".txt") and not name.startswith("orig"))
        read = {name: archive.read(name).decode("latin-1") for name in archive.namelist() if name.endswith(".txt")}
        table = archive.read("file_information.csv").decode("latin-1")
    levels = {row.split(",")[0]: row.strip().split(",")[-1] for row in table.splitlines()[1:]}
    copied = {
        level: [name for name in names if levels.get(name) == level and f"orig_{name[5:]}" in read]
        for level in ("cut", "light", "heavy", "non")
    }
    return [
        ("wikipedia revisions", [row["a"] for row in revisions], [row["b"] for row in revisions]),
        ("mccormick", [articles[a] for a, _ in truth], [articles[b] for _, b in truth]),
        *(
            (f"plagiarism: {level}", [read[name] for name in chosen], [read[f"orig_{name[5:]}"] for name in chosen])
            for level, chosen in copied.items()
        ),
    ]


if __name__ == "__main__":
    main()
