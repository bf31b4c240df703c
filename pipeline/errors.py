"""The ways a command can fail, told apart so that each gets its exit status."""

from __future__ import annotations

import os
import re

_QUERY = re.compile(r"(\bhttps?://[^\s?'\"<>]*)\?[^\s'\"<>]*")


def without_query(text: str) -> str:
    """A text whose web addresses have no query: it may be a signature that opens the file to anyone."""
    return _QUERY.sub(r"\1", text)


def printable(path: str) -> str:
    """A path with its bytes that are not UTF-8 written out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class CorpusmillError(Exception):
    """A failure with a cause and, where there is one, the command that mends it (exit status 1)."""

    def __init__(self, cause: str, *, file: str = "", offset: int | None = None, mend: str = ""):
        self.cause = cause
        self.file = file
        self.offset = offset
        self.mend = mend
        where = file + (f" at byte {offset}" if offset is not None else "")
        text = f"{where}: {cause}" if where else cause
        super().__init__(f"{text}\n  to mend: {mend}" if mend else text)

    def __reduce__(self) -> tuple:  # keyword arguments survive the trip back from a worker process
        return _rebuild, (type(self), self.cause, self.file, self.offset, self.mend)


def _rebuild(kind: type[CorpusmillError], cause: str, file: str, offset: int | None, mend: str) -> CorpusmillError:
    return kind(cause, file=file, offset=offset, mend=mend)


class InputError(CorpusmillError):
    """An input file that cannot be read to its end: cut, corrupt, refused. Names the file and the offset."""


class UsageError(CorpusmillError):
    """A wrong command line or configuration (exit status 2)."""


class Stopped(CorpusmillError):
    """A run that was asked to stop, saved what it had and stopped: nothing failed (exit status 0)."""


class NotYet(CorpusmillError):
    """What is asked for is not published yet, or the publisher asks to come back later (exit status 4)."""
