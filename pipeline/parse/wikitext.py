"""Wikitext to plain text, in time linear in the page.

Three steps. ``wikitext_brackets`` resolves what nests: comments, extension tags, language variants, templates, links.
Here, tables go, and the inline marks that do not nest (tags, external links, quotes, entities) become text. Last, line by
line: headings, lists, empty sections, and the punctuation that a removed template leaves behind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from html.entities import html5

from pipeline.parse.mediawiki_site import SiteInfo, language_codes, namespace_numbers
from pipeline.parse.wikitext_brackets import (
    BREAK,
    EQUALS,
    HOLE,
    PIPE,
    PRIVATE,
    Saved,
    resolve,
    resolve_variants,
    take_extensions,
)
from pipeline.parse.wikitext_templates import Templates

__all__ = ["DEFAULTS", "Options", "render"]


@dataclass(frozen=True, slots=True)
class Options:
    """How wikitext is rendered: whether LaTeX is kept, and template rules beyond the built-in ones (name, rule)."""

    math: bool = True
    templates: tuple[tuple[str, str], ...] = ()


DEFAULTS = Options()
_NO_SITE = SiteInfo()


def render(wikitext: str, site: SiteInfo | None = None, options: Options = DEFAULTS, title: str = "") -> str:
    """The plain text of a page: paragraphs, headings and list items as lines.

    ``site`` says which namespace names and which language's templates hold; without it, every language's namespace names
    and the English templates. ``title`` is what the page's own name in its text becomes.
    """
    return _renderer(site or _NO_SITE, options).render(wikitext, title)


@lru_cache(maxsize=64)
def _renderer(site: SiteInfo, options: Options) -> _Renderer:
    return _Renderer(site, options)


# Two brackets' worth of rules for what stands around a hole.
_OPENING, _CLOSING = "(（[「『", ")）]」』"
_SEPARATORS = ",;:、，；：/·•–—"


class _Renderer:
    def __init__(self, site: SiteInfo, options: Options):
        self.options = options
        self.namespaces = namespace_numbers(site)
        self.codes = language_codes()
        self.templates = Templates(site.language, options.templates)

    def render(self, text: str, title: str) -> str:
        if PRIVATE.search(text):
            text = PRIVATE.sub("", text)
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        saved = Saved()
        if "<" in text:
            text = take_extensions(text, saved, self.options.math)
        text = resolve_variants(text, self.variant)
        text = resolve(text, self.templates.expand, _argument, self.link)
        text = _drop_tables(text)
        text = _inline(text)
        text = _lines(text)
        return saved.restore(text).strip()

    def link(self, content: str) -> str:
        target, pipe, label = content.partition("|")
        if "\n" in target or "://" in target:
            return f"[{content}]" if "://" in target else content
        target = target.strip()
        if target.startswith(":"):
            target = target[1:].lstrip()
        elif ":" in target:
            prefix = target.partition(":")[0].strip().replace("_", " ").lower()
            number = self.namespaces.get(prefix)
            if number == 6:
                return HOLE
            if number == 14 or (number is None and prefix in self.codes):
                return ""
        if not pipe:
            return target
        label = label.replace(PIPE, "|").strip("\n")
        return label if label.strip() else _pipe_trick(target)

    def variant(self, content: str) -> str:
        return content


def _argument(content: str) -> str:
    _, pipe, default = content.partition("|")
    return default if pipe else ""


def _pipe_trick(target: str) -> str:
    """What ``[[target|]]`` shows: no namespace, no bracketed or comma-separated qualifier."""
    target = target.partition(":")[2] or target
    return re.sub(r"\s*(?:\([^()]*\)|（[^（）]*）|,[^,]*|，[^，]*|、[^、]*)$", "", target.strip()) or target


# ---------------------------------------------------------------------------------------------------------------------

_TABLE_MARK = re.compile(r"^[ \t:*#;\x00]*\{\||^[ \t\x00]*\|\}|^=[^\n]+=[ \t]*$", re.MULTILINE)


def _drop_tables(text: str) -> str:
    if "{|" not in text:
        return text
    out: list[str] = []
    done, depth = 0, 0
    for match in _TABLE_MARK.finditer(text):
        mark = match[0].lstrip(" \t:*#;\x00")
        if mark[0] == "{":
            if not depth:
                out.append(text[done : match.start()])
            depth += 1
        elif depth and mark[0] == "|":
            depth -= 1
            if not depth:
                out.append(HOLE)
                done = match.end()
        elif depth:  # a heading: the table was never closed
            depth, done = 0, match.start()
    if not depth:
        out.append(text[done:])
    return "".join(out)


_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)[^<>]*>")
_BLOCK_TAGS = frozenset(
    "br p div li ul ol dl dt dd tr td th table center blockquote h1 h2 h3 h4 h5 h6 hr caption section poem".split()
)
_EXTERNAL = re.compile(
    r"\[(?:(?:https?|ftps?|irc|news|gopher|telnet|git|svn)://|mailto:|//)[^\s\[\]<>\"]*[ \t]*([^\]\n]*)\]", re.I
)
_QUOTED_LINE = re.compile(r"[^\n]*''[^\n]*")
_QUOTES = re.compile(r"'{2,}")
_SWITCH = re.compile(r"__(?:[^\W\d_a-z]|_(?!_))+__")
_ENTITY = re.compile(r"&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(\w{2,31}));")


def _inline(text: str) -> str:
    if "<" in text:
        text = _TAG.sub(_tag, text)
    if "//" in text or "mailto:" in text:
        text = _EXTERNAL.sub(lambda match: match[1] or HOLE, text)
    if "''" in text:
        text = _QUOTED_LINE.sub(_quotes, text)
    if "__" in text:
        text = _SWITCH.sub("", text)
    if "&" in text:
        text = _ENTITY.sub(_entity, text)
    return text


def _tag(match: re.Match[str]) -> str:
    return BREAK if match[1].lower() in _BLOCK_TAGS else ""


def _quotes(match: re.Match[str]) -> str:
    return _QUOTES.sub("", match[0])


def _entity(match: re.Match[str]) -> str:
    decimal, hexadecimal, name = match.groups()
    if name:
        return html5.get(name + ";", match[0])
    code = int(decimal) if decimal else int(hexadecimal, 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000 or (code < 0x20 and code not in (9, 10)):
        return ""
    return chr(code)


# ---------------------------------------------------------------------------------------------------------------------

_HEADING = re.compile(r"(={1,6})[ \t]*(.+?)[ \t]*\1[ \t]*$")
_LIST = re.compile(r"([*#:;]+)[ \t]*")
_AROUND = re.compile(
    rf"(?<=[{re.escape(_OPENING)}])[\s\x00{_SEPARATORS}]*\x00[\s\x00{_SEPARATORS}]*"
    rf"|[\s{_SEPARATORS}]*\x00[\s\x00{_SEPARATORS}]*(?=[{re.escape(_CLOSING)}])"
)
_EMPTY_BRACKETS = re.compile(r"[ \t]*[(（][\s\x00]*[)）]")
_HOLE_PUNCTUATION = re.compile(r"[ \t]*\x00[ \t\x00]*(?=[,;.:、，；。：])")
_HOLE_SPACE = re.compile(r"[ \t]*\x00[ \t\x00]*")


def _lines(text: str) -> str:
    out: list[str] = []
    headings: list[tuple[int, str]] = []
    for line in text.split("\n"):
        line = line.strip()
        if HOLE in line:
            line = _mend(line)
        if not line:
            if out and out[-1]:
                out.append("")
            continue
        first = line[0]
        if first == "=" and (match := _HEADING.match(line)):
            level = len(match[1])
            while headings and headings[-1][0] >= level:
                headings.pop()
            headings.append((level, match[2].strip("= ")))
            continue
        if first in "*#:;":
            mark = _LIST.match(line)
            line = line[mark.end() :]  # type: ignore[union-attr]
            if not line:
                continue
        elif first == "|" or (first == "!" and out and out[-1] == ""):
            continue
        elif first == "-" and line.startswith("----"):
            continue
        for level, heading in headings:
            if heading:
                if out and out[-1]:
                    out.append("")
                out.append(heading)
        headings = [(level, "") for level, _ in headings]
        out.append(line)
    return "\n".join(out).replace(BREAK, "\n")


def _mend(line: str) -> str:
    """Close the gap that removed templates leave in a line."""
    line = _AROUND.sub("", line)
    line = _EMPTY_BRACKETS.sub("", line)
    line = _HOLE_PUNCTUATION.sub("", line)
    return _HOLE_SPACE.sub(" ", line).strip()
