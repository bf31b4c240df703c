"""What commands share: how one is declared, the arguments that several take, how JSON is printed."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import Any


class _Parser(argparse.ArgumentParser):
    """A parser that may know which of its subcommands is meant where none is named."""

    default = ""
    names: frozenset[str] = frozenset()

    def parse_known_args(self, args=None, namespace=None):
        """Put the default subcommand in front where another word stands."""
        if self.default and args and args[0] not in self.names | {"-h", "--help"}:
            args = [self.default, *args]
        return super().parse_known_args(args, namespace)


class Commands:
    """The subcommands of `corpusmill`; each module of this package adds its own to it."""

    def __init__(self, top: argparse.ArgumentParser, path: str = "", dest: str = "command"):
        self._commands = top.add_subparsers(dest=dest, required=True, metavar="COMMAND", parser_class=_Parser)
        self._path = path

    def add(
        self, name: str, help: str, example: str, run: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        """Declare a command; ``run`` returns the exit status."""
        sub = self._parser(name, help, example)
        sub.set_defaults(run=run)
        return sub

    def group(self, name: str, help: str, example: str, default: str, names: tuple[str, ...]) -> Commands:
        """Declare a command that has the commands ``names``; ``default`` is meant where none of them is given."""
        sub = self._parser(name, help, example)
        sub.default, sub.names = default, frozenset(names)
        return Commands(sub, f"{self._path}{name} ", f"{name}_command")

    def _parser(self, name: str, help: str, example: str) -> _Parser:
        epilog = f"example: corpusmill {self._path}{example}"
        return self._commands.add_parser(name, help=help, description=help, epilog=epilog)


def with_json(sub: argparse.ArgumentParser) -> None:
    """The command can print its result as JSON."""
    sub.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def with_set(sub: argparse.ArgumentParser) -> None:
    """The command takes overrides of single keys of a TOML."""
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key of the TOML")


def with_memory(sub: argparse.ArgumentParser) -> None:
    """The command can be told how much memory deduplication may hold."""
    sub.add_argument(
        "--memory", default="auto", metavar="SIZE|auto", help="what dedup may hold, as 8GB; auto: half the machine's"
    )


def memory(text: str) -> int:
    """The bytes that --memory means; UsageError on anything else."""
    if text == "auto":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return size("--memory", text, " or auto")


def size(option: str, text: str, other: str = "") -> int:
    """The bytes that a size of the command line means: with a unit, or digits alone. UsageError on anything else."""
    from pipeline.config import parse_bytes
    from pipeline.errors import UsageError

    try:
        found = int(text) if text.strip().isdecimal() else parse_bytes(text)
    except ValueError:
        found = 0
    if found < 1:
        raise UsageError(
            f"{option} takes a size above 0 such as 8GB or 500000{other}, not {text!r}", mend=f"{option} 8GB"
        )
    return int(found)


def whole(least: int, most: int = 2**63 - 1) -> Callable[[str], int]:
    """A type of argparse: a whole number from ``least`` to ``most``."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"want a whole number from {least} to {most}, not {text}")
        return value

    number.__name__ = "whole number"
    return number


def print_json(value: Any) -> None:
    """Print a value as JSON, keys sorted."""
    print(json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True))
