"""Wikimedia's dumps: the legacy XML dumps and the MediaWiki Content File Exports that take their place.

Legacy: ``WIKI/YYYYMMDD/dumpstatus.json`` has the status of each job and size and SHA-1 of each file. Content exports:
``other/mediawiki_content_current/WIKI/YYYY-MM-DD/xml/bzip2/`` has SHA256SUMS, and ``_SUCCESS`` once it is complete.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipeline.errors import CorpusmillError, NotYet, UsageError
from pipeline.sources.client import Client, Missing
from pipeline.sources.download import Dump, File
from pipeline.sources.offers import links, not_at, unknown

_LISTED = "corpusmill sources list wikipedia"
KINDS = ("content", "legacy")
_CONTENT = "other/mediawiki_content_current"
_JOBS = ("articlesmultistreamdump", "articlesdump")  # the same pages; the first can be cut into units
_WIKI = r"[a-z][a-z0-9_]*"


def wikis(client: Client, kind: str) -> list[str]:
    """Every wiki that the publisher offers dumps of, sorted."""
    page, pattern = (
        ("backup-index.html", rf"/?({_WIKI})/\d{{8}}/?") if kind == "legacy" else (_CONTENT + "/", rf"({_WIKI})/")
    )
    found = (re.fullmatch(pattern, link) for link in links(client.read(f"{client.publisher.origin}/{page}")))
    return sorted({match[1] for match in found if match})


def dates(client: Client, wiki: str, kind: str) -> list[str]:
    """The dates of a wiki's dumps, sorted, as they stand in its paths; UsageError names wikis near an unknown one."""
    _check_name(wiki)
    path, pattern = (f"{wiki}/", r"(\d{8})/") if kind == "legacy" else (f"{_CONTENT}/{wiki}/", r"(\d{4}-\d\d-\d\d)/")
    try:
        page = client.read(f"{client.publisher.origin}/{path}")
    except Missing:
        raise unknown("wiki", wiki, wikis(client, kind), _LISTED) from None
    found = (re.fullmatch(pattern, link) for link in links(page))
    return sorted({match[1] for match in found if match})


def resolve(client: Client, wiki: str, date: str, kind: str) -> Dump:
    """The files of one dump, ``date`` being ``YYYY-MM-DD``, ``YYYYMMDD`` or ``latest``: the newest complete one.

    NotYet while the dump is being made; UsageError names what is offered instead of an unknown wiki or date.
    """
    _check_name(wiki)
    if date != "latest":
        return _dump(client, wiki, _as_in_paths(date, kind), kind)
    offered = dates(client, wiki, kind)
    for candidate in reversed(offered):
        try:
            return _dump(client, wiki, candidate, kind)
        except NotYet:
            continue
    raise not_at(f"dump of {wiki}", "at all", [], _LISTED)


def _check_name(wiki: str) -> None:
    """Refuse what cannot be a wiki's name before anyone is asked for it."""
    if not re.fullmatch(_WIKI, wiki):
        raise UsageError(
            f"{wiki!r} is no name of a wiki: it has small letters, digits and underscores, as zhwiki or frwiktionary",
            mend=_LISTED,
        )


def _as_in_paths(date: str, kind: str) -> str:
    match = re.fullmatch(r"(\d{4})-?(\d\d)-?(\d\d)", date)
    if not match:
        raise UsageError(f"a date is YYYY-MM-DD or latest, not {date!r}", mend=f"{_LISTED} --wiki NAME")
    return ("" if kind == "legacy" else "-").join(match.groups())


def _dump(client: Client, wiki: str, date: str, kind: str) -> Dump:
    name = f"wikimedia/{wiki}/{date}"
    try:
        files = _legacy(client, wiki, date) if kind == "legacy" else _content(client, wiki, date)
    except Missing:
        offered = dates(client, wiki, kind)
        if date in offered:  # its folder is there, its listing is not
            raise NotYet(
                f"the dump of {wiki} of {date} is being made", mend="run the same command again later"
            ) from None
        raise not_at(f"dump of {wiki} of", date, offered, f"{_LISTED} --wiki {wiki}") from None
    return Dump(name, date, files)


def _legacy(client: Client, wiki: str, date: str) -> list[File]:
    url = f"{client.publisher.origin}/{wiki}/{date}/dumpstatus.json"
    try:
        jobs = json.loads(client.read(url))["jobs"]
        job = next(jobs[name] for name in _JOBS if name in jobs)
        status, offered = job["status"], job.get("files", {})
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise CorpusmillError(f"not the status of a dump: {error!r}", file=url, mend="try again later") from error
    if status != "done":
        raise NotYet(f"the dump is not complete: {status}", file=url, mend="run the same command again later")
    files = [
        _legacy_file(wiki, date, name, value, url) for name, value in sorted(offered.items()) if "-index" not in name
    ]
    return _some(files, url)


def _legacy_file(wiki: str, date: str, name: str, value: Any, url: str) -> File:
    pattern = rf"{wiki}-{date}-pages-articles[\w-]*\.xml(-p\d+p\d+)?\.(bz2|gz|zst)"
    path = f"{wiki}/{date}/{name}"
    if not re.fullmatch(pattern, name) or not isinstance(value, dict) or value.get("url", f"/{path}") != f"/{path}":
        raise suspicious(name, url)
    size, sha1 = value.get("size"), value.get("sha1")
    if type(size) is not int or size < 0 or not isinstance(sha1, str) or not re.fullmatch(r"[0-9a-f]{40}", sha1):
        raise CorpusmillError(f"{name} is listed without a size or SHA-1", file=url, mend="try again later")
    return File(name, path, size, f"sha1:{sha1}")


def _content(client: Client, wiki: str, date: str) -> list[File]:
    folder = f"{_CONTENT}/{wiki}/{date}/xml/bzip2"
    url = f"{client.publisher.origin}/{folder}"
    client.size(f"{url}/_SUCCESS")  # Missing while the export is being written
    sums = f"{url}/SHA256SUMS"
    rows = []
    for line in client.read(sums).decode("utf-8", "replace").splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})[ \t]+\*?(?:\./)?(.+)", line)
        if line and not match:
            raise CorpusmillError(f"not a line of checksums: {line[:100]!r}", file=sums, mend="try again later")
        if match and match[2] not in ("_SUCCESS", "SHA256SUMS"):
            if not re.fullmatch(rf"{wiki}-{date}-p\w+\.xml\.bz2", match[2]):
                raise suspicious(match[2], sums)
            rows.append((match[2], match[1]))
    with ThreadPoolExecutor(client.publisher.connections) as pool:
        sizes = list(pool.map(lambda row: client.size(f"{url}/{row[0]}"), rows))
    files = [
        File(name, f"{folder}/{name}", size, f"sha256:{sha}") for (name, sha), size in zip(rows, sizes, strict=True)
    ]
    return _some(sorted(files, key=lambda file: file.name), sums)


def _some(files: list[File], url: str) -> list[File]:
    if not files:
        raise CorpusmillError("lists no file with articles", file=url, mend=_LISTED)
    return files


def suspicious(name: str, url: str) -> CorpusmillError:
    """A name that could lead out of the folder, or is not what was asked for, ends the fetch: nothing is guessed."""
    return CorpusmillError(
        f"lists a file of a suspicious name: {name[:200]!r}",
        file=url,
        mend="check that [fetch] names the publisher, and report it to them",
    )
