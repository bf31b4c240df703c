"""Common Crawl: ``crawl-data/CRAWL/KIND.paths.gz`` lists the files of a crawl, collinfo.json the crawls.

The publisher gives no checksums: sizes are those that the server states, and the SHA-256 of what arrived is recorded.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from concurrent.futures import ThreadPoolExecutor

from pipeline.errors import CorpusmillError, UsageError
from pipeline.sources.client import MAX_LISTING, Client, Missing
from pipeline.sources.download import Dump, File
from pipeline.sources.offers import not_at, unknown
from pipeline.sources.settings import CommonCrawl
from pipeline.sources.wikimedia import suspicious

KINDS = ("wet", "warc")
_LISTED = "corpusmill sources list commoncrawl"
_CRAWL = r"CC-MAIN-\d{4}-\d\d"


def crawls(client: Client) -> list[str]:
    """The weekly-named crawls, sorted: the newest is the last."""
    assert isinstance(client.publisher, CommonCrawl)
    url = client.publisher.crawls
    try:
        names = [str(crawl["id"]) for crawl in json.loads(client.read(url))]
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusmillError(f"not a list of crawls: {error!r}", file=url, mend="try again later") from error
    return sorted({name for name in names if re.fullmatch(_CRAWL, name)})


def resolve(
    client: Client, crawl: str, kind: str, first: int | None = None, sample: float | None = None, seed: int = 0
) -> Dump:
    """The chosen files of one crawl: the ``first`` ones of its list, or a random ``sample`` (a share of them).

    A larger sample of the same seed holds the smaller one. ``crawl`` may be ``latest``.
    """
    if crawl == "latest":
        offered = crawls(client)
        if not offered:
            raise CorpusmillError("no crawl is listed", mend=_LISTED)
        crawl = offered[-1]
    url = f"{client.publisher.origin}/crawl-data/{crawl}/{kind}.paths.gz"
    try:
        if not re.fullmatch(_CRAWL, crawl):
            raise Missing("no crawl has such a name")
        listing = client.read(url)
    except Missing:
        offered = crawls(client)
        if re.fullmatch(_CRAWL, crawl) and (not offered or crawl > offered[-1]):
            raise not_at("crawl", crawl, offered, _LISTED) from None
        raise unknown("crawl", crawl, offered, _LISTED) from None
    paths = _paths(listing, crawl, kind, url)
    if sample is not None:
        paths = [path for path in paths if _rank(seed, path) < sample]
    chosen = paths[:first]
    if not chosen:
        raise UsageError(
            f"the sample is so small that it holds no file of {crawl}", mend="a larger --sample, or --files"
        )
    with ThreadPoolExecutor(client.publisher.connections) as pool:
        sizes = list(pool.map(lambda path: client.size(f"{client.publisher.origin}/{path}"), chosen))
    files = [File(path.rsplit("/", 1)[1], path, size, "") for path, size in zip(chosen, sizes, strict=True)]
    return Dump(f"commoncrawl/{crawl}/{kind}", crawl, files)


def _paths(listing: bytes, crawl: str, kind: str, url: str) -> list[str]:
    inflate = zlib.decompressobj(31)
    try:
        text = inflate.decompress(listing, MAX_LISTING)
    except zlib.error as error:
        raise CorpusmillError(f"not a gzip file: {error}", file=url, mend="try again later") from error
    if inflate.unconsumed_tail or not inflate.eof:
        raise CorpusmillError("cut, or longer than any listing", file=url, mend="try again later")
    suffix = r"\.warc\.wet\.gz" if kind == "wet" else r"\.warc\.gz"
    pattern = re.compile(rf"crawl-data/{crawl}/segments/[\d.]+/{kind}/([\w-]+{suffix})", re.ASCII)
    paths = text.decode("utf-8", "replace").split()
    names = set()
    for path in paths:
        match = pattern.fullmatch(path)
        if not match or match[1] in names:
            raise suspicious(path, url)
        names.add(match[1])
    return paths


def _rank(seed: int, path: str) -> float:
    """A number in [0, 1) that is random over paths and the same for ever."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {path}".encode(), digest_size=8).digest(), "big") / 2**64
