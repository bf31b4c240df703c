"""Deduplication beside other tools: signatures from text, clusters of synthetic signatures through the Beam stage,
recall and precision on near copies, and whole runs over the same documents.

    python benchmarks/dedup.py --documents 10000000 --peer-python /venv/bin/python     all four tables
    python benchmarks/dedup.py side --peer-python /venv/bin/python                     one of them

The peers come from an interpreter of their own: python -m venv /venv; /venv/bin/pip install 'datatrove[processing]' \
spacy datasketch rensa text-dedup. All but `clusters` read the shared test material.

Signatures: word 5-grams, 112 permutations, WikiText-2 in documents of 5 KB, one core, seconds of the processor (so
that a busy machine does not count), best of three rounds. Every peer reads the same documents and shingles them as it
does by itself.

Clusters: half of the documents are in planted clusters of sizes 2 to 100,000, each member sharing one band with
another member and nothing else, so that a single lost bucket shows. Signature parts are written as ingest writes them;
the stage finds the duplicates in a process of its own, whose peak memory counts. Its verdicts must be exactly the
planted clusters, each with its smallest id as keeper.

Quality: pairs made from real documents by replacing words, and real pairs of the shared material; the candidates of
the banding beside the probability that theory gives them, and the precision of what verification keeps.

Side by side: every text of the shared dumps, crawls and pairs, and copies of some with words replaced; word 5-grams,
14 bands x 8 rows for everyone, one process each. Shingles and hash functions are each tool's own, so the clusters
cannot be the same sets: for each pair of documents that one tool joins and the other does not, the similarity under
the shingles of either says why.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from measure import best, peak_bytes

if TYPE_CHECKING:
    from pipeline.dedup.minhash import MinHashParams
    from pipeline.ledger import Unit

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
DOCUMENT_BYTES = 5_000
PEERS = ("datasketch", "rensa", "datatrove", "text-dedup")
PEER_SCRIPT = str(ROOT / "benchmarks/dedup_peers.py")
PART = 100_000  # documents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parts = {"signatures": signatures, "clusters": clusters, "quality": quality, "side": side_by_side}
    parser.add_argument("part", nargs="?", choices=tuple(parts), help="one table only")
    parser.add_argument("--documents", type=int, default=1_000_000, help="signatures to cluster")
    parser.add_argument("--peer-python", help="an interpreter that has the peers installed")
    parser.add_argument("--memory", type=float, default=8.0, help="GB for the stage of `clusters`")
    parser.add_argument("--scratch", help="a folder for what is written; 160 bytes a document and more")
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)  # what a process of its own is asked to do
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    tempfile.tempdir = options.scratch
    if options.run:
        name, *arguments = options.run
        print(json.dumps({"stage": run_stage, "corpus": run_corpus}[name](*arguments)))
        return
    for name, part in parts.items():
        if options.part in (None, name):
            part(options)


def in_own_process(python: str, script: str, *arguments: object) -> dict[str, Any]:
    """What a script prints as JSON in its last line; ``error`` where it fails."""
    done = subprocess.run([python, script, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip() or "it failed").splitlines()[-1][:100]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def real_text() -> str:
    """WikiText-2, all splits, as one text."""
    with zipfile.ZipFile(SHARED / "text/wikitext-2.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith((".tokens", ".txt", ".raw")))
        return "".join(io.TextIOWrapper(archive.open(name), "utf-8").read() for name in names)


def signatures(options: argparse.Namespace) -> None:
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
            found = in_own_process(options.peer_python or sys.executable, PEER_SCRIPT, "signatures", peer, file.name)
            if "error" in found:
                print(f"{peer:44}not measured: {found['error']}")
                continue
            for name, seconds in found.items():
                row(name, seconds, len(some))


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

    def ids(self, first: int, last: int) -> np.ndarray:
        """Ids ("S16") of documents, in no order."""
        from pipeline.clean.hashing import mix

        numbers = np.arange(first, last, dtype=np.uint64)[:, None] * np.uint64(2)
        return mix(numbers + np.arange(2, dtype=np.uint64)).view("S16").ravel()

    def keepers(self) -> np.ndarray:
        """The document that each document must name: of a cluster the one of the smallest id, else itself."""
        from pipeline.dedup.lsh import halves

        found = np.arange(len(self.place))
        documents = np.flatnonzero(self.place < self.clustered)
        cluster = self.cluster[self.place[documents]]
        order = np.lexsort((*halves(self.ids(0, len(self.place))[documents])[::-1], cluster))
        first = np.searchsorted(cluster[order], np.arange(len(self.sizes)))
        found[documents] = documents[order[first]][cluster]
        return found


def planned(count: int) -> list[Unit]:
    """The units of the dedup stage for so many documents."""
    from pipeline.config import Config
    from pipeline.ledger import Committed
    from pipeline.stages import dedup

    config = Config.model_validate({"source": [{"name": "s", "format": "warc", "paths": ["x"]}]})
    sizes = {f"s--{first:09}--0": min(PART, count - first) for first in range(0, count, PART)}
    rows = {name: Committed(name, size, 0, ()) for name, size in sizes.items()}
    return dedup.plan(config, "planted", rows)


def clusters(options: argparse.Namespace) -> None:
    import pyarrow as pa

    from pipeline.dedup import lsh, minhash
    from pipeline.schema import signatures_schema
    from pipeline.stages import dedup
    from pipeline.stages.parts import writing_parts
    from pipeline.storage import Root

    print(f"\nclusters, --memory {options.memory:g}GB")
    print(f"{'documents':>12}{'wall s':>8}{'CPU s':>8}{'peak GB':>9}{'removed':>12}  exact   slope")
    before: dict[str, float] = {}
    for count in sorted({max(options.documents // 10, PART), options.documents}):
        planted = Planted(count)
        schema = signatures_schema(planted.params.bands, planted.params.stamp())
        units = planned(count)
        with tempfile.TemporaryDirectory() as folder:
            root = Root(folder)
            for unit in units:
                first, last = unit.spec["first"], unit.spec["first"] + unit.bytes
                documents, values = planted.chunk(first, last)
                ids = planted.ids(first, last)
                bands = pa.array(minhash.band_hashes(values, planted.params).reshape(-1))
                columns = {
                    "id": lsh.ids_to_arrow(ids),
                    "text_hash": lsh.ids_to_arrow(ids),  # no two texts are equal
                    "text_bytes": pa.array(np.full(len(documents), DOCUMENT_BYTES)),
                    "bands": pa.FixedSizeListArray.from_arrays(bands, type=schema.field("bands").type),
                }
                with writing_parts(root) as parts:
                    part = parts.add(f"signatures/{unit.name}.parquet", schema)
                    part.write(pa.RecordBatch.from_pydict(columns, schema=schema))
            took = in_own_process(sys.executable, __file__, "--run", "stage", folder, count, int(options.memory * 1e9))
            if "error" in took:
                raise SystemExit(took["error"])
            keeper = np.arange(count)
            for place, unit in enumerate(units):
                verdicts = dedup.left(root, f"verdicts/{unit.name}", dedup._VERDICT)
                firsts = np.array([other.spec["first"] for other in units])
                keeper[units[place].spec["first"] + verdicts["row"]] = (
                    firsts[verdicts["keeper_part"]] + verdicts["keeper_row"]
                )
        removed = int((keeper != np.arange(count)).sum())
        exact = "yes" if (keeper == planted.keepers()).all() else "NO"
        slope = np.log(took["wall"] / before["wall"]) / np.log(count / before["count"]) if before else np.nan
        before = {"wall": took["wall"], "count": count}
        print(
            f"{count:12,}{took['wall']:8.1f}{took['cpu']:8.1f}{took['peak'] / 1e9:9.2f}{removed:12,}"
            f"  {exact:6}{slope:7.2f}",
            flush=True,
        )


def run_stage(folder: str, count: str, memory: str) -> dict[str, float]:
    """Find the duplicates among the signature parts in a folder."""
    from pipeline.jobs.dedup import find_duplicates
    from pipeline.jobs.runner import Runner

    wall, cpu = time.perf_counter(), time.process_time()
    find_duplicates(folder, planned(int(count)), Runner(), int(memory))
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "peak": peak_bytes()}


def quality(_: argparse.Namespace) -> None:
    import pyarrow as pa

    from pipeline.dedup import minhash

    text = real_text()
    rng = np.random.default_rng(11)
    originals = [text[start : start + DOCUMENT_BYTES].split() for start in range(0, 10_000_000, DOCUMENT_BYTES)]
    vocabulary = np.array(sorted({word for words in originals[:200] for word in words}), dtype=object)
    left, right = [], []
    for words in originals:
        copy = np.array(words, dtype=object)
        hit = rng.random(len(words)) < _share_replaced(rng.uniform(0.4, 0.97))
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


def side_by_side(options: argparse.Namespace) -> None:
    from pipeline.dedup import minhash

    with tempfile.TemporaryDirectory() as folder:
        texts = _real_texts(Path(folder) / "real")
        originals = len(texts)
        texts += _edited(texts)
        path = Path(folder) / "documents.jsonl"
        lines = (json.dumps({"text": text, "id": str(n)}) + "\n" for n, text in enumerate(texts))
        path.write_text("".join(lines))
        size = sum(len(text.encode()) for text in texts)
        print(
            f"\nside by side: {len(texts):,} documents ({len(texts) - originals} planted), {size / 1e6:.1f} MB, 14 x 8"
        )
        print(f"{'':12}{'seconds':>9}{'documents/s':>13}{'peak MB':>9}{'clusters':>10}{'copies':>8}{'kept':>8}  steps")
        peer_python = options.peer_python or sys.executable
        labels = {}
        for name in ("corpusmill", "datatrove", "text-dedup"):
            (own := Path(folder) / name).mkdir()
            arguments = [peer_python, PEER_SCRIPT, "clusters", name, path, own]
            if name == "corpusmill":
                arguments = [sys.executable, __file__, "--run", "corpus", path, own]
            found = in_own_process(*arguments)
            if "error" in found:
                print(f"{name:12}not measured: {found['error']}")
                continue
            labels[name] = np.array(found["labels"])
            sizes = np.unique(labels[name], return_counts=True)[1]
            seconds = sum(found["took"].values())
            print(
                f"{name:12}{seconds:9.1f}{len(texts) / seconds:13,.0f}{found['peak'] / 1e6:9.0f}{(sizes > 1).sum():10,}"
                f"{len(texts) - len(sizes):8,}{found['kept']:8,}  "
                + ", ".join(f"{step} {took:.1f}" for step, took in found["took"].items()),
                flush=True,
            )
        params = minhash.PRESETS["fineweb"]
        pairs, similarity = _alike(texts, params)
        print("\npairs joined in one cluster, by similarity under our shingles")
        print(f"{'Jaccard':>12}{'pairs':>9}{'theory':>9}" + "".join(f"{name:>12}" for name in labels))
        edges = [0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.01]
        for low, high in pairwise(edges):
            rows = (similarity >= low) & (similarity < high)
            if not rows.any():
                continue
            here, theory = pairs[rows], params.probability(similarity[rows])
            joined = ((of[here[:, 0]] == of[here[:, 1]]).mean() for of in labels.values())
            span = f"{low:.2f}-{min(high, 1):.2f}"
            print(f"{span:>12}{len(here):9,}{theory.mean():9.3f}" + "".join(f"{share:12.3f}" for share in joined))
        odds = params.probability(similarity)
        apart = (odds * (1 - odds)).sum()
        print(
            f"\nOf equal shingles, two families of hash functions differ in about {apart:.0f} of these pairs each way."
        )
        print(f"{'pairs joined':24}{'by both':>9}{'one only':>10}  of these why")
        for name in [name for name in labels if name != "corpusmill"]:
            _differences(name, labels, texts, path, peer_python)


def _differences(name: str, labels: dict[str, np.ndarray], texts: list[str], path: Path, peer_python: str) -> None:
    """Print the pairs of documents that only we, or only the peer, have in one cluster, and why."""
    import pyarrow as pa

    from pipeline.dedup import minhash

    params = minhash.PRESETS["fineweb"]
    ours, theirs = (_joined(labels[tool]) for tool in ("corpusmill", name))
    for who, only in (("only ours", np.setdiff1d(ours, theirs)), ("only theirs", np.setdiff1d(theirs, ours))):
        pairs = np.stack([only >> 32, only & 0xFFFFFFFF], axis=1)
        documents, at = np.unique(pairs, return_inverse=True)
        sets = minhash.sets_of(pa.array([texts[n] for n in documents], pa.string()), params)
        here = np.nan_to_num(minhash.similarities(*sets, at.reshape(-1, 2)))
        (chosen := path.with_suffix(".pairs")).write_text(json.dumps(pairs.tolist()))
        found = in_own_process(peer_python, PEER_SCRIPT, "similarities", name, path, chosen)
        there = np.array(found["similarities"])
        odds = params.probability(here), params.probability(there)
        joining = labels["corpusmill" if who == "only ours" else name]
        through = np.bincount(joining, minlength=len(joining))[joining[pairs[:, 0]]] > 2
        causes = {
            # neither of the two would join them by itself; of a direct pair on the way the reason is counted too
            "joined through others": (np.maximum(*odds) < 0.01) & through,
            "other shingles": np.abs(odds[0] - odds[1]) > 0.5,
            "other hash functions": (np.abs(odds[0] - 0.5) < 0.49) | (np.abs(odds[1] - 0.5) < 0.49),
        }
        reasons = np.select(list(causes.values()), list(causes), "unexplained")
        why = ", ".join(f"{reason} {(reasons == reason).sum():,}" for reason in np.unique(reasons))
        both = len(np.intersect1d(ours, theirs))
        print(f"{name + ': ' + who:24}{both:9,}{len(only):10,}  {why}")
        for reason in ("other shingles", "unexplained"):
            rows = np.flatnonzero(reasons == reason)[:3]
            for row in rows:
                print(f"{'':8}{reason}: {here[row]:.2f} ours, {there[row]:.2f} theirs: {texts[pairs[row, 1]][:60]!r}")


def _joined(labels: np.ndarray) -> np.ndarray:
    """The pairs of documents in one cluster, each as one number, ascending."""
    order = np.argsort(labels, kind="stable")
    found = [np.empty(0, np.int64)]
    for members in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        left, right = np.triu_indices(len(members), 1)
        found.append(members[left] << 32 | members[right])
    return np.sort(np.concatenate(found))


def _alike(texts: list[str], params: MinHashParams) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of texts that share three tenths of their shingles and more (pairs x 2), and their similarity, by
    comparing all with all."""
    import pyarrow as pa
    from scipy.sparse import csr_array

    from pipeline.dedup import minhash

    shingles, offsets = minhash.sets_of(pa.array(texts), params)
    codes = np.unique(shingles, return_inverse=True)[1]
    matrix = csr_array((np.ones(len(codes), np.int32), codes, offsets))
    common = (matrix @ matrix.T).tocoo()
    upper = common.row < common.col
    pairs, shared = np.stack([common.row, common.col], axis=1)[upper], common.data[upper]
    sizes = np.diff(offsets)
    similarity = shared / (sizes[pairs].sum(axis=1) - shared)
    return pairs[similarity >= 0.3], similarity[similarity >= 0.3]


