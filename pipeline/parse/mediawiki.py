"""MediaWiki XML dumps, export-0.3 to 0.11: pages one by one, in flat memory, from any byte range.

Both publishers' forms are read: the legacy ``pages-articles`` dumps (one bz2 stream, or multistream with a hundred
pages each) and the MediaWiki Content File Exports; as .bz2, .gz, .zst or plain XML, told apart by their first bytes.

The bytes are split at ``<page>`` and ``</page>`` before any XML parser sees them. Inside a text node ``<`` is always
escaped, so the markers are exact, and three things follow: a range can start anywhere and find its first page, a page
that is not well-formed costs that page and no other, and each page's place in the file is known.
"""

from __future__ import annotations

import atexit
import codecs
import re
import zlib
from bz2 import BZ2Decompressor
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from itertools import chain
from typing import Any, BinaryIO, NamedTuple
from xml.parsers import expat

from pipeline.errors import CorpusmillError, InputError
from pipeline.parse.mediawiki_site import SiteInfo, redirect_pattern, site_from_head
from pipeline.parse.record import Parsed
from pipeline.parse.sandbox import Killed, Sandbox
from pipeline.parse.wikitext_options import DEFAULTS
from pipeline.parse.wikitext_options import Options as Rendering
from pipeline.storage import open_input

__all__ = ["Options", "Page", "SiteInfo", "cut", "find_page", "parse", "read_pages", "read_site", "superseded"]

MAX_PAGE_CHARS = 16 << 20  # MediaWiki saves at most 2 MB a page; old pages reach a little more
_READ = 1 << 16  # compressed bytes a step; `length` of a page is a multiple of it from a stream's start, or its end
_INFLATED = 1 << 20  # most bytes one step of a decompressor may give: a bomb must not fit in memory
_BATCH_CHARS = 1 << 18  # of wikitext that go to the worker together
_BATCH_PAGES = 1000
_MAX_DEPTH = 50  # of elements in a page; exports reach 5
_MAX_FIELD = 4096  # characters of a title, a number or a time
_MAX_TOKEN = 16 << 20  # bytes of XML without a token's end, or before the first page
_BZ2_START = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")  # a stream's header and its first block or its footer
_MARK = re.compile(rb"</?page>")
_OPEN, _CLOSE, _FOOTER = b"<page>", b"</page>", b"</mediawiki>"
_EDGE = len(_CLOSE) - 1
_TAIL = 64
_REFETCH = "fetch the file again and check its checksum"
_CHECK = "check that the file is a MediaWiki XML export"


@dataclass(slots=True)
class Page:
    """One page of a dump, at its newest revision.

    ``offset`` is the compressed byte at which the stream (bz2 stream, gzip member, zstd frame; for plain XML the page
    itself) begins, ``length`` the compressed bytes from there that suffice to read the page, and ``record`` is
    ``begin+size``: where the page's XML lies in what those bytes decompress to. ``find_page`` reads it back.
    ``error`` is empty, or a word and a cause; then the other fields hold what was understood of the page.
    """

    offset: int = 0
    length: int = 0
    record: str = ""
    id: int | None = None
    title: str = ""
    ns: int = 0
    redirect: str = ""
    revision: int | None = None
    revisions: int = 0
    timestamp: datetime | None = None
    model: str = "wikitext"
    format: str = "text/x-wiki"
    text: str = ""
    chars: int = 0  # of the whole text, also where it was too large to keep
    deleted: bool = False
    error: str = ""
    site: SiteInfo = field(default_factory=SiteInfo)

    @property
    def url(self) -> str:
        """The page's address, or "" where the dump does not say which site it is from."""
        return self.site.url(self.title)


# ---------------------------------------------------------------------------------------------------------------------
# Compressed bytes -> blocks of XML


class _Block(NamedTuple):
    stream: int  # compressed offset at which this block's stream begins (plain: of the block itself)
    starts: bool  # whether this block is the first of its stream
    read: int  # compressed offset up to which the file was consumed
    data: bytes
    plain: bool = False


