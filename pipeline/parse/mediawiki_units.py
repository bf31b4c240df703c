"""The units of MediaWiki dumps: where a file can be cut, and which files hold nothing newer than others do."""

from __future__ import annotations

import codecs
import re
from bz2 import BZ2Decompressor
from collections.abc import Iterable
from typing import BinaryIO

from pipeline.parse.mediawiki_stream import kind_of
from pipeline.storage import open_input

_READ = 1 << 16
_BZ2_START = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")  # a stream's header and its first block or its footer


def cut(path: str, target_bytes: int) -> list[tuple[int, int]]:
    """Cut a dump into ranges of about ``target_bytes`` compressed bytes for ``read_pages``.

    A multistream bz2 is cut where a stream begins: found by the bytes that open a stream and proved by decoding them.
    Plain UTF-8 XML can be cut anywhere. A single bz2 stream, gzip, zstd and UTF-16 are one range.
    """
    if target_bytes < 1:
        raise ValueError("target_bytes must be positive")
    with open_input(path) as raw:
        size = raw.seek(0, 2)
        kind = kind_of(path, raw)
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
