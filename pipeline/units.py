"""Cut dump files into work units: byte ranges of compressed input, each read by one process into one part."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.parse
from dataclasses import dataclass
from typing import Any

from pipeline.config import Config, Source
from pipeline.errors import InputError, UsageError, printable, without_query
from pipeline.storage import Root, expand, fixed_part, is_url, open_input, sha256_of, size_of, stamp_of

_CACHE = "ledger/inputs.json"
_LONGEST = 229  # bytes of a unit's name: 255 less what temporary files of parts and rows have around it
LISTING = "listing.json"  # written by fetch: file name -> {"bytes": ..., "checksum": ..., ...}


@dataclass(frozen=True)
class Input:
    """One dump file: where it lies, how large it is, and what names its content."""

    source: str
    path: str
    name: str  # unique within the source: see find_files
    bytes: int
    content: str  # SHA-256 of a local file; the store's own checksum of a remote one
    cuts: tuple[tuple[int, int], ...]  # compressed byte ranges
    published: int | None = None  # bytes, as the listing beside the file has it; without one the file is unverified


def cut(format: str, path: str, target_bytes: int) -> list[tuple[int, int]]:
    """The ranges of about ``target_bytes`` into which a file of a source's format is cut; InputError for a fault."""
    if format == "wikimedia":
        from pipeline.parse import mediawiki_units

        return mediawiki_units.cut(path, target_bytes)
    from pipeline.parse import warc

    return warc.cut(path, target_bytes)


def find_files(source: Source) -> dict[str, str]:
    """The files of a source by name, sorted; UsageError when a pattern finds none or two share a name.

    A file's name is its path below the fixed part of the pattern that found it: ``a.xml`` for ``/dumps/*.xml``,
    ``2024/a.xml`` for ``/dumps/**/*.xml``. So it does not change when the dumps move or others join them.
    A path that exists as it is written is itself and no pattern: see `storage.expand`. A file that several patterns or
    links lead to is there once, under the name that came first. A name is text: bytes that are not UTF-8 are written
    \\xNN, and of a web address neither the query, which may hold a signature, nor its slashes count.
    """
    files: dict[str, str] = {}
    seen: set[str] = set()
    for pattern in source.paths:
        found = expand(pattern)
        if not found:
            mend = "correct source.paths in the configuration"
            if pattern.startswith("http"):
                mend += "; a publisher that refuses who gives no contact: corpusmill fetch"
            raise UsageError(f"source {source.name!r}: no file matches", file=without_query(pattern), mend=mend)
        fixed = without_query(pattern) if pattern in found else fixed_part(pattern)
        below = len(fixed[: fixed.rfind("/") + 1])
        for path in found:
            real = path if is_url(path) else os.path.realpath(path)
            if real in seen:
                continue
            seen.add(real)
            name = printable(without_query(path)[below:])
            if files.setdefault(name, path) != path:
                other = without_query(files[name])
                raise UsageError(
                    f"source {source.name!r} has two files of the name {name!r}; the other is {other}",
                    file=without_query(path),
                    mend="give them separate [[source]] entries",
                )
    return dict(sorted(files.items()))


def find_inputs(config: Config, root: Root, remember: bool = True) -> list[Input]:
    """Every input file with identity and cuts.

    Reading a whole dump to hash and cut it costs seconds a gigabyte, so both are remembered in the ledger folder and
    used again while the file's size and time of change (remotely: the store's checksum) stay the same.
    """
    known = root.read_json(_CACHE) or {}
    fresh: dict[str, Any] = {}
    listings: dict[str, dict[str, int]] = {}
    inputs = []
    for source in sorted(config.source, key=lambda s: s.name):
        for name, path in find_files(source).items():
            question = [source.format, config.unit, stamp_of(path)]
            key = without_query(path)
            answer = known.get(key)
            if answer is None or answer["question"] != question:
                answer = {"question": question, **_examine(path, source, config.unit)}
                if remember:  # at once: a large dump takes minutes, which a killed run should not take again
                    root.write_json(_CACHE, {**known, **fresh, key: answer})
            fresh[key] = answer
            cuts = tuple((start, stop) for start, stop in answer["cuts"])
            folder, _, file = key.rpartition("/")
            if folder not in listings:
                listings[folder] = _listing(f"{folder}/{LISTING}")
            published = listings[folder].get(file)
            inputs.append(Input(source.name, path, name, answer["bytes"], answer["content"], cuts, published))
    if remember and fresh != known:
        root.write_json(_CACHE, fresh)
    return inputs


def _listing(path: str) -> dict[str, int]:
    """Sizes by file name from what `corpusmill fetch` recorded beside the files; empty where it did not."""
    try:
        with open_input(path) as file:
            return {name: int(entry["bytes"]) for name, entry in json.load(file).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f"not a listing of files and their sizes: {error}", file=path, mend="fetch the files again, or remove it"
        ) from None


def _examine(path: str, source: Source, target: int) -> dict[str, Any]:
    size = size_of(path)
    if is_url(path):
        content = f"store:{stamp_of(path)}"
    else:
        with open_input(path) as file:
            content = f"sha256:{sha256_of(file)}"
    try:
        cuts = cut(source.format, path, target)
    except InputError:
        cuts = [(0, size)]  # ingest reads it as one unit, meets the fault and records it
    return {"bytes": size, "content": content, "cuts": cuts}


def unit_name(source: str, file: str, start: int) -> str:
    """A unit's name: also the stem of its part, so made of characters safe in any file name, and short enough for one:
    of a longer one the digest of the file's name stands for what is cut off."""
    quoted = urllib.parse.quote(file, safe="")
    room = _LONGEST - len(f"{source}----{start:013d}")
    if len(quoted) > room:
        digest = hashlib.sha256(file.encode()).hexdigest()[:32]
        quoted = f"{quoted[: max(room - len(digest) - 1, 0)]}-{digest}"
    return f"{source}--{quoted}--{start:013d}"
