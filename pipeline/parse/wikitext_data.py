"""The tables of the parsers, as they lie beside them."""

from __future__ import annotations

import os

_FOLDER = os.path.join(os.path.dirname(__file__), "data")


def read_data(name: str) -> str:
    """The text of a table; ``FileNotFoundError`` where there is none."""
    with open(os.path.join(_FOLDER, name), encoding="utf-8") as file:
        return file.read()
