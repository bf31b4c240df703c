"""All documents of a corpus as numbers: those of the units in their order, row after row. Results name ids; numbers
are what deduplication computes with, since they are dense, small and never collide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.ledger import Unit
from pipeline.stages.parts import read_rows
from pipeline.storage import Root


@dataclass(frozen=True)
class Places:
    """The units in order, and the number of the first document of each (int64, with the number of all at the end)."""

    units: tuple[Unit, ...]
    firsts: np.ndarray

    @classmethod
    def of(cls, units: list[Unit]) -> Places:
        """Of units that know how many documents they have (``bytes``)."""
        ordered = tuple(sorted(units, key=lambda unit: unit.spec["number"]))
        return cls(ordered, np.concatenate(([0], np.cumsum([unit.bytes for unit in ordered]))).astype(np.int64))

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def unit_of(self, documents: np.ndarray) -> np.ndarray:
        """The place of each document's unit among the units."""
        return np.searchsorted(self.firsts, documents, side="right") - 1

    def by_unit(self, documents: np.ndarray) -> Iterator[tuple[int, slice, np.ndarray]]:
        """For ascending documents: the place of each unit that has some, which they are, and their rows in it."""
        bounds = np.searchsorted(documents, self.firsts)
        for place in np.flatnonzero(np.diff(bounds)).tolist():
            here = slice(int(bounds[place]), int(bounds[place + 1]))
            yield place, here, documents[here] - self.firsts[place]


def gather(
    root: Root, places: Places, documents: np.ndarray, folder: str, columns: list[str]
) -> Iterator[pa.RecordBatch]:
    """Columns of some documents (ascending numbers) from the parts in ``folder``, in order."""
    for place, _, rows in places.by_unit(documents):
        yield from read_rows(root, f"{folder}/{places.units[place].name}.parquet", rows, columns)
