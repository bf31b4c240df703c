"""A large dump made of a small one: every copy of every page is another document, so nothing in it is a duplicate.

Articles are cut at their headings into pages of a few kilobytes, which is what most pages of a wiki have. In each copy
every word is exchanged, by a seeded permutation, with one of the same length that is about as frequent: markup, sizes
and the spectrum of words stay, but no two copies of a page share more than a few shingles.
"""

from __future__ import annotations

import bz2
import random
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

_LEAST = 2_000  # characters a page, but for the last of an article
_PEERS = 16  # words of one length and similar frequency, which stand for each other
_STREAM = 100  # pages, as in dumps
_FOOTER = "</mediawiki>\n"

_PAGE = re.compile(r"<title>(.*?)</title>.*?<text[^>]*>(.*?)</text>", re.DOTALL)
_WORD = re.compile(r"((?<![\w{|=<&/;:])[A-Za-z][a-z]{3,}(?![\w:}|]| ?=))")  # in running text; no names of the markup


class Copies:
    """The articles of a dump, ready to be copied."""

    def __init__(self, dump: Path):
        text = bz2.decompress(dump.read_bytes()).decode()
        self.head = text[: text.index("<page>")]
        articles = [_PAGE.search(page) for page in text.split("<page>") if "<redirect" not in page]
        self.pages = [
            (article[1], _WORD.split(piece)) for article in articles if article for piece in _pieces(article[2])
        ]
        self.words = Counter(word.lower() for _, split in self.pages for word in split[1::2])

    def streams(self, seed: int) -> bytes:
        """One copy: bz2 streams of a few pages each."""
        other = self._exchange(seed)
        out, number = [], seed * len(self.pages)
        for first in range(0, len(self.pages), _STREAM):
            group = []
            for title, split in self.pages[first : first + _STREAM]:
                number += 1
                words = [other.get(word, word) for word in split]
                group.append(
                    f"<page><title>{title} {number}</title><ns>0</ns><id>{number}</id><revision><id>{number}</id>"
                    f"<timestamp>2020-01-01T00:00:00Z</timestamp><model>wikitext</model><format>text/x-wiki</format>"
                    f'<text xml:space="preserve">{"".join(words)}</text></revision></page>\n'
                )
            out.append(bz2.compress("".join(group).encode()))
        return b"".join(out)

    def _exchange(self, seed: int) -> dict[str, str]:
        """The word that stands for each word in one copy."""
        chance = random.Random(seed)
        ranked: dict[int, list[str]] = {}
        for word, _ in self.words.most_common():
            ranked.setdefault(len(word), []).append(word)
        other = {}
        for words in ranked.values():
            for first in range(0, len(words), _PEERS):
                peers = words[first : first + _PEERS]
                other |= dict(zip(peers, chance.sample(peers, len(peers)), strict=True))
        return other | {word.capitalize(): stands.capitalize() for word, stands in other.items()}


def _pieces(article: str) -> Iterator[str]:
    held = ""
    for section in re.split(r"(?m)^(?===)", article):
        held += section
        if len(held) >= _LEAST:
            yield held
            held = ""
    if held:
        yield held


_copies: list[Copies] = []


def _streams(seed: int) -> bytes:
    return _copies[0].streams(seed)


def write(dump: Path, targets: dict[int, Path]) -> None:
    """Write dumps of so many copies each, all beginning with the same ones: multistream, on all cores."""
    _copies[:] = [Copies(dump)]
    files = {target: target.open("wb") for target in targets.values()}
    for file in files.values():
        file.write(bz2.compress(_copies[0].head.encode()))
    with ProcessPoolExecutor(mp_context=get_context("fork")) as pool:  # forked: the pages are there already
        for number, streams in enumerate(pool.map(_streams, range(max(targets)))):
            for size, target in targets.items():
                if number < size:
                    files[target].write(streams)
    for file in files.values():
        file.write(bz2.compress(_FOOTER.encode()))
        file.close()
    _copies.clear()
