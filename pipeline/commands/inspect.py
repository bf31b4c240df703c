"""`corpusmill inspect`."""

from __future__ import annotations

import argparse
from typing import Any

from pipeline.commands.common import Commands, print_json, whole, with_json

_WIDTH = 40
_EDITS = ("normalised:", "lines_removed:", "cut_", "pii:")


def add(commands: Commands) -> None:
    """Declare inspect."""
    inspect = commands.add(
        "inspect",
        "look at rules, statistics and single documents of a corpus, also under other thresholds",
        "inspect corpus --set characters.min=500 --dropped 3",
        _inspect,
    )
    inspect.add_argument("corpus", help="folder or URL of the corpus")
    inspect.add_argument(
        "--statistic",
        action="append",
        default=[],
        metavar="NAME",
        help="the distribution of a statistic, or of what a rule measured, by its name",
    )
    for name in ("kept", "dropped"):
        inspect.add_argument(
            f"--{name}", nargs="?", type=whole(0), const=5, default=0, metavar="N", help=f"show N {name} documents (5)"
        )
    inspect.add_argument("--reason", default="", help="only documents dropped for this reason")
    inspect.add_argument("--language", default="", help="only documents of this language")
    inspect.add_argument("--source", default="", help="only documents of this source")
    inspect.add_argument("--id", default="", help="the document of this id, or of an id that starts so")
    inspect.add_argument("--seed", type=whole(-(2**63)), default=0, help="seed of the choice of documents (default 0)")
    inspect.add_argument(
        "--characters", type=whole(0), default=400, metavar="N", help="show N characters of a text (400)"
    )
    inspect.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="RULE.min=N",
        help="what if a rule had another threshold (RULE.min, RULE.max, or RULE.threshold); changes nothing",
    )
    with_json(inspect)


def _inspect(options: argparse.Namespace) -> int:
    from pipeline import clusters, inspection
    from pipeline.report.funnel import funnel
    from pipeline.storage import Root

    root = Root(options.corpus)
    view = inspection.open_corpus(root, options.set)
    facts: dict[str, Any] = {
        "funnel": funnel(root)["stages"],
        "rules": inspection.rules_table(view),
        "statistics": [inspection.distribution(view, name) for name in options.statistic],
        "clusters": [],
        "documents": [],
    }
    if "dedup" in facts["funnel"]:
        facts["clusters"] = clusters.histogram(clusters.sizes(root)[2])
    filters = {name: getattr(options, name) for name in ("reason", "language", "source", "id")}
    numbers: dict[bool | None, int] = {True: options.kept, False: options.dropped}
    if not any(numbers.values()) and any(filters.values()):
        numbers = {False if options.reason else None: 5}
    nothing = []
    for kept, number in numbers.items():
        if number > 0:
            found = inspection.sample(view, inspection.Filter(kept=kept, **filters), number, options.seed)
            facts["documents"] += found
            if not found:
                nothing.append(_nothing(kept, filters))
    if options.json:
        print_json(facts)
    else:
        _print(root, facts, bool(view.changed), options.characters)
        print("\n".join(f"\n{line}" for line in nothing), end="\n" * bool(nothing))
    return 0


def _nothing(kept: bool | None, filters: dict[str, str]) -> str:
    """That no document is what was asked for."""
    kind = {True: "kept ", False: "dropped ", None: ""}[kept]
    asked = ", ".join(f"{name} {value!r}" for name, value in filters.items() if value)
    return f"no {kind}document" + (f" has {asked}" if asked else "")


def _print(root: Any, facts: dict[str, Any], changed: bool, characters: int) -> None:
    from pipeline.clusters import histogram_lines
    from pipeline.report.funnel import funnel, lines

    print("\n".join(lines(funnel(root))))
    if facts["clusters"]:
        print("\n".join(["\nclusters of duplicates, by size", *histogram_lines(facts["clusters"])]))
    amounts = facts["funnel"]["ingest"]["counts"]["amounts"]
    edits = {name: n for name, n in amounts.items() if name.startswith(_EDITS)}
    if edits:
        print("\nedited in the documents kept")
        print("\n".join(f"  {name:<30}{n:>12,}" for name, n in sorted(edits.items())))
    print(f"\n{'rule':<32}{'measures':<40}{'min':>10}{'max':>10}{'dropped':>10}" + f"{'would':>10}" * changed)
    for row in facts["rules"]:
        low, high = (row["would_min"], row["would_max"]) if changed else (row["min"], row["max"])
        mark = "*" if changed and (low, high) != (row["min"], row["max"]) else ""
        would = f"{row['would_drop']:>10,}" if changed else ""
        thresholds = f"{_number(low):>10}{_number(high):>10}"
        print(f"{row['rule'] + mark:<32}{row['statistic']:<40}{thresholds}{row['dropped']:>10,}{would}")
    for found in facts["statistics"]:
        _print_distribution(found)
    for document in facts["documents"]:
        _print_document(document, characters)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _print_distribution(found: dict[str, Any]) -> None:
    print(f"\n{found['statistic']}: {found['documents']:,} documents")
    if not found["documents"]:
        return
    print(f"  mean {found['mean']:g}; " + ", ".join(f"{q}: {v:g}" for q, v in found["quantiles"].items()))
    most = max(bin["documents"] for bin in found["bins"])
    marks = [(bound, name) for name, bounds in found["limits"].items() for bound in bounds]
    for place, bin in enumerate(found["bins"]):
        first, last = place == 0, place == len(found["bins"]) - 1
        here = [
            f"<- {name} {bound:g}"
            for bound, name in marks
            if (first or bound >= bin["from"]) and (last or bound < bin["to"])
        ]
        bar = "#" * round(_WIDTH * bin["documents"] / most)
        print(f"  {bin['from']:>12g}{bin['documents']:>9,} {bar:<{_WIDTH}} {' '.join(here)}".rstrip())


def _print_document(document: dict[str, Any], characters: int) -> None:
    print(f"\n{document['id']} {'kept' if document['kept'] else 'dropped'}")
    skipped = ("id", "kept", "text")
    print("\n".join(f"  {name}: {value}" for name, value in document.items() if name not in skipped and value))
    text = document["text"]
    more = f" [... {len(text) - characters:,} more]" if len(text) > characters else ""
    print("  | " + text[:characters].replace("\n", "\n  | ") + more)
