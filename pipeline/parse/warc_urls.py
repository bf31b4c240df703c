"""Which URLs are wanted: schemes, blocked hosts, address hosts, banned words, patterns.

Blocklists are files, or folders in the form of the UT1 lists of Toulouse (a folder a category, in it ``domains`` and
``urls``). A line of a file is a host that is blocked with its subdomains (``example.org``), one alone
(``=example.org``) or the end of a host's name (``.xxx``); ``#`` begins a comment and the address of a hosts file is
passed over.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import UsageError

_WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class UrlRules:
    """What is wanted of a URL. An empty rule asks for nothing.

    ``patterns`` are regular expressions in RE2 syntax: they are matched in time linear in the URL's length.
    """

    schemes: tuple[str, ...] = ("http", "https")
    blocklists: tuple[str, ...] = ()
    block_addresses: bool = False
    banned_words: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


class UrlFilter:
    """`UrlRules` with their lists read. Raises `UsageError` for a list that is absent or a pattern that is none."""

    def __init__(self, rules: UrlRules) -> None:
        self.rules = rules
        self.words = frozenset(word.lower() for word in rules.banned_words)
        self.exact: set[str] = set()
        self.domains: set[str] = set()
        self.suffixes: tuple[str, ...] = ()
        self.prefixes: set[str] = set()
        for name in rules.blocklists:
            self._read(Path(name))
        self._pattern = "|".join(f"(?:{pattern})" for pattern in rules.patterns)
        if self._pattern:
            self._matches("")

    def reason(self, url: str) -> str:
        """Why ``url`` is refused; empty where it is not, and for a record without a URL."""
        if not url:
            return ""
        try:
            parts = urlsplit(url.strip())
            host = (parts.hostname or "").rstrip(".")
        except ValueError:
            return "url_malformed"
        rules = self.rules
        if rules.schemes and parts.scheme not in rules.schemes:
            return "url_scheme"
        if rules.block_addresses and _is_address(host):
            return "url_address"
        if self.exact or self.domains or self.suffixes or self.prefixes:
            if host in self.exact or host.endswith(self.suffixes or "\n"):
                return "url_host"
            labels = host.split(".")
            if any(".".join(labels[k:]) in self.domains for k in range(len(labels))):
                return "url_host"
            if self.prefixes and any(p in self.prefixes for p in _prefixes(host.removeprefix("www."), parts.path)):
                return "url_path"
        if self.words and not self.words.isdisjoint(_WORDS.findall(url.lower())):
            return "url_word"
        if self._pattern and self._matches(url):
            return "url_pattern"
        return ""

    def _matches(self, url: str) -> bool:
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            return bool(pc.match_substring_regex(pa.array([url]), self._pattern)[0].as_py())
        except pa.ArrowInvalid as fault:
            raise UsageError(f"a URL pattern is no RE2 expression: {fault}") from None

    def _read(self, path: Path) -> None:
        if path.is_dir():
            found = [p for p in sorted(path.rglob("*")) if p.name in ("domains", "urls") and p.is_file()]
            if not found:
                raise UsageError(
                    "no lists named domains or urls in this folder of blocklists",
                    file=str(path),
                    mend="correct blocklists of the [[source]]",
                )
            for part in found:
                lines = _lines(part)
                if part.name == "domains":
                    self.domains.update(line.rstrip(".") for line in lines)
                else:
                    self.prefixes.update(line.removeprefix("www.").rstrip("/") for line in lines)
        elif path.is_file():
            suffixes = []
            for line in _lines(path):
                entry = line.split()[-1]
                if entry.startswith("="):
                    self.exact.add(entry[1:])
                elif entry.startswith((".", "*.")):
                    suffixes.append(entry.lstrip("*"))
                else:
                    self.domains.add(entry.rstrip("."))
            self.suffixes += tuple(suffixes)
        else:
            raise UsageError("no such blocklist", file=str(path), mend="correct blocklists of the [[source]]")


def content(path: str) -> str:
    """A digest of a blocklist's entries; raises as `UrlFilter`."""
    lists = UrlFilter(UrlRules(blocklists=(path,)))
    entries = [sorted(lists.exact), sorted(lists.domains), sorted(lists.suffixes), sorted(lists.prefixes)]
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def _lines(path: Path) -> Iterable[str]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            line = line.partition("#")[0].strip().lower()
            if line:
                yield line


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _prefixes(host: str, path: str) -> Iterable[str]:
    """``host/a``, ``host/a/b``, ... of a URL's path."""
    place = host + "/" + path.strip("/").lower()
    cut = place.find("/")
    while cut >= 0:
        cut = place.find("/", cut + 1)
        yield place if cut < 0 else place[:cut]
