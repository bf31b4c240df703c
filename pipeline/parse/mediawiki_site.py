"""What a dump says of its wiki, and what every wiki knows: namespace names, redirect words, language codes.

The built-in names (``data/mediawiki.json``) are the local names and aliases that the Wikipedias themselves report in
their siteinfo; they fill in for dumps whose own siteinfo is short, wrong or missing.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import NamedTuple

from pipeline.parse.wikitext_data import read_data

# Project host -> suffix of the database name (en.wiktionary.org -> enwiktionary); Wikipedia alone is "wiki".
_PROJECTS = {"wikipedia": "wiki"}
# Codes that are no language of the text they stand before, or that MediaWiki writes in two ways.
_LANGUAGE_OF_CODE = {
    "simple": "en",
    "no": "nb",
    "zh-yue": "yue",
    "zh-min-nan": "nan",
    "zh-classical": "lzh",
    "als": "gsw",
}
_CODES_OF_LANGUAGE = {language: code for code, language in _LANGUAGE_OF_CODE.items() if language != "en"}
_NOT_IN_LIST = (
    "simple",
    "nb",
    "nan",
    "yue",
    "lzh",
    "gsw",
    "cmn",
    "zh-cn",
    "zh-tw",
    "be-tarask",
    "dk",
    "cz",
    "jp",
    "nomcom",
)


class SiteInfo(NamedTuple):
    """The wiki behind a dump, from the ``<siteinfo>`` of its first bytes.

    ``db`` is the wiki's database name, ``language`` a MediaWiki language code, ``article_url`` what a page title is
    appended to (all three "" when unknown), ``namespaces`` pairs of number and local name (empty for number 0).
    """

    db: str = ""
    language: str = ""
    article_url: str = ""
    generator: str = ""
    case: str = "first-letter"
    namespaces: tuple[tuple[int, str], ...] = ()

    def url(self, title: str) -> str:
        """The address of a page, encoded as MediaWiki does, or "" when the dump names no site."""
        from urllib.parse import quote  # renderers need no addresses, and start without it

        return self.article_url + quote(title.replace(" ", "_"), safe=";@$!*(),/~:'") if self.article_url else ""

    def namespace_of(self, title: str) -> int:
        """The namespace number that a title's prefix names: for dumps too old to carry ``<ns>``."""
        prefix, colon, _ = title.partition(":")
        return namespace_numbers(self).get(prefix.strip().replace("_", " ").lower(), 0) if colon else 0


def site_from_head(
    fields: dict[str, str], namespaces: tuple[tuple[int, str], ...], xml_language: str, file_name: str
) -> SiteInfo:
    """Build a ``SiteInfo`` from the texts of ``<siteinfo>``; what is missing comes from the base URL or file name."""
    from urllib.parse import urlsplit

    base = fields.get("base", "")
    article_url = base[: base.rfind("/") + 1] if base.count("/") > 2 else ""
    try:
        code, db = _from_host(urlsplit(base).hostname or "")
    except ValueError:  # no URL, such as http://[x/
        code, db = "", ""
    named = re.match(r"([a-z][a-z0-9_]*?)(wik(?:i|tionary|iquote|ibooks|inews|isource|iversity|ivoyage))\b", file_name)
    if named and not code:
        code, db = named[1].replace("_", "-"), db or named[0]
    code = code or xml_language
    return SiteInfo(
        db=fields.get("dbname") or db,
        language=_LANGUAGE_OF_CODE.get(code, code),
        article_url=article_url,
        generator=fields.get("generator", ""),
        case=fields.get("case", "first-letter"),
        namespaces=namespaces,
    )


def _from_host(host: str) -> tuple[str, str]:
    """Language code and database name of a Wikimedia host: ``zh-yue.wiktionary.org`` -> zh-yue, zh_yuewiktionary."""
    labels = host.lower().split(".")
    if len(labels) < 3 or labels[-1] != "org":
        return "", host.replace(".", "_")
    code, project = labels[0], labels[-2]
    if project == "wikimedia" or code == "www":
        return "", (code if code != "www" else project) + "wiki"
    return code, code.replace("-", "_") + _PROJECTS.get(project, project)


@cache
def facts() -> dict:
    """The built-in names, read once."""
    return json.loads(read_data("mediawiki.json"))


_CANONICAL = {
    "media": -2, "special": -1, "talk": 1, "user": 2, "user talk": 3, "project": 4, "project talk": 5, "file": 6,
    "image": 6, "file talk": 7, "image talk": 7, "mediawiki": 8, "mediawiki talk": 9, "template": 10,
    "template talk": 11, "help": 12, "help talk": 13, "category": 14, "category talk": 15, "wikipedia": 4,
    "wikipedia talk": 5, "portal": 100, "portal talk": 101, "draft": 118, "timedtext": 710, "module": 828,
    "module talk": 829,
}  # fmt: skip


@cache
def namespace_numbers(site: SiteInfo) -> dict[str, int]:
    """Lower-case namespace names -> number: the dump's own names first, then every built-in one.

    A built-in name of another language counts when it is long enough not to be an abbreviation here: dumps do carry
    pages copied from other wikis, and excerpts do carry the wrong siteinfo.
    """
    known = facts()
    names: dict[str, int] = {}
    codes = {site.language, _CODES_OF_LANGUAGE.get(site.language, "")}
    for kind, number in (("media", -2), ("file", 6), ("category", 14)):
        for code, aliases in known[kind].items():
            names.update((alias, number) for alias in aliases if code in codes or len(alias.encode()) > 3)
    names.update(_CANONICAL)
    names.update((name.lower(), number) for number, name in site.namespaces if name)
    return names


@cache
def language_codes() -> frozenset[str]:
    """Prefixes that make a link point at the same page in another language."""
    return frozenset(facts()["languages"]) | frozenset(_NOT_IN_LIST)


@cache
def redirect_pattern() -> re.Pattern[str]:
    """Matches wikitext that is a redirect and captures its target; for dumps older than the ``<redirect>`` element."""
    words = "|".join(
        re.escape(word).replace(r"\ ", "[ _]") for word in sorted(facts()["redirect"], key=len, reverse=True)
    )
    return re.compile(rf"\s*[#＃]\s*(?:{words})\s*:?\s*\[\[:?([^\]|\n]+)", re.IGNORECASE)
