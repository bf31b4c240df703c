"""Real text for the tokenizer tests: the Wikipedia pages of the bundled WET file."""

from __future__ import annotations

import gzip
import re
from functools import cache

from tests.shared import ROOT

WET = ROOT / "examples" / "data" / "CC-MAIN-2021-39-wikipedia-excerpt.warc.wet.gz"


@cache
def pages() -> tuple[tuple[str, str], ...]:
    """Language (of the wiki) and text of each page, in the order of the file."""
    found = []
    for record in gzip.decompress(WET.read_bytes()).split(b"WARC/1.0\r\n")[1:]:
        head, _, body = record.partition(b"\r\n\r\n")
        size = re.search(rb"Content-Length: (\d+)", head)
        language = re.search(rb"Target-URI: https?://(\w+)\.wikipedia", head)
        assert size
        assert language
        found.append((language[1].decode(), body[: int(size[1])].decode()))
    return tuple(found)


def sample(page_bytes: int = 12_000) -> list[str]:
    """The head of each page: small enough to train on in a second."""
    return [text.encode()[:page_bytes].decode(errors="ignore") for _, text in pages()]
