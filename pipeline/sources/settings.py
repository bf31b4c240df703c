"""The [fetch] table: how dumps are downloaded. It changes no byte of a corpus."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from pipeline.section import Section


def _web(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{url!r} is not an address such as https://host/path")
    return url.rstrip("/")


def _contact(text: str) -> str:
    if text and not (re.fullmatch(r"[\x20-\x7e]+", text) and re.search(r"\S@\S+\.\S|https?://\S", text)):
        raise ValueError(f"{text!r} is neither a mail address nor the URL of a page that names one")
    return text


Web = Annotated[str, AfterValidator(_web)]


class Publisher(Section):
    """Where one publisher's files lie."""

    origin: Web
    mirrors: list[Web] = Field([], description="asked for files before the origin; listings and checksums never")
    connections: int = Field(3, ge=1, le=16, description="files downloaded at the same time")


class Wikimedia(Publisher):
    """[fetch.wikimedia]: dumps.wikimedia.org or what stands for it."""

    origin: Web = Field("https://dumps.wikimedia.org", description="where listings, checksums and files come from")
    connections: int = Field(3, ge=1, le=3, description="files downloaded at the same time; the publisher allows 3")


class CommonCrawl(Publisher):
    """[fetch.commoncrawl]: data.commoncrawl.org or what stands for it."""

    origin: Web = Field("https://data.commoncrawl.org", description="where listings and files come from")
    crawls: Web = Field("https://index.commoncrawl.org/collinfo.json", description="the list of all crawls")


class Fetch(Section):
    """[fetch]: where dumps are downloaded from, and to."""

    contact: Annotated[str, AfterValidator(_contact)] = Field(
        "", description="mail address or URL that publishers can reach you at: part of every request's User-Agent"
    )
    folder: str = Field("dumps", description="where dumps are stored; a relative one starts at the TOML's folder")
    hosts: list[str] = Field([], description="further hosts that a download may be redirected to")
    private_addresses: bool = Field(False, description="allow hosts in private networks, such as a mirror of your own")
    tries: int = Field(8, ge=1, description="attempts without progress before a file is given up")
    timeout: float = Field(60, gt=0, description="seconds without an answer after which an attempt ends")
    backoff: float = Field(1, ge=0, description="seconds before the second attempt; doubles up to a minute")
    patience: float = Field(900, ge=0, description="longest Retry-After that is waited for, in seconds")
    wikimedia: Wikimedia = Wikimedia()
    commoncrawl: CommonCrawl = CommonCrawl()
