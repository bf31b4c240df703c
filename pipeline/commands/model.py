"""`corpusmill model`: what a model is made of, a picture of it, and a trained one for other programs."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from pipeline.commands.common import Commands, print_json, whole, with_json, with_set
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from train.config import TrainConfig

_PRESETS = ("laptop", "laptop-lstm", "gpu", "124m")


def add(commands: Commands) -> None:
    """Declare model; without a word of its own it is ``summary``."""
    group = commands.group(
        "model",
        "sizes of a model, a picture of it, a trained one for other programs",
        "model summary --depth 8",
        "summary",
        ("summary", "diagram", "export"),
    )
    summary = group.add("summary", "parameters, operations and bytes of a model", "summary --preset 124m", _summary)
    _which(summary)
    with_json(summary)
    diagram = group.add("diagram", "a picture of a model, SVG on stdout", "diagram corpus/runs/lstm", _diagram)
    _which(diagram)
    export = group.add(
        "export",
        "a trained run as safetensors, config and tokenizer; a Transformer loads in transformers",
        "export corpus/runs/transformer exported",
        _export,
    )
    export.add_argument("run_dir", metavar="RUN", help="folder of the run")
    export.add_argument("out", metavar="FOLDER", help="a new folder")


def _which(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("what", nargs="?", metavar="RUN|TOML", help="a trained run, or a corpus TOML with --run")
    sub.add_argument("--run", dest="run_name", metavar="NAME", help="which [run.NAME] of the TOML; default: the first")
    sub.add_argument("--preset", choices=_PRESETS, help="the settings of a preset")
    sub.add_argument(
        "--depth", type=whole(1, 1000), metavar="N", help="one dial: blocks of a Transformer; width follows"
    )
    sub.add_argument(
        "--vocab", type=whole(1, 2**32), metavar="V", help="pieces of the vocabulary; default: the TOML's, or 32,000"
    )
    with_set(sub)


def _meant(options: argparse.Namespace) -> tuple[TrainConfig, int]:
    """The run that the arguments mean, and its vocabulary."""
    from pydantic import ValidationError

    from pipeline import config
    from pipeline.storage import Root
    from train.config import TrainConfig

    given = {name: getattr(options, name) for name in ("preset", "depth") if getattr(options, name) is not None}
    if options.what is not None and given:
        option = next(iter(given))
        raise UsageError(
            f"--{option} is for a model of its own, not for {options.what}",
            mend=f"leave out {options.what}, or for a run of a TOML: --set run.NAME.{option}={given[option]}",
        )
    if options.run_name and (options.what is None or os.path.isdir(options.what)):
        raise UsageError(
            "--run chooses among the runs of a TOML: name the TOML",
            mend=f"corpusmill model {options.model_command} corpus.toml --run {options.run_name}",
        )
    if options.what is None:
        if options.set:
            raise UsageError("--set is for a TOML", mend="corpusmill model summary corpus.toml --set run.NAME.depth=8")
        try:
            return TrainConfig.model_validate(given), options.vocab or 32_000
        except ValidationError as error:
            raise UsageError(config.explain(error), mend="corpusmill model summary --help") from None
    if os.path.isdir(options.what):
        if options.set:
            raise UsageError(
                f"--set is for a TOML, and {options.what} is a run",
                mend="corpusmill model summary corpus.toml --set run.NAME.depth=8",
            )
        known = Root(options.what).read_json("run.json")
        if known is None:
            raise UsageError(f"{options.what}: not a run: it has no run.json", mend="name a folder of CORPUS/runs")
        return TrainConfig.model_validate(known["config"]), options.vocab or known["vocab_size"]
    corpus = config.load(options.what, options.set)
    name = options.run_name or next(iter(corpus.run), None)
    if name not in corpus.run:
        there = f"there are: {', '.join(corpus.run)}" if corpus.run else 'add one: [run.small], preset = "laptop"'
        raise UsageError(f"{options.what}: no [run.{name or 'NAME'}]", mend=there)
    return corpus.run[name], options.vocab or corpus.tokenizer.vocab_size


def _summary(options: argparse.Namespace) -> int:
    from train.summary import summary, table

    found = summary(*_meant(options))
    if options.json:
        print_json(found)
    else:
        print("\n".join(table(found)))
    return 0


def _diagram(options: argparse.Namespace) -> int:
    from train.diagram import diagram

    config, vocab_size = _meant(options)
    print(diagram(config.model, vocab_size, config.context), end="")
    return 0


def _export(options: argparse.Namespace) -> int:
    from train.export import export

    corpus = os.path.dirname(os.path.dirname(os.path.abspath(options.run_dir)))
    config = export(options.run_dir, os.path.join(corpus, "tokenizer"), options.out)
    print(f"{options.out}: {config.get('architectures', [config['model_type']])[0]}")
    return 0
