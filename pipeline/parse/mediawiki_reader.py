"""MediaWiki XML dumps, export-0.3 to 0.11: pages one by one, in flat memory, from any byte range.

Both publishers' forms are read: the legacy ``pages-articles`` dumps (one bz2 stream, or multistream with a hundred
pages each) and the MediaWiki Content File Exports.

The bytes are split at ``<page>`` and ``</page>`` before any XML parser sees them. Inside a text node ``<`` is always
escaped, so the markers are exact, and three things follow: a range can start anywhere and find its first page, a page
that is not well-formed costs that page and no other, and each page's place in the file is known.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.parse.mediawiki_head import read_head, read_site
from pipeline.parse.mediawiki_page import Page, PageParser
from pipeline.parse.mediawiki_site import SiteInfo
from pipeline.parse.mediawiki_stream import REFETCH, Block, open_blocks
from pipeline.storage import open_input

MAX_PAGE_CHARS = 16 << 20  # MediaWiki saves at most 2 MB a page; old pages reach a little more
_MARK = re.compile(rb"</?page>")
_OPEN, _CLOSE, _FOOTER = b"<page>", b"</page>", b"</mediawiki>"
_EDGE = len(_CLOSE) - 1
_TAIL = 64


class _Piece(NamedTuple):
    """A run of bytes, or one marker."""

    mark: bytes  # b"", _OPEN or _CLOSE
    data: bytes
    end: int  # decompressed bytes since the first block, after `data`
    stream: int  # compressed offset of the stream in which `data` begins (plain: of `data` itself)
    inside: int  # decompressed bytes of that stream before `data`
    read: int  # compressed offset up to which the file was consumed
    plain: bool


def _pieces(blocks: Iterator[Block]) -> Iterator[_Piece]:
    """Blocks cut at every ``<page>`` and ``</page>``, wherever the blocks' own edges fall."""
    streams: deque[tuple[int, int]] = deque()  # (position, compressed offset) of the streams not yet left behind
    carry, at = b"", 0  # bytes that may begin a marker, and their position

    def piece(mark: bytes, data: bytes, begin: int) -> _Piece:
        while len(streams) > 1 and streams[1][0] <= begin:
            streams.popleft()
        first, stream = streams[0]
        stream, inside = (stream + begin - first, 0) if block.plain else (stream, begin - first)
        return _Piece(mark, data, begin + len(data), stream, inside, block.read, block.plain)

    for block in blocks:
        if block.starts:
            streams.append((at + len(carry), block.stream))
        data = carry + block.data
        done = 0
        for match in _MARK.finditer(data):
            if match.start() > done:
                yield piece(b"", data[done : match.start()], at + done)
            yield piece(match[0], match[0], at + match.start())
            done = match.end()
        # A "<" near the end may begin a marker: keep what follows it for the next block.
        edge = data.find(b"<", max(done, len(data) - _EDGE))
        edge = len(data) if edge < 0 else edge
        if edge > done:
            yield piece(b"", data[done:edge], at + done)
        carry, at = data[edge:], at + edge
    if carry:
        yield piece(b"", carry, at)


