"""How the build scales: with input, with workers, what Beam adds, and what `corpusmill plan` foresaw. Prints five
tables and whether the targets were met.

    python benchmarks/scaling.py [--dump DUMP] [--minutes 10.8] [--plan]

The input are copies of a small dump in which no page is a duplicate of another (benchmarks/many_pages.py): 1, 3 and
10 times as many as this machine gets through in a tenth of ``--minutes`` on one core. Each stage is a `corpusmill`
command in a process of its own, so its start counts; one worker has one core, though the threads and the helper of
its process could use more. What is compared runs in turn, stage by stage: the speed of a machine drifts. Needs a
machine that does nothing else, for about three and a half times ``--minutes``; the tables can be pasted into
docs/cluster.md. `plan` calibrates for a minute, so it is asked before and after, and the mean of its seconds counts.
``--plan`` does that part alone, in about one and a half times ``--minutes`` and five minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import many_pages
from end_to_end import ROOT, STAGES, peak_of_units, run

DUMP = ROOT / "examples/data/enwiki-20160501-pages-articles-excerpt.xml.bz2"
GROWTH = (1, 3, 10)
MAPS = ("ingest", "shards")  # the stages that exchange nothing between units
TRIAL = 8  # copies
START_NOISE = 2.0  # seconds by which two starts of one stage differ: nothing is said of a plan that is as close
WORKER_PROCESSES = ("--runner", "FnApiRunner", "--", "--direct_running_mode=multi_processing", "--direct_num_workers=2")

# The same units one after the other, without Beam. Deduplication is Beam's, so it is not what is timed.
BARE = """
import sys, time
from pipeline.build import Builder
from pipeline.config import load
class Bare(Builder):
    _map = Builder._here
Bare(load(sys.argv[1], [], sys.argv[2])).build(sys.argv[3])
"""

# What meets in the exchange of deduplication, from the blocks themselves.
EXCHANGED = """
import sys
from pipeline.build import Builder
from pipeline.config import load
from pipeline.stages import dedup
builder = Builder(load(sys.argv[1], [], sys.argv[2]))
sizes = 0
for unit in builder._units("dedup"):
    for blocks in (dedup.keyed_blocks, dedup.near_blocks):
        sizes += sum(len(block) for _, block in blocks(builder.root, unit, 1, range(1)))