def _real_texts(folder: Path) -> list[str]:
    """The texts of the shared dumps and crawls, as ingest keeps them, and of the shared pairs."""
    from pipeline.build import Builder
    from pipeline.config import Config
    from pipeline.stages.parts import read_batches

    dumps: dict[tuple[str, Path], list[str]] = {}  # a source a folder, since two files of a name may not be in one
    for path in sorted(SHARED.glob("w*/**/*")):
        kind = "wikimedia" if path.match("wiki/*.xml.bz2") else "warc"
        named = kind == "wikimedia" or re.search(r"\.(warc|arc)(\.wet)?(\.gz)?$", path.name)
        if named and path.parent.name not in ("internetarchive__CDX-Writer", "webrecorder__warcio"):  # small faults
            dumps.setdefault((kind, path.parent), []).append(str(path))
    sources = [{"name": f"s{n}", "format": of[0], "paths": paths} for n, (of, paths) in enumerate(dumps.items())]
    builder = Builder(Config.model_validate({"root": str(folder), "source": sources}))
    with contextlib.redirect_stderr(io.StringIO()):
        builder.build("ingest")
    texts: list[str] = []
    for name in sorted(builder.root.sizes("documents")):
        for batch in read_batches(builder.root, name, ["text"]):
            texts += batch.column("text").to_pylist()
    for _, left, right in _real_pairs():
        texts += left + right
    lines = (SHARED / "neardup/mccormick_1000.train").read_text().splitlines()
    return texts + [line.split(" ", 1)[1] for line in lines]


