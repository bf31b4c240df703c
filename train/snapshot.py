"""Checkpoint directories as files: whole or not there. Imports no torch, so that any machine can check them.

    RUN/checkpoints/step-00000500/...            files, and checkpoint.json with the SHA-256 of each
    RUN/checkpoints/latest                       the newest one's name and the SHA-256 of its checkpoint.json, and the
                                                 same of the older ones that are kept

A directory is written under a temporary name, synced and renamed; then `latest` is replaced in the same way; then
what is no longer kept goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import CorpusmillError
from pipeline.storage import TEMPORARY, sync_folder

FOLDER = "checkpoints"
LATEST = "latest"
DESCRIPTION = "checkpoint.json"
VERSION = 2


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint whose description is verified: ``step`` steps are done; ``described`` is checkpoint.json."""

    folder: Path
    step: int
    described: dict[str, Any]

    @property
    def run_dir(self) -> Path:
        """The run it belongs to."""
        return self.folder.parents[1]

    def read(self, name: str) -> bytes:
        """The content of one file, verified. CorpusmillError where it is damaged."""
        return _read(self.folder / name, self.described["files"][name], self.run_dir)

    def files(self) -> dict[str, str]:
        """SHA-256 (hex) by path relative to the run, of all files of the checkpoint and of `latest`."""
        listed = [*sorted(self.folder.iterdir()), self.folder.parent / LATEST]
        return {str(path.relative_to(self.run_dir)): _digest(path.read_bytes()) for path in listed}


def write(run_dir: Path, step: int, contents: dict[str, bytes], described: dict[str, Any], keep: int = 1) -> Snapshot:
    """Make ``contents`` (by file name) and ``described`` the latest checkpoint of the run; ``keep`` of them stay.

    Raises CorpusmillError where the disk refuses; the latest checkpoint then stays what it was.
    """
    folder = run_dir / FOLDER
    name = _name(step)
    described = {
        **described,
        "version": VERSION,
        "step": step,
        "files": {file: _digest(data) for file, data in contents.items()},
    }
    description = _json(described)
    temporary = folder / f"{TEMPORARY}{name}"
    older = [named for named in _named(folder) if named["checkpoint"] != name][: keep - 1]
    try:
        sweep(run_dir)
        temporary.mkdir(parents=True)
        for file, data in {**contents, DESCRIPTION: description}.items():
            _write_synced(temporary / file, data)
        sync_folder(str(temporary))
        shutil.rmtree(folder / name, ignore_errors=True)  # renamed by a run that was killed before it became the latest
        os.rename(temporary, folder / name)
        sync_folder(str(folder))
        _point(folder, [{"checkpoint": name, "sha256": _digest(description)}, *older])
    except OSError as error:
        with contextlib.suppress(OSError):
            sweep(run_dir)
        raise CorpusmillError(
            f"the checkpoint of step {step} could not be written: {error}",
            file=str(folder),
            mend="make room, then run the same command again: it resumes from the checkpoint before",
        ) from error
    _prune(folder, {name, *(named["checkpoint"] for named in older)})
    return Snapshot(folder / name, step, described)


def latest(run_dir: Path) -> Snapshot | None:
    """The latest checkpoint of a run, its description verified; None before the first. CorpusmillError if damaged."""
    found = _newest(run_dir)
    if found is not None and found.described["version"] != VERSION:
        raise CorpusmillError(
            f"a checkpoint of version {found.described['version']}, this program reads {VERSION}",
            file=str(found.folder / DESCRIPTION),
            mend="install the corpusmill that wrote it, or give the run another name",
        )
    return found


def pointer(run_dir: Path) -> bytes:
    """The content of `latest`, another after each `write`; nothing before the first."""
    try:
        return (run_dir / FOLDER / LATEST).read_bytes()
    except FileNotFoundError:
        return b""


