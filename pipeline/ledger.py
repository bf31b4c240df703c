"""The ledger: what was committed, from what, with which counts. It is the truth of a corpus.

A **row** (one JSON file under ``ledger/<stage>/``) is written after all parts of its unit are durable under their final
names, so a part without a row is unfinished work and a row without its part is damage. A **stage row**
(``ledger/<stage>.json``) closes a stage: the sum of its rows, checked.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from pipeline.errors import CorpusmillError
from pipeline.storage import Root

CONFIGURATION = "ledger/config.json"
"""The configuration of the last build and its digest, as `pipeline.build.config_record` gives them."""


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON value in canonical form: the same value always gives the same digest."""
    return hashlib.sha256(_canonical(value)).hexdigest()


def digest_of_list(values: Iterable[Any]) -> str:
    """`digest` of the list of the values, of which one at a time is held."""
    found = hashlib.sha256(b"[")
    for number, value in enumerate(values):
        found.update(b"," * (number > 0) + _canonical(value))
    found.update(b"]")
    return found.hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
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


class Output(NamedTuple):
    """A part of a committed unit."""

    place: str  # its path, with "*" for the name of the unit: one string for all units
    size: int  # bytes
    sha256: bytes

    def path(self, unit: str) -> str:
        """Its path, relative to the corpus."""
        return self.place.replace("*", unit)


class Committed(NamedTuple):
    """What a build asks of a row time and again, in a sixth of its memory: a large corpus has a million of them."""

    key: str
    kept: int
    text_bytes: int
    outputs: tuple[Output, ...]

    @staticmethod
    def of(row: Row) -> Committed:
        """What of a row is kept in memory."""
        outputs = tuple(
            Output(_place(output["path"], row.unit), output["bytes"], bytes.fromhex(output["sha256"]))
            for output in row.outputs
        )
        return Committed(row.key, row.counts.kept, row.counts.amounts.get("text_bytes", 0), outputs)


def _place(path: str, unit: str) -> str:
    folder, slash, name = path.rpartition("/")
    return sys.intern(folder + slash + name.replace(unit, "*"))