def read_pages(
    path: str, start: int = 0, stop: int | None = None, *, max_chars: int = MAX_PAGE_CHARS
) -> Iterator[Page]:
    """Every page whose ``<page>`` begins in the compressed bytes ``start`` to ``stop`` of a dump, in the file's order.

    ``start`` is 0 or a boundary that ``cut`` gave. Reading the ranges of ``cut`` one after the other gives the pages of
    the whole file, each once. A page that is not well-formed is yielded with ``error``; a text of more than
    ``max_chars`` is yielded empty with its length in ``chars``. Memory stays flat whatever the file holds.

    Raises ``InputError``, after every whole page, for a file that is cut, damaged or no MediaWiki export.
    """
    site = read_site(path) if start else None
    with open_input(path) as raw:
        blocks = open_blocks(path, raw, start)
        if site is None:
            site, seen = read_head(path, blocks)
            blocks = chain(seen, blocks)
        page: _Reading | None = None
        gap: _Gap | None = None  # since the last page's end
        last = None
        for piece in _pieces(blocks):
            last = piece
            if piece.mark == _OPEN:
                if page:  # the one before never closed
                    yield page.finish(site, piece._replace(end=piece.end - len(_OPEN)), "xml: no </page>")
                elif gap and gap.junk:
                    yield gap.finish(site, piece._replace(end=piece.end - len(_OPEN)))
                page = gap = None
                if stop is not None and piece.stream >= stop:
                    return
                page = _Reading(piece, max_chars)
            elif page:
                page.feed(piece.data, piece.mark == _CLOSE)
                if piece.mark:
                    yield page.finish(site, piece)
                    page, gap = None, _Gap(piece)
            elif gap:
                gap.feed(piece)
            elif start == 0:
                gap = _Gap(piece, is_head=True)
                gap.feed(piece)
        if page:
            raise InputError("the file ends inside a page", file=path, offset=page.first.stream, mend=REFETCH)
        if gap and last and gap.junk and not _FOOTER.startswith(gap.head) and not _OPEN.startswith(gap.head):
            yield gap.finish(site, last)
        if gap and not gap.closed:
            offset = last.read if last else 0
            raise InputError(
                "the file ends without </mediawiki>: it may be cut", file=path, offset=offset, mend=REFETCH
            )


class _Reading:
    """A page of which the end is still to come."""

    def __init__(self, first: _Piece, max_chars: int):
        self.first, self.parser = first, PageParser(max_chars)
        self.feed(first.data)

    def feed(self, data: bytes, last: bool = False) -> None:
        self.parser.feed(data, last)

    def finish(self, site: SiteInfo, end: _Piece, error: str = "") -> Page:
        page = self.parser.finish(site, error)
        _place(page, self.first, end)
        return page


class _Gap:
    """What lies between two pages: space, or the footer. Anything else is a page whose markers were lost."""

    def __init__(self, before: _Piece, is_head: bool = False):
        self.first, self.head, self.tail = before, b"", b""
        self.is_head = is_head  # before the first page stands the siteinfo, which read_site has judged

    def feed(self, piece: _Piece) -> None:
        if not self.head:
            self.first = piece
        if len(self.head) < _TAIL:
            self.head = (self.head + piece.data).lstrip()[:_TAIL]
        self.tail = (self.tail + piece.data)[-_TAIL:]

    @property
    def closed(self) -> bool:
        return self.tail.rstrip().endswith(_FOOTER)

    @property
    def junk(self) -> bool:
        return not self.is_head and self.head.rstrip() not in (b"", _FOOTER)

    def finish(self, site: SiteInfo, end: _Piece) -> Page:
        page = Page(error="xml: text between pages", site=site)
        _place(page, self.first, end)
        return page


def _place(page: Page, first: _Piece, last: _Piece) -> None:
    """Say where a page lies that begins with one piece and ends with another."""
    size = last.end - (first.end - len(first.data))
    page.offset = first.stream
    page.length = size if first.plain else last.read - first.stream
    page.record = f"{first.inside}+{size}"


def find_page(path: str, offset: int, record: str) -> Page:
    """Read one page back from the lineage of its document.

    Raises ``InputError`` where the file does not hold a page there.
    """
    match = re.fullmatch(r"(\d+)\+(\d+)", record)
    if not match:
        raise InputError(
            f"no record of a MediaWiki page: {record!r}", file=path, offset=offset, mend="corpusmill verify CORPUS"
        )
    begin, size = int(match[1]), int(match[2])
    site = read_site(path)
    with open_input(path) as raw:
        seen, found = 0, b""
        for block in open_blocks(path, raw, offset):
            found += block.data[max(0, begin - seen) : max(0, begin + size - seen)]
            seen += len(block.data)
            if len(found) >= size:
                break
    if not found.startswith(_OPEN) or len(found) != size:
        raise InputError(
            f"no page at {record}", file=path, offset=offset, mend="check that the file is still the one that was read"
        )
    parser = PageParser(MAX_PAGE_CHARS)
    parser.feed(found, True)
    page = parser.finish(site)
    page.offset, page.record = offset, record
    return page
