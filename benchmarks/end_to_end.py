"""The whole pipeline, stage by stage and by number of workers: seconds, MB/s, CPU, peak memory. Prints one table.

    python benchmarks/end_to_end.py [--config examples/sample.toml] [--workers 1]

Each stage is a `corpusmill` command in a process of its own, so its start-up counts (a line says how much that is).
MB/s is of dump bytes as they lie on disk for ingest, of kept text for the stages behind it; peak memory is that of the
largest process. The sample is too small for worker processes to pay: benchmarks/scaling.py has those. The corpora of
all worker counts must have the same digests, or the benchmark fails.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("ingest", "dedup", "tokenizer", "shards")


def run(*arguments: str) -> tuple[float, float, int]:
    """Run the command: wall seconds, CPU seconds of it and its workers, peak memory of the largest process in bytes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    command = [str(Path(sys.executable).parent / "corpusmill"), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(complaint.decode())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = usage.ru_utime + usage.ru_stime
    return wall, max(cpu, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime), usage.ru_maxrss * 1024


def peak_of_units(corpus: Path, stage: str) -> int:
    """The largest memory of any process that worked on a unit of the stage, from the ledger."""
    rows = [json.loads(path.read_text()) for path in (corpus / f"ledger/{stage}").glob("*.json")]
    return int(max((row["took"].get("peak_memory", 0) for row in rows), default=0))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--config", default=str(ROOT / "examples/sample.toml"))
    options.add_argument("--workers", type=int, nargs="+", default=[1])
    given = options.parse_args()
    digests = {}
    print(f"{'stage':<12}{'workers':>8}{'seconds':>9}{'CPU s':>8}{'MB/s':>8}{'peak MB':>9}")
    for workers in given.workers:
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "corpus"
            common = (given.config, "--corpus", str(corpus), "--workers", str(workers))
            for stage in STAGES:
                wall, cpu, peak = run(stage, *common)
                row = json.loads((corpus / "ledger/ingest.json").read_text())
                inputs = json.loads((corpus / "ledger/inputs.json").read_text())
                dump = sum(item["bytes"] for item in inputs.values())
                amount = dump if stage == "ingest" else row["counts"]["amounts"]["text_bytes"]
                peak = max(peak, peak_of_units(corpus, stage))
                print(
                    f"{stage:<12}{workers:>8}{wall:>9.1f}{cpu:>8.1f}{amount / wall / 1e6:>8.2f}{peak / 1e6:>9.0f}",
                    flush=True,
                )
            wall, _, _ = run("shards", *common)
            print(f"{'up to date':<12}{workers:>8}{wall:>9.1f}", flush=True)
            digests[workers] = [json.loads((corpus / f"ledger/{stage}.json").read_text())["digest"] for stage in STAGES]
    same = len({tuple(found) for found in digests.values()}) == 1
    print(f"digests of {', '.join(map(str, digests))} workers: {'equal' if same else 'DIFFERENT'}")
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
