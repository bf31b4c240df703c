"""The funnel of a corpus: what was read, what became of it, stage by stage, from the ledger alone."""

from __future__ import annotations

from typing import Any

from pipeline.ledger import Ledger
from pipeline.storage import Root

BASELINES = (("unigram", "unigram"), ("trigram", "ngram"))


def funnel(root: Root) -> dict[str, Any]:
    """Everything the ledger says about a corpus: config, stages, counts by source, faults, shards, runs."""
    ledger = Ledger(root)
    config = Ledger(root).configuration() or {"config": {}, "digest": ""}
    closed = {stage: ledger.stage(stage) for stage in ("ingest", "dedup", "tokenizer", "shards", "train")}
    stages = {stage: value for stage, value in closed.items() if value}
    sources: dict[str, dict[str, int]] = {}
    files: dict[str, dict[str, Any]] = {}
    for row in ledger.rows("ingest"):
        name = row.unit.split("--", 1)[0]
        mine = sources.setdefault(name, {"files": 0, "read": 0, "kept": 0, "text_bytes": 0})
        if row.inputs["start"] == 0:
            mine["files"] += 1
            files[f"{name}/{row.inputs['file']}"] = {k: row.inputs[k] for k in ("bytes", "content", "published")}
        mine["read"] += row.counts.read
        mine["kept"] += row.counts.kept
        mine["text_bytes"] += row.counts.amounts.get("text_bytes", 0)
    languages: dict[str, int] = {}
    for stage in stages.values():
        for name, n in stage["counts"]["amounts"].items():
            if name.startswith("language:"):
                languages[name.removeprefix("language:")] = n
    return {
        "languages": dict(sorted(languages.items(), key=lambda item: (-item[1], item[0]))),
        "config": config["config"],
        "config_digest": config["digest"],
        "stages": stages,
        "sources": dict(sorted(sources.items())),
        "files": dict(sorted(files.items())),
        "splits": (root.read_json("shards/index.json") or {"splits": {}})["splits"],
        "runs": runs(root, ledger),
    }


def runs(root: Root, ledger: Ledger) -> dict[str, dict[str, Any]]:
    """The recorded results of the training runs."""
    found = {}
    for name in ledger.units("train"):
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
        n_unverified = sum(file["published"] is None for file in facts["files"].values())
        unverified = f", {n_unverified} of unverified size" if n_unverified else ""
        out.append(_line("read", counts["read"], f"records of {len(facts['files'])} files{unverified}"))
        out += _losses(counts)
        amount = counts["amounts"].get("text_bytes", 0)
        out.append(_line("kept by ingest", counts["kept"], f"documents, {amount:,} bytes of text"))
    if "dedup" in stages:
        out += _losses(stages["dedup"]["counts"])
        out.append(_line("kept by dedup", stages["dedup"]["counts"]["kept"], "documents"))
    if "shards" in stages:
        counts = stages["shards"]["counts"]
        out += _losses(counts)
        copies = counts["amounts"].get("copies", 0)
        more = f" and {copies:,} copies" if copies else ""
        tokens = counts["amounts"].get("tokens", 0)
        out.append(_line("in shards", counts["kept"], f"documents{more}, {tokens:,} tokens"))
    for unit, fault in stages.get("ingest", {}).get("faults", {}).items():
        out.append(f"FAULT in {unit}: {fault}")
    return out


def _line(label: str, n: int, unit: str = "") -> str:
    return f"{label:<32}{n:>12,} {unit}".rstrip()


def _losses(counts: dict[str, Any]) -> list[str]:
    rows = sorted({**counts["dropped"], **counts["errors"]}.items(), key=lambda item: (-item[1], item[0]))
    return [_line(f"  - {reason}", n) for reason, n in rows]


def _judged(facts: dict[str, Any]) -> list[tuple[str, dict[str, float], int]]:
    """Name, figures on the validation split and parameters of each run; the baselines first."""
    runs = facts["runs"].items()
    baselines = [(name, run[kind], 0) for _, run in runs for name, kind in BASELINES if kind in run]
    return baselines[: len(BASELINES)] + [(name, run["validation"], run["parameters"]) for name, run in runs]


def runs_table(facts: dict[str, Any]) -> list[list[Any]]:
    """Name, loss, perplexity, bits per byte and parameters on the validation split; the baselines first."""
    return [[n, f["loss"], f["perplexity"], f["bits_per_byte"], parameters] for n, f, parameters in _judged(facts)]


def results(facts: dict[str, Any]) -> list[str]:
    """The training results as a table for a terminal."""
    rows = [(name, found) for name, found, _ in _judged(facts)]
    return figures_table("validation", rows) if rows else []


def figures_table(what: str, rows: list[tuple[str, dict[str, float]]]) -> list[str]:
    """Figures of ``what``, such as a split, as a table for a terminal."""
    head = f"{what:<16}{'loss':>8}{'perplexity':>12}{'bits/byte':>11}"
    lines = [f"{n:<16}{f['loss']:>8.3f}{f['perplexity']:>12.1f}{f['bits_per_byte']:>11.3f}" for n, f in rows]
    return [head, *lines, *unknown([f for _, f in rows])]


def unknown(figures: list[dict[str, float]]) -> list[str]:
    """What must be said where a tokenizer does not know all pieces of a split: a line, or none."""
    share = max((f.get("unknown", 0.0) for f in figures), default=0.0)
    said = f"{100 * share:.2g} % of the tokens are the unknown piece: bits/byte leave out what they stand for"
    return [said] if share else []
