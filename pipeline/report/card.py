"""The data card: README.md of a corpus, with the YAML front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Template
from typing import Any

from pipeline import __version__
from pipeline.report.funnel import lines, results

_TEMPLATE = Path(__file__).parent / "templates" / "card.md"
_COLUMNS = ("files", "read", "kept", "text_bytes")
_CREATIVE_COMMONS = re.compile(r"\bcc[ -](by(?:-nc)?(?:-sa|-nd)?)[ -]?([1-4]\.[05])\b", re.I)
_LICENCES = {  # how the Hub calls licences that corpora have, besides those of Creative Commons
    "cc0": "cc0-1.0",
    "gfdl": "gfdl",
    "odc-by": "odc-by",
    "odbl": "odbl",
    "apache-2.0": "apache-2.0",
    "apache license 2.0": "apache-2.0",
    "mit": "mit",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGER_SIZES = ((10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"))


def card(facts: dict[str, Any]) -> str:
    """The card as Markdown: what the corpus is made of, how, and what is in it."""
    config = facts["config"]
    licences = {source["name"]: source["licence"] or "not stated" for source in config["source"]}
    sources = [
        "| " + " | ".join([name, licences.get(name, "not stated"), *(f"{s[k]:,}" for k in _COLUMNS)]) + " |"
        for name, s in facts["sources"].items()
    ]
    splits = [
        f"| {name} | {len(split['shards']):,} | {split['n_docs']:,} | {split['n_tokens']:,} | {split['n_bytes']:,} |"
        for name, split in facts["splits"].items()
    ]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        front="\n".join(yaml(front_matter(facts))),
        name=config["name"],
        version=__version__,
        sources="\n".join(sources),
        languages=", ".join(f"{code} ({n:,})" for code, n in facts["languages"].items()) or "none",
        funnel="\n".join(lines(facts)),
        splits="\n".join(splits),
        models="\n".join(results(facts)) or "none trained",
        files="\n".join(f"| {name} | {f['bytes']:,} | {f['content']} |" for name, f in facts["files"].items()),
        digest=facts["config_digest"],
        config="\n".join(toml(_rebuilding(facts))),
    )


def front_matter(facts: dict[str, Any]) -> dict[str, Any]:
    """What the Hub reads of a corpus: licences, languages, sizes, and a config for each dataset with its splits."""
    documents = facts["stages"].get("ingest", {"counts": {"kept": 0, "amounts": {}}})["counts"]
    data = {
        "documents": {"train": ("documents/*.parquet", documents["kept"], documents["amounts"].get("text_bytes", 0))}
    }
    shards = [shard for split in facts["splits"].values() for shard in split["shards"]]
    if shards and shards[0]["path"].endswith(".parquet"):  # the Hub reads all configs of a card by one format
        data["shards"] = {
            name: (f"shards/{name}-*.parquet", split["n_rows"], sum(shard["bytes"] for shard in split["shards"]))
            for name, split in facts["splits"].items()
            if split["shards"]
        }
    return {
        "pretty_name": facts["config"]["name"],
        "license": sorted({name for source in facts["config"]["source"] for name in licences(source["licence"])}),
        "language": list(facts["languages"]),
        "size_categories": [_size(documents["kept"])],
        "task_categories": ["text-generation"],
        "tags": ["corpusmill"],
        "configs": [
            {
                "config_name": config,
                **({"default": True} if config == "documents" else {}),
                "data_files": [{"split": split, "path": path} for split, (path, _, _) in splits.items()],
            }
            for config, splits in data.items()
        ],
        "dataset_info": [
            {
                "config_name": config,
                "splits": [
                    {"name": split, "num_bytes": size, "num_examples": rows}
                    for split, (_, rows, size) in splits.items()
                ],
                "dataset_size": sum(size for _, _, size in splits.values()),
            }
            for config, splits in data.items()
        ],
    }


def licences(text: str) -> list[str]:
    """The Hub's names of the licences in a source's own words; "other" where it has none, "unknown" for no words."""
    found = [f"cc-{kind.lower()}-{version}" for kind, version in _CREATIVE_COMMONS.findall(text)]
    found += [name for words, name in _LICENCES.items() if re.search(rf"\b{re.escape(words)}\b", text, re.I)]
    return found or ["other" if text.strip() else "unknown"]


def _size(documents: int) -> str:
    return next((name for limit, name in (*_SIZES, *_LARGER_SIZES) if documents < limit), "10B<n<100B")


def yaml(value: Any, indent: str = "") -> list[str]:
    """Lines of YAML for dictionaries and lists of JSON values; strings stand as JSON has them, so "no" stays a word."""
    out = []
    entries = value.items() if isinstance(value, dict) else [("-", item) for item in value]
    for key, item in entries:
        mark = "-" if isinstance(value, list) else f"{key}:"
        if isinstance(item, (dict, list)) and item:
            nested = yaml(item, indent + "  ")
            if isinstance(value, list):
                out += [f"{indent}- {nested[0].lstrip()}", *nested[1:]]
            else:
                out += [f"{indent}{mark}", *nested]
        else:
            out.append(f"{indent}{mark} {json.dumps(item, ensure_ascii=False)}")
    return out


def _rebuilding(facts: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the names of the dump files where their places were."""
    config = dict(facts["config"])
    files: dict[str, list[str]] = {}
    for name in facts["files"]:
        source, _, file = name.partition("/")
        files.setdefault(source, []).append(file)
    config["source"] = [{**source, "paths": files.get(source["name"], [])} for source in config["source"]]
    return config


def toml(values: dict[str, Any]) -> list[str]:
    """Lines of a TOML document: plain keys, then a table each section."""
    out = [line for key, value in values.items() if not _is_table(value) for line in _pairs({key: value})]
    for key, value in values.items():
        if _is_table(value):
            tables = value if isinstance(value, list) else [value]
            head = f"[[{key}]]" if isinstance(value, list) else f"[{key}]"
            out += [line for table in tables for line in ["", head, *_pairs(table)]]
    return out


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and all(isinstance(x, dict) for x in value)
    )


def _pairs(table: dict[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_inline(value)}" for key, value in table.items() if value is not None]


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in value.items() if item is not None) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
