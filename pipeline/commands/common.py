"""What commands share: how one is declared, the arguments that several take, how JSON is printed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any


class Commands:
    """The subcommands of `corpusmill`; each module of this package adds its own to it."""

    def __init__(self, top: argparse.ArgumentParser):
        self._commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        self, name: str, help: str, example: str, run: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        """Declare a command; ``run`` returns the exit status."""
        sub = self._commands.add_parser(name, help=help, description=help, epilog=f"example: corpusmill {example}")
        sub.set_defaults(run=run)
        return sub


def with_json(sub: argparse.ArgumentParser) -> None:
    """The command can print its result as JSON."""
    sub.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def with_set(sub: argparse.ArgumentParser) -> None:
    """The command takes overrides of single keys of a TOML."""
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key of the TOML")


def print_json(value: Any) -> None:
    """Print a value as JSON, keys sorted."""
    print(json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True))
