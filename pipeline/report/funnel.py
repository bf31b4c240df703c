"""The funnel of a corpus: what was read, what became of it, stage by stage, from the ledger alone."""

from __future__ import annotations

from typing import Any

from pipeline.ledger import Ledger
from pipeline.storage import Root


def funnel(root: Root) -> dict[str, Any]:
    """Everything the ledger says about a corpus: config, stages, counts by source, faults, shards, runs."""
    ledger = Ledger(root)
    config = root.read_json("ledger/config.json") or {"config": {}, "digest": ""}
    stages = {stage: row for stage in ("ingest", "dedup", "tokenizer", "shards", "train") if (row := ledger.stage(stage))}
    sources: dict[str, dict[str, int]] = {}
    files: dict[str, dict[str, Any]] = {}
    for row in ledger.rows("ingest").values() if "ingest" in stages else ():
        name = row.unit.split("--", 1)[0]
        mine = sources.setdefault(name, {"files": 0, "read": 0, "kept": 0, "text_bytes": 0})
        if row.inputs["start"] == 0:
            mine["files"] += 1
            files[f"{name}/{row.inputs['file']}"] = {k: row.inputs[k] for k in ("bytes", "content")}
        mine["read"] += row.counts.read
        mine["kept"] += row.counts.kept
        mine["text_bytes"] += row.counts.amounts.get("text_bytes", 0)
    return {
        "config": config["config"],
        "config_digest": config["digest"],
        "stages": stages,
        "sources": dict(sorted(sources.items())),
        "files": dict(sorted(files.items())),
        "runs": runs(root, ledger),
    }


def runs(root: Root, ledger: Ledger) -> dict[str, dict[str, Any]]:
    """The recorded results of the training runs."""
    found = {}
    for name in sorted(ledger.rows("train")):
        result = root.read_json(f"runs/{name}/result.json")
        if result:
            found[name] = result
    return found


def lines(facts: dict[str, Any]) -> list[str]:
    """The funnel as text for a terminal."""
    stages = facts["stages"]
    out = []
    if "ingest" in stages:
        counts = stages["ingest"]["counts"]
        out.append(f"{'read':<32}{counts['read']:>12,} records of {len(facts['files'])} files")
        out += _losses(counts)
        out.append(f"{'kept by ingest':<32}{counts['kept']:>12,} documents, {counts['amounts'].get('text_bytes', 0):,} bytes of text")
    if "dedup" in stages:
        out += _losses(stages["dedup"]["counts"])
        out.append(f"{'kept by dedup':<32}{stages['dedup']['counts']['kept']:>12,} documents")
    if "shards" in stages:
        counts = stages["shards"]["counts"]
        out.append(f"{'in shards':<32}{counts['kept']:>12,} documents, {counts['amounts'].get('tokens', 0):,} tokens")
    for unit, fault in stages.get("ingest", {}).get("faults", {}).items():
        out.append(f"FAULT in {unit}: {fault}")
    return out


def _losses(counts: dict[str, Any]) -> list[str]:
    rows = sorted({**counts["dropped"], **counts["errors"]}.items(), key=lambda item: (-item[1], item[0]))
    return [f"  {'- ' + reason:<30}{n:>12,}" for reason, n in rows]


def runs_table(facts: dict[str, Any]) -> list[list[Any]]:
    """Rows of name, loss, perplexity, bits per byte and parameters on the validation split; the unigram baseline first."""
    rows: list[list[Any]] = []
    for name, run in facts["runs"].items():
        for label, figures, parameters in (("unigram", run["unigram"], ""), (name, run["validation"], run["parameters"])):
            if label != "unigram" or not rows:
                rows.append([label, *(figures[k] for k in ("loss", "perplexity", "bits_per_byte")), parameters])
    return rows


def results(facts: dict[str, Any]) -> list[str]:
    """The training results as a table for a terminal."""
    rows = runs_table(facts)
    if not rows:
        return []
    out = [f"{'validation':<16}{'loss':>8}{'perplexity':>12}{'bits/byte':>11}{'parameters':>13}"]
    for name, loss, perplexity, bits, parameters in rows:
        out.append(f"{name:<16}{loss:>8.3f}{perplexity:>12.1f}{bits:>11.3f}{parameters:>13,}" if parameters else f"{name:<16}{loss:>8.3f}{perplexity:>12.1f}{bits:>11.3f}")
    return out
