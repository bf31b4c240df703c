"""`corpusmill status`."""

from __future__ import annotations

import argparse

from pipeline.commands.common import Commands, print_json, with_json
from pipeline.errors import CorpusmillError


def add(commands: Commands) -> None:
    """Declare status."""
    status = commands.add("status", "print the funnel of a corpus and its training results", "status corpus", _status)
    status.add_argument("corpus", help="folder or URL of the corpus")
    with_json(status)


def _status(options: argparse.Namespace) -> int:
    from pipeline.report.funnel import funnel, lines, results
    from pipeline.storage import Root

    facts = funnel(Root(options.corpus))
    if not facts["stages"]:
        raise CorpusmillError("no finished stage here", file=options.corpus, mend="corpusmill build CONFIG")
    if options.json:
        print_json(facts)
    else:
        print("\n".join([*lines(facts), "", *results(facts)]).rstrip())
    return 0