print(sizes)
"""


@dataclass
class Build:
    """The stages of one corpus, each with one worker or with two: seconds and the largest memory of a process."""

    config: str
    corpus: Path
    cores: list[int]
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)

    def run(self, stage: str, workers: int = 1) -> None:
        os.sched_setaffinity(0, self.cores)
        wall, _, peak = run(stage, self.config, "--corpus", str(self.corpus), "--workers", str(workers))
        self.seconds[stage] = wall
        self.peaks[stage] = max(peak, peak_of_units(self.corpus, stage))

    def run_plain(self, stage: str, *beside: Build) -> None:
        """The same units without Beam, one after the other in one process; other builds at the same time."""
        began = time.perf_counter()
        started = []
        for build in (self, *beside):
            os.sched_setaffinity(0, build.cores)
            command = [sys.executable, "-c", BARE, build.config, str(build.corpus), stage]
            started.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL))
        ends = [process.wait() for process in started]
        self.seconds[stage] = time.perf_counter() - began
        if any(ends):
            raise SystemExit(f"the plain loop failed in {stage}")

    def row(self, stage: str) -> dict:
        return json.loads((self.corpus / f"ledger/{stage}.json").read_text())

    @property
    def maps(self) -> float:
        return sum(self.seconds[stage] for stage in MAPS)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--dump", type=Path, default=DUMP)
    options.add_argument("--minutes", type=float, default=10.8, help="of one core, for ingest and shards of the 10x")
    options.add_argument("--plan", action="store_true", help="only what plan foresees of the 10x, and what it takes")
    given = options.parse_args()
    missed: list[str] = []
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two workers need two cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many_pages.write(given.dump, {1: folder / "one.xml.bz2", TRIAL: folder / "trial.xml.bz2"})
        os.sched_setaffinity(0, cores[:1])
        with timed("trial, to choose the size"):
            base = size(folder, given.minutes * 60, cores[:1])
        os.sched_setaffinity(0, cores)
        growths = GROWTH[-1:] if given.plan else GROWTH
        with timed(f"writing {' and '.join(str(base * times) for times in growths)} copies of {given.dump.name}"):
            dumps = {times: folder / f"{times}x.xml.bz2" for times in growths}
            many_pages.write(given.dump, {base * times: dumps[times] for times in growths})
        configs = {times: write_config(dump, folder) for times, dump in dumps.items()}
        builds = {times: Build(config, folder / f"corpus-{times}", cores[:1]) for times, config in configs.items()}
        os.sched_setaffinity(0, cores[:1])
        with timed("planning 10x"):
            plans = [planned(configs[10])]
        if given.plan:
            for stage in STAGES:
                with timed(f"{stage}: 10x"):
                    builds[10].run(stage)
        else:
            compare(folder, configs, builds, cores, missed)
        os.sched_setaffinity(0, cores[:1])
        with timed("planning 10x again"):
            plans.append(planned(configs[10]))
        foreseen(plans, builds[10], missed)
        if not given.plan:
            os.sched_setaffinity(0, cores[:2])
            start_up(folder)
    print("\n" + ("targets missed: " + "; ".join(missed) if missed else "all targets met"), flush=True)
    if missed:
        raise SystemExit(1)


def compare(
    folder: Path, configs: dict[int, str], builds: dict[int, Build], cores: list[int], missed: list[str]
) -> None:
    """Build by size, without Beam and by two workers, in turn stage by stage; prints the tables."""
    plain = Build(configs[3], folder / "corpus-plain", cores[:1])
    two = Build(configs[10], folder / "corpus-two", cores[:2])
    alone, left, right = (
        Build(configs[1], folder / f"corpus-{name}", core)
        for name, core in (("alone", cores[:1]), ("left", cores[:1]), ("right", cores[1:2]))
    )
    for stage in STAGES:
        with timed(f"{stage}: 1x, 3x, 3x without Beam, 10x, 10x by two workers, 1x twice at once"):
            builds[1].run(stage)
            builds[3].run(stage)
            plain.run_plain(stage)
            builds[10].run(stage)
            two.run(stage, workers=2)
            alone.run_plain(stage)
            left.run_plain(stage, right)
    growth(builds, missed)
    overhead(builds[3], plain, missed)
    workers(builds[10], two, missed)
    print(f"two plain loops at once, each with a core and 1x of its own: {2 * alone.maps / left.maps:.2f} times one")


def size(folder: Path, seconds: float, core: list[int]) -> int:
    """Copies for 1x so that ingest and shards of 10x take one core about ``seconds``; compiles what is compiled."""
    configs = {name: write_config(folder / f"{name}.xml.bz2", folder) for name in ("one", "trial")}
    Build(configs["one"], folder / "corpus-first", core).run("ingest")
    taken = {}
    for name, config in configs.items():
        build = Build(config, folder / f"corpus-{name}", core)
        for stage in STAGES:
            build.run(stage)
        taken[name] = build.maps
    each = (taken["trial"] - taken["one"]) / (TRIAL - 1)
    return max(1, math.ceil(seconds / each / 10))


def write_config(dump: Path, folder: Path) -> str:
    path = folder / f"{dump.name.split('.')[0]}.toml"
    path.write_text(
        f'unit = "8 MB"\n[[source]]\nname = "wiki"\nformat = "wikimedia"\npaths = ["{dump}"]\n'
        '[clean]\nlanguage_score = 0.3\n[[clean.rules]]\nstatistic = "characters"\nmin = 200\n'
        '[tokenizer]\nvocab_size = 8000\nsample = "10 MB"\n[shards]\ntokens = 5_000_000\n'
    )
    return str(path)


def planned(config: str) -> dict:
    """What `corpusmill plan` says of a build with one worker."""
    command = [str(Path(sys.executable).parent / "corpusmill"), "plan", config, "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def growth(builds: dict[int, Build], missed: list[str]) -> None:
    """Seconds and memory of every stage at 1, 3 and 10 times the input, one worker."""
    print(
        f"\n{'one worker':<12}"
        + "".join(f"{f'{n}x s':>9}{'peak MB':>9}" for n in GROWTH)
        + f"{'slope':>8}{'memory':>8}"
    )
    for stage in STAGES:
        seconds, peaks = ([getattr(build, what)[stage] for build in builds.values()] for what in ("seconds", "peaks"))
        cells = "".join(f"{s:>9.1f}{peak / 1e6:>9.0f}" for s, peak in zip(seconds, peaks, strict=True))
        slope = math.log(seconds[2] / seconds[1]) / math.log(GROWTH[2] / GROWTH[1])
        more = peaks[2] / peaks[0] - 1
        print(f"{stage:<12}{cells}{slope:>8.2f}{100 * more:>+7.0f}%")
        if slope > 1.1:
            missed.append(f"{stage} grows with exponent {slope:.2f} (at most 1.1)")
        if stage in MAPS and more > 0.1:
            missed.append(f"memory of {stage} grows by {100 * more:.0f} % (at most 10)")
    dumps = [Path(build.config).with_suffix(".xml.bz2").stat().st_size / 1e6 for build in builds.values()]
    found = builds[10].row("dedup")["counts"]
    print(f"dumps of {dumps[0]:.0f}, {dumps[1]:.0f} and {dumps[2]:.0f} MB; memory: 10x against 1x; ", end="")
    print("slope: exponent of the seconds from 3x to 10x")
    print(f"10x: {builds[10].row('ingest')['units']} units, {found['read']:,} documents, {found['kept']:,} after dedup")


def overhead(beam: Build, plain: Build, missed: list[str]) -> None:
    """What Beam adds to a plain loop over the same units, in one process."""
    print(f"\n{'3x':<12}{'Beam s':>9}{'plain loop s':>14}{'Beam adds':>11}")
    rows = [(stage, beam.seconds[stage], plain.seconds[stage]) for stage in MAPS]
    for name, seconds, bare in [*rows, ("map stages", beam.maps, plain.maps)]:
        print(f"{name:<12}{seconds:>9.1f}{bare:>14.1f}{100 * (seconds / bare - 1):>10.1f}%")
    if beam.maps / plain.maps > 1.05:
        missed.append(f"Beam adds {100 * (beam.maps / plain.maps - 1):.1f} % to the map stages (at most 5)")


def workers(one: Build, two: Build, missed: list[str]) -> None:
    """Every stage with one worker and with two."""
    print(f"\n{'10x':<12}{'1 worker s':>12}{'2 workers s':>13}{'ratio':>8}{'peak MB':>9}")
    rows = [(stage, one.seconds[stage], two.seconds[stage]) for stage in STAGES]
    for name, alone, both in [*rows, ("map stages", one.maps, two.maps)]:
        peak = f"{two.peaks[name] / 1e6:>9.0f}" if name in two.peaks else f"   ({' and '.join(MAPS)})"
        print(f"{name:<12}{alone:>12.1f}{both:>13.1f}{alone / both:>8.2f}{peak}")
    if one.maps / two.maps < 1.8:
        missed.append(f"map stages: two workers {one.maps / two.maps:.2f} times one (at least 1.8)")
    if [one.row(stage)["digest"] for stage in STAGES] != [two.row(stage)["digest"] for stage in STAGES]:
        raise SystemExit("the corpora of one and of two workers DIFFER")
    print("digests of 1 and 2 workers: equal", flush=True)


def start_up(folder: Path) -> None:
    """What a stage takes that has next to nothing to do."""
    config = str(folder / "one.toml")
    seconds = {}
    for name, options in (("one process", ()), ("two worker processes", WORKER_PROCESSES)):
        seconds[name], _, _ = run("ingest", config, "--corpus", str(folder / f"start-{len(seconds)}"), *options)
    again, _, _ = run("ingest", config, "--corpus", str(folder / "start-0"))
    rows = (folder / "start-0/ledger/ingest").glob("*.json")
    work = sum(json.loads(row.read_text())["took"]["seconds"] for row in rows)
    print("\nfixed start-up: " + ", ".join(f"{name} {s - work:.1f} s" for name, s in seconds.items()), end="")
    print(f" (ingest of one small unit less the unit); up to date: {again:.1f} s", flush=True)


def foreseen(plans: list[dict], build: Build, missed: list[str]) -> None:
    """What was planned from the heads of the dump, beside what the build took."""
    plan = plans[0]
    exchanged = subprocess.run(
        [sys.executable, "-c", EXCHANGED, build.config, str(build.corpus)], check=True, cwd=ROOT, stdout=subprocess.PIPE
    )
    disk = {
        folder: sum(path.stat().st_size for path in (build.corpus / folder).rglob("*") if path.is_file())
        for folder in plan["disk"]
    }
    idle = run("shards", build.config, "--corpus", str(build.corpus))[0]  # a build starts once
    seen = {stage: build.seconds[stage] - idle for stage in STAGES}
    wanted = {stage: mean(plan["stages"][stage]["core_seconds"] for plan in plans) for stage in STAGES}
    rows = [(f"{stage}: seconds", wanted[stage], seen[stage], 1) for stage in STAGES]
    rows += [(f"{stage}: peak MB", plan["stages"][stage]["peak_memory"], build.peaks[stage], 1e6) for stage in STAGES]
    rows += [("documents, thousands", plan["documents"], build.row("ingest")["counts"]["kept"], 1e3)]
    rows += [("exchange MB", plan["exchange"], int(exchanged.stdout), 1e6)]
    rows += [(f"disk MB: {folder}", plan["disk"][folder], seen, 1e6) for folder, seen in disk.items()]
    rows += [("disk MB", sum(plan["disk"].values()), sum(disk.values()), 1e6)]
    print(f"\n{'10x, one worker':<24}{'planned':>10}{'seen':>10}{'difference':>12}")
    for name, expected, found, scale in rows:
        difference = expected / found - 1
        print(f"{name:<24}{expected / scale:>10.1f}{found / scale:>10.1f}{100 * difference:>+11.0f}%", flush=True)
        least = START_NOISE if name.endswith(": seconds") else 0.0
        if abs(difference) > 0.25 and abs(expected - found) > least and not name.startswith("disk MB:"):
            missed.append(f"plan: {name} {100 * difference:+.0f} % (at most 25)")
    print(f"seconds seen are without the {idle:.1f} s that a command takes which has nothing to do", flush=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