class Ledger:
    """The rows of one corpus."""

    def __init__(self, root: Root):
        self.root = root
        self._closed: dict[str, tuple[dict[str, Any], dict[str, Committed]]] = {}  # with the stage row as last read

    def check_there(self) -> None:
        """Raise CorpusmillError where there is no corpus."""
        if all(name == "ledger/lock" for name in self.root.sizes("ledger")):
            raise CorpusmillError(
                "no corpus here: there is no ledger", file=self.root.url, mend="corpusmill build CONFIG"
            )

    def configuration(self) -> dict[str, Any] | None:
        """What the corpus was last built from, with its digest; None before that."""
        value: dict[str, Any] | None = self.root.read_json(CONFIGURATION)
        if value is None:
            return None
        config = value.get("config") if isinstance(value, dict) and "digest" in value else None
        if not isinstance(config, dict) or not {"name", "source"} <= config.keys():
            raise CorpusmillError(
                "not the record of a configuration",
                file=self.root.path(CONFIGURATION),
                mend="delete it; the next build writes it anew",
            )
        return value

    def settings(self) -> dict[str, Any]:
        """The configuration that the corpus was last built from."""
        if (known := self.configuration()) is None:
            raise CorpusmillError("no configuration is recorded", file=self.root.url, mend="corpusmill build CONFIG")
        found: dict[str, Any] = known["config"]
        return found

    @staticmethod
    def _row_name(stage: str, unit: str) -> str:
        return f"ledger/{stage}/{unit}.json"

    def units(self, stage: str) -> list[str]:
        """The names of all committed units of a stage, ascending."""
        names = self.root.sizes(f"ledger/{stage}")
        if strays := [name for name in names if not name.endswith(".json")]:
            raise CorpusmillError("not a row of the ledger", file=self.root.path(strays[0]), mend="delete it")
        return sorted(name.rsplit("/", 1)[1].removesuffix(".json") for name in names)

    def rows(self, stage: str) -> Iterator[Row]:
        """All committed rows of a stage, by ascending name of the unit, read one by one."""
        for unit in self.units(stage):
            yield self.row(stage, unit)

    def committed(self, stage: str) -> dict[str, Committed]:
        """All committed units of a stage by name, ascending. Those of a closed stage do not change, so they are read
        once."""
        closed = self.stage(stage)
        if stage in self._closed and self._closed[stage][0] == closed:
            return self._closed[stage][1]
        found = {row.unit: Committed.of(row) for row in self.rows(stage)}
        if closed is not None:
            self._closed[stage] = closed, found
        return found

    def row(self, stage: str, unit: str) -> Row:
        """The committed row of one unit; CorpusmillError where there is none."""
        name = self._row_name(stage, unit)
        if (value := self.root.read_json(name)) is None:
            raise CorpusmillError(
                "this ledger row is missing", file=self.root.path(name), mend="build the corpus again"
            )
        row = Row.from_json(value, self.root.path(name))
        if row.unit != unit:
            raise CorpusmillError(
                f"this is the row of {row.unit}, under another name", file=self.root.path(name), mend="delete it"
            )
        return row

    def forget(self, stage: str, unit: str) -> None:
        """Remove the row of a unit, if there is one."""
        self.root.remove(self._row_name(stage, unit))

    def commit(self, row: Row) -> None:
        """Write a row, after its parts."""
        row.counts.check(f"{row.stage} {row.unit}")
        self.root.write(self._row_name(row.stage, row.unit), row.to_json())

    def intact(self, stage: str, folders: tuple[str, ...]) -> bool:
        """Whether a closed stage has all its rows, and every part is there in its recorded size."""
        closed = self.stage(stage)
        committed = self.committed(stage)
        return closed is not None and closed["units"] == len(committed) and not self._maimed(committed, folders)

    def _maimed(self, committed: dict[str, Committed], folders: tuple[str, ...]) -> set[str]:
        """The units of which a part is not there in its recorded size; ``folders`` are listed, one at a time."""
        maimed: set[str] = set()
        for folder in folders:
            sizes = self.root.sizes(folder)
            maimed.update(
                unit for unit, output in _outputs(committed, (folder,)) if sizes.get(output.path(unit)) != output.size
            )
        for unit, row in committed.items():
            for output in row.outputs:
                if output.place.split("/", 1)[0] not in folders and self.root.size(output.path(unit)) != output.size:
                    maimed.add(unit)
        return maimed

    def pending(self, stage: str, units: Iterable[Unit], folders: tuple[str, ...]) -> list[Unit]:
        """The units still to do, largest first (the runner deals them out in this order): those that have no row with
        their key, or not every part in its recorded size."""
        committed = self.committed(stage)
        maimed = self._maimed(committed, folders)
        todo = [
            unit
            for unit in units
            if unit.name not in committed or committed[unit.name].key != unit.key or unit.name in maimed
        ]
        return sorted(todo, key=lambda unit: (-unit.bytes, unit.name))

    def forget_others(self, stage: str, units: Iterable[Unit], folders: tuple[str, ...]) -> None:
        """Drop the rows of units that the plan no longer has, and their parts in the stage's own folders."""
        committed = self.committed(stage)
        others = {unit: committed[unit] for unit in sorted(committed.keys() - {unit.name for unit in units})}
        if not others:
            return
        kept = {unit: row for unit, row in committed.items() if unit not in others}
        keep = {output.path(unit) for unit, output in _outputs(kept, folders)}
        for unit in others:
            self.forget(stage, unit)
        for unit, output in _outputs(others, folders):
            if output.path(unit) not in keep:
                self.root.remove(output.path(unit))

    def discard(self, stage: str, folders: tuple[str, ...]) -> None:
        """Delete a stage: the stage row, its rows, its parts in ``folders``."""
        self.reopen(stage)
        self.forget_others(stage, [], folders)

    def remove_orphans(self, stage: str, folders: tuple[str, ...]) -> None:
        """Delete files in a stage's folders that no row names (a run was killed between a part and its row)."""
        committed = self.committed(stage)
        for folder in folders:
            for name in self.root.sizes(folder).keys() - {o.path(unit) for unit, o in _outputs(committed, (folder,))}:
                self.root.remove(name)

    def close(self, stage: str, key: str) -> dict[str, Any]:
        """Sum up, check and write the stage row; returns it."""
        total = Counts()
        faults: dict[str, str] = {}
        digests: list[str] = []
        committed: dict[str, Committed] = {}
        for row in self.rows(stage):
            row.counts.check(f"{stage} {row.unit}")
            total.add(row.counts)
            if row.fault:
                faults[row.unit] = row.fault
            digests.append(row.digest)
            committed[row.unit] = Committed.of(row)
        total.check(stage)
        value = {
            "stage": stage,
            "key": key,
            "units": len(committed),
            "counts": asdict(total),
            "faults": faults,
            "digest": digest_of_list(digests),
        }
        self.root.write_json(f"ledger/{stage}.json", value)
        self._closed[stage] = value, committed
        return value

    def stage(self, stage: str) -> dict[str, Any] | None:
        """The stage row, or None while the stage is not complete."""
        name = f"ledger/{stage}.json"
        row: dict[str, Any] | None = self.root.read_json(name)
        if row is None or (isinstance(row, dict) and row.keys() >= {"key", "units", "counts", "faults", "digest"}):
            return row
        raise CorpusmillError("not the row of a stage", file=self.root.path(name), mend="delete it and build again")

    def content(self, stage: str, folders: tuple[str, ...]) -> str:
        """The digest of a closed stage's parts in ``folders``: what the next stage depends on.

        A stage that runs again and gives the same parts therefore changes nothing behind it.
        """
        if self.stage(stage) is None:
            raise CorpusmillError(
                f"stage {stage} is not complete", file=self.root.url, mend=f"corpusmill {stage} CONFIG"
            )
        committed = self.committed(stage)

        def named() -> Iterator[tuple[str, str]]:
            for folder in sorted(folders):
                found = ((output.path(unit), output.sha256) for unit, output in _outputs(committed, (folder,)))
                yield from ((path, sha256.hex()) for path, sha256 in sorted(found))

        return digest_of_list(named())

    def lost_before(self, stage: str) -> str:
        """What is wrong between a closed stage and the one before it: all documents kept there must be read here."""
        before = {"dedup": "ingest", "shards": "dedup"}.get(stage, "")
        here, there = self.stage(stage), self.stage(before) if before else None
        if here is None or there is None or there["counts"]["kept"] == here["counts"]["read"]:
            return ""
        return f"stage {before} kept {there['counts']['kept']} documents, stage {stage} read {here['counts']['read']}"

    def reopen(self, stage: str) -> None:
        """Forget that a stage was complete (before its units change)."""
        self._closed.pop(stage, None)  # the row it gets again may be the same though its units' rows were not all there
        self.root.remove(f"ledger/{stage}.json")


def _outputs(committed: dict[str, Committed], folders: tuple[str, ...]) -> Iterator[tuple[str, Output]]:
    """The outputs of units that lie in ``folders``, with the units."""
    inside = tuple(f"{folder}/" for folder in folders)
    for unit, row in committed.items():
        for output in row.outputs:
            if output.place.startswith(inside):
                yield unit, output
