"""The `corpusmill` command: parse arguments, run one command of `pipeline/commands`, turn errors into an exit status.

Exit status: 0 done, or training stopped by SIGTERM after saving; 1 failed or incomplete: the same command goes on;
2 wrong usage or configuration; 3 all done, but an input file is damaged: what is whole of it is in the corpus, the
rest is named; 4 not published yet: ask again later; 130 interrupted by Ctrl-C.
Results go to stdout, all else to stderr.
Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import traceback
from collections.abc import Sequence

from pipeline import __version__
from pipeline.commands import (
    build,
    config,
    doctor,
    duplicates,
    export,
    fetch,
    inspect,
    model,
    plan,
    runs,
    status,
    tokenizer,
    trace,
    unlock,
    verify,
)
from pipeline.commands.common import Commands
from pipeline.errors import CorpusmillError, NotYet, Stopped, UsageError, without_query
from pipeline.storage import refused

_COMMANDS = (
    fetch,
    build,
    plan,
    tokenizer,
    status,
    verify,
    inspect,
    duplicates,
    trace,
    export,
    runs,
    model,
    config,
    doctor,
    unlock,
)  # in the order of the help


def parser() -> argparse.ArgumentParser:
    """The command line of corpusmill."""
    top = argparse.ArgumentParser(
        prog="corpusmill",
        description="From public dumps to a trained compact language model.",
        epilog="example: corpusmill build examples/sample.toml",
    )
    top.add_argument("--version", action="version", version=f"corpusmill {__version__}")
    commands = Commands(top)
    for module in _COMMANDS:
        module.add(commands)
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
            raise UsageError(
                f"{options.command} takes no options after --", mend="only build and its stages do, with --runner"
            )
        return int(options.run(options))
    except UsageError as error:
        return _fail(error, 2)
    except Stopped as error:
        return _fail(error, 0)
    except NotYet as error:
        return _fail(error, 4)
    except CorpusmillError as error:
        return _fail(error, 1)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("pipeline", "tokenizer", "train"):
            raise  # a fault of ours, or of the installation: the traceback says more
        extra = "train" if options.command in ("train", "eval", "sample", "model") else "pipeline"
        return _fail(CorpusmillError(f"{error}", mend=f"in a clone of corpusmill: pip install '.[{extra}]'"), 1)
    except KeyboardInterrupt:
        return _fail("interrupted; what is committed stays, the same command goes on from there", 130)
    except BrokenPipeError:  # the reader of our output went away
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 1
    except OSError as error:
        return _fail(refused(error), 1)


def entry() -> None:
    """The console script: like `main`, but leaves at once even when a killed worker left Beam's threads waiting."""
    # libgomp's threads spin while they wait; where a core is shared, that makes training up to ten times slower
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if isinstance(sys.stdout, io.TextIOWrapper):  # what we print is to be read as files are, whatever the locale
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
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
    print(without_query(f"corpusmill: {what}"), file=sys.stderr, flush=True)
    return status
