"""`corpusmill build` and one command a stage."""

from __future__ import annotations

import argparse
import os
from typing import Any

from pipeline.commands.common import Commands, memory, print_json, with_json, with_memory, with_set
from pipeline.errors import Stopped, UsageError

_STAGES = {
    "ingest": "parse and clean the dumps into documents/",
    "dedup": "find exact and near duplicates",
    "tokenizer": "train the SentencePiece tokenizer",
    "shards": "write shuffled token shards",
    "train": "train the configured models",
    "report": "write the report and the data card",
}

_PLACES = {
    "documents": "kept text with lineage (Parquet)",
    "dropped": "what was not kept, and why (Parquet)",
    "statistics": "what every rule measured (Parquet)",
    "duplicates": "who is a copy of whom (Parquet)",
    "lines": "repeated lines, cut out of the kept text (Parquet)",
    "tokenizer": "SentencePiece model",
    "shards": "token shards (Arrow) and index.json",
    "runs": "checkpoints, metrics, results",
    "report.html": "the report",
    "README.md": "the data card",
    "ledger": "what was committed, from what, with which counts",
}


def add(commands: Commands) -> None:
    """Declare build and the stages."""
    build = commands.add(
        "build", "run all stages, from dumps to trained models and report", "build corpus.toml --workers 2", _build
    )
    _arguments(build)
    build.add_argument("--until", choices=list(_STAGES), default="report", help="last stage to run")
    for stage, help in _STAGES.items():
        if stage != "tokenizer":  # a stage among other commands of its own: tokenizer.py
            add_stage(commands, stage, f"{help} (and run what must come before)", stage)


def add_stage(commands: Commands, name: str, help: str, stage: str) -> None:
    """Declare a command that builds until ``stage``."""
    sub = commands.add(name, help, f"{name} corpus.toml", _build)
    _arguments(sub)
    sub.set_defaults(until=stage)


def _arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("config", help="the corpus's TOML file")
    sub.add_argument("--corpus", metavar="DIR", help="folder or URL of the corpus, instead of the TOML's root")
    with_set(sub)
    sub.add_argument(
        "--workers", default="1", metavar="N|auto", help="worker processes at most; small work starts none (default 1)"
    )
    with_memory(sub)
    sub.add_argument("--dry-run", action="store_true", help="print stages, units and bytes; change nothing")
    sub.add_argument("--runner", metavar="RUNNER", help="a Beam runner; its options follow after --")
    with_json(sub)


def _build(options: argparse.Namespace) -> int:
    from pipeline.build import Builder
    from pipeline.config import load
    from pipeline.report.funnel import funnel, lines, results
    from pipeline.storage import Root

    config = load(options.config, options.set, options.corpus)
    beam = [*([f"--runner={options.runner}"] if options.runner else []), *options.beam_options]
    if options.beam_options and not options.runner and not any(o.startswith("--runner") for o in beam):
        raise UsageError("Beam options after -- need a runner", mend="--runner PortableRunner -- ...")
    builder = Builder(config, workers(options.workers), tuple(beam), memory(options.memory))
    if options.dry_run:
        plan = builder.plan(options.until)
        if options.json:
            print_json(plan)
        else:
            _print_plan(plan)
        return 0
    try:
        outcome = builder.build(options.until)
    except Stopped as stop:
        if options.json:  # a program learns what is done so far; the exit status is that of a run that did not fail
            facts = funnel(builder.root)
            faults = facts["stages"]["ingest"]["faults"]
            done = dict.fromkeys(facts["stages"], "done") | {"train": "stopped"}
            print_json(
                {"corpus": config.root, "stopped": stop.cause, "stages": done, "faults": faults, "funnel": facts}
            )
        raise
    facts = funnel(Root(config.root))
    if options.json:
        print_json({"corpus": config.root, "stages": outcome.stages, "faults": outcome.faults, "funnel": facts})
    else:
        for stage, what in outcome.stages.items():
            print(f"{stage:<12}{what}")
        print("\n".join(["", *lines(facts), "", *results(facts)]).rstrip())
        print(f"\ncorpus: {config.root}")
        for place, what in _PLACES.items():
            if builder.root.size(place) is not None or builder.root.sizes(place):
                print(f"  {place:<14}{what}")
    return 3 if outcome.faults else 0  # see cli.py


def _print_plan(plan: dict[str, Any]) -> None:
    from pipeline.progress import size

    for path, file in plan["files"].items():
        note = f"  ({file['note']})" if file["note"] else ""
        print(f"{size(file['bytes']):>10}{file['units']:>6} unit{'s' if file['units'] > 1 else ' '}  {path}{note}")
    for stage in plan["stages"]:
        detail = ""
        if "units" in stage:
            detail = f"{stage['units']} units"
        if "bytes" in stage:
            detail += f", {size(stage['bytes'])}; "
            detail += f"{stage['units_committed']} committed, {size(stage['bytes_to_do'])} to do"
        print(f"{stage['stage']:<12}{stage['state']:<16}{detail}".rstrip())
    print(f"corpus: {plan['corpus']}")


def workers(text: str) -> int:
    """The number that --workers means; UsageError on anything else."""
    if text == "auto":
        return len(os.sched_getaffinity(0))
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise UsageError(f"--workers takes a number from 1 or auto, not {text!r}", mend="--workers auto")
    return number
