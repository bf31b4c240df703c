"""`corpusmill unlock`."""

from __future__ import annotations

import argparse

from pipeline.commands.common import Commands
from pipeline.errors import UsageError


def add(commands: Commands) -> None:
    """Declare unlock."""
    unlock = commands.add(
        "unlock", "release a corpus on an object store after its run was killed", "unlock s3://bucket/corpus", _unlock
    )
    unlock.add_argument("corpus", help="URL of the corpus")


def _unlock(options: argparse.Namespace) -> int:
    from pipeline.storage import Root, is_url

    if not is_url(options.corpus):
        raise UsageError("a local corpus needs no unlocking: its lock ends with the process that held it")
    Root(options.corpus).remove("ledger/lock")
    return 0
