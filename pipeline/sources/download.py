"""Files of a dump, from a publisher to a folder: resumed, checked, listed.

A file is written as ``.part-NAME`` beside a note of its ETag, so that a later attempt, in this process or the next,
asks for the missing bytes only (Range with If-Range). It gets its name after its size and the publisher's checksum
agreed, and is then entered in ``listing.json``: a map of file name to bytes, checksum and origin URL, which says that
a file is here whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import progress
from pipeline.errors import CorpusmillError, UsageError
from pipeline.sources.client import Busy, Client, content_length, validator
from pipeline.storage import Root, is_url, refused, sync_folder

LISTING = "listing.json"
PARTIAL = ".part-"  # kept for the next run, unlike temporary files, which are swept
_BLOCK = 1 << 20


@dataclass(frozen=True)
class File:
    """One file that a publisher offers."""

    name: str  # its name in the folder: one path component
    path: str  # below the publisher's origin and below each mirror
    bytes: int
    checksum: str  # "sha1:..." or "sha256:..." as published; empty where the publisher gives none


@dataclass(frozen=True)
class Dump:
    """One dump of one wiki, or the chosen files of one crawl."""

    name: str  # also its folder: "wikimedia/zhwiki/20261101"
    date: str  # or the name of the crawl
    files: list[File]


class _Mismatch(CorpusmillError):
    """Whole, but not what the publisher's listing promises."""


class Meter:
    """Bytes that have arrived of those wanted, counted by several threads."""

    def __init__(self, name: str, wanted: int):
        self.name = name
        self.wanted = wanted
        self.here = 0
        self._new = 0
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def add(self, n: int, new: bool = True) -> None:
        """Count ``n`` bytes; not ``new``: an earlier run brought them, so they tell nothing of the rate."""
        with self._lock:
            self.here += n
            self._new += n if new else 0

    def line(self) -> str:
        """Progress, rate and time left."""
        rate = self._new / max(time.monotonic() - self._began, 1e-3)
        left = f"{progress.clock((self.wanted - self.here) / rate)} left" if rate > 0 else "nothing arrived yet"
        share = 100 * self.here / self.wanted if self.wanted else 100
        done = f"{progress.size(self.here)} of {progress.size(self.wanted)}, {share:.0f} %"
        return f"{self.name}: {done}, {progress.size(rate)}/s, {left}"


