"""How the build scales: with input, with workers, and what Beam costs over a plain loop. Prints three tables.

    python benchmarks/scaling.py [--dump DUMP] [--base 10] [--copies 180]

The input is the dump repeated under new page ids as one multistream file. Its texts repeat, so exact and near
duplicates are left in the corpus here, to give every stage its full load; how deduplication scales is in
benchmarks/dedup.py. Each stage is a `corpusmill` command in a process of its own. Needs an idle machine and half an
hour.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from end_to_end import ROOT, STAGES, peak_of_units, run
from wikitext_speed import repeated

GROWTH = (1, 3, 10)
DUMP = ROOT / "examples/data/enwiki-20160501-pages-articles-excerpt.xml.bz2"
BARE_LOOP = """
import sys
from pipeline.config import load
from pipeline.stages import ingest, work
from pipeline.storage import Root
config = load(sys.argv[1], [], sys.argv[2])
for unit in ingest.plan(config, Root(config.root)):
    if cause := work.process(config.root, unit):
        sys.exit(cause)
"""


def write_config(dump: Path, folder: Path, unit: int) -> str:
    path = folder / f"{dump.stem}.toml"
    path.write_text(
        f'unit = {unit}\n[[source]]\nname = "wiki"\nformat = "wikimedia"\npaths = ["{dump}"]\n'
        "[dedup]\nexact = false\nnear = false\n[tokenizer]\nvocab_size = 8000\n[shards]\ntokens = 5_000_000\n"
    )
    return str(path)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--dump", type=Path, default=DUMP)
    options.add_argument("--base", type=int, default=10, help="copies of the dump that are 1x in the table of growth")
    options.add_argument("--copies", type=int, default=180, help="of the dump, for the table of workers")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        growth(given.dump, folder, given.base)
        workers(given.dump, folder, given.copies)


def growth(dump: Path, folder: Path, base: int) -> None:
    """Seconds and memory of every stage at 1, 3 and 10 times the input."""
    print(f"{'stage':<12}" + "".join(f"{f'{n}x s':>9}{'peak MB':>9}" for n in GROWTH) + f"{'slope':>8}")
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    peaks: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for times in GROWTH:
        repeated(dump, base * times, folder / f"{times}.xml.bz2", multistream=True)
        config = write_config(folder / f"{times}.xml.bz2", folder, unit=8_000_000)
        for stage in STAGES:
            corpus = folder / f"corpus-{times}"
            wall, _, peak = run(stage, config, "--corpus", str(corpus))
            seconds[stage].append(wall)
            peaks[stage].append(max(peak, peak_of_units(corpus, stage)) / 1e6)
    for stage in STAGES:
        cells = "".join(f"{s:>9.1f}{p:>9.0f}" for s, p in zip(seconds[stage], peaks[stage], strict=True))
        # time of what is added, relative to the input added: 1 is linear
        added = (seconds[stage][2] - seconds[stage][1]) / (GROWTH[2] - GROWTH[1])
        slope = added / ((seconds[stage][1] - seconds[stage][0]) / (GROWTH[1] - GROWTH[0]))
        print(f"{stage:<12}{cells}{slope:>8.2f}", flush=True)


def workers(dump: Path, folder: Path, copies: int) -> None:
    """Every stage with one worker, with two and as `corpusmill plan` foresaw it; ingest as a loop without Beam."""
    source = folder / "many.xml.bz2"
    repeated(dump, copies, source, multistream=True)
    config = write_config(source, folder, unit=8_000_000)
    corpora = {n: str(folder / f"workers-{n}") for n in (0, 1, 2)}
    planned = subprocess.run(
        [str(Path(sys.executable).parent / "corpusmill"), "plan", config, "--json"], check=True, capture_output=True
    )
    plan = json.loads(planned.stdout)["stages"]
    before = wall_seconds([sys.executable, "-c", BARE_LOOP, config, corpora[0]])
    print(f"\n{'':<12}{'1 worker':>10}{'2 workers':>11}{'ratio':>8}{'planned':>10}{'plain loop':>12}{'Beam adds':>11}")
    for stage in STAGES:
        wall = {n: run(stage, config, "--corpus", corpora[n], "--workers", str(n))[0] for n in (1, 2)}
        line = f"{stage:<12}{wall[1]:>10.1f}{wall[2]:>11.1f}{wall[1] / wall[2]:>8.2f}"
        line += f"{plan[stage]['core_seconds']:>10.1f}"
        if stage == "ingest":
            line += f"{before:>12.1f}{100 * (wall[1] / before - 1):>10.1f}%"
        print(line, flush=True)
    digests = [
        [json.loads(Path(corpora[n], f"ledger/{stage}.json").read_text())["digest"] for stage in STAGES] for n in (1, 2)
    ]
    if digests[0] != digests[1]:
        raise SystemExit("the corpora of one and of two workers DIFFER")
    print("digests of 1 and 2 workers: equal")
    print(f"start-up: {run('ingest', config, '--corpus', corpora[1])[0]:.1f} s for a stage that is up to date")


def wall_seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
