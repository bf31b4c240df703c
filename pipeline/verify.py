"""Check a corpus against its ledger: every part's SHA-256, every row's digest, every count."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.errors import CorpusmillError
from pipeline.ledger import Counts, Ledger, digest_of_list
from pipeline.stages import dedup, encode, ingest, report, shards, tokenizer, train
from pipeline.storage import Root

_STAGES = (ingest, dedup, tokenizer, encode, shards, train, report)


@dataclass
class Findings:
    """What `verify` saw. ``damage`` names each file or row that is not what the ledger says, ``incomplete`` what a
    build began and did not finish, ``not_built`` the last stages, none of which was begun: a build may stop before."""

    damage: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    not_built: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    parts: int = 0
    bytes: int = 0
    digests: dict[str, str] = field(default_factory=dict)  # by stage: equal for equal corpora

    @property
    def sound(self) -> bool:
        """Whether all that was built is whole and undamaged."""
        return not self.damage and not self.incomplete


def verify(root: Root, repair: bool = False) -> Findings:
    """Re-check everything. With ``repair``, forget what is damaged so that the next build writes it again."""
    findings = Findings()
    ledger = Ledger(root)
    ledger.check_there()
    known = ledger.configuration()
    runs = known is not None and known["config"].get("run")
    for stage in _STAGES:
        sound = _verify_stage(ledger, stage.STAGE, stage.FOLDERS, findings, repair)
        if stage is train:
            findings.damage += train.damage(root, sound, repair)
        if lost := ledger.lost_before(stage.STAGE):
            findings.incomplete.append(f"{lost}: not built since; corpusmill build CONFIG goes on with it")
        if ledger.stage(stage.STAGE) is not None:
            findings.incomplete += map(_unfinished, findings.not_built)  # what came after them was built from them
            findings.not_built.clear()
        elif _begun(ledger, stage.STAGE) and (stage is not train or runs or sound):
            findings.incomplete.append(_unfinished(stage.STAGE))
        elif stage is not encode and (stage is not train or runs):
            findings.not_built.append(stage.STAGE)
    if ingest.STAGE in findings.not_built:
        findings.incomplete.append(_unfinished(ingest.STAGE))
        findings.not_built.clear()
    return findings


def _unfinished(stage: str) -> str:
    return f"stage {stage} is not complete; corpusmill build CONFIG goes on with it"


def _begun(ledger: Ledger, stage: str) -> bool:
    """Whether a build has worked on a stage: there are rows, or units in progress or that failed, or what it leaves
    before the first of them."""
    if any(ledger.root.sizes(f"ledger/{kind}{stage}") for kind in ("", "running/", "running/lists/", "failed/")):
        return True
    if stage == shards.STAGE:
        return ledger.stage(encode.STAGE) is not None
    before = {dedup.STAGE: dedup.EXCHANGE, train.STAGE: "runs"}
    return stage in before and any(ledger.root.sizes(before[stage]))


def _verify_stage(
    ledger: Ledger, stage: str, folders: tuple[str, ...], findings: Findings, repair: bool
) -> dict[str, bool]:
    """Check one stage; gives the units that have a row, and whether their parts are sound."""
    root = ledger.root
    named: set[str] = set()
    total = Counts()
    digests: list[str] = []
    faults: dict[str, str] = {}
    sound: dict[str, bool] = {}
    damaged = False
    for unit in ledger.units(stage):
        try:
            row = ledger.row(stage, unit)
            row.counts.check(f"{stage} {unit}")
            broken = [trouble for output in row.outputs if (trouble := _part(root, output, findings))]
        except CorpusmillError as error:
            broken = [str(error)]
        else:
            named.update(output["path"] for output in row.outputs)
            total.add(row.counts)
            digests.append(row.digest)
            if row.fault:
                faults[unit] = row.fault
            sound[unit] = not broken
        if broken:
            findings.damage += broken
            damaged = True
            if repair:
                ledger.forget(stage, unit)
    closed = ledger.stage(stage)
    for folder in folders:
        if folder == dedup.EXCHANGE and closed is None:
            continue  # scratch of a stage in progress: the next build clears it
        findings.damage += [
            f"{root.path(name)}: no ledger row names this file" for name in root.sizes(folder) if name not in named
        ]
    if closed is None:
        return sound
    findings.digests[stage] = digest_of_list(digests)
    said = (closed.get("digest"), closed.get("counts"), closed.get("units"), closed.get("faults"))
    if said != (findings.digests[stage], asdict(total), len(digests), faults):
        findings.damage.append(f"{root.path(f'ledger/{stage}.json')}: the stage row does not match its units' rows")
        damaged = True
    findings.faults.update(faults)
    if damaged and repair:
        ledger.reopen(stage)
    return sound


def _part(root: Root, output: dict[str, Any], findings: Findings) -> str:
    """What is wrong with one committed file, or ""."""
    path = root.path(output["path"])
    try:
        found = root.sha256(output["path"])
    except FileNotFoundError:
        return f"{path}: missing ({output['bytes']} bytes, SHA-256 {output['sha256']} expected)"
    findings.parts += 1
    findings.bytes += output["bytes"]
    if found != output["sha256"]:
        return f"{path}: SHA-256 {found} found, {output['sha256']} expected"
    return ""
