"""The ledger: what was committed, from what, with which counts. It is the truth of a corpus.

A **row** (one JSON file under ``ledger/<stage>/``) is written after all parts of its unit are durable under their final
names, so a part without a row is unfinished work and a row without its part is damage. A **stage row**
(``ledger/<stage>.json``) closes a stage: the sum of its rows, checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.errors import CorpusmillError
from pipeline.storage import Root


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON value in canonical form: the same value always gives the same digest."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Unit:
    """The grain of parallelism, resume and accounting.

    ``name`` is unique in its stage and names the part; ``key`` is the digest of everything the part depends on
    (inputs, configuration, code version); ``bytes`` orders units, largest first; ``spec`` is what the stage needs.
    """

    stage: str
    name: str
    key: str
    bytes: int
    spec: dict[str, Any] = field(hash=False)


@dataclass
class Counts:
    """Records of one unit or stage, with ``read = kept + dropped + errors`` as the identity to hold."""

    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    amounts: dict[str, int] = field(default_factory=dict)  # what else adds up: text bytes, tokens, shards

    def drop(self, reason: str, n: int = 1) -> None:
        """Count ``n`` records that were not kept; a reason ``error:...`` counts as an error."""
        table = self.errors if reason.startswith("error:") else self.dropped
        table[reason] = table.get(reason, 0) + n

    def measure(self, name: str, amount: int) -> None:
        """Add to an amount that is not a number of records."""
        self.amounts[name] = self.amounts.get(name, 0) + amount

    def add(self, other: Counts) -> None:
        """Add another unit's counts to these."""
        self.read += other.read
        self.kept += other.kept
        for mine, theirs in ((self.dropped, other.dropped), (self.errors, other.errors), (self.amounts, other.amounts)):
            for name, n in theirs.items():
                mine[name] = mine.get(name, 0) + n

    def check(self, where: str) -> None:
        """Raise CorpusmillError unless every record read is accounted for."""
        accounted = self.kept + sum(self.dropped.values()) + sum(self.errors.values())
        if self.read != accounted:
            raise CorpusmillError(
                f"accounting broken: read {self.read}, but kept + dropped + errors = {accounted}",
                file=where,
                mend="this is a fault of corpusmill: please report it with the ledger row",
            )


@dataclass
class Row:
    """One committed unit. Everything but ``took`` is a function of inputs and configuration."""

    stage: str
    unit: str
    key: str
    outputs: list[dict[str, Any]]  # path (relative to the corpus), bytes, sha256
    counts: Counts
    fault: str = ""  # why the unit's input could not be read to its end; the whole records before it are kept
    inputs: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    took: dict[str, float] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """What must be equal between two builds of the same corpus."""
        value = {**vars(self), "counts": vars(self.counts)}  # asdict copies it all, which is felt at 10,000 units
        del value["took"]
        return digest(value)

    def to_json(self) -> bytes:
        """The bytes of the ledger file."""
        return json.dumps({**asdict(self), "digest": self.digest}, sort_keys=True, indent=1).encode() + b"\n"

    @staticmethod
    def from_json(value: dict[str, Any], where: str) -> Row:
        """Read a row back; a row edited by hand is refused."""
        try:
            recorded = value.pop("digest", None)
            row = Row(**{**value, "counts": Counts(**value["counts"])})
            intact = row.digest == recorded
        except (TypeError, KeyError, AttributeError):
            intact = False
        if not intact:
            raise CorpusmillError(
                "the ledger row does not match its digest", file=where, mend="delete it and build again"
            )
        return row


