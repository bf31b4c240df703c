"""Templates that carry running text, as data: what each becomes, by language.

The tables are ``data/templates.<language>.txt``, and ``data/templates.<database>.txt`` for a wiki that has names of its
own; a line is ``name, name = rule``. Names are compared in lower case with "_" as a space; a name may end in ``*``, or
be a regular expression between slashes. A rule is text with

- ``{1}``, ``{name}``: an argument; ``{2|1}``: the first of several that is not empty; ``{}``: the template's own name;
- ``[...]``: a group that vanishes when an argument in it is empty;
- ``\\n``: a line break; ``\\s``: a space; ``\\`` before any other character: that character;
- ``@function`` or ``@function word``: one of the functions of ``wikitext_functions``;
- ``-`` alone: nothing, as for a template that is in no table, but said on purpose.

A wiki's own table comes first, then English: templates travel from there under their English names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from pipeline.errors import UsageError
from pipeline.parse.wikitext_brackets import HOLE, LOST
from pipeline.parse.wikitext_data import read_data
from pipeline.parse.wikitext_functions import FUNCTIONS, PARSER_FUNCTIONS, VARIABLES, Args, Call, country_name

Rule = Callable[[Args], str]
_MOST_CACHED = 50_000
_COUNTRY = re.compile("[A-Z]{3}")


def arguments(parts: list[str]) -> Args:
    """The arguments of a call, positional ones under "1", "2" ..."""
    args: Args = {}
    position = 0
    for part in parts:
        key, equals, value = part.partition("=")
        if equals:
            key, value = key.strip(), value.strip()
            args[key] = value
            if key and not key.islower():  # "Text" where a rule says "text"
                args.setdefault(key.lower(), value)
        else:
            position += 1
            args[str(position)] = part.strip()
    return args


def normal(name: str) -> str:
    """A template's name as the tables write it."""
    return " ".join(name.replace("_", " ").split()).lower()


# ---------------------------------------------------------------------------------------------------------------------
# Rules


def _nothing(args: Args) -> str:
    return ""


_PART = re.compile(r"\{([^{}]*)\}|(\[)|(\])|\\(.)|([^\[\]{}\\]+)")


def compile_rule(rule: str, language: str, name: str = "", star: str = "") -> Rule:
    """A rule as a function of a call's arguments.

    Raises ``UsageError`` for what is no rule.
    """
    rule = rule.strip()
    if rule == "-":
        return _nothing
    if rule.startswith("@"):
        wanted, _, word = rule[1:].partition(" ")
        function = FUNCTIONS.get(wanted)
        if function is None:
            raise UsageError(f"no template function {wanted!r}; there are {', '.join(sorted(FUNCTIONS))}")
        return lambda args: function(Call(args, word.strip(), language, name, star))
    groups: list[list] = [[]]
    for key, opens, closes, escaped, literal in _PART.findall(rule):
        if opens:
            groups.append([])
        elif closes:
            if len(groups) == 1:
                raise UsageError(f"template rule closes a group that it did not open: {rule!r}")
            group = groups.pop()
            groups[-1].append(group)
        elif literal or escaped:
            groups[-1].append(literal or {"n": "\n", "s": " "}.get(escaped, escaped))
        elif not key:
            groups[-1].append(name)
        else:
            groups[-1].append(tuple(key.split("|")))
    if len(groups) != 1:
        raise UsageError(f"template rule leaves a group open: {rule!r}")
    whole = groups[0]
    if len(whole) == 1 and isinstance(whole[0], tuple):
        keys = whole[0]
        return lambda args: next((args[key] for key in keys if args.get(key)), "")
    return lambda args: _fill(whole, args)


def _fill(parts: list, args: Args) -> str:
    """The text of a rule, or "" when none of its arguments has a value."""
    text, filled, wanted = _group(parts, args)
    return text if filled or not wanted else ""


def _group(parts: list, args: Args) -> tuple[str, int, int]:
    """The text of a group, how many of its own arguments have a value, and how many there are."""
    out: list[str] = []
    filled = wanted = 0
    for part in parts:
        if isinstance(part, str):
            out.append(part)
        elif isinstance(part, tuple):
            value = next((args[key] for key in part if args.get(key)), "")
            wanted += 1
            filled += bool(value)
            out.append(value)
        else:
            text, had, needed = _group(part, args)
            if had == needed:
                out.append(text)
    return "".join(out), filled, wanted


@cache
def _table(language: str) -> dict[str, str]:
    name = f"templates.{language}.txt"
    try:
        lines = read_data(name).splitlines()
    except FileNotFoundError:
        return {}
    table: dict[str, str] = {}
    for line in lines:
        if not line.strip() or line.startswith("# "):
            continue
        names, equals, rule = line.partition(" = ")
        if not equals:
            raise UsageError(f"{name}: no rule in {line!r}")
        for name in names.split(", "):
            table[name.strip().lower()] = rule.strip()
    return table


class Templates:
    """The table of one wiki: its own rules over its language's over the English ones, and a user's over them all."""

    def __init__(self, language: str, db: str = "", extra: tuple[tuple[str, str], ...] = ()):
        self.language = language.partition("-")[0] or "en"
        own = {name if name.startswith("/") else normal(name): rule for name, rule in extra}
        rules = {**_table("en"), **_table(self.language), **_table(db), **own}
        self._rules = {name: rule for name, rule in rules.items() if not name.endswith("*")}
        patterns = [(name, rule) for name, rule in rules.items() if len(name) > 2 and name[0] == name[-1] == "/"]
        self._patterns = [(re.compile(name[1:-1]), rule) for name, rule in patterns]
        starred = ((name[:-1], rule) for name, rule in rules.items() if name.endswith("*"))
        self._starred = sorted(starred, key=lambda item: -len(item[0]))
        for name, rule in own.items():  # a wrong rule is refused before the first page
            compile_rule(rule, self.language, name)
        self._cache: dict[str, Rule | None] = {}

    def rule(self, name: str) -> Rule | None:
        """The rule for a template's name as written, or None where there is none."""
        try:
            return self._cache[name]
        except KeyError:
            pass
        if len(self._cache) > _MOST_CACHED:
            self._cache.clear()
        found = self._cache[name] = self._find(normal(name))
        return found

    def _find(self, name: str) -> Rule | None:
        if name in self._rules:
            return compile_rule(self._rules[name], self.language, name)
        for prefix, rule in self._starred:
            if name.startswith(prefix):
                return compile_rule(rule, self.language, name, name[len(prefix) :].strip())
        for pattern, rule in self._patterns:
            if pattern.fullmatch(name):
                return compile_rule(rule, self.language, name)
        return None

    def expand(self, content: str, title: str) -> str:
        """What a call becomes, its content with inner calls resolved.

        Its text; ``HOLE`` where it shows nothing; ``LOST`` where what it shows is not known.
        """
        name, *parts = content.split("|")
        colon = name.find(":")
        if colon > 0 and (function := PARSER_FUNCTIONS.get(name[:colon].strip().lower())):
            return function([name[colon + 1 :].strip(), *parts], self.language) or HOLE
        rule = self.rule(name)
        if rule is None:
            variable = None if parts else VARIABLES.get(name.strip())
            if variable:
                return variable(title)
            if _COUNTRY.fullmatch(name.strip()) and (country := country_name(name.strip(), self.language)):
                args = arguments(parts)  # a flag and the country's name, or in German a place in it
                return HOLE if args.get("1") == "#" else args.get("Ziel") or country
            return LOST
        return HOLE if rule is _nothing else rule(arguments(parts)) or HOLE
