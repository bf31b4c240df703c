"""`corpusmill verify`."""

from __future__ import annotations

import argparse
import contextlib

from pipeline.commands.common import Commands, print_json, with_json


def add(commands: Commands) -> None:
    """Declare verify."""
    verify = commands.add("verify", "re-check every digest and every count of a corpus", "verify corpus", _verify)
    verify.add_argument("corpus", help="folder or URL of the corpus")
    verify.add_argument(
        "--repair", action="store_true", help="forget what is damaged, so that the next build writes it again"
    )
    with_json(verify)


def _verify(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from pipeline.ledger import Ledger
    from pipeline.progress import size
    from pipeline.storage import Root
    from pipeline.verify import verify

    root = Root(options.corpus)
    Ledger(root).check_there()  # before the lock, which would make a folder
    with root.lock() if options.repair else contextlib.nullcontext():
        findings = verify(root, options.repair)
    if options.json:
        print_json({"sound": findings.sound, **asdict(findings)})
        return 0 if findings.sound else 1
    for trouble in findings.damage:
        print(f"DAMAGED {trouble}")
    for trouble in findings.incomplete:
        print(f"INCOMPLETE {trouble}")
    for unit, fault in findings.faults.items():
        print(f"fault of an input, recorded: {unit}: {fault}")
    verdict = "sound" if findings.sound else "NOT sound"
    if findings.not_built:
        verdict += f" as far as it was built; not built: {', '.join(findings.not_built)} (corpusmill build CONFIG)"
    print(f"{findings.parts} parts, {size(findings.bytes)}, {verdict}")
    if findings.damage:
        mend = (
            "corpusmill build CONFIG"
            if options.repair
            else f"corpusmill verify {options.corpus} --repair, then corpusmill build CONFIG"
        )
        print(f"to mend: {mend}")
    return 0 if findings.sound else 1
