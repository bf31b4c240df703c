"""The block classifier: a small network whose arithmetic is exact.

Weights and inputs are integers small enough that every sum fits a float64 without rounding: the verdict is the same
whatever the order in which a BLAS adds. `benchmarks/extraction_train.py` makes the weights.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

import numpy as np

_INPUT = 64.0  # steps of a standardised input
_WEIGHT = 1024.0  # steps of a weight
_HIDDEN = 64.0  # steps of a hidden value


class Network:
    """Standardise, one hidden layer of rectified sums, one logit."""

    def __init__(self, stored: dict[str, Any]) -> None:
        self.mean = np.array(stored["mean"], np.float64)
        self.scale = np.array(stored["scale"], np.float64) * _INPUT
        self.first = np.array(stored["first"], np.float64)
        self.first_bias = np.array(stored["first_bias"], np.float64)
        self.second = np.array(stored["second"], np.float64)
        self.second_bias = float(stored["second_bias"])

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The logits of rows of features."""
        steps = np.rint((x - self.mean) * self.scale)
        np.clip(steps, -4 * _INPUT, 4 * _INPUT, out=steps)
        # In pieces below the size from which a BLAS would start threads: they cost more than they save.
        rows = max(1, (1 << 18) // self.first.size)
        hidden = np.concatenate([steps[k : k + rows] @ self.first for k in range(0, len(steps), rows)])
        hidden += self.first_bias
        np.maximum(hidden, 0, out=hidden)
        hidden = np.rint(hidden * (_HIDDEN / (_INPUT * _WEIGHT)))
        return (hidden @ self.second + self.second_bias) / (_HIDDEN * _WEIGHT)


def pack(nets: list[Any]) -> dict[str, Any]:
    """Trained networks of one input as the stored form of their mean."""

    def integers(tensor: Any, scale: float) -> list:
        return np.rint(tensor.detach().double().numpy() * scale).astype(int).tolist()

    firsts = [net.first.weight.detach().double().numpy().T for net in nets]
    biases = [net.first.bias.detach().double().numpy() for net in nets]
    seconds = [net.second.weight.detach().double().numpy()[0] / len(nets) for net in nets]
    return {
        "mean": [float(f"{v:.6g}") for v in nets[0].mean.tolist()],
        "scale": [float(f"{v:.6g}") for v in nets[0].scale.tolist()],
        "first": np.rint(np.concatenate(firsts, 1) * _WEIGHT).astype(int).tolist(),
        "first_bias": np.rint(np.concatenate(biases) * _WEIGHT * _INPUT).astype(int).tolist(),
        "second": np.rint(np.concatenate(seconds) * _WEIGHT).astype(int).tolist(),
        "second_bias": int(sum(float(n.second.bias.detach()) for n in nets) / len(nets) * _WEIGHT * _HIDDEN),
    }


@functools.lru_cache(maxsize=2)
def _network(name: str) -> Network:
    return Network(json.loads(resources.files("pipeline.parse").joinpath(f"data/{name}.json").read_text()))


def verdicts(x: np.ndarray, name: str = "html_model") -> np.ndarray:
    """A logit for each block (row of features): positive where it belongs to the main text."""
    return _network(name)(x)
