"""What a checkpoint holds: the model's weights, and all that training must remember beside them.

    weights.safetensors     the model
    state.safetensors       optimizers, random generators, carried state
    checkpoint.json         all else: configuration, corpus, tokenizer, the structure of the state

Nothing in it is pickled, and the same training state gives the same bytes. `train.snapshot` writes and reads the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pipeline.errors import CorpusmillError
from train import snapshot
from train.snapshot import Snapshot

WEIGHTS = "weights.safetensors"
STATE = "state.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: ``step`` steps are done; ``described`` is the content of checkpoint.json."""

    files: Snapshot

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.files.folder

    @property
    def step(self) -> int:
        """Steps done."""
        return self.files.step

    @property
    def described(self) -> dict[str, Any]:
        """The content of checkpoint.json."""
        return self.files.described

    def state(self) -> dict[str, Any]:
        """The nested state that `write` was given, on the CPU."""
        return unflatten(self.described["structure"], self._tensors(STATE))

    def weights(self) -> dict[str, Tensor]:
        """The model's parameters by name, on the CPU."""
        return self._tensors(WEIGHTS)

    def load_into(self, model: nn.Module) -> None:
        """Give ``model`` these weights. CorpusmillError where they are those of another model."""
        try:
            model.load_state_dict(self.weights())
        except RuntimeError as error:
            raise CorpusmillError(
                f"the checkpoint of another model: {error}",
                file=str(self.folder / WEIGHTS),
                mend="give the run another name, or delete its directory to train anew",
            ) from error

    def _tensors(self, name: str) -> dict[str, Tensor]:
        data = self.files.read(name)
        try:
            return load(data)
        except SafetensorError as error:
            raise CorpusmillError(
                f"damaged checkpoint: not safetensors ({error}); nothing else is ever read",
                file=str(self.folder / name),
                mend="restore the file, or delete the directory of the run and train again",
            ) from error


def write(
    run_dir: Path,
    step: int,
    weights: dict[str, Tensor],
    state: dict[str, Any],
    described: dict[str, Any],
    keep: int = 1,
) -> Checkpoint:
    """Make the checkpoint of ``step`` the latest of the run; the ``keep`` newest stay.

    ``state``: nested dictionaries, lists and tuples with tensors, numbers and None at the leaves; ``described``: what
    else checkpoint.json says, as JSON values. Raises CorpusmillError where the disk refuses; the latest checkpoint then
    stays what it was.
    """
    structure, tensors = flatten(state)
    contents = {WEIGHTS: save(_portable(weights)), STATE: save(_portable(tensors))}
    return Checkpoint(snapshot.write(run_dir, step, contents, {**described, "structure": structure}, keep))


def latest(run_dir: Path) -> Checkpoint | None:
    """The latest checkpoint of a run, its description verified; None before the first. CorpusmillError if damaged."""
    found = snapshot.latest(run_dir)
    return Checkpoint(found) if found else None


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