class Folder:
    """The folder of one dump."""

    def __init__(self, settings_folder: str, dump: Dump):
        if is_url(settings_folder):
            raise UsageError(
                "dumps are fetched to a local folder", file=settings_folder, mend="--set fetch.folder=dumps"
            )
        self.dump = dump
        self.path = Path(settings_folder, dump.name)
        self.root = Root(str(self.path))
        self._lock = threading.Lock()

    def listing(self) -> dict[str, Any]:
        """What is here whole, by name."""
        return dict(self.root.read_json(LISTING) or {})

    def missing(self) -> list[File]:
        """The files that are not here as the publisher lists them now."""
        listing = self.listing()

        def here(file: File) -> bool:
            known = listing.get(file.name, {})
            same = known.get("bytes") == file.bytes and (not file.checksum or known.get("checksum") == file.checksum)
            return same and self.root.size(file.name) == file.bytes

        return [file for file in self.dump.files if not here(file)]

    def partial(self, file: File) -> Path:
        """Where a file lies until it is whole."""
        return self.path / f"{PARTIAL}{file.name}"

    def note(self, file: File) -> str:
        """Where the ETag of a partial file is noted."""
        return f"{PARTIAL}{file.name}.json"

    def bytes_to_fetch(self) -> int:
        """What must still arrive: what partial files already hold is taken off."""
        return sum(file.bytes - min(file.bytes, _size(self.partial(file))) for file in self.missing())

    def enter(self, file: File, checksum: str, url: str) -> None:
        """Note in the listing that a file is here whole."""
        entry = {"bytes": file.bytes, "checksum": checksum, "url": url, "published_checksum": bool(file.checksum)}
        with self._lock:
            self.root.write_json(LISTING, {**self.listing(), file.name: entry})

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder: a second process that fetches into it is refused."""
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise CorpusmillError(
                    "another process is fetching into this folder", file=str(self.path), mend="wait for it, or stop it"
                ) from error
            yield
        finally:
            os.close(descriptor)


def fetch(client: Client, folder: Folder) -> list[File]:
    """Bring every file of a dump here; returns those that were not. Raises CorpusmillError naming each that failed."""
    with folder.held():
        folder.root.sweep(".")
        todo = folder.missing()
        _check_space(folder)
        meter = Meter(folder.dump.name, sum(file.bytes for file in todo))
        failures: list[tuple[File, CorpusmillError]] = []

        def one(file: File) -> None:
            try:
                _fetch_one(client, folder, file, meter)
            except CorpusmillError as error:
                failures.append((file, error))
            except OSError as error:
                client.stop.set()  # the disk is full or broken: no other file would fare better
                failures.append((file, _disk_trouble(error, folder)))

        with ThreadPoolExecutor(client.publisher.connections, "fetch") as pool, progress.reporting(meter.line):
            try:
                list(pool.map(one, todo))
            except BaseException:
                client.stop.set()
                pool.shutdown(cancel_futures=True)
                raise
    real = [(file, error) for file, error in failures if error.cause != "stopped"]
    if real:
        if len(real) == 1 and len(todo) == 1:
            raise real[0][1]
        kind = type(real[0][1]) if len({type(error) for _, error in real}) == 1 else CorpusmillError
        raise kind(
            "\n  ".join([f"{len(real)} of {len(todo)} files were not fetched:", *(str(error) for _, error in real)]),
            file=str(folder.path),
            mend="run the same command again: what has arrived is kept",
        )
    return todo


def _check_space(folder: Folder) -> None:
    needed, free = folder.bytes_to_fetch(), shutil.disk_usage(folder.path).free
    if needed > free:
        raise CorpusmillError(
            f"{progress.size(needed)} are to be fetched, {progress.size(free)} are free",
            file=str(folder.path),
            mend="free some space, or --set fetch.folder=/a/larger/disk",
        )


def _disk_trouble(error: OSError, folder: Folder) -> CorpusmillError:
    told = refused(error)
    return CorpusmillError(f"cannot write: {told.cause}", file=told.file or str(folder.path), mend=told.mend)


def _fetch_one(client: Client, folder: Folder, file: File, meter: Meter) -> None:
    """Bring one file here: from the mirrors in turn, at last from the origin."""
    final = folder.path / file.name
    origin = f"{client.publisher.origin}/{file.path}"
    if _size(final) == file.bytes:  # a run was killed between the rename and the listing
        with contextlib.suppress(_Mismatch):
            folder.enter(file, _verified(final, file, origin), origin)
            meter.add(file.bytes, new=False)
            return
    partial = folder.partial(file)
    for base in (*client.publisher.mirrors, client.publisher.origin):
        url = f"{base}/{file.path}"
        try:
            checksum = _arrive(client, folder, file, url, meter)
        except CorpusmillError as error:
            if base == client.publisher.origin or error.cause == "stopped":
                raise
            progress.say(f"{error.file or url}: {error.cause}; trying the next address")
            continue
        with open(partial, "rb") as whole:
            os.fsync(whole.fileno())
        os.replace(partial, final)
        sync_folder(str(folder.path))
        folder.root.remove(folder.note(file))
        folder.enter(file, checksum, origin)
        return


def _arrive(client: Client, folder: Folder, file: File, url: str, meter: Meter) -> str:
    """Complete the partial file from one address and check it; returns its checksum."""
    partial = folder.partial(file)
    meter.add(min(_size(partial), file.bytes), new=False)
    again = False
    while True:
        client.patiently(lambda: _attempt(client, folder, file, url, meter))
        try:
            return _verified(partial, file, url)
        except _Mismatch:
            meter.add(-file.bytes, new=False)
            _discard(folder, file)
            if again:
                raise
            again = True  # once more, in one piece: the pieces may have been of two versions


def _attempt(client: Client, folder: Folder, file: File, url: str, meter: Meter) -> None:
    """Ask once for what the partial file lacks and add it. Busy: the rest must be asked for again."""
    partial = folder.partial(file)
    have = _size(partial)
    if have > file.bytes:
        meter.add(-file.bytes, new=False)
        _discard(folder, file)
        have = 0
    if have == file.bytes and file.bytes:
        return
    tag = (folder.root.read_json(folder.note(file)) or {}).get("etag", "") if have else ""
    asked = {"Range": f"bytes={have}-", "If-Range": tag} if tag else {}
    began = have
    with client.request("GET", url, asked) as response:
        rest = f"bytes {have}-{file.bytes - 1}/{file.bytes}"
        same = response.status == 206 and validator(response) in ("", tag)
        at = have if asked and same and response.headers.get("Content-Range") == rest else 0
        if response.status != 200 and not at:  # 416, another range than was asked for, a piece of another version
            meter.add(-have, new=False)
            _discard(folder, file)
            raise Busy(f"answered {response.status} to a request for the rest: beginning anew", file=url)
        if response.status == 200:  # no Range there, or another version: from the beginning
            at = 0
            meter.add(-have, new=False)
            offered = content_length(response, url)
            if offered != file.bytes:
                raise CorpusmillError(
                    f"has {offered} bytes where the publisher's listing says {file.bytes}",
                    file=url,
                    mend="the publisher may be replacing it: run the same command again later",
                )
            _discard(folder, file)
            folder.root.write_json(folder.note(file), {"etag": validator(response)})
        with open(partial, "r+b" if at else "wb") as out:
            out.seek(at)
            while at < file.bytes and (block := _read(response, min(_BLOCK, file.bytes - at), url, at > began)):
                out.write(block)
                out.flush()  # a killed process keeps what has arrived
                at += len(block)
                meter.add(len(block))
                if client.stop.is_set():
                    raise CorpusmillError("stopped")
    if at < file.bytes:
        raise _broken(f"the connection ended after {at} of {file.bytes} bytes", url, at > began)


def _read(response: Any, n: int, url: str, gained: bool) -> bytes:
    try:
        return bytes(response.read1(n))
    except (OSError, http.client.HTTPException) as error:
        raise _broken(f"the connection broke: {error}", url, gained) from error


def _broken(what: str, url: str, gained: bool) -> Busy:
    busy = Busy(what, file=url)
    busy.gained = gained
    return busy


def _verified(path: Path, file: File, url: str) -> str:
    """The checksum of a whole file: the published one if it agrees, else _Mismatch; SHA-256 where none is published."""
    kind, _, wanted = (file.checksum or "sha256:").partition(":")
    digest = hashlib.new(kind)
    with open(path, "rb") as data:
        while block := data.read(_BLOCK):
            digest.update(block)
    if wanted and digest.hexdigest() != wanted:
        raise _Mismatch(
            f"its {kind} is {digest.hexdigest()} where the publisher says {wanted}",
            file=url,
            mend="run the same command again; if it stays: another mirror, or wait until the publisher mends the file",
        )
    return f"{kind}:{digest.hexdigest()}"


def _discard(folder: Folder, file: File) -> None:
    folder.partial(file).unlink(missing_ok=True)
    folder.root.remove(folder.note(file))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
