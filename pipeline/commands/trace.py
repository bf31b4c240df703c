"""`corpusmill trace`."""

from __future__ import annotations

import argparse
import os

from pipeline.commands.common import Commands, print_json, whole, with_json
from pipeline.errors import CorpusmillError, UsageError


def add(commands: Commands) -> None:
    """Declare trace."""
    trace = commands.add(
        "trace",
        "follow a row of a shard back to the bytes of its dump, or say where a page went",
        "trace corpus/shards/train-00000-of-00008.arrow 17",
        _trace,
    )
    trace.add_argument("place", metavar="SHARD|CORPUS", help="a shard of a corpus, or the corpus for the options below")
    trace.add_argument("row", nargs="?", type=int, metavar="ROW", help="row of the shard, from 0")
    trace.add_argument("token", nargs="?", type=int, metavar="TOKEN", help="token of the row, from 0")
    which = trace.add_mutually_exclusive_group()
    which.add_argument("--url", default="", help="records of this URL")
    which.add_argument("--title", default="", help="records of this title")
    which.add_argument("--id", default="", help="the record of this document id (hexadecimal)")
    which.add_argument("--text", default="", metavar="SNIPPET", help="records whose text holds this")
    trace.add_argument("--limit", type=whole(1), default=10, metavar="N", help="records shown at most (default 10)")
    trace.add_argument("--dump", default="", metavar="PATH", help="where the dump file lies now, if it was moved")
    trace.add_argument("--full", action="store_true", help="print texts whole")
    trace.add_argument("--paranoid", action="store_true", help="hash the shard again even if it was verified before")
    with_json(trace)


def _trace(options: argparse.Namespace) -> int:
    from pipeline.ledger import Ledger
    from pipeline.storage import Root, is_url
    from pipeline.trace import find, lines, trace_row

    query = {name: getattr(options, name) for name in ("url", "title", "id", "text") if getattr(options, name)}
    if bool(query) == (options.row is not None):
        raise UsageError(
            "trace takes a shard and a row, or a corpus and one of --url, --title, --id, --text",
            mend="corpusmill trace CORPUS/shards/SHARD 0, or corpusmill trace CORPUS --title TITLE",
        )
    if query:
        root = Root(options.place)
        Ledger(root).check_there()
        found = find(root, limit=options.limit, dump=options.dump, **query)
        if not found:
            raise CorpusmillError(
                f"no record of this corpus has the {' '.join(f'{k} {v!r}' for k, v in query.items())}",
                file=options.place,
                mend="see with corpusmill status which files were read",
            )
    else:
        folder, shard = os.path.split(options.place if is_url(options.place) else os.path.abspath(options.place))
        corpus = os.path.dirname(folder)
        found = [
            trace_row(Root(corpus), shard, options.row, options.token, paranoid=options.paranoid, dump=options.dump)
        ]
    if options.json:
        print_json(found)
    else:
        print("\n\n".join("\n".join(lines(one, 0 if options.full else 600)) for one in found))
    return 0
