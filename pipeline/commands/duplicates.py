"""`corpusmill duplicates`."""

from __future__ import annotations

import argparse
from typing import Any

from pipeline.commands.common import Commands, print_json, whole, with_json


def add(commands: Commands) -> None:
    """Declare duplicates."""
    duplicates = commands.add(
        "duplicates",
        "list clusters of duplicates by size, or put a copy beside the document that stays",
        "duplicates corpus --top 5",
        _duplicates,
    )
    duplicates.add_argument("corpus", help="folder or URL of the corpus")
    duplicates.add_argument("--top", type=whole(0), default=10, metavar="N", help="show the N largest clusters (10)")
    duplicates.add_argument("--copies", type=whole(0), default=5, metavar="N", help="show N copies of each (5)")
    duplicates.add_argument(
        "--diff", default="", metavar="ID", help="put the copy of this id, or of one that starts so, beside its keeper"
    )
    with_json(duplicates)


def _duplicates(options: argparse.Namespace) -> int:
    from pipeline import clusters
    from pipeline.storage import Root

    root = Root(options.corpus)
    if options.diff:
        copy, keeper = clusters.find_copy(root, options.diff)
        texts = [clusters.text_of(root, member) for member in (copy, keeper)]
        if options.json:
            print_json({"copy": {**copy, "text": texts[0]}, "keeper": {**keeper, "text": texts[1]}})
        else:
            print(f"copy    {_line(copy)}\nkeeper  {_line(keeper)}\n")
            print("\n".join(clusters.side_by_side(texts[0], texts[1])))
        return 0
    parts, keepers, counts = clusters.sizes(root)
    histogram = clusters.histogram(counts)
    shown = clusters.largest(root, parts, keepers[: options.top], counts[: options.top], options.copies)
    if options.json:
        listed = [{"size": c.size, "keeper": c.keeper, "copies": c.copies} for c in shown]
        print_json({"clusters": len(counts), "histogram": histogram, "largest": listed})
        return 0
    print(f"{len(counts):,} clusters, {int(counts.sum()):,} documents in them")
    print("\n".join(clusters.histogram_lines(histogram)))
    for cluster in shown:
        print(f"\n{cluster.size:,} documents; stays: {_line(cluster.keeper)}")
        for copy in cluster.copies:
            print(f"  {_line(copy)}")
        if cluster.size - 1 > len(cluster.copies):
            print(f"  and {cluster.size - 1 - len(cluster.copies):,} more")
    return 0


def _line(member: dict[str, Any]) -> str:
    value = f" {member['value']:.3f}" if member.get("value") is not None else ""
    reason = f"{member['reason']}{value}  " if "reason" in member else ""
    return f"{member['id'][:12]}  {reason}{member['source']}  {member['title'] or ''}  {member['url'] or ''}".rstrip()
