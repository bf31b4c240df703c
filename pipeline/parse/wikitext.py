"""Wikitext to plain text, in time linear in the page.

Three steps. ``wikitext_brackets`` resolves what nests: comments, extension tags, language variants, templates (by the
tables of ``wikitext_templates``) and links. Here, the inline marks that do not nest become text: tags, external links,
entities. Last, ``wikitext_lines`` does what is left, line by line: tables, headings, lists, quotes, and the punctuation
that a removed template leaves behind.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache, partial

from pipeline.parse.mediawiki_site import SiteInfo, language_codes, namespace_numbers
from pipeline.parse.wikitext_brackets import (
    BREAK,
    HOLE,
    PIPE,
    Saved,
    decode_entities,
    resolve,
    resolve_variants,
    take_extensions,
    without_private,
)
from pipeline.parse.wikitext_data import read_data
from pipeline.parse.wikitext_functions import to_script
from pipeline.parse.wikitext_lines import render_lines, resolve_tables, table_rows
from pipeline.parse.wikitext_options import DEFAULTS, Options
from pipeline.parse.wikitext_templates import Templates

__all__ = ["DEFAULTS", "Options", "render"]


_NO_SITE = SiteInfo()


def render(wikitext: str, site: SiteInfo | None = None, options: Options = DEFAULTS, title: str = "") -> str:
    """The plain text of a page: paragraphs, headings and list items as lines.

    ``site`` says which namespace names and which language's templates hold; without it, every language's namespace
    names and the English templates. ``title`` is what the page's own name in its text becomes. Any string is rendered;
    raises ``UsageError`` for a wrong template rule in ``options``.
    """
    return _renderer(site or _NO_SITE, options).render(wikitext, title)


@lru_cache(maxsize=64)
def _renderer(site: SiteInfo, options: Options) -> _Renderer:
    return _Renderer(site, options)


class _Renderer:
    """What is the same for all pages of a wiki."""

    def __init__(self, site: SiteInfo, options: Options):
        self.options = options
        self.namespaces = namespace_numbers(site)
        self.codes = language_codes()
        self.templates = Templates(site.language, site.db, options.templates)
        self.dropped = frozenset(heading.lower() for heading in options.sections)
        if options.drop_sections:
            self.dropped |= _sections().get(site.language.partition("-")[0], _sections()["en"])

    def render(self, text: str, title: str) -> str:
        text = without_private(text)
        saved = Saved()
        if "<" in text:
            text = take_extensions(text, saved, self.options.math)
        if "-{" in text:
            text = resolve_variants(text, self.variant)
        text = resolve(text, partial(self.templates.expand, title=title), _argument, self.link)
        text = resolve_tables(text, table_rows if self.options.tables else _nothing)
        text = render_lines(_inline(text), self.dropped)
        return saved.restore(_tidy(text)).strip()

    def link(self, content: str) -> str:
        """What ``[[content]]`` shows: a label, nothing for files and categories."""
        target, pipe, label = content.partition("|")
        if "://" in target:
            return f"[{content}]"
        target = target.strip()
        if "\n" in target:
            return content
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
        """What ``-{content}-`` shows: the wanted variant, else the first, else the content as it is.

        ``-{flags|rules}-``: a rule for the whole page (``H``, ``A`` shows it too), the page's title (``T``), or a text
        that is not converted (``R``).
        """
        flags, pipe, rules = content.partition("|")
        if not pipe or not _FLAGS.fullmatch(flags):
            flags, rules = "", content
        elif flags.strip()[:1] in ("H", "T", "-"):
            return ""
        found = [(code.strip(), text.strip()) for code, text in _VARIANT_RULE.findall(rules)]
        if not found:
            return rules
        return next((text for code, text in found if code == self.options.variant), found[0][1])


_FLAGS = re.compile(r"\s*[A-Z+\-](?:\s*;\s*[A-Z+\-])*\s*|\s*[a-z]{2,3}(?:-[a-z]+)*\s*")
_VARIANT_RULE = re.compile(r"(?:^|;)\s*(?:[^;:=>]*=>\s*)?([a-z]{2,4}(?:-[a-z]{2,5})*)\s*:([^;]*)")


def _argument(content: str) -> str:
    """What ``{{{content}}}`` shows on a page of its own: the default."""
    _, pipe, default = content.partition("|")
    return default if pipe else ""


def _nothing(source: str) -> str:
    return ""


def _pipe_trick(target: str) -> str:
    """What ``[[target|]]`` shows: no namespace, no bracketed or comma-separated qualifier."""
    target = (target.partition(":")[2] or target).strip()
    for opening, closing in ("()", "（）"):
        if target.endswith(closing) and opening in target:
            return target[: target.rindex(opening)].strip() or target
    return re.split("[,，、]", target)[0].strip() or target


@cache
def _sections() -> dict[str, frozenset[str]]:
    """Headings by language, lower case."""
    lines = read_data("sections.txt").splitlines()
    pairs = (line.partition(" = ") for line in lines if not line.startswith("#"))
    return {language: frozenset(headings.split(", ")) for language, _, headings in pairs}


# ---------------------------------------------------------------------------------------------------------------------
# Inline marks

_SCRIPT = re.compile(r"<(su[bp])\b[^<>]*>([^<>\n]{1,12})</\1\s*>", re.IGNORECASE)
_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)[^<>]*>")
_BLOCKS = frozenset(
    {
        "blockquote", "br", "caption", "center", "dd", "div", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "hr",
        "li", "ol", "p", "poem", "section", "table", "td", "th", "tr", "ul",
    }
)  # fmt: skip
_TAGS = _BLOCKS | {
    "a", "abbr", "b", "bdi", "bdo", "big", "body", "ce", "chem", "cite", "code", "data", "del", "dfn", "em", "font",
    "gallery", "hiero", "html", "i", "imagemap", "img", "includeonly", "ins", "kbd", "link", "mark", "math", "meta",
    "noinclude", "noinline", "noreferences", "nowiki", "onlyinclude", "pre", "q", "rb", "ref", "references", "rp", "rt",
    "rtc", "ruby", "s", "samp", "score", "section", "small", "source", "span", "strike", "strong", "sub", "sup",
    "syntaxhighlight", "tbody", "templatestyles", "thead", "time", "timeline", "translate", "tt", "tvar", "u",
    "var", "wbr",
}  # fmt: skip
_EXTERNAL = re.compile(
    r"\[(?:(?:https?|ftps?|ircs?|news|gopher|telnet|git|svn|nntp)://|mailto:|//)[^\s\[\]<>\"]*[ \t]*([^\[\]\n]*)\]",
    re.IGNORECASE,
)
_SWITCH = re.compile(r"__(?:[^\W\d_a-z]|_(?!_))+__")


def _inline(text: str) -> str:
    """Tags, external links, behaviour switches and entities as text."""
    if "<" in text:
        if "</su" in text or "</SU" in text:
            text = _SCRIPT.sub(_script, text)
        text = _TAG.sub(_tag, text)
    if "//" in text or "mailto:" in text:
        text = _EXTERNAL.sub(_external, text)
    if "__" in text:
        text = _SWITCH.sub("", text)
    return decode_entities(text)


def _script(match: re.Match[str]) -> str:
    return to_script(match[2].strip(), match[1].lower())


def _tag(match: re.Match[str]) -> str:
    name = match[1].lower()
    return (BREAK if name in _BLOCKS else "") if name in _TAGS else match[0]


def _external(match: re.Match[str]) -> str:
    return match[1] or HOLE


# ---------------------------------------------------------------------------------------------------------------------

_SPACES = "\t\u00a0\u2007\u2009\u200a\u202f"
_INVISIBLE = "\u00ad\u200b\u200e\u200f\u2028\u2029\u2060\ufeff\u007f\x00\x03\x04\x05\x06\x07\x08"
_UNTIDY = re.compile(f"[{_SPACES}{_INVISIBLE}]")
_SPACE_RUN = re.compile("  +")
_PLAIN = bytes((0x0A, *range(0x20, 0x7F)))


def _tidy(text: str) -> str:
    """No-break and thin spaces as spaces, invisible marks gone, one space for several."""
    rare = text.encode("utf-8", "ignore").translate(None, _PLAIN).decode("utf-8")  # to look through these takes no time
    for character in set(_UNTIDY.findall(rare)):
        text = text.replace(character, " " if character in _SPACES else "")
    return _SPACE_RUN.sub(" ", text)
