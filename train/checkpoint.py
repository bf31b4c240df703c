"""Checkpoints: a directory that is whole or not there.

    RUN/checkpoints/step-00000500/weights.safetensors     the model
                                  state.safetensors       optimizer, random generators, carried state
                                  checkpoint.json         all else, and the SHA-256 of the two
    RUN/checkpoints/latest                                its name, and the SHA-256 of checkpoint.json

The directory is written under a temporary name, synced and renamed; then `latest` is replaced in the same way; then
older checkpoints go. Nothing in it is pickled, and the same training state gives the same bytes.
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

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pipeline.errors import CorpusmillError
from pipeline.storage import TEMPORARY, sync_folder

FOLDER = "checkpoints"
LATEST = "latest"
DESCRIPTION = "checkpoint.json"
WEIGHTS = "weights.safetensors"
STATE = "state.safetensors"
VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: ``step`` steps are done; ``described`` is the content of checkpoint.json."""

    folder: Path
    step: int
    described: dict[str, Any]

    def weights(self) -> dict[str, Tensor]:
        """The model's parameters by name, on the CPU."""
        return self._tensors(WEIGHTS)

    def state(self) -> dict[str, Any]:
        """The nested state that `write` was given, on the CPU."""
        return unflatten(self.described["structure"], self._tensors(STATE))

    def files(self) -> dict[str, str]:
        """SHA-256 (hex) by path relative to the run, of all files of the checkpoint and of `latest`."""
        listed = sorted(self.folder.iterdir())
        return {
            str(p.relative_to(self.folder.parents[1])): _digest(p.read_bytes())
            for p in [*listed, self.folder.parent / LATEST]
        }

    def _tensors(self, name: str) -> dict[str, Tensor]:
        path = self.folder / name
        data = _read(path, self.described["files"][name], _run_of(self.folder))
        try:
            return load(data)
        except SafetensorError as error:
            raise _damaged(path, str(error), _run_of(self.folder)) from error


def write(
    run_dir: Path, step: int, weights: dict[str, Tensor], state: dict[str, Any], described: dict[str, Any]
) -> Checkpoint:
    """Make the checkpoint of ``step`` the latest of the run, and delete the ones before it.

    ``state``: nested dictionaries, lists and tuples with tensors, numbers and None at the leaves; ``described``: what
    else checkpoint.json says, as JSON values. Raises CorpusmillError where the disk refuses; the latest checkpoint then
    stays what it was.
    """
    folder = run_dir / FOLDER
    name = f"step-{step:08d}"
    structure, tensors = flatten(state)
    contents = {WEIGHTS: save(_portable(weights)), STATE: save(_portable(tensors))}
    described = {
        **described,
        "version": VERSION,
        "step": step,
        "structure": structure,
        "files": {file: _digest(data) for file, data in contents.items()},
    }
    contents[DESCRIPTION] = _json(described)
    temporary = folder / f"{TEMPORARY}{name}"
    try:
        sweep(run_dir)
        temporary.mkdir(parents=True)
        for file, data in contents.items():
            _write_synced(temporary / file, data)
        sync_folder(str(temporary))
        shutil.rmtree(folder / name, ignore_errors=True)  # renamed by a run that was killed before it became the latest
        os.rename(temporary, folder / name)
        sync_folder(str(folder))
        pointer = folder / f"{TEMPORARY}{LATEST}"
        _write_synced(pointer, _json({"checkpoint": name, "sha256": _digest(contents[DESCRIPTION])}))
        os.replace(pointer, folder / LATEST)
        sync_folder(str(folder))
    except OSError as error:
        with contextlib.suppress(OSError):
            sweep(run_dir)
        raise CorpusmillError(
            f"the checkpoint of step {step} could not be written: {error}",
            file=str(folder),
            mend="make room, then run the same command again: it resumes from the checkpoint before",
        ) from error
    for old in folder.glob("step-*"):
        if old.name != name:
            shutil.rmtree(old)
    return Checkpoint(folder / name, step, described)


def latest(run_dir: Path) -> Checkpoint | None:
    """The latest checkpoint of a run, its description verified; None before the first. CorpusmillError if damaged."""
    pointer = run_dir / FOLDER / LATEST
    try:
        data = pointer.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        named = json.loads(data)
        folder, digest = run_dir / FOLDER / str(named["checkpoint"]), str(named["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(pointer, repr(error), run_dir) from error
    described = json.loads(_read(folder / DESCRIPTION, digest, run_dir))
    if described["version"] != VERSION:
        raise _damaged(folder / DESCRIPTION, f"version {described['version']}, this program reads {VERSION}", run_dir)
    return Checkpoint(folder, described["step"], described)


def sweep(run_dir: Path) -> None:
    """Delete what an interrupted `write` left behind."""
    for leftover in (run_dir / FOLDER).glob(f"{TEMPORARY}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def flatten(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split nested dictionaries, lists and tuples into a JSON structure and the tensors it refers to.

    Dictionary keys may be strings or integers; leaves tensors, numbers, strings, booleans and None.
    """
    tensors: dict[str, Tensor] = {}

    def visit(node: Any, path: str) -> Any:
        if isinstance(node, Tensor):
            tensors[path] = node
            return {"tensor": path}
        if isinstance(node, dict):
            return {"dict": [[key, visit(child, f"{path}/{key}" if path else str(key))] for key, child in node.items()]}
        if isinstance(node, (list, tuple)):
            kind = "list" if isinstance(node, list) else "tuple"
            return {kind: [visit(child, f"{path}/{number}") for number, child in enumerate(node)]}
        return {"value": node}

    return visit(value, ""), tensors


def unflatten(structure: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `flatten`."""
    ((kind, content),) = structure.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: unflatten(child, tensors) for key, child in content}
    if kind == "value":
        return content
    return (list if kind == "list" else tuple)(unflatten(child, tensors) for child in content)


def _portable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _json(value: Any) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(path: Path, digest: str, run_dir: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise _damaged(path, "missing", run_dir) from error
    if _digest(data) != digest:
        raise _damaged(path, f"SHA-256 {digest} expected, {_digest(data)} found", run_dir)
    return data


def _run_of(folder: Path) -> Path:
    return folder.parents[1]


def _damaged(path: Path, cause: str, run_dir: Path) -> CorpusmillError:
    return CorpusmillError(
        f"damaged checkpoint: {cause}", file=str(path), mend=f"restore the file, or delete {run_dir} and train again"
    )


def _write_synced(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def generators(device: torch.device) -> dict[str, Tensor]:
    """The states of the random generators that training draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generators(states: dict[str, Tensor], device: torch.device) -> None:
    """Put the random generators back to saved states."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
