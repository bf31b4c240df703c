"""Rules of the user's own: a function named ``module:function`` that measures texts.

It takes the texts of a batch (a string array) and their languages (a string array of the same length) and returns a
number for each; NaN passes any rule. It must be a pure function: the same texts, the same numbers, whatever the batch.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import CorpusmillError, UsageError

_STATISTIC = "the statistic of [[clean.rules]], module:function"
_FUNCTION = "correct the function: it takes texts and languages (Arrow arrays) and returns a number for each text"


def load(name: str) -> Callable[[pa.Array, pa.Array], Any]:
    """Return the function that ``module:function`` names; UsageError where there is none."""
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise UsageError(
            f"the rule {name!r} cannot be imported: {error}", mend="put the folder of the module on PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise UsageError(
            f"the module {module!r} has no function {attribute!r}", mend=f"write it there, or correct {_STATISTIC}"
        ) from error
    if not callable(function):
        raise UsageError(f"{name!r} is not a function", mend=f"correct {_STATISTIC}")
    return function


def fingerprint(name: str, version: str = "") -> str:
    """Return what stands for a function in the key of a unit: the stated version, or the SHA-256 of its source file.

    What the function imports is not covered: state a version where that changes. Raises UsageError for a function
    without a source file and without a version.
    """
    if version:
        return f"version:{version}"
    function = load(name)
    try:
        source = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:
        source = None
    if source is None or not Path(source).is_file():
        raise UsageError(f"the rule {name!r} has no source file", mend='state version = "..." beside the rule')
    return f"sha256:{hashlib.sha256(Path(source).read_bytes()).hexdigest()}"


def measure(name: str, texts: pa.Array, languages: pa.Array) -> np.ndarray:
    """Return the numbers (float64) that the function gives the texts; CorpusmillError where it fails or returns
    something else."""
    function = load(name)
    if not len(texts):
        return np.empty(0)
    try:
        found = np.asarray(function(texts, languages), np.float64)
    except Exception as error:
        raise CorpusmillError(f"the rule {name!r} failed: {type(error).__name__}: {error}", mend=_FUNCTION) from error
    if found.shape != (len(texts),):
        raise CorpusmillError(
            f"the rule {name!r} returned {found.shape} for {len(texts)} texts, not one number each", mend=_FUNCTION
        )
    return found
