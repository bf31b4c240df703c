"""Main text of a web page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pipeline.parse import encoding as encodings


@dataclass(frozen=True)
class Options:
    """How a page is read."""

    extractor: str = "resiliparse"


@dataclass(slots=True)
class Extraction:
    """What a page says. ``text`` has one block a line; it is empty where nothing was found (never a success)."""

    text: str
    title: str = ""
    encoding: str = ""
    n_repaired: int = 0


_DEFAULT = Options()


def extract(html: bytes, url: str = "", encoding: str | None = None, options: Options = _DEFAULT) -> Extraction:
    """The main text of ``html``. ``encoding`` is the transport's label, if any; ``url`` is where the page was found."""
    from resiliparse.parse.html import HTMLTree

    text, name, repaired = encodings.decode(html, encoding)
    tree = HTMLTree.parse(text)
    return Extraction(tidy(_resiliparse(tree)), tidy(tree.title or "").replace("\n", " "), name, repaired)


def _resiliparse(tree: Any) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(tree, main_content=True, preserve_formatting=True, list_bullets=False, alt_texts=False)


_SPACES = re.compile(r"[^\S\n]+")
_UNWANTED = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff\u00ad\u200b\ufeff]")


def tidy(text: str) -> str:
    """Blank runs to one space, blank lines dropped, controls, surrogates and invisible characters removed."""
    text = _SPACES.sub(" ", _UNWANTED.sub("", text))
    return "\n".join(line for line in map(str.strip, text.split("\n")) if line)