def _edited(texts: list[str]) -> list[str]:
    """Copies of some texts, with words replaced so that similarities of .4 to .97 come out."""
    rng = np.random.default_rng(5)
    long = [text for text in texts if 100 <= text.count(" ") <= 3_000]
    copies = []
    for place in rng.choice(len(long), min(800, len(long)), replace=False).tolist():
        words = np.array(long[place].split(" "), dtype=object)
        hit = rng.random(len(words)) < _share_replaced(rng.uniform(0.4, 0.97))
        words[hit] = rng.choice(words, int(hit.sum()))
        copies.append(" ".join(words))
    return copies


def _share_replaced(wanted: float) -> float:
    """The share of words to replace for a Jaccard similarity: a word changes five 5-grams on each side, so it is
    (1 - c) / (1 + c) with c = 1 - (1 - p)^5."""
    return 1 - (1 - (1 - wanted) / (1 + wanted)) ** 0.2


def run_corpus(path: str, folder: str) -> dict[str, Any]:
    """Deduplicate a JSONL file through signatures, stage and parts, as `corpusmill dedup` does, near copies alone."""
    import pyarrow as pa

    from pipeline.config import Config
    from pipeline.jobs.dedup import find_duplicates
    from pipeline.jobs.runner import Runner
    from pipeline.ledger import Committed
    from pipeline.schema import DOCUMENTS, document_id, signatures_schema
    from pipeline.stages import dedup
    from pipeline.stages.ingest import sign
    from pipeline.stages.parts import writing_parts
    from pipeline.storage import Root

    source = {"name": "s", "format": "warc", "paths": ["x"]}
    config = Config.model_validate({"source": [source], "dedup": {"exact": False, "near": True}})
    params, root, name = config.dedup.minhash.params(), Root(folder), "s--all--0"
    clock = [time.perf_counter()]
    count = 0
    with open(path) as lines, writing_parts(root) as parts:
        documents = parts.add(f"documents/{name}.parquet", DOCUMENTS)
        signed = parts.add(f"signatures/{name}.parquet", signatures_schema(params.bands, params.stamp()))
        while texts := [json.loads(line)["text"] for line in islice(lines, 500)]:
            places = range(count, count := count + len(texts))
            same = {field.name: [_NOTHING.get(str(field.type))] * len(texts) for field in DOCUMENTS}
            columns = same | {"id": [document_id(str(n)) for n in places], "text": texts}
            batch = pa.RecordBatch.from_pydict(columns, schema=DOCUMENTS)
            documents.write(batch)
            signed.write(sign(batch, params))
    (unit,) = dedup.plan(config, "side", {name: Committed(name, count, 0, ())})
    clock.append(time.perf_counter())
    find_duplicates(folder, [unit], Runner(), 4_000_000_000)
    clock.append(time.perf_counter())
    row = dedup.process(root, unit)
    clock.append(time.perf_counter())
    labels = np.arange(count)
    verdicts = dedup.left(root, f"verdicts/{name}", dedup._VERDICT)
    labels[verdicts["row"]] = verdicts["keeper_row"]
    took = dict(zip(("signatures", "clusters", "parts"), np.diff(clock).tolist(), strict=True))
    return {"labels": labels.tolist(), "kept": row.counts.kept, "took": took, "peak": peak_bytes()}


_NOTHING = {"string": "", "float": 0.0, "int64": 0}


if __name__ == "__main__":
    main()
