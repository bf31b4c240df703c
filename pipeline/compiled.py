"""Loops that numpy cannot do in few passes, compiled to machine code (numba).

The code is kept beside the module, or in the user's cache folder where that cannot be written; where neither can, each
process compiles again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(signature: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function at once for a signature, or without one when it is first called."""

    def compile(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(signature, cache=True, nogil=True)(function)
        except RuntimeError:  # numba found no folder to cache in
            return numba.njit(signature, nogil=True)(function)

    return compile