class _Source:
    """A file read in steps that begin anew at each stream, with bytes put back after a stream's end."""

    def __init__(self, raw: BinaryIO, start: int):
        self.raw, self.at, self.held = raw, start, b""
        raw.seek(start)

    def take(self, size: int) -> bytes:
        while len(self.held) < size and (more := self.raw.read(max(size - len(self.held), 1 << 18))):
            self.held += more
        taken, self.held = self.held[:size], self.held[size:]
        self.at += len(taken)
        return taken

    def put_back(self, unused: bytes) -> None:
        self.held = unused + self.held
        self.at -= len(unused)


class _Gzip:
    """zlib's decompressor in the shape of bz2's; the trailer's CRC and length are checked by zlib."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)

    eof = property(lambda self: self._inflate.eof)
    unused_data = property(lambda self: self._inflate.unused_data)
    needs_input = property(lambda self: not self._inflate.unconsumed_tail)


class _Zstandard:
    """zstandard's decompressor in the shape of bz2's; it bounds no output, so its input goes in by the kilobyte."""

    def __init__(self) -> None:
        import zstandard

        self._inflate = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        self._waiting = b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        data = self._waiting + data
        out, at = bytearray(), 0
        while at < len(data) and not self.eof and len(out) < max_length:
            out += self._inflate.decompress(data[at : at + 1024])
            at += 1024
        self._waiting = data[at:]
        return bytes(out)

    eof = property(lambda self: self._inflate.eof)
    unused_data = property(lambda self: self._inflate.unused_data + self._waiting)
    needs_input = property(lambda self: not self._waiting)


_DECOMPRESSORS: dict[str, Any] = {"bz2": BZ2Decompressor, "gz": _Gzip, "zst": _Zstandard}


def _kind(path: str, raw: BinaryIO) -> str:
    """How the file is compressed, by its first bytes: a name says what was meant, not what is there."""
    raw.seek(0)
    head = raw.read(6)
    if head.startswith(b"BZh"):
        return "bz2"
    if head.startswith(b"\x1f\x8b"):
        return "gz"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zst"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") or head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "xml"
    if not head:
        raise InputError("the file is empty", file=path, offset=0, mend="fetch it again")
    if head == b"7z\xbc\xaf\x27\x1c":
        raise InputError("7z archives are not read", file=path, offset=0, mend=f"7z e -so {path} | zstd > dump.xml.zst")
    raise InputError("neither XML nor bz2, gzip or zstd", file=path, offset=0, mend="check what was fetched")


def _blocks(path: str, raw: BinaryIO, kind: str, start: int) -> Iterator[_Block]:
    """Decompressed blocks from ``start`` (a stream's first byte, or any byte of plain XML) to the end of the file."""
    source = _Source(raw, start)
    if kind == "xml":
        while data := source.take(_INFLATED):
            yield _Block(source.at - len(data), True, source.at, data, plain=True)
        return
    while head := source.take(_READ):
        stream, starts = source.at - len(head), True
        stripped = head.lstrip(b"\0")
        if not stripped and stream > start and kind == "gz":  # gzip allows zeros after its last member
            continue
        inflate = _DECOMPRESSORS[kind]()
        data = head
        while not inflate.eof:
            if not data and inflate.needs_input and not (data := source.take(_READ)):
                raise InputError(
                    f"the file is cut: its last {kind} stream does not end", file=path, offset=stream, mend=_REFETCH
                )
            try:
                out = inflate.decompress(data, _INFLATED)
            except Exception as damage:  # OSError, zlib.error or ZstdError: each library has its own, all mean this
                if not isinstance(damage, (OSError, ValueError)) and type(damage).__name__ not in (
                    "error",
                    "ZstdError",
                ):
                    raise
                raise InputError(
                    f"damaged {kind} stream: {damage}", file=path, offset=stream, mend=_REFETCH
                ) from damage
            data = b""
            if out:
                yield _Block(stream, starts, source.at - len(inflate.unused_data if inflate.eof else b""), out)
                starts = False
        source.put_back(inflate.unused_data)


def _utf8(blocks: Iterator[_Block]) -> Iterator[_Block]:
    """The same blocks with UTF-16 turned into UTF-8, and then taken as one stream; UTF-8 passes through."""
    first = next(blocks, None)
    if first is None:
        return
    if not first.data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield first
        yield from blocks
        return
    decoder = codecs.getincrementaldecoder("utf-16")("replace")
    for block in chain((first,), blocks):
        data = decoder.decode(block.data).encode("utf-8", "replace")
        yield block._replace(stream=0, starts=block is first, data=data, plain=False)


# ---------------------------------------------------------------------------------------------------------------------
# Siteinfo


def _open_blocks(path: str, raw: BinaryIO, start: int) -> Iterator[_Block]:
    blocks = _blocks(path, raw, _kind(path, raw), start)
    return blocks if start else _utf8(blocks)


def read_site(path: str) -> SiteInfo:
    """The wiki that a dump is of, from its first bytes.

    Raises ``InputError`` for what is no MediaWiki export, and for a DOCTYPE: exports have none, and entities are how an
    XML file attacks its reader.
    """
    with open_input(path) as raw:
        return _read_head(path, _open_blocks(path, raw, 0))[0]


def _read_head(path: str, blocks: Iterator[_Block]) -> tuple[SiteInfo, list[_Block]]:
    """The siteinfo, and the blocks that were read for it."""
    head, seen = b"", []
    for block in blocks:
        head += block.data
        seen.append(block)
        if b"<page>" in head or b"</siteinfo>" in head or len(head) > _MAX_TOKEN:
            break
    before, closing, _ = head.partition(b"<page>")[0].partition(b"</siteinfo>")
    fields: dict[str, str] = {}
    namespaces: list[tuple[int, str]] = []
    language = ""
    path_of: list[str] = []
    texts: list[str] = []
    key = 0

    def opened(name: str, attributes: dict[str, str]) -> None:
        nonlocal language, key
        if not path_of and name != "mediawiki":
            raise InputError(f"no MediaWiki export: its first element is <{name}>", file=path, offset=0, mend=_CHECK)
        language = attributes.get("xml:lang", "") if not path_of else language
        path_of.append(name)
        texts.clear()
        if name == "namespace":
            number = attributes.get("key", "0")
            key = int(number) if re.fullmatch(r"-?\d{1,9}", number) else 0

    def closed(name: str) -> None:
        if name == "namespace":
            namespaces.append((key, "".join(texts)))
        elif path_of[:-1] == ["mediawiki", "siteinfo"]:
            fields[name] = "".join(texts)
        path_of.pop()

    def refuse(*_: object) -> None:
        raise InputError("DOCTYPE refused: exports have none", file=path, offset=0, mend=_CHECK)

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.CharacterDataHandler = texts.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(before + closing, False)
        if not path_of:
            parser.Parse(b"", True)
    except expat.ExpatError as fault:
        raise InputError(f"the head is not XML: {fault}", file=path, offset=0, mend=_CHECK) from fault
    name = re.split(r"[/\\]", path)[-1]
    return site_from_head(fields, tuple(namespaces), language, name), seen


# ---------------------------------------------------------------------------------------------------------------------
# One page's XML -> Page


def _plain_text(data: bytes) -> str | None:
    """The content of a text element, or None where it holds more than characters and the five entities.

    Whole-string operations take a fifth of the time that a parser needs for the same bytes.
    """
    if (b">" in data and b"]]>" in data) or (b"\xef" in data and b"\xef\xbf" in data):  # one byte is found much faster
        return None
    if len(data.translate(None, _NO_XML)) != len(data):
        return None
    parts = _ENTITY.split(data)
    if len(parts) // 2 != data.count(b"&"):
        return None
    parts[1::2] = map(_ENTITIES.__getitem__, parts[1::2])
    try:
        return b"".join(parts).decode("utf-8")
    except UnicodeDecodeError:
        return None


_NO_XML = bytes({*range(0x20)} - {0x09, 0x0A})  # with the carriage return, which a parser turns into a line feed
_ENTITIES = {b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'", b"amp": b"&"}
_ENTITY = re.compile(b"&(lt|gt|quot|apos|amp);")


def _take_texts(data: bytes, max_chars: int) -> tuple[bytes, deque[str | None]]:
    """A page's XML with its text elements emptied, and what they held; None for each that the parser must read."""
    out: list[bytes] = []
    texts: deque[str | None] = deque()
    done = at = 0
    while (at := data.find(b"<text", at)) >= 0:
        begin = data.find(b">", at) + 1
        tag = data[at:begin]
        end = data.find(b"<", begin)
        if not begin or end < 0 or tag[5:6] not in (b" ", b">", b"/") or tag.count(b'"') % 2 or b"'" in tag:
            return data, deque()
        text = None
        if tag[-2:-1] != b"/" and data.startswith(b"</text>", end) and end - begin <= max_chars:
            text = _plain_text(data[begin:end])
        if text is not None:
            out.append(data[done:begin])
            done = end
        texts.append(text)
        at = end
    out.append(data[done:])
    return b"".join(out), texts


class _PageParser:
    """Reads one ``<page>`` element, fed in pieces; keeps of its revisions the newest."""

    _PAGE = frozenset(("title", "ns", "id"))
    _REVISION = frozenset(("id", "timestamp", "model", "format", "text"))

    def __init__(self, first: _Piece, max_chars: int):
        self.page, self.first, self.max_chars = Page(), first, max_chars
        self.fed = 0
        self._held: list[bytes] | None = []  # the page so far, while it is small enough to be read at once
        self._taken: deque[str | None] = deque()  # texts that the parser is not given
        self._open: list[str] = []
        self._keep: list[str] | None = None  # the texts of the element being read, if it is one we want
        self._chars = 0
        self._revision: dict[str, str] = {}
        self._deleted = False
        self._newest = ("", -1)
        self._has_ns = False
        parser = self._parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.buffer_size = 1 << 16
        parser.StartElementHandler, parser.EndElementHandler = self._opened, self._closed
        parser.CharacterDataHandler = self._texts
        self.feed(first.data)

    def feed(self, data: bytes, last: bool = False) -> None:
        """Take more of the page's bytes; a fault is kept in ``page.error`` and ends the understanding of the page."""
        if self.page.error or not data:
            return
        if self._held is not None:
            self._held.append(data)
            self.fed += len(data)
            if not last and self.fed <= _INFLATED:
                return
            data, self.fed = b"".join(self._held), 0
            self._held = None
            if last:
                data, self._taken = _take_texts(data, self.max_chars)
        try:
            self.fed += len(data)
            self._parser.Parse(data, last)
            if self.fed - self._parser.CurrentByteIndex > _MAX_TOKEN:
                self.page.error = "xml: a tag of more than 16 MB"
        except expat.ExpatError as fault:
            self.page.error = f"xml: {fault}"

    def finish(self, site: SiteInfo, last: _Piece) -> Page:
        """The page; where there is no mark, with the namespace that its title and the redirect that its text says."""
        if self._held:
            held = b"".join(self._held)
            self._held = None
            self.feed(held)
        del self._parser  # it holds this object by its handlers: without this, pages would wait for the collector
        page = self.page
        if not self._has_ns:
            page.ns = site.namespace_of(page.title)
        if (
            not page.redirect
            and page.text.lstrip()[:1] in ("#", "＃")
            and (match := redirect_pattern().match(page.text))
        ):
            page.redirect = match[1].strip()
        if not page.error and (page.id is None or not page.title):
            page.error = "page: no id or no title"
        page.site = site
        _place(page, self.first, last)
        return page

    def _opened(self, name: str, attributes: dict[str, str]) -> None:
        path = self._open
        path.append(name)
        self._keep = None
        depth = len(path)
        if depth > _MAX_DEPTH:
            self.page.error = "xml: nested too deep"
        if depth == 2:
            if name in self._PAGE:
                self._keep = []
            elif name == "redirect":
                self.page.redirect = attributes.get("title", "")
            elif name == "revision":
                self._revision, self._deleted, self._chars = {}, False, 0
        elif depth == 3 and path[1] == "revision" and name in self._REVISION:
            self._keep = []
            if name == "text":
                self._deleted = "deleted" in attributes

    def _texts(self, data: str) -> None:
        if self._keep is not None:
            if self._open[-1] == "text":
                self._chars += len(data)
                if self._chars > self.max_chars:
                    self._keep.clear()
                    return
            elif sum(map(len, self._keep)) > _MAX_FIELD:
                return
            self._keep.append(data)

    def _closed(self, name: str) -> None:
        kept, self._keep = self._keep, None
        self._open.pop()
        if name == "text" and self._taken and (text := self._taken.popleft()) is not None and kept is not None:
            kept.append(text)
            self._chars += len(text)
        page = self.page
        if kept is not None:
            value = "".join(kept)
            if len(self._open) == 2:
                self._revision[name] = value
            elif name == "title":
                page.title = value
            elif name == "ns":
                page.ns, self._has_ns = _number(value) or 0, True
            else:
                page.id = _number(value)
        elif name == "revision" and len(self._open) == 1:
            page.revisions += 1
            found = self._revision
            number = _number(found.get("id", ""))
            order = (found.get("timestamp", ""), number or 0)
            if order > self._newest:
                self._newest = order
                page.revision, page.timestamp = number, _timestamp(order[0])
                page.model, page.format = found.get("model") or "wikitext", found.get("format") or "text/x-wiki"
                page.text, page.chars, page.deleted = found.get("text", ""), self._chars, self._deleted


def _number(value: str) -> int | None:
    value = value.strip()
    return int(value) if value.lstrip("-").isdigit() and len(value) < 19 else None


def _timestamp(value: str) -> datetime | None:
    """``2016-09-28T02:05:13Z`` as a time in UTC, or None for what is no time."""
    try:
        return datetime.fromisoformat(value.strip().replace("Z", "+00:00")).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


# ---------------------------------------------------------------------------------------------------------------------
# Blocks -> pages


class _Piece(NamedTuple):
    """A run of bytes, or one marker."""

    mark: bytes  # b"", _OPEN or _CLOSE
    data: bytes
    end: int  # decompressed bytes since the first block, after `data`
    stream: int  # compressed offset of the stream in which `data` begins (plain: of `data` itself)
    inside: int  # decompressed bytes of that stream before `data`
    read: int  # compressed offset up to which the file was consumed
    plain: bool


def _pieces(blocks: Iterator[_Block]) -> Iterator[_Piece]:
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
        blocks = _open_blocks(path, raw, start)
        if site is None:
            site, seen = _read_head(path, blocks)
            blocks = chain(seen, blocks)
        page: _PageParser | None = None
        gap: _Gap | None = None  # since the last page's end
        last = None
        for piece in _pieces(blocks):
            last = piece
            if piece.mark == _OPEN:
                if page:  # the one before never closed
                    page.page.error = page.page.error or "xml: no </page>"
                    yield page.finish(site, piece._replace(end=piece.end - len(_OPEN)))
                elif gap and gap.junk:
                    yield gap.finish(site, piece._replace(end=piece.end - len(_OPEN)))
                page = gap = None
                if stop is not None and piece.stream >= stop:
                    return
                page = _PageParser(piece, max_chars)
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
            raise InputError("the file ends inside a page", file=path, offset=page.first.stream, mend=_REFETCH)
        if gap and last and gap.junk and not _FOOTER.startswith(gap.head) and not _OPEN.startswith(gap.head):
            yield gap.finish(site, last)
        if gap and not gap.closed:
            offset = last.read if last else 0
            raise InputError(
                "the file ends without </mediawiki>: it may be cut", file=path, offset=offset, mend=_REFETCH
            )


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
        raise InputError(f"no record of a MediaWiki page: {record!r}", file=path, offset=offset)
    begin, size = int(match[1]), int(match[2])
    site = read_site(path)
    with open_input(path) as raw:
        seen, found = 0, b""
        for block in _open_blocks(path, raw, offset):
            found += block.data[max(0, begin - seen) : max(0, begin + size - seen)]
            seen += len(block.data)
            if len(found) >= size:
                break
    first = _Piece(_OPEN, found[: len(_OPEN)], len(_OPEN), offset, begin, offset, False)
    page = _PageParser(first, MAX_PAGE_CHARS)
    page.feed(found[len(_OPEN) :], True)
    if not found.startswith(_OPEN) or len(found) != size:
        raise InputError(
            f"no page at {record}", file=path, offset=offset, mend="check that the file is still the one that was read"
        )
    done = page.finish(site, first._replace(end=size))
    done.record = record
    return done


# ---------------------------------------------------------------------------------------------------------------------
# Cutting


def cut(path: str, target_bytes: int) -> list[tuple[int, int]]:
    """Cut a dump into ranges of about ``target_bytes`` compressed bytes for ``read_pages``.

    A multistream bz2 is cut where a stream begins: found by the bytes that open a stream and proved by decoding them.
    Plain UTF-8 XML can be cut anywhere. A single bz2 stream, gzip, zstd and UTF-16 are one range.
    """
    if target_bytes < 1:
        raise ValueError("target_bytes must be positive")
    with open_input(path) as raw:
        size = raw.seek(0, 2)
        kind = _kind(path, raw)
        raw.seek(0)
        utf16 = kind == "xml" and raw.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        starts = [0]
        if kind == "bz2" and size > target_bytes:
            first = BZ2Decompressor()
            raw.seek(0)
            if _begins_utf16(first, raw):
                return [(0, size)]
            while (found := _next_stream(raw, starts[-1] + target_bytes)) is not None:
                starts.append(found)
        elif kind == "xml" and not utf16:
            starts = list(range(0, size, target_bytes))
    return list(zip(starts, [*starts[1:], size], strict=True))


def _begins_utf16(inflate: BZ2Decompressor, raw: BinaryIO) -> bool:
    out = b""
    while len(out) < 2 and not inflate.eof and (data := raw.read(_READ)):
        try:
            out += inflate.decompress(data, 2)
        except OSError:
            return False  # the reader will say what is wrong with it
    return out.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def _next_stream(raw: BinaryIO, at: int) -> int | None:
    """The first byte at or after ``at`` where a bz2 stream with content begins, or None."""
    raw.seek(at)
    window = b""
    while more := raw.read(1 << 20):
        window += more
        for match in _BZ2_START.finditer(window):
            if _decodes(raw, at + match.start()):
                return at + match.start()
            raw.seek(at + len(window))
        keep = window[-13:]
        at, window = at + len(window) - len(keep), keep
    return None


def _decodes(raw: BinaryIO, at: int) -> bool:
    """Whether the bytes at ``at`` decode as the beginning of a bz2 stream: its first block, whose CRC is checked."""
    raw.seek(at)
    inflate = BZ2Decompressor()
    try:
        while data := raw.read(_READ):
            if inflate.decompress(data, 1):
                return True
            if inflate.eof:
                return False  # an empty stream holds no page
    except OSError:
        return False
    return False


def superseded(paths: Iterable[str]) -> dict[str, str]:
    """Which files of a Content File Export hold only older revisions of a page: path -> the path that holds the newest.

    A page too large for one file is split by revisions, ``<wiki>-<date>-p<page>r<first>r<last>.xml.bz2``; only the last
    part holds the page as it is.
    """
    parts: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for path in paths:
        if match := _SPLIT_PAGE.search(path):
            parts.setdefault((match[1], match[2]), []).append((int(match[4]), path))
    older: dict[str, str] = {}
    for found in parts.values():
        newest = max(found)[1]
        older.update((path, newest) for _, path in found if path != newest)
    return older


_SPLIT_PAGE = re.compile(r"([^/\\]*)-p(\d+)r(\d+)r(\d+)\.xml[^/\\]*$")


# ---------------------------------------------------------------------------------------------------------------------
# Pages -> documents


@dataclass(frozen=True, slots=True)
class Options:
    """What of a dump becomes a document, and how."""

    namespaces: tuple[int, ...] = (0,)
    max_chars: int = 4_000_000
    rendering: Rendering = DEFAULTS
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
    try:
        for page in read_pages(path, start, stop, max_chars=options.max_chars):
            parsed = Parsed(
                identity=f"{page.site.db}:{page.id}:{page.revision}",
                text=page.text,
                url=page.url,
                title=page.title,
                timestamp=page.timestamp,
                offset=page.offset,
                length=page.length,
                record=page.record,
            )
            if page.error:
                parsed.identity = f"{page.site.db}:{re.split(r'[/]', path)[-1]}:{page.offset}:{page.record}"
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
