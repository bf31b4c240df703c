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
    """What `verify` saw. ``damage`` names each file or row that is not what the ledger says."""

    damage: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    parts: int = 0
    bytes: int = 0
    digests: dict[str, str] = field(default_factory=dict)  # by stage: equal for equal corpora

    @property
    def sound(self) -> bool:
        """Whether the corpus is whole and undamaged."""
        return not self.damage and not self.incomplete


def verify(root: Root, repair: bool = False) -> Findings:
    """Re-check everything. With ``repair``, forget what is damaged so that the next build writes it again."""
    findings = Findings()
    ledger = Ledger(root)
    ledger.check_there()
    for stage in _STAGES:
        sound = _verify_stage(ledger, stage.STAGE, stage.FOLDERS, findings, repair)
        if stage is train:
            findings.damage += train.damage(root, sound, repair)
        if lost := ledger.lost_before(stage.STAGE):
            findings.incomplete.append(f"{lost}: not built since; corpusmill build CONFIG goes on with it")
    return findings


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
    for folder in folders:
        findings.damage += [
            f"{root.path(name)}: no ledger row names this file" for name in root.sizes(folder) if name not in named
        ]
    closed = ledger.stage(stage)
    if closed is None:
        if digests or stage not in (encode.STAGE, train.STAGE):
            findings.incomplete.append(f"stage {stage} is not complete; corpusmill build CONFIG goes on with it")
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
