"""How a page is read: the settings of `html.extract`, apart from it so that they cost no heavy import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pipeline.errors import UsageError

Extractor = Literal["mill", "resiliparse", "trafilatura", "plain"]


@dataclass(frozen=True)
class Options:
    """How a page is read. ``tables``, ``captions`` and ``comments`` keep tables, figure captions, readers' comments.

    ``plain`` keeps all text, whatever they say.
    """

    extractor: Extractor = "mill"
    tables: bool = True
    captions: bool = False
    comments: bool = False

    def __post_init__(self) -> None:
        if self.extractor not in get_args(Extractor):
            raise UsageError(f"unknown extractor {self.extractor!r}; known: {', '.join(get_args(Extractor))}")
        if self.extractor == "plain" and not self.tables:
            raise UsageError("the extractor plain keeps all text, tables too", mend="set extractor to mill")
        if self.extractor in ("resiliparse", "trafilatura") and self.captions:
            raise UsageError(f"the extractor {self.extractor} keeps no captions", mend="set extractor to mill")
