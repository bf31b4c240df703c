"""The block classifier: two small networks whose arithmetic is exact.

Weights and inputs are integers small enough that every sum fits a float64 without rounding: the verdict is the same
whatever the order in which a BLAS adds. `benchmarks/extraction_train.py` makes the weights.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

import numpy as np

from pipeline.parse.html_blocks import Page

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
        hidden = steps @ self.first + self.first_bias
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


@functools.lru_cache(maxsize=1)
def _networks() -> tuple[Network, Network]:
    stored = json.loads(resources.files("pipeline.parse").joinpath("data/html_model.json").read_text())
    return Network(stored["first"]), Network(stored["second"])


def verdict_features(logits: np.ndarray, page: Page) -> np.ndarray:
    """What the first network's verdicts say around each block: (blocks x features), float32."""
    n = len(logits)
    p = 1 / (1 + np.exp(-np.clip(logits, -8, 8)))
    size = np.array([len(t) for t in page.text], np.float64)
    columns = [p, np.clip(logits, -6, 6)]
    for by in range(1, 5):
        for sign in (by, -by):
            shifted = np.zeros(n)
            if sign > 0:
                shifted[sign:] = p[:-sign] if n > sign else 0
            elif n > by:
                shifted[:sign] = p[by:]
            columns.append(shifted)
    # Means over the blocks of one element, of the element around it, and of one kind, weighted by length.
    node = np.array(page.node)
    parent = np.array(page.parent)
    parent[0] = 0
    kinds: dict[tuple, int] = {}
    kind = np.array([kinds.setdefault((page.sign[k], page.tag[i]), len(kinds)) for i, k in enumerate(page.node)])
    for group in (node, parent[node], parent[parent[node]], kind):
        weight = np.bincount(group, size)
        columns.append((np.bincount(group, size * p) / np.maximum(weight, 1))[group])
        columns.append(np.log1p(weight[group]) / 8)
    mass = np.cumsum(size * p)
    total = max(mass[-1], 1.0)
    columns += [(mass - size * p) / total, 1 - mass / total, np.full(n, total / max(size.sum(), 1)), np.full(n, np.log1p(total))]
    sums = np.concatenate([[0.0], np.cumsum(p * size)])
    sizes = np.concatenate([[0.0], np.cumsum(size)])
    for width in (5, 15):
        low = np.maximum(np.arange(n) - width, 0)
        high = np.minimum(np.arange(n) + width + 1, n)
        columns.append((sums[high] - sums[low]) / np.maximum(sizes[high] - sizes[low], 1))
    sure = p * size > 40
    order = np.arange(n)
    last = np.maximum.accumulate(np.where(sure, order, -1000))
    following = np.minimum.accumulate(np.where(sure, order, 2000)[::-1])[::-1]
    columns += [np.log1p(np.minimum(order - last, 200)), np.log1p(np.minimum(following - order, 200))]
    return np.stack(columns, 1).astype(np.float32)


def verdicts(x: np.ndarray, page: Page) -> np.ndarray:
    """A logit for each block of the page: positive where it belongs to the main text."""
    first, second = _networks()
    return second(np.concatenate([x, verdict_features(first(x), page)], 1))
