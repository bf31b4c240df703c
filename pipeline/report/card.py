"""The data card: README.md of a corpus, with the YAML front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import json
from typing import Any

from pipeline.report.funnel import lines, results


def card(facts: dict[str, Any]) -> str:
    """The card as Markdown: what the corpus is made of, how, and what is in it."""
    config = facts["config"]
    licences = {source["name"]: source["licence"] or "not stated" for source in config["source"]}
    out = ["---", f"pretty_name: {json.dumps(config['name'])}", "task_categories:", "- text-generation", "configs:"]
    out += ["- config_name: documents", "  data_files: documents/*.parquet"]
    out += ["- config_name: shards", "  data_files:", "  - split: train", "    path: shards/train-*.arrow"]
    out += ["  - split: validation", "    path: shards/validation-*.arrow", "---", "", f"# {config['name']}", ""]
    out += ["Made with corpusmill from public dumps. `ledger/` holds, for every part, what it was made from and its SHA-256;", ""]
    out[-2] += " `corpusmill verify` checks all of it."
    out += ["## Sources", "", "| source | licence | files | records read | documents kept | text bytes |", "|---|---|--:|--:|--:|--:|"]
    for name, source in facts["sources"].items():
        row = [name, licences.get(name, "not stated"), *(f"{source[k]:,}" for k in ("files", "read", "kept", "text_bytes"))]
        out.append(f"| {' | '.join(row)} |")
    out += ["", "## From dump to shards", "", "```", *lines(facts), "```", ""]
    if facts["runs"]:
        out += ["## Models", "", "```", *results(facts), "```", ""]
    out += ["## Input files", "", "| file | bytes | content |", "|---|--:|---|"]
    out += [f"| {name} | {file['bytes']:,} | {file['content']} |" for name, file in facts["files"].items()]
    out += ["", "## To build it again", "", f"Configuration (digest {facts['config_digest']}):", "", "```json"]
    out += [json.dumps(config, indent=1, ensure_ascii=False, sort_keys=True), "```", ""]
    return "\n".join(out)
