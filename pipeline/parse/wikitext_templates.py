"""Templates that carry running text, as data: what each becomes, by language.

The tables are ``data/templates.<language>.txt``; a line is ``name, name = rule``. Names are compared in lower case with
"_" as a space; a name may end in ``*``. A rule is text with

- ``{1}``, ``{name}``: an argument; ``{2|1}``: the first of several that is not empty;
- ``[...]``: a group that vanishes when an argument in it is empty;
- ``@function`` or ``@function word``: one of the functions below;
- ``-`` alone: nothing, as for a template that is not in the table at all, but said on purpose.

A wiki's own table comes first, then English: templates travel from there under their English names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.parse.wikitext_brackets import HOLE

Args = dict[str, str]
Rule = Callable[[Args], str]


def arguments(content: str) -> tuple[str, Args]:
    """Name and arguments of a template's content; positional ones under "1", "2" ..."""
    name, *parts = content.split("|")
    args: Args = {}
    position = 0
    for part in parts:
        key, equals, value = part.partition("=")
        if equals:
            args[key.strip()] = value.strip()
        else:
            position += 1
            args[str(position)] = part.strip()
    return name, args


def normal(name: str) -> str:
    """A template's name as the tables write it."""
    return " ".join(name.replace("_", " ").split()).lower()


# ---------------------------------------------------------------------------------------------------------------------
# Rules

_PART = re.compile(r"\{([^{}]*)\}|\[|\]|[^\[\]{}]+")


def compile_rule(rule: str) -> Rule | None:
    """A rule as a function of the arguments; None for a template that is removed.

    Raises ``UsageError`` for what is no rule.
    """
    rule = rule.strip()
    if rule == "-":
        return None
    if rule.startswith("@"):
        name, _, parameter = rule[1:].partition(" ")
        function = FUNCTIONS.get(name)
        if function is None:
            raise UsageError(f"no template function {name!r}; there are {', '.join(sorted(FUNCTIONS))}")
        return lambda args: function(args, parameter)
    groups: list[list] = [[]]
    for match in _PART.finditer(rule):
        if match[1] is not None:
            groups[-1].append(tuple(match[1].split("|")))
        elif match[0] == "[":
            groups.append([])
        elif match[0] == "]":
            if len(groups) == 1:
                raise UsageError(f"template rule closes a group that it did not open: {rule!r}")
            group = groups.pop()
            groups[-1].append(group)
        else:
            groups[-1].append(match[0])
    if len(groups) != 1:
        raise UsageError(f"template rule leaves a group open: {rule!r}")
    whole = groups[0]
    return lambda args: _fill(whole, args)[0]


def _fill(parts: list, args: Args) -> tuple[str, bool]:
    """The text of a group, and whether every argument in it had a value."""
    out, full = [], True
    for part in parts:
        if isinstance(part, str):
            out.append(part)
        elif isinstance(part, tuple):
            value = next((args[key] for key in part if args.get(key)), "")
            out.append(value)
            full = full and bool(value)
        else:
            text, complete = _fill(part, args)
            if complete:
                out.append(text)
    return "".join(out), full


@cache
def _table(language: str) -> dict[str, str]:
    path = Path(__file__).parent / "data" / f"templates.{language}.txt"
    if not path.exists():
        return {}
    table: dict[str, str] = {}
    for line in path.read_text("utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        names, equals, rule = line.partition(" = ")
        if not equals:
            raise UsageError(f"{path.name}: no rule in {line!r}")
        for name in names.split(", "):
            table[name.strip().lower()] = rule.strip()
    return table


class Templates:
    """The table of one wiki: its language's rules over the English ones, and a user's own over both."""

    def __init__(self, language: str, extra: tuple[tuple[str, str], ...] = ()):
        rules = {**_table("en"), **_table(language.partition("-")[0]), **{normal(name): rule for name, rule in extra}}
        self._exact = {name: compile_rule(rule) for name, rule in rules.items() if not name.endswith("*")}
        prefixes = ((name[:-1], compile_rule(rule)) for name, rule in rules.items() if name.endswith("*"))
        self._prefixes = sorted(prefixes, key=lambda item: -len(item[0]))

    def rule(self, name: str) -> Rule | None:
        """The rule for a normal name, or None where the template is to be removed."""
        if name in self._exact:
            return self._exact[name]
        for prefix, rule in self._prefixes:
            if name.startswith(prefix):
                return rule
        return None

    def expand(self, content: str) -> str:
        """What a template call becomes: its text, or ``HOLE``."""
        name = content.partition("|")[0]
        colon = name.find(":")
        if colon > 0 and (function := PARSER_FUNCTIONS.get(name[:colon].strip().lower())):
            return function(content[colon + 1 :]) or HOLE
        rule = self.rule(normal(name))
        if rule is None:
            return HOLE
        return rule(arguments(content)[1]) or HOLE


# ---------------------------------------------------------------------------------------------------------------------
# Functions

FUNCTIONS: dict[str, Callable[[Args, str], str]] = {}
PARSER_FUNCTIONS: dict[str, Callable[[str], str]] = {}


def _formatnum(text: str) -> str:
    return text.partition("|")[0].strip()


PARSER_FUNCTIONS.update(
    {
        "formatnum": _formatnum,
        "lc": str.lower,
        "uc": str.upper,
        "lcfirst": lambda text: text[:1].lower() + text[1:],
        "ucfirst": lambda text: text[:1].upper() + text[1:],
    }
)
