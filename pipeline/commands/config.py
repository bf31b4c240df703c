"""`corpusmill config`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pipeline.commands.common import Commands, print_json, with_set
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.dedup.minhash import MinHashParams


def add(commands: Commands) -> None:
    """Declare config."""
    config = commands.add(
        "config",
        "the configuration: its schema, a starting point, or a file resolved",
        "config init > corpus.toml",
        _config,
    )
    config.add_argument(
        "what",
        choices=("schema", "init", "show", "curve"),
        help="schema: JSON schema, of all or of KEY; init: a TOML; show: FILE as JSON; "
        "curve: what its [dedup.minhash] finds",
    )
    config.add_argument(
        "config", nargs="?", metavar="FILE|KEY", help="the TOML file of show and curve; a key such as clean.rules"
    )
    with_set(config)


def _config(options: argparse.Namespace) -> int:
    from pipeline import config

    if options.set and options.what in ("schema", "init"):
        raise UsageError(f"config {options.what} takes no --set", mend="corpusmill config show FILE --set KEY=VALUE")
    if options.what == "init" and options.config is not None:
        raise UsageError("config init prints: it takes no file", mend=f"corpusmill config init > {options.config}")
    if options.what == "schema":
        print_json(config.schema() if options.config is None else config.schema_of(options.config))
    elif options.what == "init":
        print(config.starting_point(), end="")
    elif options.config is None:
        raise UsageError(f"config {options.what} needs the file", mend=f"corpusmill config {options.what} corpus.toml")
    elif options.what == "curve":
        _print_curve(config.load(options.config, options.set).dedup.minhash.params())
    else:
        print_json(config.load(options.config, options.set).model_dump(mode="json"))
    return 0


def _print_curve(params: MinHashParams) -> None:
    """The probability that two documents become candidates, by their similarity, as a table with bars."""
    print(f"{params.unit} {params.ngram}-grams, {params.bands} bands x {params.rows} rows")
    print("similarity  candidates")
    for similarity, probability in params.curve():
        print(f"{similarity:>10.2f}{probability:>12.4f}  {'#' * round(40 * probability)}".rstrip())
