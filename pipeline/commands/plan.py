"""`corpusmill plan`."""

from __future__ import annotations

import argparse
from typing import Any

from pipeline.commands.common import Commands, memory, print_json, size, with_json, with_memory, with_set


def add(commands: Commands) -> None:
    """Declare plan."""
    plan = commands.add(
        "plan",
        "what a build will take: units, hours, memory, exchange, disk, from a calibration of about a minute",
        "plan corpus.toml --workers 8",
        _plan,
    )
    plan.add_argument("config", help="the corpus's TOML file")
    with_set(plan)
    plan.add_argument("--workers", default="1", metavar="N|auto", help="worker processes at most (default 1)")
    with_memory(plan)
    plan.add_argument(
        "--sample", default="12 MB", metavar="BYTES", help="of the dumps to build for the rates (default 12 MB)"
    )
    with_json(plan)


def _plan(options: argparse.Namespace) -> int:
    from pipeline.commands.build import workers
    from pipeline.config import load
    from pipeline.plan import estimate

    sample = size("--sample", options.sample)
    facts = estimate(load(options.config, options.set), sample, workers(options.workers), memory(options.memory))
    if options.json:
        print_json(facts)
    else:
        print("\n".join(_lines(facts)))
    return 0


def _lines(facts: dict[str, Any]) -> list[str]:
    from pipeline.progress import clock, size

    lines = [
        f"{facts['files']} files, {size(facts['bytes'])}, {facts['units']} units; rates from {size(facts['sample'])}",
        "",
        f"{'stage':<12}{'one core':>10}{'workers':>9}{'takes':>10}{'peak memory':>13}",
    ]
    for stage, row in facts["stages"].items():
        one, takes = clock(row["core_seconds"]), clock(row["seconds"])
        lines.append(f"{stage:<12}{one:>10}{row['workers']:>9}{takes:>10}{size(row['peak_memory']):>13}")
    one = clock(sum(row["core_seconds"] for row in facts["stages"].values()))
    takes = clock(sum(row["seconds"] for row in facts["stages"].values()))
    lines += [f"{'all':<12}{one:>10}{'':>9}{takes:>10}", ""]
    lines.append(f"documents kept by ingest, about: {facts['documents']:,}")
    lines.append(f"dedup exchanges: {size(facts['exchange'])}")
    lines.append(f"on disk: {size(sum(facts['disk'].values()))}")
    return lines + [f"  {name:<12}{size(n):>10}" for name, n in sorted(facts["disk"].items())]