class Ledger:
    """The rows of one corpus."""

    def __init__(self, root: Root):
        self.root = root
        self._closed: dict[str, tuple[dict[str, Any], dict[str, Row]]] = {}  # stage row and rows, as last read

    def check_there(self) -> None:
        """Raise CorpusmillError where there is no corpus."""
        if all(name == "ledger/lock" for name in self.root.sizes("ledger")):
            raise CorpusmillError(
                "no corpus here: there is no ledger", file=self.root.url, mend="corpusmill build CONFIG"
            )

    @staticmethod
    def _row_name(stage: str, unit: str) -> str:
        return f"ledger/{stage}/{unit}.json"

    def rows(self, stage: str) -> dict[str, Row]:
        """All committed rows of a stage by unit name. Those of a closed stage do not change, so they are read once."""
        closed = self.stage(stage)
        if stage in self._closed and self._closed[stage][0] == closed:
            return self._closed[stage][1]
        rows = {}
        for name in self.root.sizes(f"ledger/{stage}"):
            row = Row.from_json(self.root.read_json(name), self.root.path(name))
            rows[row.unit] = row
        if closed is not None:
            self._closed[stage] = closed, rows
        return rows

    def row(self, stage: str, unit: str) -> Row:
        """The committed row of one unit; CorpusmillError where there is none."""
        name = self._row_name(stage, unit)
        if (value := self.root.read_json(name)) is None:
            raise CorpusmillError(
                "this ledger row is missing", file=self.root.path(name), mend="build the corpus again"
            )
        return Row.from_json(value, self.root.path(name))

    def forget(self, unit: Unit) -> None:
        """Remove a unit's row, if there is one."""
        self.root.remove(self._row_name(unit.stage, unit.name))

    def commit(self, row: Row) -> None:
        """Write a row, after its parts."""
        row.counts.check(f"{row.stage} {row.unit}")
        self.root.write(self._row_name(row.stage, row.unit), row.to_json())

    def is_committed(self, unit: Unit, rows: dict[str, Row], sizes: dict[str, int]) -> bool:
        """Whether ``unit`` is done: a row with its key, and every part there in the recorded size."""
        row = rows.get(unit.name)
        return row is not None and row.key == unit.key and self._has_parts(row, sizes)

    def _has_parts(self, row: Row, sizes: dict[str, int]) -> bool:
        return all((sizes.get(o["path"]) or self.root.size(o["path"])) == o["bytes"] for o in row.outputs)

    def intact(self, stage: str, folders: tuple[str, ...]) -> bool:
        """Whether a closed stage has all its rows, and every part is there in its recorded size."""
        closed = self.stage(stage)
        rows = self.rows(stage)
        sizes = self._sizes(folders)
        return (
            closed is not None
            and closed["units"] == len(rows)
            and all(self._has_parts(r, sizes) for r in rows.values())
        )

    def _sizes(self, folders: tuple[str, ...]) -> dict[str, int]:
        return {name: size for folder in folders for name, size in self.root.sizes(folder).items()}

    def pending(self, stage: str, units: Iterable[Unit], folders: tuple[str, ...]) -> list[Unit]:
        """The units still to do, largest first (the runner deals them out in this order)."""
        rows = self.rows(stage)
        sizes = self._sizes(folders)
        todo = [unit for unit in units if not self.is_committed(unit, rows, sizes)]
        return sorted(todo, key=lambda unit: (-unit.bytes, unit.name))

    def forget_others(self, stage: str, units: Iterable[Unit], folders: tuple[str, ...]) -> None:
        """Drop the rows of units that the plan no longer has, and their parts in the stage's own folders."""
        planned = {unit.name for unit in units}
        rows = self.rows(stage)
        keep = {o["path"] for name in planned & rows.keys() for o in rows[name].outputs}
        for name in sorted(rows.keys() - planned):
            self.root.remove(self._row_name(stage, name))
            for output in rows[name].outputs:
                if output["path"] not in keep and output["path"].startswith(tuple(f"{folder}/" for folder in folders)):
                    self.root.remove(output["path"])

    def discard(self, stage: str, folders: tuple[str, ...]) -> None:
        """Delete a stage: the stage row, its rows, its parts in ``folders``."""
        self.reopen(stage)
        self.forget_others(stage, [], folders)

    def remove_orphans(self, stage: str, folders: tuple[str, ...]) -> None:
        """Delete files in a stage's folders that no row names (a run was killed between a part and its row)."""
        named = {o["path"] for row in self.rows(stage).values() for o in row.outputs}
        for name in self._sizes(folders):
            if name not in named:
                self.root.remove(name)

    def close(self, stage: str, key: str) -> dict[str, Any]:
        """Sum up, check and write the stage row; returns it."""
        rows = self.rows(stage)
        total = Counts()
        for name in sorted(rows):
            rows[name].counts.check(f"{stage} {name}")
            total.add(rows[name].counts)
        total.check(stage)
        value = {
            "stage": stage,
            "key": key,
            "units": len(rows),
            "counts": asdict(total),
            "faults": {name: rows[name].fault for name in sorted(rows) if rows[name].fault},
            "digest": digest([rows[name].digest for name in sorted(rows)]),
        }
        self.root.write_json(f"ledger/{stage}.json", value)
        return value

    def stage(self, stage: str) -> dict[str, Any] | None:
        """The stage row, or None while the stage is not complete."""
        return self.root.read_json(f"ledger/{stage}.json")

    def content(self, stage: str, folders: tuple[str, ...]) -> str:
        """The digest of a closed stage's parts in ``folders``: what the next stage depends on.

        A stage that runs again and gives the same parts therefore changes nothing behind it.
        """
        if self.stage(stage) is None:
            raise CorpusmillError(
                f"stage {stage} is not complete", file=self.root.url, mend=f"corpusmill {stage} CONFIG"
            )
        rows = self.rows(stage).values()
        inside = tuple(f"{folder}/" for folder in folders)
        return digest(
            sorted((o["path"], o["sha256"]) for row in rows for o in row.outputs if o["path"].startswith(inside))
        )

    def lost_before(self, stage: str) -> str:
        """What is wrong between a closed stage and the one before it: all documents kept there must be read here."""
        before = {"dedup": "ingest", "shards": "dedup"}.get(stage, "")
        here, there = self.stage(stage), self.stage(before) if before else None
        if here is None or there is None or there["counts"]["kept"] == here["counts"]["read"]:
            return ""
        return f"stage {before} kept {there['counts']['kept']} documents, stage {stage} read {here['counts']['read']}"

    def reopen(self, stage: str) -> None:
        """Forget that a stage was complete (before its units change)."""
        self.root.remove(f"ledger/{stage}.json")
