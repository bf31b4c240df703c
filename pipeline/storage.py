"""Files wherever they lie: local paths and fsspec URLs behind one small set of operations.

Inputs are opened raw (never decompressed by a library that hides truncation). Outputs appear under their final name
whole or not at all: locally by temporary name, fsync, rename and directory fsync; on object stores by one upload,
which such stores make atomic.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.errors import CorpusmillError, UsageError

TEMPORARY = ".tmp-"  # our own unfinished files: `sweep` may delete whatever starts with it
_SCRATCH = "corpusmill-scratch-"  # so that no folder of a user has such a name
_BLOCK = 1 << 20
_BUSY = (errno.EBUSY, errno.EREMOTEIO, errno.EAGAIN, errno.ETIMEDOUT)  # what 500 and 503 of a store become
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a write that finds no room
_WAITS = (0.5, 1, 2, 4, 8, 16, 32, 64)  # seconds between the tries at a store that is busy


def is_url(path: str) -> bool:
    """Whether ``path`` names remote storage (``s3://...``) rather than a local file."""
    return "://" in path


def _remote(url: str) -> tuple[Any, str]:
    """The fsspec filesystem and the path inside it."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise CorpusmillError(
            f"no storage driver for this URL: {error}",
            file=url,
            mend="for s3:// in a clone of corpusmill: pip install '.[s3]'; for others: the package of fsspec for it",
        ) from error


@contextlib.contextmanager
def _asking(url: str) -> Iterator[None]:
    """Name the store in what its driver raises: each driver has exceptions of its own."""
    try:
        yield
    except CorpusmillError:
        raise
    except OSError as error:
        if error.filename is None:
            error.strerror, error.filename = error.strerror or str(error), url
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {error}".rstrip(": ")
        raise CorpusmillError(
            f"the storage does not do what is asked: {cause}",
            file=url,
            mend="see that the URL is right, that such storage can do this, and that its credentials are set",
        ) from error


def refused(error: OSError) -> CorpusmillError:
    """What the system refused, with the file and what mends it."""
    if error.errno in FULL:
        mend = "make room there; the same command goes on from what is committed"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        mend = "let this user write and read there, or name another place"
    else:
        mend = "correct the path; if it is a file of a corpus: corpusmill verify CORPUS --repair, then build again"
    file = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""  # or a descriptor
    return CorpusmillError(error.strerror or str(error), file=file, mend=mend)


def open_input(path: str) -> BinaryIO:
    """Open ``path`` for reading raw bytes: seekable, never decompressed (truncation must stay visible)."""
    if not is_url(path):
        return open(path, "rb")
    filesystem, inner = _remote(path)
    with _asking(path):
        return cast(BinaryIO, filesystem.open(inner, "rb"))


def expand(pattern: str) -> list[str]:
    """The files that a path or glob names, sorted; empty when there are none.

    What exists as it is written is itself, whatever signs are in its name: a file, or the folders that a pattern
    begins with (the latter of local paths alone).
    """
    if not is_url(pattern):
        written = fixed_part(pattern)
        found = glob.glob(glob.escape(written) + pattern[len(written) :], recursive=True)
        for path in found:
            if not os.path.exists(path):
                raise UsageError(f"a link to nothing: {os.readlink(path)}", file=path, mend="mend or remove the link")
        return sorted(p for p in found if os.path.isfile(p))
    filesystem, inner = _remote(pattern)
    with _asking(pattern):
        found = [inner] if filesystem.isfile(inner) else filesystem.glob(inner) if glob.has_magic(inner) else []
    return sorted(filesystem.unstrip_protocol(p) for p in found)


def fixed_part(pattern: str) -> str:
    """What of a pattern is no glob: the longest part of a local one that exists as it is written; of a URL, all before
    the first sign of a glob."""
    if is_url(pattern):
        return re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    written = pattern
    while written and not os.path.lexists(written):
        written = written[: written.rstrip("/").rfind("/") + 1]
    return written


def size_of(path: str) -> int:
    """Size in bytes of a local file or URL."""
    if not is_url(path):
        return os.stat(path).st_size
    filesystem, inner = _remote(path)
    with _asking(path):
        return int(filesystem.info(inner)["size"])


def stamp_of(path: str) -> str:
    """A cheap mark that changes when the file does: size and time of change locally, the store's checksum remotely."""
    if not is_url(path):
        status = os.stat(path)
        return f"{status.st_size}-{status.st_mtime_ns}"
    filesystem, inner = _remote(path)
    with _asking(path):
        return str(filesystem.checksum(inner))


def sha256_of(file: BinaryIO) -> str:
    """SHA-256 (hex) of everything in an open file."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


_given_up: set[tuple[str, str]] = set()  # what stores refused to the end: asked without waiting until they do it


def _patiently(store: str, operation: str, ask: Callable[[], Any]) -> Any:
    """What ``ask`` returns. A store that is busy is asked again for two minutes, then CorpusmillError says so."""
    for wait in (*(() if (store, operation) in _given_up else _WAITS), None):
        try:
            with _asking(store):
                answer = ask()
        except OSError as error:
            if not (isinstance(error, (TimeoutError, ConnectionError)) or error.errno in _BUSY):
                raise
            if wait is None:
                _given_up.add((store, operation))
                raise CorpusmillError(
                    f"the storage stays busy: {error.strerror}",
                    file=store,
                    mend="the same command goes on when it is back",
                ) from error
            time.sleep(wait)
        else:
            _given_up.discard((store, operation))
            return answer
    raise AssertionError("the last try returns or raises")


class HashingSink:
    """A write-only file that counts and digests what passes through it; the file below belongs to the caller."""

    def __init__(self, file: BinaryIO):
        self.file = file
        self.sha256 = hashlib.sha256()
        self.bytes = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Write all of ``data`` (anything with a buffer)."""
        view = memoryview(data).cast("B")
        self.sha256.update(view)
        self.bytes += len(view)
        try:
            self.file.write(view)
        except OSError as error:  # of several files being written, the one
            error.filename = error.filename or getattr(self.file, "name", None)
            raise
        return len(view)

    def tell(self) -> int:
        """Bytes written so far."""
        return self.bytes

    def flush(self) -> None:
        """Flush the file below."""
        self.file.flush()

    def close(self) -> None:
        """Take no more data."""
        self.closed = True


class Root:
    """A directory of committed files: the corpus. Names are relative, with forward slashes."""

    def __init__(self, url: str):
        self.url = url.rstrip("/") if is_url(url) else os.path.abspath(url)
        self.local = not is_url(url)
        if self.local and os.path.isfile(self.url):
            raise UsageError("this is a file, not a folder", file=self.url, mend="name the folder: root in the TOML")
        if url.startswith("file:"):
            plain = url.removeprefix("file://")
            raise UsageError("a local folder is named without file://", file=url, mend=f"name it {plain}")
        self._filesystem: Any
        self._base: str
        self._filesystem, self._base = (None, self.url) if self.local else _remote(self.url)

    def _ask(self, operation: str, *arguments: Any, **options: Any) -> Any:
        """Let the store do something, patiently."""
        return _patiently(self.url, operation, lambda: getattr(self._filesystem, operation)(*arguments, **options))

    def path(self, name: str) -> str:
        """The full path or URL of ``name``."""
        return f"{self.url}/{name}"

    def open(self, name: str) -> BinaryIO:
        """Open a committed file for reading."""
        return open_input(self.path(name))

    def read(self, name: str) -> bytes:
        """The bytes of a committed file; FileNotFoundError where there is none."""
        if not self.local:
            return cast(bytes, self._ask("cat_file", f"{self._base}/{name}"))
        with self.open(name) as file:
            return file.read()

    def read_json(self, name: str) -> Any:
        """The JSON value in a committed file, or None where there is no such file."""
        try:
            data = self.read(name)
        except FileNotFoundError:
            return None
        try:
            return json.loads(data)
        except ValueError as error:
            raise CorpusmillError(
                f"not valid JSON: {error}", file=self.path(name), mend="delete the file and run the build again"
            ) from error

    def size(self, name: str) -> int | None:
        """The size of a committed file in bytes, or None where there is none."""
        try:
            return size_of(self.path(name))
        except FileNotFoundError:
            return None

    def stamps(self, folder: str) -> dict[str, str]:
        """Marks of the files under ``folder`` that change when a file is written again."""
        if self.local:
            return {name: str(status.st_mtime_ns) for name, status in self._statuses(folder)}
        self.sizes(folder)  # refreshes the listing
        entries = self._ask("find", f"{self._base}/{folder}", detail=True)
        return {path[len(self._base) + 1 :]: str(entry.get("LastModified")) for path, entry in entries.items()}

    def sizes(self, folder: str) -> dict[str, int]:
        """Every committed file under ``folder`` (recursively) with its size; temporary files are not listed."""
        if self.local:
            found = {name: status.st_size for name, status in self._statuses(folder)}
        else:
            self._filesystem.invalidate_cache()
            try:
                entries = self._ask("find", f"{self._base}/{folder}", detail=True)
            except FileNotFoundError:
                entries = {}
            found = {p[len(self._base) + 1 :]: int(entry["size"]) for p, entry in entries.items()}
        return dict(sorted(found.items()))

    def _statuses(self, folder: str) -> Iterator[tuple[str, os.stat_result]]:
        """The local files under ``folder``, while other processes write and remove some."""
        for place, _, names in os.walk(self.path(folder).rstrip("/")):
            for name in names:
                if not name.startswith(TEMPORARY):
                    with contextlib.suppress(FileNotFoundError):
                        status = os.stat(f"{place}/{name}")
                        if stat.S_ISREG(status.st_mode):
                            yield f"{place}/{name}"[len(self.url) + 1 :], status

    def sha256(self, name: str) -> str:
        """SHA-256 (hex) of a committed file."""
        with self.open(name) as file:
            return sha256_of(file)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[str]:
        """A local path to write to; on leaving without an exception the file is durable under ``name``.

        With an exception the unfinished file is removed and ``name`` is untouched.
        """
        if self.local:
            final = self.path(name)
            folder = os.path.dirname(final)
            os.makedirs(folder, exist_ok=True)
            temporary = f"{folder}/{TEMPORARY}{os.urandom(6).hex()}-{os.path.basename(final)}"
        else:
            with scratch() as folder:
                temporary = os.path.join(folder, os.path.basename(name))
                yield temporary
                self._ask("put_file", temporary, f"{self._base}/{name}")
            return
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, final)
            sync_folder(folder)
        except OSError as error:
            if error.filename == temporary or (error.filename is None and error.errno in FULL):
                error.filename = final  # the system names no file, or the one that goes now
            raise
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def write(self, name: str, data: bytes) -> None:
        """Commit ``data`` under ``name``."""
        with self.writing(name) as path, open(path, "wb") as file:
            file.write(data)

    def write_json(self, name: str, value: Any) -> None:
        """Commit a JSON value under ``name``."""
        self.write(name, json.dumps(value, sort_keys=True, indent=1).encode() + b"\n")

    def remove(self, name: str) -> None:
        """Delete a committed file; no error where there is none."""
        try:
            if self.local:
                os.unlink(self.path(name))
                sync_folder(os.path.dirname(self.path(name)))
            else:
                self._ask("rm_file", f"{self._base}/{name}")
        except FileNotFoundError:
            pass

    def sweep(self, *folders: str) -> int:
        """Delete temporary files that a killed run left in ``folders``. Call it only while holding the lock."""
        if not self.local:
            return sweep_scratch()  # unfinished uploads never become visible
        leftovers = [p for folder in folders for p in Path(self.url, folder).rglob(f"{TEMPORARY}*") if p.is_file()]
        for path in leftovers:
            path.unlink()
        return len(leftovers)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the corpus for one run; a second run is refused with the holder named.

        Locally a kernel lock, which a killed process cannot leave behind. On an object store an object created only
        if absent, which `corpusmill unlock` removes after a crash.
        """
        run = os.urandom(6).hex()  # two containers may have one host and pid
        holder = json.dumps({"host": os.uname().nodename, "pid": os.getpid(), "run": run}).encode()
        name = "ledger/lock"
        if self.local:
            os.makedirs(self.path("ledger"), exist_ok=True)
            with open(self.path(name), "a+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    file.seek(0)
                    raise CorpusmillError(
                        f"another run holds this corpus: {file.read().decode(errors='replace') or 'unknown'}",
                        file=self.url,
                        mend="wait for it, or stop it",
                    ) from error
                except OSError as error:
                    raise CorpusmillError(
                        f"this file cannot be locked: {error.strerror}",
                        file=self.path(name),
                        mend="put the corpus on a file system that has locks (flock)",
                    ) from error
                file.truncate(0)
                file.write(holder)
                file.flush()
                yield
            return
        try:
            _patiently(self.url, "open", lambda: self._create(name, holder))
        except FileExistsError as error:
            raise CorpusmillError(
                f"another run holds this corpus: {self.read(name).decode(errors='replace')}",
                file=self.url,
                mend=f"wait for it; if it was killed: corpusmill unlock {self.url}",
            ) from error
        try:
            yield
        finally:
            try:
                with contextlib.suppress(FileNotFoundError):
                    if self.read(name) == holder:  # else it was unlocked meanwhile, and another run holds it now
                        self.remove(name)
            except CorpusmillError as error:
                mend = f"when it is back: corpusmill unlock {self.url}, then the same command"
                raise CorpusmillError(f"{error.cause}; the corpus stays locked", file=self.url, mend=mend) from error

    def _create(self, name: str, data: bytes) -> None:
        """Write an object of the store if there is none of this name; FileExistsError where there is."""
        with self._filesystem.open(f"{self._base}/{name}", "xb") as file:
            file.write(data)


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """A folder of this machine for files on their way elsewhere; it goes on leaving.

    It is held by a kernel lock, so that `sweep_scratch` can tell the folders of living processes from those that killed
    ones left: a number of a process would mean another one after a restart, or in another container.
    """
    while True:
        folder = tempfile.mkdtemp(prefix=_SCRATCH)
        descriptor = os.open(folder, os.O_RDONLY)
        with contextlib.suppress(OSError):  # a filesystem without locks: nothing is swept there either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.isdir(folder):  # else it was swept before it was held
            break
        os.close(descriptor)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def sweep_scratch() -> int:
    """Delete the scratch folders that killed processes of this user left on this machine; returns how many."""
    swept = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError):  # swept by another process, or another user's
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_uid == os.geteuid():
                    shutil.rmtree(folder)
                    swept += 1
            finally:
                os.close(descriptor)
    return swept


def sync_folder(folder: str) -> None:
    """Make a rename in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
