"""The head of a MediaWiki dump: its siteinfo, which says what wiki it is of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.parsers import expat

from pipeline.errors import InputError
from pipeline.parse.mediawiki_site import SiteInfo, site_from_head
from pipeline.parse.mediawiki_stream import Block, open_blocks
from pipeline.storage import open_input

_MAX_HEAD = 16 << 20  # bytes before the first page
_CHECK = "check that the file is a MediaWiki XML export"


def read_site(path: str) -> SiteInfo:
    """The wiki that a dump is of, from its first bytes.

    Raises ``InputError`` for what is no MediaWiki export, and for a DOCTYPE: exports have none, and entities are how an
    XML file attacks its reader.
    """
    with open_input(path) as raw:
        return read_head(path, open_blocks(path, raw, 0))[0]


def read_head(path: str, blocks: Iterator[Block]) -> tuple[SiteInfo, list[Block]]:
    """The siteinfo, and the blocks that were read for it."""
    head, seen = b"", []
    for block in blocks:
        head += block.data
        seen.append(block)
        if b"<page>" in head or b"</siteinfo>" in head or len(head) > _MAX_HEAD:
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
