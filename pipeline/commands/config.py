"""`corpusmill config`."""

from __future__ import annotations

import argparse

from pipeline.commands.common import Commands, print_json, with_set
from pipeline.errors import UsageError


def add(commands: Commands) -> None:
    """Declare config."""
    config = commands.add(
        "config",
        "the configuration: its schema, a starting point, or a file resolved",
        "config init > corpus.toml",
        _config,
    )
    config.add_argument(
        "what", choices=("schema", "init", "show"), help="schema: JSON schema; init: a TOML; show: FILE as JSON"
    )
    config.add_argument("config", nargs="?", metavar="FILE", help="the TOML file to show")
    with_set(config)


def _config(options: argparse.Namespace) -> int:
    from pipeline import config

    if options.what == "schema":
        print_json(config.schema())
    elif options.what == "init":
        print(config.starting_point(), end="")
    else:
        if options.config is None:
            raise UsageError("config show needs the file", mend="corpusmill config show corpus.toml")
        print_json(config.load(options.config, options.set).model_dump(mode="json"))
    return 0
