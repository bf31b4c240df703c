"""MediaWiki pages to documents: the plain text of an article, or why a page is not one."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from pipeline.errors import CorpusmillError, InputError
from pipeline.parse.mediawiki_page import Page
from pipeline.parse.mediawiki_reader import read_pages
from pipeline.parse.record import Parsed, file_name
from pipeline.parse.sandbox import Killed, Sandbox
from pipeline.parse.wikitext_options import DEFAULTS
from pipeline.parse.wikitext_options import Options as Rendering

_BATCH_CHARS = 1 << 18  # of wikitext that go to the worker together
_BATCH_PAGES = 1000


@dataclass(frozen=True, slots=True)
class Options:
    """What of a dump becomes a document, and how."""

    namespaces: tuple[int, ...] = (0,)
    max_chars: int = 4_000_000
    rendering: Rendering = DEFAULTS
    source: str = ""  # stands for the wiki in a document's identity where the dump does not name it
    superseded: bool = False  # another file holds a newer revision of every page in this one
    timeout_s: float = 60.0  # of processor time, a page
    memory_mb: int = 2048


def parse(path: str, start: int = 0, stop: int | None = None, options: Options | None = None) -> Iterator[Parsed]:
    """One ``Parsed`` for each page of a range: the plain text of an article, or why it is not one.

    Reasons: ``namespace``, ``superseded``, ``redirect``, ``content_model``, ``deleted``, ``too_large``, ``empty``,
    ``parse_timeout``, ``parse_memory``, ``parse_crash``, and ``error:xml``, ``error:page``, ``error:render``. Wikitext
    is rendered in a process that can be killed.
    """
    options = options or Options()
    if options.rendering.templates:
        from pipeline.parse import wikitext

        wikitext.render("", options=options.rendering)  # a wrong template rule is refused before the first page
    sandbox = _sandbox(options.timeout_s, options.memory_mb)
    for rows in _batches(path, start, stop, options):
        pages = [(row, page) for row, page in rows if not row.reason]
        outcomes = sandbox.map([(page.text, page.site, options.rendering, page.title) for _, page in pages])
        for (row, _), (text, error) in zip(pages, outcomes, strict=True):
            _tell(row, text, error)
        for row, _ in rows:
            yield row


def _batches(path: str, start: int, stop: int | None, options: Options) -> Iterator[list[tuple[Parsed, Page]]]:
    """Pages with their rows, judged but not rendered, some at a time; ``InputError`` comes after the last of them."""
    rows: list[tuple[Parsed, Page]] = []
    size = 0
    name = file_name(path)
    try:
        for page in read_pages(path, start, stop, max_chars=options.max_chars):
            wiki = page.site.db or f"wiki:{options.source}"
            parsed = Parsed(
                identity=f"{wiki}:{page.id}:{page.revision}",
                text=page.text,
                url=page.url,
                title=page.title,
                timestamp=page.timestamp,
                offset=page.offset,
                length=page.length,
                record=page.record,
            )
            if page.error:
                parsed.identity = f"{wiki}:{name}:{page.offset}:{page.record}"
            _judge(parsed, page, options)
            rows.append((parsed, page))
            size += len(page.text)
            if size > _BATCH_CHARS or len(rows) == _BATCH_PAGES:
                yield rows
                rows, size = [], 0
    except InputError:
        if rows:
            yield rows
        raise
    if rows:
        yield rows


def _tell(row: Parsed, text: str, error: Exception | None) -> None:
    """Give a row the plain text of its wikitext, or the reason why it has none."""
    if isinstance(error, Killed):
        row.reason, row.threshold = f"parse_{error.limit}", error.threshold
    elif isinstance(error, CorpusmillError):
        raise error
    elif error:
        row.reason = "error:render"  # a fault of ours in one page: it is counted, and the next is read
    elif text:
        row.text = text
    else:
        row.reason = "empty"


def _judge(parsed: Parsed, page: Page, options: Options) -> None:
    """Give the reason why a page is no document before its text is looked at, if there is one."""
    if page.error:
        parsed.reason = "error:" + page.error.partition(":")[0]
    elif page.ns not in options.namespaces:
        parsed.reason, parsed.value = "namespace", float(page.ns)
    elif options.superseded:
        parsed.reason = "superseded"
    elif page.redirect:
        parsed.reason = "redirect"
    elif page.model != "wikitext":
        parsed.reason = "content_model"
    elif page.deleted:
        parsed.reason = "deleted"
    elif page.chars > options.max_chars:
        parsed.reason, parsed.value, parsed.threshold = "too_large", float(page.chars), float(options.max_chars)
    elif not page.text.strip():
        parsed.reason = "empty"


@cache
def _sandbox(timeout_s: float, memory_mb: int) -> Sandbox:
    """One worker for all files that this process reads."""
    sandbox = Sandbox("pipeline.parse.wikitext:render", timeout_s=timeout_s, memory_mb=memory_mb)
    atexit.register(sandbox.close)
    return sandbox
