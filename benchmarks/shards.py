"""Shards beside their peers, in one run: encoding, the whole stage, reading windows at random, opening, memory.

    python benchmarks/shards.py --peer-python PEERS/bin/python

Peers (litdata, mosaicml-streaming) live in an environment of their own:

    python -m venv PEERS && PEERS/bin/pip install numpy litdata mosaicml-streaming

A peer that is absent there is named and skipped. numpy.memmap, bare SentencePiece and `datasets` (extra [dev]; its
requirements and mosaicml-streaming's exclude each other) are measured in this environment.

Encoding: the kept documents of a corpus (--corpus, default: built from the bundled sample), as `tokenizer.encode` on
Arrow batches and as SentencePiece's own batch call on lists of strings, one thread each, in turn. Stage: `encode` and
`shards` as a build runs them, tokens by the processor seconds of both, and the peak memory of that process; once as it
is, and once with every source up-sampled to --copies epochs, so that there is far more than one shard holds.

Reading: --tokens uint16 ids in shards of equal size, windows of 1,024 + 1 tokens in one global random order, each
summed so that its bytes are touched; the median of --rounds, the ways in turn. litdata, mosaicml-streaming and
`datasets` hold the same tokens in blocks of 1,025 and are asked for them by number in the same order.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.memory import peak_memory
from pipeline.shards.format import Header, build_index, index_bytes, shard_name
from pipeline.shards.read import open_shards
from pipeline.shards.write import write_shard

ROOT = Path(__file__).resolve().parents[1]
WINDOW = 1024
HEADER = Header("ab" * 32, 50_000, {"eos": 2}, seed=0, lineage="benchmark")

PEER = r"""
import json, os, sys, time
import numpy as np
kind, raw, folder, blocks, reads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
tokens = np.memmap(raw, np.uint16, "r")
order = np.random.default_rng(1).permutation(blocks)[:reads]
block = lambda i: np.array(tokens[i * 1025 : (i + 1) * 1025])
if kind == "datasets":
    import datasets
    datasets.disable_progress_bars()
    made = datasets.Dataset.from_generator(
        lambda: ({"tokens": block(i)} for i in range(blocks)), cache_dir=folder,
        features=datasets.Features({"tokens": datasets.Sequence(datasets.Value("uint16"))})).with_format("numpy")
    read = lambda i: made[int(i)]["tokens"]
elif kind == "litdata":
    from litdata import StreamingDataset
    from litdata.streaming.writer import BinaryWriter
    writer = BinaryWriter(folder, chunk_bytes="64MB")
    for i in range(blocks):
        writer.add_item(i, {"tokens": block(i)})
    writer.done()
    writer.merge()
    made = StreamingDataset(folder, shuffle=False)
    read = lambda i: made[int(i)]["tokens"]
else:
    from streaming import MDSWriter, StreamingDataset
    with MDSWriter(out=folder, columns={"tokens": "ndarray:uint16:1025"}, size_limit=1 << 26) as writer:
        for i in range(blocks):
            writer.write({"tokens": block(i)})
    made = StreamingDataset(local=folder, shuffle=False, batch_size=1)
    read = lambda i: made[int(i)]["tokens"]
assert np.array_equal(read(order[0]), block(order[0]))
start = time.perf_counter()
for i in order:
    int(read(i).sum())
