"""How a page is read: the settings of `html.extract`, apart from it so that they cost no heavy import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pipeline.errors import UsageError

Extractor = Literal["mill", "resiliparse", "trafilatura", "plain"]


@dataclass(frozen=True)
class Options:
    """How a page is read. ``tables``, ``captions`` and ``comments`` keep tables, figure captions, readers' comments."""

    extractor: Extractor = "mill"
    tables: bool = True
    captions: bool = False
    comments: bool = False

    def __post_init__(self) -> None:
        if self.extractor not in get_args(Extractor):
            raise UsageError(f"unknown extractor {self.extractor!r}; known: {', '.join(get_args(Extractor))}")
