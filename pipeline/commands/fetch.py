"""`corpusmill fetch` and `corpusmill sources`."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from pipeline.commands.common import Commands, print_json, with_json, with_set
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.sources.client import Client
    from pipeline.sources.download import Dump
    from pipeline.sources.settings import Fetch

_WHERE = "The table [fetch] is read from $XDG_CONFIG_HOME/corpusmill.toml (~/.config), then from --config, then --set."


def add(commands: Commands) -> None:
    """Declare fetch and sources."""
    fetch = commands.add(
        "fetch",
        "download dumps, resumed and checked",
        "fetch wikipedia --wiki zhwiki --config corpus.toml --dry-run",
        _fetch,
    )
    fetch.description = f"{fetch.description}. {_WHERE}"
    publishers = fetch.add_subparsers(dest="publisher", required=True, metavar="PUBLISHER")
    wikipedia = publishers.add_parser("wikipedia", help="dumps of one Wikimedia wiki")
    wikipedia.add_argument("--wiki", required=True, metavar="NAME", help="database name such as zhwiki or frwiktionary")
    wikipedia.add_argument("--date", default="latest", metavar="YYYY-MM-DD|latest", help="of the dump (default latest)")
    _with_kind(wikipedia)
    crawl = publishers.add_parser("commoncrawl", help="files of one Common Crawl")
    crawl.add_argument(
        "--crawl", default="latest", metavar="CC-MAIN-YYYY-WW|latest", help="name of the crawl (default latest)"
    )
    crawl.add_argument("--kind", choices=("wet", "warc"), default="wet", help="wet: texts; warc: pages (default wet)")
    some = crawl.add_mutually_exclusive_group(required=True)
    some.add_argument("--files", type=int, metavar="N", help="the first N files of the crawl")
    some.add_argument("--sample", type=float, metavar="SHARE", help="a random share of its files; 1: all of them")
    crawl.add_argument("--seed", type=int, default=0, help="of the sample (default 0)")
    for sub in (wikipedia, crawl):
        _with_config(sub)
        sub.add_argument("--dry-run", action="store_true", help="print files and bytes; download nothing")
        with_json(sub)

    sources = commands.add(
        "sources",
        "what publishers offer, and where it is fetched from",
        "sources list wikipedia --wiki zhwiki",
        _sources,
    )
    (listed,) = [sources.add_subparsers(dest="what", required=True, metavar="list").add_parser("list")]
    listed.add_argument(
        "publisher",
        nargs="?",
        choices=("wikipedia", "commoncrawl"),
        help="its wikis or crawls; without: the publishers",
    )
    listed.add_argument("--wiki", metavar="NAME", help="the dates of this wiki's dumps")
    _with_kind(listed)
    _with_config(listed)
    with_json(listed)


def _with_kind(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--kind",
        choices=("content", "legacy"),
        default="content",
        help="content: MediaWiki Content File Exports; legacy: the XML dumps they replace (default content)",
    )


def _with_config(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--config", metavar="FILE", help="a TOML with the table [fetch], such as a corpus's")
    with_set(sub)


def _client(settings: Fetch, publisher: str) -> Client:
    from pipeline.progress import say
    from pipeline.sources.client import Client

    if publisher == "wikipedia":
        client = Client(settings, settings.wikimedia)
    else:
        client = Client(settings, settings.commoncrawl, settings.commoncrawl.crawls)
    say(f"asking {client.publisher.origin}")
    return client


def _fetch(options: argparse.Namespace) -> int:
    from pipeline.config import load_fetch
    from pipeline.progress import say, size
    from pipeline.sources import commoncrawl, download, wikimedia

    settings = load_fetch(options.config, options.set)
    client = _client(settings, options.publisher)
    if options.publisher == "wikipedia":
        dump = wikimedia.resolve(client, options.wiki, options.date, options.kind)
    else:
        if options.files is not None and options.files < 1:
            raise UsageError(f"--files takes a number from 1, not {options.files}", mend="--files 1")
        if options.sample is not None and not 0 < options.sample <= 1:
            raise UsageError(f"--sample takes a share above 0, up to 1, not {options.sample}", mend="--sample 0.01")
        dump = commoncrawl.resolve(client, options.crawl, options.kind, options.files, options.sample, options.seed)
    folder = download.Folder(settings.folder, dump)
    todo = folder.missing()
    facts = _facts(dump, folder, {file.name for file in todo})
    say(f"{dump.name}: {size(facts['bytes'])} in {len(dump.files)} files, {size(facts['bytes_to_fetch'])} to fetch")
    if not options.dry_run:
        download.fetch(client, folder)
    if options.json:
        print_json(facts)
        return 0
    for file in facts["files"]:
        state = "here" if file["here"] else "to fetch" if options.dry_run else "fetched"
        print(f"{size(file['bytes']):>10}  {state:<8}  {file['name']}")
    print(f"{size(facts['bytes']):>10}  {facts['folder']}")
    return 0


def _facts(dump: Dump, folder: Any, todo: set[str]) -> dict[str, Any]:
    """What a fetch is about, before it begins."""
    return {
        "dump": dump.name,
        "date": dump.date,
        "folder": os.path.abspath(folder.path),
        "files": [{"name": file.name, "bytes": file.bytes, "here": file.name not in todo} for file in dump.files],
        "bytes": sum(file.bytes for file in dump.files),
        "bytes_to_fetch": folder.bytes_to_fetch(),
    }


def _sources(options: argparse.Namespace) -> int:
    from pipeline.config import load_fetch
    from pipeline.sources import commoncrawl, wikimedia

    settings = load_fetch(options.config, options.set)
    if options.publisher is None:
        known = {"wikipedia": settings.wikimedia, "commoncrawl": settings.commoncrawl}
        value: Any = {name: publisher.model_dump() for name, publisher in known.items()}
        lines = [
            f"{name:<12}{publisher.origin}, {publisher.connections} connections"
            + "".join(f"\n{'':<12}mirror {mirror}" for mirror in publisher.mirrors)
            for name, publisher in known.items()
        ]
        lines.append(f"{'stored in':<12}{settings.folder}")
    else:
        client = _client(settings, options.publisher)
        if options.publisher == "commoncrawl":
            value = commoncrawl.crawls(client)
        elif options.wiki:
            value = wikimedia.dates(client, options.wiki, options.kind)
        else:
            value = wikimedia.wikis(client, options.kind)
        lines = value
    print_json(value) if options.json else print("\n".join(lines))
    return 0
