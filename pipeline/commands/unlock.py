"""`corpusmill unlock`."""

from __future__ import annotations

import argparse

from pipeline.commands.common import Commands
from pipeline.errors import CorpusmillError, UsageError


def add(commands: Commands) -> None:
    """Declare unlock."""
    unlock = commands.add(
        "unlock", "release a corpus on an object store after its run was killed", "unlock s3://bucket/corpus", _unlock
    )
    unlock.add_argument("corpus", help="URL of the corpus")


def _unlock(options: argparse.Namespace) -> int:
    from pipeline.storage import Root, is_url

    if not is_url(options.corpus):
        raise UsageError(
            "a local corpus needs no unlocking: its lock ends with the process that held it",
            mend="run the command that was refused again",
        )
    root = Root(options.corpus)
    if root.size("ledger/lock") is None:
        raise CorpusmillError("no lock here", file=root.url, mend="nothing is to do if the URL is right")
    root.remove("ledger/lock")
    print(f"unlocked: {root.url}")
    return 0
