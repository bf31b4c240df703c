"""Clusters of duplicates as deduplication committed them: how large, of what, and how two members differ."""

from __future__ import annotations

import difflib
import itertools
import textwrap
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.errors import CorpusmillError
from pipeline.ledger import Ledger
from pipeline.stages.parts import read_batches, read_rows
from pipeline.storage import Root

_MEMBER = ["id", "source", "url", "title", "timestamp"]
_MOST_WORDS = 20_000  # compared of each text: the time grows with the product


@dataclass
class Cluster:
    """A kept document and its copies: facts of each (id, source, url, title, timestamp, part, row; of copies reason
    and value too)."""

    size: int
    keeper: dict[str, Any]
    copies: list[dict[str, Any]] = field(default_factory=list)


def sizes(root: Root) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The clusters of a corpus, of two and more, largest first: parts, keepers (clusters x 2: place of the part, row),
    and sizes. Raises CorpusmillError where deduplication is not complete."""
    ledger = Ledger(root)
    if ledger.stage("dedup") is None:
        raise CorpusmillError("no finished deduplication here", file=root.url, mend="corpusmill dedup CONFIG")
    parts = ledger.units("dedup")
    place = {part: number for number, part in enumerate(parts)}
    found = [np.empty((0, 2), np.int64)]
    for part in parts:
        for batch in read_batches(root, f"duplicates/{part}.parquet", ["keeper_part", "keeper_row"]):
            batch = batch.drop_null()  # what went for its repeated lines is no copy
            names = batch.column("keeper_part").dictionary_encode()
            codes = np.array([place[name] for name in names.dictionary.to_pylist()], np.int64)
            of = codes[names.indices.to_numpy()] if len(codes) else np.empty(0, np.int64)
            found.append(np.stack([of, batch.column("keeper_row").to_numpy()], axis=1))
    keepers, counts = np.unique(np.concatenate(found), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return parts, keepers[order], counts[order] + 1


def histogram(counts: np.ndarray) -> list[dict[str, int]]:
    """How many clusters, and documents in them, have a size from ``least`` to ``most``: powers of two."""
    rows = []
    for power in range(1, int(counts.max(initial=1)).bit_length()):
        here = counts[(counts >> power) == 1]
        if len(here):
            least, most = 1 << power, (2 << power) - 1
            rows.append({"least": least, "most": most, "clusters": len(here), "documents": int(here.sum())})
    return rows


def histogram_lines(rows: list[dict[str, int]]) -> list[str]:
    """A histogram for a terminal."""
    spans = [f"{r['least']:,}" if r["least"] == r["most"] else f"{r['least']:,}-{r['most']:,}" for r in rows]
    return [
        f"{span:>16}{row['clusters']:>12,} clusters{row['documents']:>14,} documents"
        for span, row in zip(spans, rows, strict=True)
    ]


def largest(root: Root, parts: list[str], keepers: np.ndarray, counts: np.ndarray, copies: int) -> list[Cluster]:
    """These clusters with their keepers and up to so many copies each."""
    clusters = {}
    for (place, row), size in zip(keepers.tolist(), counts.tolist(), strict=True):
        part = parts[place]
        clusters[part, row] = Cluster(size, _document(root, part, row))
    columns = [*_MEMBER, "row", "reason", "value", "keeper_part", "keeper_row"]
    for part in parts if clusters else ():
        for batch in read_batches(root, f"duplicates/{part}.parquet", columns):
            keys = zip(batch.column("keeper_part").to_pylist(), batch.column("keeper_row").to_pylist(), strict=True)
            for place, key in enumerate(keys):
                if key in clusters and len(clusters[key].copies) < copies:
                    row = batch.slice(place, 1).to_pylist()[0]
                    del row["keeper_part"], row["keeper_row"]
                    clusters[key].copies.append(_plain({**row, "part": part}))
    return list(clusters.values())


def find_copy(root: Root, start: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The copy whose id (hex) starts so, and its keeper. Raises CorpusmillError where there is none."""
    columns = [*_MEMBER, "row", "reason", "value", "keeper_part", "keeper_row"]
    for part in sizes(root)[0]:
        for batch in read_batches(root, f"duplicates/{part}.parquet", columns):
            for place, name in enumerate(batch.column("id").to_pylist()):
                if name.hex().startswith(start.lower()):
                    row = batch.slice(place, 1).to_pylist()[0]
                    if row["keeper_part"] is not None:
                        keeper = _document(root, row.pop("keeper_part"), row.pop("keeper_row"))
                        return _plain({**row, "part": part}), keeper
    raise CorpusmillError(
        f"no duplicate has an id that starts with {start!r}",
        file=root.url,
        mend=f"see their ids: corpusmill duplicates {root.url}",
    )


def text_of(root: Root, member: dict[str, Any]) -> str:
    """The text of a member of a cluster."""
    (batch,) = read_rows(root, f"documents/{member['part']}.parquet", np.array([member["row"]]), ["text"])
    return str(batch.column("text")[0].as_py())


def side_by_side(left: str, right: str, width: int = 120) -> list[str]:
    """Two texts in two columns, word by word: what differs is marked, what is equal is shortened."""
    words = [text.split()[:_MOST_WORDS] for text in (left, right)]
    column = (width - 3) // 2
    lines = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, words[0], words[1], autojunk=False).get_opcodes():
        sides = [words[0][a:b], words[1][c:d]]
        if tag == "equal" and b - a > 24:
            sides = [[*side[:10], f"... {b - a - 20} equal words ...", *side[-10:]] for side in sides]
        wrapped = [textwrap.wrap(" ".join(side), column) for side in sides]
        mark = " " if tag == "equal" else "|"
        for one, two in itertools.zip_longest(*wrapped, fillvalue=""):
            lines.append(f"{one:<{column}} {mark} {two}".rstrip())
    if any(len(text.split()) > _MOST_WORDS for text in (left, right)):
        lines.append(f"(only the first {_MOST_WORDS:,} words are compared)")
    return lines


def _document(root: Root, part: str, row: int) -> dict[str, Any]:
    (batch,) = read_rows(root, f"documents/{part}.parquet", np.array([row]), _MEMBER)
    return _plain({**batch.to_pylist()[0], "part": part, "row": row})


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    time = row["timestamp"]
    return {**row, "id": row["id"].hex(), "timestamp": time.isoformat() if time else None}
