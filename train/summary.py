"""What a model is made of, before it is trained: parameters, operations and bytes."""

from __future__ import annotations

from typing import Any

import torch

from train.config import TrainConfig
from train.device import at_rest, flops_per_token
from train.model import build


def summary(config: TrainConfig, vocab_size: int) -> dict[str, Any]:
    """The figures of the model of a run.

    ``parts``: parameters by part of the model; ``parameters`` in all, the tied embedding once; ``trained_on``: tokens
    of the run; ``flops_per_token`` to train on one, ``flops`` for the run; ``bytes``: weights, gradients and optimizer
    at rest.
    """
    with torch.device("meta"):
        model = build(config.model, vocab_size, config.context)
    parts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        words = name.split(".")
        part = f"block x{config.model.layers}: {words[2]}" if words[0] == "blocks" else words[0]
        parts[part] = parts.get(part, 0) + parameter.numel()
    flops = flops_per_token(config.model, model.n_parameters, config.context)
    tokens = config.steps * config.batch * config.context
    return {
        "model": config.model.model_dump(mode="json"),
        "vocab_size": vocab_size,
        "context": config.context,
        "parts": parts,
        "parameters": model.n_parameters,
        "trained_on": tokens,
        "flops_per_token": flops,
        "flops": flops * tokens,
        "bytes": at_rest(config, model.n_parameters),
    }


def table(found: dict[str, Any]) -> list[str]:
    """A summary as lines for a terminal."""
    lines = [f"{name:<32}{count:>16,}" for name, count in found["parts"].items()]
    lines += [
        f"{'parameters':<32}{found['parameters']:>16,}",
        f"{'training FLOPs a token':<32}{found['flops_per_token']:>16,.0f}",
        f"{'tokens of the run':<32}{found['trained_on']:>16,}",
        f"{'tokens a parameter':<32}{found['trained_on'] / found['parameters']:>16,.1f}",
        f"{'training FLOPs of the run':<32}{found['flops']:>16.3g}",
        f"{'weights, gradients, optimizer':<32}{found['bytes'] / 1e6:>13,.1f} MB",
    ]
    return lines
