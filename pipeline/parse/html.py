"""Main text of a web page.

``mill``, the extractor of this project: `html_blocks` cuts the page into blocks in one linear pass, `html_features`
describes each of them, `html_model` judges them, once more when `html_context` has told what was found around them,
and this module puts the chosen ones together again: headings, paragraphs, list items, quotes, lines of code and rows of
tables, one a line.
"""

from __future__ import annotations

import html as entities
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UsageError
from pipeline.parse import encoding as encodings
from pipeline.parse import html_blocks, html_context, html_features, html_model
from pipeline.parse.html_options import Extractor, Options

__all__ = ["Extraction", "Extractor", "Options", "clean_lines", "extract"]

MAX_BLOCKS = 50_000  # what a page of some megabytes of real text has; the classifier takes 3 KB a block
MAX_NESTING = 500  # the other extractors take quadratic time, or silently find nothing, beyond some such depth
# Logit of a block that is as likely text as not, on pages that call themselves articles and on others: best in
# cross-validation.
_EVEN_ARTICLE, _EVEN_OTHER = 0.3, 0.0
_LEAST = -2.5  # what is less likely yet is never taken: not every page has a text
_FEW = 150  # characters of text below which a page's metadata are looked at
_COMMENT = 25  # characters from which a line in a page's comments counts as written by a reader
_NEVER = -6.0  # logit below which a block in the comments is none: buttons, forms
_PASSAGE = 100  # characters from which a block that comes again is left out
_WHOLE = 500  # characters from which a block may be a copy of many others, and the share of the page's text
_PART = 5
_PIECE, _PIECES = 30, 20  # characters of each of the pieces by which it is told
_CELL = 200  # characters: a longer table cell is a part of the page's layout


@dataclass(slots=True)
class Extraction:
    """What a page says.

    ``text`` has one block a line and is empty where nothing was found: never a success. ``language``, ``canonical``
    and ``date`` are what the page declares, as it writes them; ``robots`` the lower-case directives of its robots meta
    tags. ``n_repaired`` counts the bytes and characters that decoding had to replace or remove.
    """

    text: str
    title: str = ""
    language: str = ""
    canonical: str = ""
    date: str = ""
    robots: str = ""
    encoding: str = ""
    n_repaired: int = 0
    reason: str = ""  # why ``text`` is empty: "empty", "too_deep" or "too_many_blocks"


_DEFAULT = Options()


def extract(html: bytes, url: str = "", encoding: str | None = None, options: Options = _DEFAULT) -> Extraction:
    """The main text of ``html``. ``encoding`` is the transport's label, if any; ``url`` is where the page was found.

    Never raises for any bytes; linear in their number with the extractor ``mill``.
    """
    source, name, repaired = encodings.decode(html, encoding)
    found = Extraction("", encoding=name, n_repaired=repaired)
    body = source.find("<body", 0, _HEAD)
    _head(source[: body if body > 0 else _HEAD], found)
    if options.extractor == "mill":
        page = html_blocks.blocks(source)
        if len(page.text) > MAX_BLOCKS:
            found.reason = "too_many_blocks"
            return found
        found.text = tidy(_mill(page, options))
    elif html_blocks.nesting(source) > MAX_NESTING:
        found.reason = "too_deep"
        return found
    else:
        found.text = tidy(_OTHERS[options.extractor](source, url, options))
    if not found.text:
        found.reason = "empty"
    return found


def judge(page: html_blocks.Page, floor: float = html_model.SETTLED) -> np.ndarray:
    """A logit for each block of a page, positive where it belongs to the main text.

    Blocks that are settled at the first look keep its verdict; those below ``floor`` are only known to be that low.
    """
    seen = html_features.features(page)
    logits = html_model.verdicts(seen, "html_model", floor)
    doubtful = logits > html_model.SETTLED
    around = html_context.context(page, logits)
    logits[doubtful] += html_model.verdicts(np.concatenate([seen[doubtful], around[doubtful]], 1), "html_context")
    return logits


