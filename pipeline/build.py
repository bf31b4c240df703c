"""Build a corpus: the stages in order, each only as far as its ledger says there is work to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline import progress
from pipeline.config import FILES, Config
from pipeline.errors import CorpusmillError, UsageError, printable, without_query
from pipeline.ledger import CONFIGURATION, Counts, Ledger, Unit, digest
from pipeline.shards.format import INDEX, Header
from pipeline.stages import dedup, encode, ingest, report, shards, tokenizer, train, versions, work
from pipeline.storage import Root

if TYPE_CHECKING:
    from pipeline.jobs.runner import Runner

STAGES = {module.STAGE: module for module in (ingest, dedup, tokenizer, shards, train, report)}
"""What `build` runs, in this order. Encoding, which leaves only scratch, is the first half of the shards stage."""

_PAYS = {ingest.STAGE: 8_000_000, dedup.STAGE: 1_000_000, encode.STAGE: 10_000, shards.STAGE: 100_000_000}
"""What a process does in ten seconds, about, in the measure of the stage's units: less does not pay for the five that
starting a worker process takes."""


def useful_workers(limit: int, units: list[Unit]) -> int:
    """How many worker processes the work is worth, of those allowed; 1: it is done in this process."""
    work = sum(unit.bytes for unit in units)
    return max(1, min(limit, len(units), work // _PAYS[units[0].stage]))


class StageFailed(CorpusmillError):
    """Units of a stage that could not be processed; everything else of the stage is committed."""


@dataclass
class Outcome:
    """What a build did: "built", "up to date" or "nothing to do" by stage, and the faults of input files by unit."""

    stages: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def config_record(config: Config) -> dict[str, Any]:
    """The configuration and its digest as the ledger has them, without where dumps come from and files lie."""
    places: Any = {
        "root": True,
        "fetch": True,
        "source": {"__all__": {"paths"}},
        "clean": FILES,
        "tokenizer": {"model"},
    }
    value = config.model_dump(mode="json", exclude=places)
    if "source" not in config.dedup.keeper:  # else their order says which copy stays
        value["source"].sort(key=lambda source: source["name"])
    return {"config": value, "digest": digest(value)}


class Builder:
    """Builds one corpus. ``workers`` and ``beam_options`` say where Beam runs, ``memory`` (bytes) how much of it
    deduplication may hold; they change no byte of the corpus."""

    def __init__(
        self, config: Config, workers: int = 1, beam_options: tuple[str, ...] = (), memory: int = 4_000_000_000
    ):
        self.config = config
        self.workers = workers
        self.beam_options = beam_options
        self.memory = memory
        self.root = Root(config.root)
        self.ledger = Ledger(self.root)
        self._remembered: dict[str, list[Unit]] = {}

    def build(self, last: str = "report") -> Outcome:
        """Run the stages up to ``last``, holding the corpus: a second run on it is refused.

        Raises StageFailed when units could not be processed. Faults of input files do not stop the build; they are in
        the outcome and in the ledger.
        """
        outcome = Outcome()
        self._check(last)
        self._check_claim()  # before anything is written or swept: the folder may be a stranger's
        with self.root.lock():
            self.root.sweep("ledger", *(folder for module in (*STAGES.values(), encode) for folder in module.FOLDERS))
            for name in self.root.sizes(work.RUNNING):
                self.root.remove(name)
            self._check_claim()
            self._units("ingest")  # a configuration without input leaves no trace
            self._record_configuration()
            for stage in self._until(last):
                if stage == train.STAGE and not self.config.run:
                    self.ledger.discard(stage, train.FOLDERS)  # the report tells of configured runs; files stay
                    outcome.stages[stage] = "nothing to do: the configuration has no [run.NAME]"
                elif self._is_current(stage):
                    outcome.stages[stage] = "up to date"
                else:
                    getattr(self, f"_build_{stage}")()
                    outcome.stages[stage] = "built"
                self._tidy(stage)
            outcome.faults = (self.ledger.stage("ingest") or {}).get("faults", {})
        return outcome

    def plan(self, last: str = "report") -> dict[str, Any]:
        """What `build` would do, changing nothing: input files with their units, and the state of each stage."""
        self._check(last)
        units = self._units("ingest", remember=False)
        files: dict[str, dict[str, Any]] = {}
        for unit in units:
            name = printable(without_query(unit.spec["path"]))
            file = files.setdefault(name, {"units": 0, "bytes": unit.spec["inputs"]["bytes"], "note": ""})
            file["units"] += 1
        for file in files.values():
            if file["units"] == 1 and file["bytes"] > 2 * self.config.unit:
                file["note"] = "one compressed stream: cannot be cut"
        todo = self.ledger.pending("ingest", units, ingest.FOLDERS)
        stages: list[dict[str, Any]] = []
        waits_for = ""
        for stage in self._until(last):
            state = f"after {waits_for}" if waits_for else "up to date" if self._is_current(stage) else "to do"
            if state == "to do":
                waits_for = stage
            entry: dict[str, Any] = {"stage": stage, "state": state}
            if stage in ("dedup", "train") and waits_for in ("", stage):
                entry["units"] = len(self._units(stage))
            stages.append(entry)
        stages[0] |= {
            "units": len(units),
            "units_committed": len(units) - len(todo),
            "bytes": sum(unit.bytes for unit in units),
            "bytes_to_do": sum(unit.bytes for unit in todo),
        }
        return {"corpus": self.root.url, "files": files, "stages": stages}

    @staticmethod
    def _until(last: str) -> list[str]:
        names = list(STAGES)
        return names[: names.index(last) + 1]

    def _check(self, last: str) -> None:
        """Refuse before the first unit what a later stage would refuse."""
        if tokenizer.STAGE in self._until(last):
            tokenizer.check(self.config)

    def _check_claim(self) -> None:
        """Refuse a folder that holds anything but this corpus."""
        if not self.config.source:
            raise UsageError("the configuration has no [[source]]", mend="corpusmill config init")
        known = self.ledger.configuration()
        built = known is not None or any(self.root.sizes(f"ledger/{stage}") for stage in STAGES)
        if not built and (strangers := [name for name in self.root.sizes("") if name != "ledger/lock"]):
            raise CorpusmillError(
                f"not a corpus, and not empty (it has {strangers[0]}): building here could overwrite files",
                file=self.root.url,
                mend="set root to a new folder",
            )
        if known is not None and known["config"]["name"] != self.config.name:
            raise CorpusmillError(
                f"this is the corpus {known['config']['name']!r}, not {self.config.name!r}",
                file=self.root.url,
                mend="set root to another folder, or name to that of the corpus",
            )

    def _record_configuration(self) -> None:
        data = config_record(self.config)
        if self.ledger.configuration() != data:
            self.root.write_json(CONFIGURATION, data)

    def _tidy(self, stage: str) -> None:
        """Remove what no row of a closed stage names, and scratch: a run may have been killed before it did."""
        self.ledger.remove_orphans(stage, STAGES[stage].FOLDERS)
        if stage == shards.STAGE:
            self.ledger.discard(encode.STAGE, encode.FOLDERS)
            self.ledger.remove_orphans(encode.STAGE, encode.FOLDERS)

    def _units(self, stage: str, remember: bool = True) -> list[Unit]:
        """The units of a stage that those before it determine (all but shards, which depend on the encoded lengths)."""
        if stage == "ingest":
            if stage not in self._remembered:
                self._remembered[stage] = ingest.plan(self.config, self.root, remember)
            return self._remembered[stage]
        if stage == "dedup":
            signatures = self.ledger.content("ingest", ("documents", "signatures"))
            return dedup.plan(self.config, signatures, self.ledger.committed("ingest"))
        if stage == "tokenizer":
            return [tokenizer.plan(self.config, self._documents())]
        if stage == "train":
            return train.plan(self.config, self.ledger.content("shards", shards.FOLDERS))
        closed = {name: self.ledger.stage(name) for name in STAGES if name != "report"}
        record = config_record(self.config)["digest"]
        return [report.plan(self.config, record, {name: row["digest"] for name, row in closed.items() if row})]

    def _documents(self) -> str:
        """The digest of the kept documents."""
        return digest([self.ledger.content("ingest", ("documents",)), self.ledger.content("dedup", dedup.FOLDERS)])

    def _key(self, stage: str) -> str:
        """The digest of everything a stage depends on."""
        if stage != "shards":
            return digest(sorted(unit.key for unit in self._units(stage)))
        settings = self.config.shards.model_dump()
        model = self.ledger.content("tokenizer", tokenizer.FOLDERS)
        code = [encode.VERSION, shards.VERSION, versions.of_tokens()]
        return digest([code, settings, self._documents(), model])

    def _is_current(self, stage: str) -> bool:
        """Whether a stage is closed with the key it has now, and every part is there."""
        if stage == train.STAGE and not self.config.run:
            return True
        row = self.ledger.stage(stage)
        return row is not None and row["key"] == self._key(stage) and self.ledger.intact(stage, STAGES[stage].FOLDERS)

    def _build_ingest(self) -> None:
        self._settle(ingest.STAGE, self._units("ingest"), ingest.FOLDERS, self._map)

    def _build_dedup(self) -> None:
        units = self._units("dedup")

        def job(pending: list[Unit]) -> None:
            from pipeline.jobs.dedup import find_duplicates

            find_duplicates(self.root.url, units, self._runner(units), self.memory)
            self._map(pending)

        self._settle(dedup.STAGE, units, dedup.FOLDERS, job)

    def _build_tokenizer(self) -> None:
        self._settle(tokenizer.STAGE, self._units("tokenizer"), tokenizer.FOLDERS, self._here)

    def _build_shards(self) -> None:
        key = self._key("shards")
        sizes = {name: row.kept for name, row in self.ledger.committed("dedup").items()}
        self._settle(encode.STAGE, encode.plan(self.config, key, sizes.items()), encode.FOLDERS, self._map)
        self.ledger.remove_orphans(encode.STAGE, encode.FOLDERS)  # else what a killed run encoded is in the shards too
        encoded = Counts(**(self.ledger.stage(encode.STAGE) or {})["counts"])
        # what the shards are made from, whatever the units: another size of them gives the same shards
        model = self.ledger.content("tokenizer", tokenizer.FOLDERS)
        versions = [encode.VERSION, shards.VERSION]
        made_from = [versions, self.config.shards.model_dump(), model, str(encoded.amounts.get(encode.CONTENT, 0))]
        settings, facts = self.config.shards, tokenizer.facts(self.root)
        lineage = digest(made_from)
        header = Header(**facts, seed=settings.seed, lineage=lineage, bos=settings.bos, eos=settings.eos)
        self.root.remove(f"shards/{INDEX}")  # readers must not see an index of shards that are changing
        parts = shards.plan(self.config, self.root, key, header)
        if not parts:
            raise CorpusmillError("no document was kept: there is nothing to write", mend="relax the rules of [clean]")
        index = shards.plan_index(key, header, parts, encoded.dropped.get("not_in_mix", 0))

        def job(pending: list[Unit]) -> None:
            self._map([unit for unit in pending if unit.name != shards.INDEX_UNIT])
            if not self.ledger.pending(shards.STAGE, parts, shards.FOLDERS):
                self._here([index])

        self._settle(shards.STAGE, [*parts, index], shards.FOLDERS, job, key)

    def _build_train(self) -> None:
        self._settle(train.STAGE, self._units("train"), train.FOLDERS, self._here)

    def _build_report(self) -> None:
        self._settle(report.STAGE, self._units("report"), report.FOLDERS, self._here)

    def _settle(
        self, stage: str, units: list[Unit], folders: tuple[str, ...], job: Callable[[list[Unit]], None], key: str = ""
    ) -> None:
        """Do what is left of a stage and close it."""
        self.ledger.reopen(stage)
        self.ledger.forget_others(stage, units, folders)
        pending = self.ledger.pending(stage, units, folders)
        if pending:
            progress.say(f"{stage}: {len(pending)} of {len(units)} units to do")
            job(pending)
        left = sorted(unit.name for unit in self.ledger.pending(stage, units, folders))
        if left:
            failures = {failure["unit"]: failure for failure in work.failures(self.root, stage)}
            lines = [f"{name}: {failures.get(name, {}).get('cause', 'not processed')}" for name in left]
            usage = all(failures.get(name, {}).get("usage") for name in left)
            raise (UsageError if usage else StageFailed)(
                "\n  ".join(
                    [f"stage {stage}: {len(left)} of {len(units)} units failed; the rest is committed", *lines]
                ),
                file=self.root.url,
                mend=f"what each unit says, more in {self.root.path(f'ledger/failed/{stage}')}; then the same command"
                " does these units only",
            )
        self.ledger.close(stage, key or digest(sorted(unit.key for unit in units)))
        if lost := self.ledger.lost_before(stage):
            self.ledger.reopen(stage)
            raise CorpusmillError(f"accounting broken: {lost}", file=self.root.url, mend="please report this fault")

    def _here(self, pending: list[Unit]) -> None:
        """Process units one after the other in this process: work that is not Beam's."""
        for unit in sorted(pending, key=lambda unit: unit.name):
            work.process(self.root.url, unit)

    def _map(self, pending: list[Unit]) -> None:
        """Process units as a Beam job."""
        if pending:
            from pipeline.jobs.runner import map_units

            with progress.watching(self.root, pending[0].stage, pending):
                map_units(self.root.url, pending, self._runner(pending))

    def _runner(self, units: list[Unit]) -> Runner:
        from pipeline.jobs.runner import Runner

        return Runner(useful_workers(self.workers, units), self.beam_options)
