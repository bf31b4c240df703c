"""The `corpusmill` command: parse arguments, call one function, print what it returns.

Exit status: 0 done, 1 failed or incomplete, 2 wrong usage or configuration. Results go to stdout, all else to stderr.
Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from pipeline import __version__
from pipeline.errors import CorpusmillError, UsageError

_STAGES = {
    "ingest": "parse and clean the dumps into documents/",
    "dedup": "find exact and near duplicates",
    "tokenizer": "train the SentencePiece tokenizer",
    "shards": "write shuffled token shards",
    "train": "train the configured models",
    "report": "write the report and the data card",
}


def parser() -> argparse.ArgumentParser:
    """The command line of corpusmill."""
    top = argparse.ArgumentParser(
        prog="corpusmill",
        description="From public dumps to a trained compact language model.",
        epilog="example: corpusmill build examples/sample.toml",
    )
    top.add_argument("--version", action="version", version=f"corpusmill {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help: str, example: str, run: Any) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help, epilog=f"example: corpusmill {example}")
        sub.set_defaults(run=run)
        return sub

    def with_json(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--json", action="store_true", help="print the result as JSON on stdout")

    def with_config(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("config", help="the corpus's TOML file")
        sub.add_argument("--corpus", metavar="DIR", help="folder or URL of the corpus, instead of the TOML's root")
        sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key of the TOML")

    def with_build(sub: argparse.ArgumentParser) -> None:
        with_config(sub)
        sub.add_argument(
            "--workers", default="1", metavar="N|auto", help="worker processes (default 1: in this process)"
        )
        sub.add_argument("--dry-run", action="store_true", help="print stages, units and bytes; change nothing")
        sub.add_argument("--runner", metavar="RUNNER", help="a Beam runner; its options follow after --")
        with_json(sub)

    build = command(
        "build", "run all stages, from dumps to trained models and report", "build corpus.toml --workers 2", _build
    )
    with_build(build)
    build.add_argument("--until", choices=list(_STAGES), default="report", help="last stage to run")
    for stage, help in _STAGES.items():
        sub = command(stage, f"{help} (and run what must come before)", f"{stage} corpus.toml", _build)
        with_build(sub)
        sub.set_defaults(until=stage)

    status = command("status", "print the funnel of a corpus and its training results", "status corpus", _status)
    status.add_argument("corpus", help="folder or URL of the corpus")
    with_json(status)

    verify = command("verify", "re-check every digest and every count of a corpus", "verify corpus", _verify)
    verify.add_argument("corpus", help="folder or URL of the corpus")
    verify.add_argument(
        "--repair", action="store_true", help="forget what is damaged, so that the next build writes it again"
    )
    with_json(verify)

    evaluate = command("eval", "evaluate a trained run on a validation split", "eval corpus/runs/lstm", _eval)
    evaluate.add_argument("run_dir", metavar="RUN", help="folder of the run")
    evaluate.add_argument("--data", metavar="SHARDS", help="other shards than those it was trained on")
    with_json(evaluate)

    sample = command(
        "sample", "generate text from a trained run", "sample corpus/runs/lstm --prompt 'The city'", _sample
    )
    sample.add_argument("run_dir", metavar="RUN", help="folder of the run")
    sample.add_argument("--prompt", action="append", default=[], help="text to go on from; may be given several times")
    sample.add_argument("--tokens", type=int, default=100, metavar="N", help="tokens to generate at most (default 100)")
    sample.add_argument(
        "--temperature", type=float, default=0.8, metavar="T", help="0: always the likeliest (default 0.8)"
    )
    sample.add_argument(
        "--top-k", type=int, default=50, metavar="K", help="choose among the K likeliest; 0: all (default 50)"
    )
    sample.add_argument(
        "--top-p", type=float, default=1.0, metavar="P", help="choose among the likeliest of mass P (default 1)"
    )
    sample.add_argument("--seed", type=int, default=0, help="seed of the choice (default 0)")

    config = command(
        "config",
        "the configuration: its schema, a starting point, or a file resolved",
        "config init > corpus.toml",
        _config,
    )
    config.add_argument(
        "what", choices=("schema", "init", "show"), help="schema: JSON schema; init: a TOML; show: FILE as JSON"
    )
    config.add_argument("config", nargs="?", metavar="FILE", help="the TOML file to show")
    config.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key of the TOML")

    doctor = command("doctor", "check the environment", "doctor", _doctor)
    doctor.add_argument("--corpus", default=".", metavar="DIR", help="where the corpus is to lie")
    with_json(doctor)

    unlock = command(
        "unlock", "release a corpus on an object store after its run was killed", "unlock s3://bucket/corpus", _unlock
    )
    unlock.add_argument("corpus", help="URL of the corpus")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    beam_options: list[str] = []
    if "--" in given:
        at = given.index("--")
        given, beam_options = given[:at], given[at + 1 :]
    try:
        options = parser().parse_args(given)
    except SystemExit as stop:
        return int(stop.code or 0)
    options.beam_options = beam_options
    try:
        if beam_options and not hasattr(options, "runner"):
            raise UsageError(f"{options.command} takes no options after --")
        return int(options.run(options))
    except UsageError as error:
        return _fail(error, 2)
    except CorpusmillError as error:
        return _fail(error, 1)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("pipeline", "tokenizer", "train"):
            raise  # a fault of ours, or of the installation: the traceback says more
        extra = "train" if options.command in ("train", "eval", "sample") else "pipeline"
        return _fail(CorpusmillError(f"{error}", mend=f"pip install 'corpusmill[{extra}]'"), 1)
    except KeyboardInterrupt:
        return _fail("interrupted; what is committed stays, the same command goes on from there", 130)
    except BrokenPipeError:  # the reader of our output went away
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 1


def entry() -> None:
    """The console script: like `main`, but leaves at once even when a killed worker left Beam's threads waiting."""
    # libgomp's threads spin while they wait; where a core is shared, that makes training up to ten times slower
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    status = 1
    try:
        status = main()
    except Exception:  # noqa: BLE001  a fault of ours: shown whole, and the exit below must still happen
        traceback.print_exc()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.flush()
    if "apache_beam" in sys.modules:
        os._exit(status)
    sys.exit(status)