def choose(logits: np.ndarray, page: html_blocks.Page) -> np.ndarray:
    """Which blocks are the main text, by the classifier's verdicts: the set that may expect the best F1.

    Of blocks with probability p and w characters the most certain are taken as long as sum(p w) / (sum(w) + the sum of
    p w over the page), half the expected F1, grows (Ye et al., Optimizing F-measures, 2012): a page with plain text
    loses what is doubtful, one that has nothing certain (lists, shop fronts) keeps it.
    """
    even = _EVEN_ARTICLE if page.claims[0] or page.claims[2] else _EVEN_OTHER
    lengths = np.array([len(text) for text in page.text])
    row = page.row
    cells = (row >= 0) & (lengths < _CELL)
    if cells.any():  # the cells of a table stand or fall together: one with holes is worse than none
        table = page.parent[row[cells]]
        mean = np.bincount(table, logits[cells]) / np.maximum(np.bincount(table), 1)
        logits = logits.copy()
        logits[cells] = mean[table]
    sizes = np.maximum(lengths - page.link, 1)
    probable = html_model.chances(logits - even) * sizes
    order = np.argsort(-logits, kind="stable")
    gain = np.cumsum(probable[order])
    last = np.argmax(gain / (html_model.WHOLE * np.cumsum(sizes[order]) + gain[-1]))
    return (logits >= logits[order[last]]) & (logits > even + _LEAST)


