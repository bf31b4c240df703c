"""The data card: README.md of a corpus, with the YAML front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import Any

from pipeline import __version__
from pipeline.report.funnel import lines, results

_TEMPLATE = Path(__file__).parent / "templates" / "card.md"
_COLUMNS = ("files", "read", "kept", "text_bytes")


def card(facts: dict[str, Any]) -> str:
    """The card as Markdown: what the corpus is made of, how, and what is in it."""
    config = facts["config"]
    licences = {source["name"]: source["licence"] or "not stated" for source in config["source"]}
    sources = [
        "| " + " | ".join([name, licences.get(name, "not stated"), *(f"{s[k]:,}" for k in _COLUMNS)]) + " |"
        for name, s in facts["sources"].items()
    ]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        pretty_name=json.dumps(config["name"]),
        languages="\n".join(f"- {language}" for language in facts["languages"]),
        name=config["name"],
        version=__version__,
        sources="\n".join(sources),
        funnel="\n".join(lines(facts)),
        models="\n".join(results(facts)) or "none trained",
        files="\n".join(f"| {name} | {f['bytes']:,} | {f['content']} |" for name, f in facts["files"].items()),
        digest=facts["config_digest"],
        config=json.dumps(config, indent=1, ensure_ascii=False, sort_keys=True),
    )
