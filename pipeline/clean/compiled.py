"""The compiled kernels of this package, loaded when the first is asked for: numba takes half a second."""

from __future__ import annotations

import importlib
from typing import Any


class _Kernels:
    """`pipeline.clean.kernels`, imported on demand."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("pipeline.clean.kernels"), name)


kernels = _Kernels()