def distinct(chosen: np.ndarray, texts: list[str]) -> np.ndarray:
    """``chosen`` without passages that come again: pages for two sizes of screen hold their text twice."""
    chosen = chosen.copy()
    seen: set[str] = set()
    for k in np.flatnonzero(chosen).tolist():
        if len(texts[k]) >= _PASSAGE:
            chosen[k] = texts[k] not in seen
            seen.add(texts[k])
    taken = sum(len(texts[k]) for k in np.flatnonzero(chosen))
    for k in np.flatnonzero(chosen).tolist():  # a block with the whole text, beside the paragraphs
        text = texts[k]
        if len(text) >= max(_WHOLE, taken // _PART):
            rest = "\n".join(texts[other] for other in np.flatnonzero(chosen) if other != k)
            starts = [(len(text) - _PIECE) * piece // (_PIECES - 1) for piece in range(_PIECES)]
            chosen[k] = sum(text[start : start + _PIECE] in rest for start in starts) < 0.7 * _PIECES
    return chosen


def _mill(page: html_blocks.Page, options: Options) -> str:
    if not page.text:
        return page.declared
    floor = _NEVER if options.comments else html_model.SETTLED
    logits = judge(page, floor)
    chosen = choose(logits, page)
    inside = page.bits[page.node]
    if options.comments:
        lengths = np.array([len(text) for text in page.text])
        written = (lengths >= _COMMENT) & (2 * page.link < lengths) & (logits > _NEVER)
        chosen |= written & (inside & html_blocks.ZONE_COMMENT != 0)
    if not options.tables:
        chosen &= inside & html_blocks.IN_TABLE == 0
    if not options.captions:
        chosen &= page.tag != html_blocks.FIGCAPTION
    lines: list[str] = []
    last = -1
    for k in np.flatnonzero(distinct(chosen, page.text)).tolist():
        row = int(page.row[k])
        if row == last >= 0 and len(page.text[k]) < _CELL:
            lines[-1] += " | " + page.text[k]
        else:
            lines.append(page.text[k])
        last = row
    text = "\n".join(lines)
    # A page that is drawn by its scripts may still carry its text in its metadata.
    return page.declared if len(page.declared) > 500 and len(text) < _FEW else text


def clean_lines(text: str) -> str:
    """The main text among the lines of a page whose markup is lost (a WET record); ``""`` where there is none.

    The same features as for a page, as far as lines have them, judged by trees of their own.
    """
    page = html_blocks.from_lines(text)
    if not page.text:
        return ""
    verdicts = html_model.verdicts(html_features.features(page), "html_lines", html_model.SETTLED)
    chosen = choose(verdicts, page)
    return "\n".join(page.text[k] for k in np.flatnonzero(chosen).tolist())


def _resiliparse(source: str, url: str, options: Options) -> str:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(source)
    if not options.tables and tree.document is not None:
        for table in tree.document.query_selector_all("table:not(table table)"):
            table.decompose()
    return extract_plain_text(tree, main_content=True, list_bullets=False, alt_texts=False, comments=options.comments)


def _plain(source: str, url: str, options: Options) -> str:
    return "\n".join(html_blocks.blocks(source).text)


def _trafilatura(source: str, url: str, options: Options) -> str:
    try:
        import trafilatura
    except ImportError:
        raise UsageError(
            "the extractor trafilatura is not installed", mend="pip install trafilatura, or set extractor to mill"
        ) from None
    found = trafilatura.extract(
        source, url=url or None, include_comments=options.comments, include_tables=options.tables
    )
    return found or ""


_OTHERS: dict[str, Callable[[str, str, Options], str]] = {
    "resiliparse": _resiliparse,
    "plain": _plain,
    "trafilatura": _trafilatura,
}

_HEAD = 150_000  # characters in which a page's declarations are looked for
_TITLE = re.compile(r"<title\b[^>]*>([^<]{0,2000})", re.I)
_META = re.compile(r"<(?:meta|link)\b([^>]{0,2000})>", re.I)
_LANGUAGE = re.compile(r"<html\b[^>]{0,1000}?\blang\s*=\s*[\"']?([A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*)", re.I)
_KEY = re.compile(r"\b(?:name|property|itemprop|rel|http-equiv)\s*=\s*[\"']?([^\"'\s>]+)", re.I)
_VALUE = re.compile(r"\b(?:content|href)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"']+))", re.I)
_DATES = ("article:published_time", "datepublished", "date", "dc.date", "dc.date.issued", "parsely-pub-date", "pubdate")
_ROBOTS = ("robots", "googlebot", "ccbot", "gptbot", "tdm-reservation")


def _head(head: str, found: Extraction) -> None:
    """The declarations of a page: title, language, canonical URL, date, robots."""
    title = _TITLE.search(head)
    if title:
        found.title = tidy(entities.unescape(title[1]).replace("\n", " "))
    language = _LANGUAGE.search(head)
    if language:
        found.language = language[1]
    robots = []
    dates: dict[str, str] = {}
    for attributes in _META.findall(head):
        key = _KEY.search(attributes)
        if not key:
            continue
        name = key[1].lower()
        if name in _ROBOTS or name in _DATES or name in ("canonical", "og:title"):
            value = _VALUE.search(attributes)
            content = entities.unescape(value[1] or value[2] or value[3] or "").strip() if value else ""
            if name in _ROBOTS:
                robots.append(content.lower() if name != "tdm-reservation" else "tdm-reservation" * (content == "1"))
            elif name in _DATES:
                dates.setdefault(name, content[:40])
            elif name == "canonical":
                found.canonical = found.canonical or tidy(content[:2000])
            elif not found.title:
                found.title = tidy(content)
    found.robots = ",".join(filter(None, robots))
    found.date = next((tidy(dates[name]) for name in _DATES if dates.get(name)), "")


_SPACES = re.compile(r"[^\S\n]{2,}|[^\S\n ]")
_UNWANTED = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff\u00ad\u200b\ufeff\ufffe\uffff]")


def tidy(text: str) -> str:
    """Blank runs to one space, blank lines dropped, controls, surrogates and invisible characters removed."""
    text = _SPACES.sub(" ", _UNWANTED.sub("", text))
    return "\n".join(line for line in map(str.strip, text.split("\n")) if line)