def _fail(what: object, status: int) -> int:
    print(f"corpusmill: {what}", file=sys.stderr, flush=True)
    return status


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True))


def _build(options: argparse.Namespace) -> int:
    from pipeline.build import Builder
    from pipeline.config import load
    from pipeline.report.funnel import funnel, lines, results
    from pipeline.storage import Root

    config = load(options.config, options.set, options.corpus)
    beam = [*([f"--runner={options.runner}"] if options.runner else []), *options.beam_options]
    if options.beam_options and not options.runner and not any(o.startswith("--runner") for o in beam):
        raise UsageError("Beam options after -- need a runner", mend="--runner FlinkRunner -- ...")
    builder = Builder(config, _workers(options.workers), tuple(beam))
    if options.dry_run:
        plan = builder.plan(options.until)
        if options.json:
            _print_json(plan)
        else:
            _print_plan(plan)
        return 0
    outcome = builder.build(options.until)
    facts = funnel(Root(config.root))
    if options.json:
        _print_json({"corpus": config.root, "stages": outcome.stages, "faults": outcome.faults, "funnel": facts})
    else:
        for stage, what in outcome.stages.items():
            print(f"{stage:<12}{what}")
        print("\n".join(["", *lines(facts), "", *results(facts)]).rstrip())
        print(f"\ncorpus: {config.root}")
        for place, what in _PLACES.items():
            if builder.root.size(place) is not None or builder.root.sizes(place):
                print(f"  {place:<14}{what}")
    return 1 if outcome.faults else 0


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


_PLACES = {
    "documents": "kept text with lineage (Parquet)",
    "dropped": "what was not kept, and why (Parquet)",
    "duplicates": "who is a copy of whom (Parquet)",
    "tokenizer": "SentencePiece model",
    "shards": "token shards (Arrow) and index.json",
    "runs": "checkpoints, metrics, results",
    "report.html": "the report",
    "README.md": "the data card",
    "ledger": "what was committed, from what, with which counts",
}