def check(run_dir: Path) -> str:
    """What is wrong with the latest checkpoint of a run, every file of it read; "" for nothing."""
    try:
        if found := _newest(run_dir):
            _check_whole(found)
    except CorpusmillError as error:
        return f"{error.file}: {error.cause}"
    return ""


def repair(run_dir: Path) -> int:
    """Go back to the newest checkpoint that is whole, whether or not `latest` is: the damaged ones are deleted.

    Gives its step, 0 where none is left and the run begins anew.
    """
    folder = run_dir / FOLDER
    digests = {named["checkpoint"]: named["sha256"] for named in _named(folder)}
    whole = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            named = {"checkpoint": path.name, "sha256": digests.get(path.name) or sha256_of(path / DESCRIPTION)}
            found = _check_whole(_open(run_dir, named))
        except (CorpusmillError, OSError, ValueError, LookupError, TypeError):
            continue  # this is what is being repaired: said by `check`, gone after `_prune`
        if path.name == _name(found.step):
            whole.append((named, found.step))
    if whole:
        _point(folder, [named for named, _ in whole])
    else:
        (folder / LATEST).unlink(missing_ok=True)
    _prune(folder, {named["checkpoint"] for named, _ in whole})
    sweep(run_dir)
    return whole[0][1] if whole else 0


def sweep(run_dir: Path) -> None:
    """Delete what an interrupted `write` left behind: half-written files, checkpoints `latest` does not name.

    Where `latest` names no sound checkpoint first it may be wrong in what it leaves out, too: then all of them stay.
    """
    folder = run_dir / FOLDER
    for leftover in folder.glob(f"{TEMPORARY}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    with contextlib.suppress(CorpusmillError):
        if _newest(run_dir) is not None:
            _prune(folder, {one["checkpoint"] for one in _named(folder)})


def _newest(run_dir: Path) -> Snapshot | None:
    folder = run_dir / FOLDER
    if not (folder / LATEST).exists():
        return None
    named = _named(folder)
    if not named:
        raise _damaged(folder / LATEST, "not a list of checkpoints", run_dir)
    return _open(run_dir, named[0])


def _open(run_dir: Path, named: dict[str, str]) -> Snapshot:
    folder = run_dir / FOLDER / named["checkpoint"]
    described = json.loads(_read(folder / DESCRIPTION, named["sha256"], run_dir))
    return Snapshot(folder, described["step"], described)


def _check_whole(found: Snapshot) -> Snapshot:
    for name in found.described["files"]:
        found.read(name)
    return found


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _named(folder: Path) -> list[dict[str, str]]:
    """What `latest` names, newest first; nothing where it is missing or garbled."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        listed = json.loads((folder / LATEST).read_bytes())
        listed = [listed] if isinstance(listed, dict) else listed  # version 1 named only one
        return [
            {"checkpoint": os.path.basename(str(one["checkpoint"])), "sha256": str(one["sha256"])} for one in listed
        ]
    return []


def _point(folder: Path, named: list[dict[str, str]]) -> None:
    pointer = folder / f"{TEMPORARY}{LATEST}"
    _write_synced(pointer, _json(named))
    os.replace(pointer, folder / LATEST)
    sync_folder(str(folder))


def _prune(folder: Path, stay: set[str]) -> None:
    for old in folder.glob("step-*"):
        if old.name not in stay:
            shutil.rmtree(old)


def _json(value: Any) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(path: Path, digest: str, run_dir: Path) -> bytes:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _damaged(path, "missing", run_dir) from error
    if _digest(data) != digest:
        raise _damaged(path, f"SHA-256 {digest} expected, {_digest(data)} found", run_dir)
    return data


def _damaged(path: Path, cause: str, run_dir: Path) -> CorpusmillError:
    corpus = run_dir.resolve().parents[1]
    return CorpusmillError(
        f"damaged checkpoint: {cause}",
        file=str(path),
        mend=f"restore the file; or corpusmill verify {corpus} --repair goes back to the newest whole checkpoint, "
        "then train again",
    )


def _write_synced(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    return _digest(path.read_bytes())
