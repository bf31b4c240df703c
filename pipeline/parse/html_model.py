"""The block classifier: boosted trees whose sums are exact.

Leaves are integers, so that the verdict is the same in whatever order and width a machine adds.
`benchmarks/extraction_train.py` makes them.
"""

from __future__ import annotations

import functools
import math
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from pipeline.compiled import compiled

SCALE = 1 << 16  # steps of a leaf in one unit of the logit
SETTLED = -4.0  # logit from which no further trees bring a block back: those of more than half the blocks of a page
WHOLE = 1 << 16  # a chance of 1, see `chances`
_STEPS = 16  # logits in a unit that a chance is known of
_CHANCES = np.array([round(WHOLE / (1 + math.exp(-k / _STEPS))) for k in range(-12 * _STEPS, 12 * _STEPS + 1)])
_MOST = 1 << 20  # more than any logit
_ROUND = 20  # trees between two looks at which blocks are settled


class Trees(NamedTuple):
    """Binary trees in one table of nodes.

    ``feature``, ``threshold``: a row goes left where ``row[feature] <= threshold``; ``left``, ``right``: the next node,
    or ``-1 - leaf``; ``leaf``: values of the leaves in steps of 1 / `SCALE`; ``root``: the first node of each tree.
    """

    feature: np.ndarray  # int16
    threshold: np.ndarray  # float32
    left: np.ndarray  # int32
    right: np.ndarray  # int32
    leaf: np.ndarray  # int32
    root: np.ndarray  # int32


@compiled(
    "int64[::1](float32[:, ::1], int64, int16[::1], float32[::1], int32[::1], int32[::1], int32[::1], int32[::1])",
)
def _sums(x, floor, feature, threshold, left, right, leaf, root):
    """The sum of the leaves that each row reaches; one that has fallen to ``floor`` is followed no further."""
    n = len(x)
    out = np.zeros(n, np.int64)
    rows = np.empty(32, np.int64)
    for start in range(0, n, 32):  # rows that stay in a core's cache while every tree looks at them
        count = min(32, n - start)
        rows[:count] = np.arange(start, start + count)
        for tree in range(len(root)):
            if tree % _ROUND == 0:
                left_over = 0
                for k in range(count):
                    if out[rows[k]] > floor:
                        rows[left_over] = rows[k]
                        left_over += 1
                count = left_over
            for k in range(count):
                i = rows[k]
                node = root[tree]
                while node >= 0:
                    node = left[node] if x[i, feature[node]] <= threshold[node] else right[node]
                out[i] += leaf[-1 - node]
    return out


def pack(dumps: list[dict[str, Any]]) -> Trees:
    """Boosted trees, as LightGBM dumps them, as one table: the mean of the models, their trees by turns."""
    columns: list[list[Any]] = [[] for _ in range(5)]
    feature, threshold, left, right, leaf = columns
    root = []

    def add(node: dict[str, Any]) -> int:
        if "leaf_value" in node:
            leaf.append(round(node["leaf_value"] * SCALE / len(dumps)))
            return -len(leaf)
        place = len(feature)
        feature.append(node["split_feature"])
        bound = np.float32(node["threshold"])
        # Rows are float32: the largest float32 that is not above the bound cuts them the same way.
        threshold.append(bound if float(bound) <= node["threshold"] else np.nextafter(bound, np.float32(-np.inf)))
        left.append(0)
        right.append(0)
        left[place] = add(node["left_child"])
        right[place] = add(node["right_child"])
        return place

    for trees in zip(*(dump["tree_info"] for dump in dumps), strict=True):
        root += [add(tree["tree_structure"]) for tree in trees]
    kinds = (np.int16, np.float32, np.int32, np.int32, np.int32)
    arrays = [np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return Trees._make([*arrays, np.array(root, np.int32)])


@functools.lru_cache(maxsize=3)
def _trees(name: str) -> Trees:
    with resources.files("pipeline.parse").joinpath(f"data/{name}.npz").open("rb") as file, np.load(file) as stored:
        return Trees(*(stored[column] for column in Trees._fields))


def chances(logits: np.ndarray) -> np.ndarray:
    """Probabilities in steps of 1 / `WHOLE`: whole numbers, whose sums every machine finds the same."""
    steps = np.floor(logits * _STEPS).astype(np.int64)
    return _CHANCES[np.clip(steps + 12 * _STEPS, 0, len(_CHANCES) - 1)]


def verdicts(x: np.ndarray, name: str, floor: float = -math.inf) -> np.ndarray:
    """What the trees ``name`` say of each block (row of features), a logit.

    Those below ``floor`` are only known to be that low.
    """
    return _sums(x, int(max(floor, -_MOST) * SCALE), *_trees(name)) / SCALE
