"""Commands on trained runs: `corpusmill eval` and `corpusmill sample`."""

from __future__ import annotations

import argparse
import os

from pipeline.commands.common import Commands, print_json, with_json


def add(commands: Commands) -> None:
    """Declare eval and sample."""
    evaluate = commands.add("eval", "evaluate a trained run on a held-out split", "eval corpus/runs/lstm", _eval)
    evaluate.add_argument("run_dir", metavar="RUN", help="folder of the run")
    evaluate.add_argument("--data", metavar="SHARDS", help="other shards than those it was trained on")
    evaluate.add_argument(
        "--split",
        choices=("validation", "test"),
        default="validation",
        help="test: what shards.test held out, for the last word on a chosen model (default validation)",
    )
    _where(evaluate)
    with_json(evaluate)

    sample = commands.add(
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
    sample.add_argument(
        "--repetition-penalty",
        type=float,
        default=1.0,
        metavar="R",
        help="above 1: what was said becomes less likely (default 1)",
    )
    sample.add_argument("--seed", type=int, default=0, help="seed of the choice (default 0)")
    sample.add_argument("--count", type=int, default=1, metavar="N", help="continuations of each prompt (default 1)")
    _where(sample)


def _where(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU where one is")
    sub.add_argument("--context", type=int, metavar="N", help="tokens that a Transformer sees; default: as in training")


def _eval(options: argparse.Namespace) -> int:
    from pipeline.progress import say
    from pipeline.report.funnel import figures_table
    from train.evaluate import evaluate_run

    result = evaluate_run(options.run_dir, options.data, options.device, options.context, options.split)
    if result["fingerprint"] != result["trained_on"]:
        say("eval: the run was trained on other shards than these: it may have read what it is judged by here")
    if options.json:
        print_json(result)
    else:
        name = os.path.basename(os.path.abspath(options.run_dir))
        rows = [("unigram", result["unigram"]), ("trigram", result["ngram"]), (name, result[options.split])]
        print("\n".join(figures_table(options.split, rows)))
        for group in ("sources", "languages"):
            if len(result[group]) > 1:
                print("\n".join(["", *figures_table(group, list(result[group].items()))]))
    return 0


def _sample(options: argparse.Namespace) -> int:
    from train.generate import Choice, sample

    corpus = os.path.dirname(os.path.dirname(os.path.abspath(options.run_dir)))
    prompts = options.prompt or [""]
    choice = Choice(options.temperature, options.top_k, options.top_p, options.repetition_penalty)
    count = max(options.count, 1)
    said = [""] * len(prompts) * count
    shown = -1

    def show(last: int) -> None:
        """The prompts up to number ``last``, those too after which nothing was said."""
        nonlocal shown
        while shown < last:
            shown += 1
            print(("\n\n" if shown else "") + prompts[shown], end="")

    for number, text in sample(
        options.run_dir,
        os.path.join(corpus, "tokenizer", "tokenizer.model"),
        prompts,
        choice,
        max_tokens=options.tokens,
        seed=options.seed,
        count=options.count,
        where=options.device,
        context=options.context,
    ):
        said[number] += text
        if count > 1:
            continue  # drawn side by side: shown when whole
        show(number)
        print(text, end="", flush=True)
    if count > 1:
        print("\n\n".join(prompts[number // count] + text for number, text in enumerate(said)), end="")
    else:
        show(len(prompts) - 1)
    print()
    return 0