print(json.dumps(reads * 1024 / (time.perf_counter() - start)))
os._exit(0)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Shards beside their peers.")
    parser.add_argument("--peer-python", help="python of the environment with the peers")
    parser.add_argument("--corpus", help="a built corpus (default: one is made from the bundled sample)")
    parser.add_argument("--tokens", type=int, default=100_000_000, help="tokens to read at random (default 100 M)")
    parser.add_argument("--reads", type=int, default=20_000, help="windows a peer reads (default 20,000)")
    parser.add_argument("--copies", type=int, default=40, help="epochs of each source in the stage (default 40)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(options.corpus).resolve() if options.corpus else build(Path(scratch))
        encoding(corpus, options.rounds)
        stage(corpus, 1)
        stage(corpus, options.copies)
        reading(Path(scratch), options)


def build(scratch: Path) -> Path:
    """The bundled sample until the tokenizer."""
    code = "import sys; from pipeline.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "build", str(ROOT / "examples/sample.toml"), "--until", "tokenizer"]
    subprocess.run([*command, "--corpus", str(scratch / "corpus")], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return scratch / "corpus"


def encoding(corpus: Path, rounds: int) -> None:
    """Tokens a second of Arrow encoding and of bare SentencePiece, one thread each, in turn."""
    from pipeline.ledger import Ledger
    from pipeline.stages.documents import kept
    from pipeline.storage import Root
    from tokenizer.encode import encode, load

    root = Root(str(corpus))
    batches = [b["text"] for unit in Ledger(root).units("dedup") for b in kept(root, unit, ["text"])]
    lists = [batch.to_pylist() for batch in batches]
    model = load(corpus / "tokenizer/tokenizer.model")
    tokens = 0

    def bare() -> None:
        for texts in lists:
            model.processor.encode(texts, add_eos=True, num_threads=1)

    def ours() -> None:
        nonlocal tokens
        tokens = sum(len(encode(batch, model, threads=1).values) for batch in batches)

    taken = in_turn({"SentencePiece": bare, "corpusmill": ours}, rounds)
    print(f"encoding, {tokens / 1e6:.1f} M tokens, one thread, median of {rounds}")
    for name, seconds in taken.items():
        ratio = taken["SentencePiece"] / seconds
        print(f"  {name:<24}{tokens / seconds / 1e6:8.2f} Mtok/s{ratio:8.2f} of SentencePiece", flush=True)


def stage(corpus: Path, copies: int) -> None:
    """The stage in a process of its own, on a copy of the corpus's inputs: throughput and peak memory."""
    code = f"""
import json, shutil, sys, tempfile, time
from pathlib import Path
from pipeline.config import Config
from pipeline.ledger import Ledger
from pipeline.memory import peak_memory
from pipeline.shards.format import Header
from pipeline.stages import encode, shards, tokenizer
from pipeline.storage import Root
scratch = Path(tempfile.mkdtemp())
for name in ("documents", "duplicates", "lines", "tokenizer", "ledger"):
    if (Path({str(corpus)!r}) / name).exists():
        (scratch / name).symlink_to(Path({str(corpus)!r}) / name)
root = Root(str(scratch))
sources = sorted({{name.split("--")[0] for name in Ledger(root).units("dedup")}})
settings = {{"tokens": 2_000_000, "epochs": dict.fromkeys(sources, {copies}.0)}}
config = Config.model_validate({{"shards": settings}})
start = time.process_time()
units = encode.plan(config, "key", [(row.unit, row.counts.kept) for row in Ledger(root).rows("dedup")])
tokens = sum(encode.process(root, unit).counts.amounts.get("tokens", 0) for unit in units)
middle = time.process_time()
header = Header(**tokenizer.facts(root), seed=0, lineage="key")
parts = shards.plan(config, root, "key", header)
sizes = [shards.process(root, unit).counts.amounts["tokens"] for unit in parts if unit.spec["split"] == "train"]
end = time.process_time()
peak = peak_memory()
print(json.dumps([tokens, middle - start, end - middle, peak, sizes]))
shutil.rmtree(scratch)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    tokens, first, second, peak, sizes = json.loads(done.stdout)
    print(f"stage, {copies} epochs of each source: {tokens / 1e6:.1f} M tokens into {len(sizes)} shards of 2 M")
    if copies == 1:  # with more, each text is still encoded once
        print(f"  encode and sort         {tokens / first / 1e6:8.2f} Mtok/s a core")
        print(f"  whole stage             {tokens / (first + second) / 1e6:8.2f} Mtok/s a core")
    print(f"  gather and write        {tokens / second / 1e6:8.2f} Mtok/s a core")
    uneven = max(abs(size / (sum(sizes) / len(sizes)) - 1) for size in sizes)
    print(f"  sizes even to {uneven:.2%}, peak memory {peak / 1e6:.0f} MB", flush=True)


def reading(scratch: Path, options: argparse.Namespace) -> None:
    """Windows in global random order over the same tokens, by each way."""
    rng = np.random.default_rng(0)
    blocks = options.tokens // (WINDOW + 1)
    tokens = rng.integers(0, HEADER.vocab_size, blocks * (WINDOW + 1), dtype=np.uint16)
    raw, folder = scratch / "tokens.bin", scratch / "shards"
    tokens.tofile(raw)
    write_shards(folder, tokens, 100)
    shards = open_shards(folder)  # the first verification
    started = time.perf_counter()
    shards = open_shards(folder)
    opened = time.perf_counter() - started
    order = rng.permutation(shards.n_windows(WINDOW)).tolist()
    memmap = np.memmap(raw, np.uint16, "r")

    def ours() -> None:
        for number in order:
            int(shards.window(number, WINDOW).sum())

    def theirs() -> None:
        for number in order:
            int(memmap[number * WINDOW : (number + 1) * WINDOW + 1].sum())

    taken = in_turn({"numpy.memmap": theirs, "corpusmill": ours}, options.rounds)
    rates = {name: len(order) * WINDOW / seconds for name, seconds in taken.items()}
    for peer in ("litdata", "mosaicml-streaming", "datasets"):
        python = sys.executable if peer == "datasets" else options.peer_python
        rates[peer] = peer_rate(python, peer, raw, scratch, blocks, min(options.reads, blocks))
    print(f"windows of {WINDOW} tokens in random order over {len(tokens) / 1e6:.0f} M tokens in 100 shards")
    for name, rate in rates.items():
        shown = (
            f"{rate / 1e6:10.1f} Mtok/s{rate / rates['numpy.memmap']:8.2f} of numpy.memmap" if rate else "   skipped"
        )
        print(f"  {name:<24}{shown}")
    print(f"opening 100 shards that were verified before: {opened:.3f} s")
    print(f"peak memory of this process: {peak_memory() / 1e6:.0f} MB")


def write_shards(folder: Path, tokens: np.ndarray, count: int) -> None:
    """The tokens as ``count`` shards of documents of 1,000 tokens, old enough to be remembered as verified."""
    folder.mkdir()
    rows = []
    for number, part in enumerate(np.array_split(tokens, count)):
        name = shard_name("train", number, count)
        offsets = np.array([*range(0, len(part), 1000), len(part)])
        documents = len(offsets) - 1
        given = {
            "tokens": part,
            "offsets": offsets,
            "n_bytes": np.diff(offsets) * 4,
            "doc_ids": np.zeros((documents, 16), np.uint8),
            "sources": pa.array(["s"] * documents),
        }
        rows.append(write_shard(str(folder / name), name, HEADER, "train", **given))
    (folder / "index.json").write_bytes(index_bytes(build_index(HEADER, {"train": rows})))
    time.sleep(2.1)  # a younger file is not remembered: its time stamp could not tell a second change


def in_turn(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """The median seconds of each way, all of them once a round after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if round_:
                times[name].append(time.perf_counter() - start)
    return {name: median(found) for name, found in times.items()}


def peer_rate(python: str | None, peer: str, raw: Path, scratch: Path, blocks: int, reads: int) -> float:
    """Tokens a second of a peer in its own environment; 0 where it is absent, with the reason printed."""
    if python is None:
        print(f"{peer}: skipped, no --peer-python (see the head of this script)")
        return 0.0
    folder = scratch / peer
    folder.mkdir()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch / "hf")}
    command = [python, "-c", PEER, peer, str(raw), str(folder), str(blocks), str(reads)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode or not done.stdout.strip():
        print(f"{peer}: skipped, {(done.stderr.strip().splitlines() or ['no result'])[-1]}")
        return 0.0
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


if __name__ == "__main__":
    main()