def _workers(text: str) -> int:
    if text == "auto":
        return len(os.sched_getaffinity(0))
    try:
        workers = int(text)
    except ValueError:
        workers = 0
    if workers < 1:
        raise UsageError(f"--workers takes a number from 1 or auto, not {text!r}")
    return workers


def _status(options: argparse.Namespace) -> int:
    from pipeline.report.funnel import funnel, lines, results
    from pipeline.storage import Root

    facts = funnel(Root(options.corpus))
    if not facts["stages"]:
        raise CorpusmillError("no finished stage here", file=options.corpus, mend="corpusmill build CONFIG")
    if options.json:
        _print_json(facts)
    else:
        print("\n".join([*lines(facts), "", *results(facts)]).rstrip())
    return 0


def _verify(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from pipeline.progress import size
    from pipeline.storage import Root
    from pipeline.verify import verify

    root = Root(options.corpus)
    with root.lock() if options.repair else contextlib.nullcontext():
        findings = verify(root, options.repair)
    if options.json:
        _print_json({"sound": findings.sound, **asdict(findings)})
        return 0 if findings.sound else 1
    for trouble in findings.damage:
        print(f"DAMAGED {trouble}")
    for trouble in findings.incomplete:
        print(f"INCOMPLETE {trouble}")
    for unit, fault in findings.faults.items():
        print(f"fault of an input, recorded: {unit}: {fault}")
    print(f"{findings.parts} parts, {size(findings.bytes)}, {'sound' if findings.sound else 'NOT sound'}")
    if findings.damage:
        mend = (
            "corpusmill build CONFIG"
            if options.repair
            else f"corpusmill verify {options.corpus} --repair, then corpusmill build CONFIG"
        )
        print(f"to mend: {mend}")
    return 0 if findings.sound else 1


def _eval(options: argparse.Namespace) -> int:
    from pipeline.report.funnel import figures_table
    from train.evaluate import evaluate_run

    result = evaluate_run(options.run_dir, options.data)
    if options.json:
        _print_json(result)
    else:
        name = os.path.basename(os.path.abspath(options.run_dir))
        print("\n".join(figures_table([("unigram", result["unigram"]), (name, result["validation"])])))
    return 0


def _sample(options: argparse.Namespace) -> int:
    from train.generate import sample

    corpus = os.path.dirname(os.path.dirname(os.path.abspath(options.run_dir)))
    prompts = options.prompt or [""]
    shown = -1
    for number, text in sample(
        options.run_dir,
        os.path.join(corpus, "tokenizer", "tokenizer.model"),
        prompts,
        max_tokens=options.tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        seed=options.seed,
    ):
        if number != shown:
            print(("\n\n" if number else "") + prompts[number], end="")
            shown = number
        print(text, end="", flush=True)
    print()
    return 0


def _config(options: argparse.Namespace) -> int:
    from pipeline import config

    if options.what == "schema":
        _print_json(config.schema())
    elif options.what == "init":
        print(config.starting_point(), end="")
    else:
        if options.config is None:
            raise UsageError("config show needs the file", mend="corpusmill config show corpus.toml")
        _print_json(config.load(options.config, options.set).model_dump(mode="json"))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from pipeline.doctor import checks

    found = checks(options.corpus)
    if options.json:
        _print_json([{"check": what, "ok": ok, "detail": detail} for what, ok, detail in found])
    else:
        for what, ok, detail in found:
            print(f"{'  ' if ok is None else 'ok' if ok else 'NO'}  {what:<34}{detail}")
    return 1 if any(ok is False for _, ok, _ in found) else 0


def _unlock(options: argparse.Namespace) -> int:
    from pipeline.storage import Root, is_url

    if not is_url(options.corpus):
        raise UsageError("a local corpus needs no unlocking: its lock ends with the process that held it")
    Root(options.corpus).remove("ledger/lock")
    return 0
