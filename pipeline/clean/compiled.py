"""Loops over bytes that numpy cannot do in few passes, compiled to machine code on first use (numba).

The code is kept beside the module, or in the user's cache folder where that cannot be written; where neither can, each
process compiles again.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function when it is first called; its machine code is cached where there is a folder for it."""
    import numba

    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba found no folder to cache in
        return numba.njit(nogil=True)(function)


class _Kernels:
    """`pipeline.clean.kernels`, imported when the first kernel is asked for: numba takes half a second."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("pipeline.clean.kernels"), name)


kernels = _Kernels()
