"""Look into a built corpus: what each rule dropped, how statistics are distributed, single documents, and what other
thresholds would have kept.

What rules measured comes from statistics/ where the corpus has it (`clean.statistics`). Otherwise it is measured again
on the texts, which is the same as long as no step changed them; where one did, other thresholds cannot be tried.
"""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean import flagged, quality, stats
from pipeline.clean.rules import FUNCTION, Limit, first_failing
from pipeline.clean.segments import Segments
from pipeline.config import Clean
from pipeline.errors import CorpusmillError, UsageError
from pipeline.ledger import Ledger
from pipeline.schema import DOCUMENTS, DROPPED, DUPLICATES
from pipeline.stages.judge import language_values, limits
from pipeline.stages.parts import read_batches
from pipeline.storage import Root

_FACTS = ["id", "source", "language", "language_score", "url", "title"]
_VERDICT = ["stage", "reason", "value", "threshold", "detail"]
_QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_BINS = 20
_RULES = "corpusmill inspect CORPUS"


@dataclass(frozen=True)
class Filter:
    """Which documents are meant: all that is given must hold. ``kept`` None: kept and dropped ones."""

    kept: bool | None = None
    reason: str = ""
    language: str = ""
    source: str = ""
    id: str = ""


@dataclass
class View:
    """A corpus to look at: the limits it was judged by, in order, and those put in their place ("what if")."""

    root: Root
    clean: Clean
    limits: dict[str, Limit]
    stored: bool  # whether statistics/ is there
    changed: dict[str, Limit] = field(default_factory=dict)

    @property
    def units(self) -> list[str]:
        """The names of the ingest units."""
        return Ledger(self.root).units("ingest")


def open_corpus(root: Root, changes: list[str]) -> View:
    """Look at a corpus whose ingest stage is complete, with ``changes`` of thresholds ("NAME.min=VALUE")."""
    ledger = Ledger(root)
    if ledger.stage("ingest") is None:
        raise CorpusmillError("the ingest stage is not complete here", file=root.url, mend="corpusmill build CONFIG")
    recorded = dict(Ledger(root).settings()["clean"])
    # The files that these steps read are not part of a corpus, only what they decided.
    if recorded.get("pii"):
        recorded["pii"] = {**recorded["pii"], "key": "not recorded"}
    if recorded.get("decontaminate"):
        recorded["decontaminate"] = {**recorded["decontaminate"], "paths": ["not recorded"]}
    if any(rule["statistic"] in flagged.DEFINITIONS for rule in recorded.get("rules", [])):
        recorded["flagged_words"] = {"en": "not recorded"}
    clean = Clean.model_validate(recorded)
    view = View(root, clean, limits(clean), clean.statistics)
    for change in changes:
        _change(view, change)
    if changes and not view.stored and (why := _edits(clean)):
        raise UsageError(
            f"other thresholds cannot be tried: {why}, and what the rules measured is not stored",
            file=root.url,
            mend="corpusmill build CONFIG --set clean.statistics=true",
        )
    return view


def _change(view: View, change: str) -> None:
    """Apply ``NAME.min=VALUE``, ``NAME.max=VALUE``, or ``NAME.threshold=VALUE`` where a rule has one of them only."""
    key, _, text = change.partition("=")
    name, _, side = key.strip().rpartition(".")
    try:
        value = float(text)
    except ValueError:
        raise UsageError(
            f"--set takes RULE.min=NUMBER or RULE.max=NUMBER, not {change!r}", mend=f"{_RULES} lists the rules"
        ) from None
    if name not in view.limits:
        raise UsageError(
            f"--set {change}: there is no rule {name!r} here; there are {', '.join(view.limits)}",
            mend=f"{_RULES} shows them with their thresholds",
        )
    limit = view.changed.get(name, view.limits[name])
    if side == "threshold" and (limit.min is None) != (limit.max is None):
        side = "max" if limit.min is None else "min"
    if side not in ("min", "max"):
        raise UsageError(f"--set {change}: say {name}.min or {name}.max", mend=f"--set {name}.min={text}")
    low, high = (value, limit.max) if side == "min" else (limit.min, value)
    view.changed[name] = Limit(limit.statistic, low, high, limit.reason)


def _edits(clean: Clean) -> str:
    """Why measuring again on the texts of the corpus gives other values than its build saw, or ""."""
    if clean.pii:
        return "personal data was replaced"
    if clean.decontaminate:
        return "the benchmarks are not at hand"
    if any(step.edits for step in clean.steps()):
        return "lines were removed"
    own = [r.statistic for r in clean.rules if FUNCTION.fullmatch(r.statistic) or r.statistic in flagged.DEFINITIONS]
    return f"{own[0]} needs files that are not at hand" if own else ""


def rules_table(view: View) -> list[dict[str, Any]]:
    """Each limit in order: what it measures, its thresholds, how many documents it dropped; with changes, how many it
    would have."""
    dropped, would = Counter[str](), Counter[str]()
    for unit in view.units:
        table = _documents(view, unit, bool(view.changed))
        before = table.column("limit").to_pylist()
        dropped.update(name for name in before if name)
        if view.changed:
            would.update(name for name in table.column("would").to_pylist() if name)
    rows = []
    for name, limit in view.limits.items():
        row = {"rule": name, **dataclasses.asdict(limit), "dropped": dropped[name]}
        if view.changed:
            now = view.changed.get(name, limit)
            row |= {"would_min": now.min, "would_max": now.max, "would_drop": would[name]}
        rows.append(row)
    return rows


def distribution(view: View, name: str) -> dict[str, Any]:
    """Quantiles and a histogram of a statistic (or of what a rule measured, by the rule's name) over all documents
    judged, and the limits on it."""
    stats_known = name in stats.DEFINITIONS or (view.stored and name in flagged.DEFINITIONS)
    if name not in view.limits and not stats_known:
        stats.check(name)
    column = f"rule.{name}" if name in view.limits and not stats_known else name
    parts = []
    for unit in view.units:
        table = _measures(view, unit, [column])
        parts.append(table.column(column).fill_null(np.nan).to_numpy())
    values = np.concatenate([np.zeros(0), *parts])
    values = np.sort(values[np.isfinite(values)])
    limits_on = {
        rule: [bound for bound in (now.min, now.max) if bound is not None]
        for rule, limit in view.limits.items()
        if limit.statistic == name or rule == name
        for now in [view.changed.get(rule, limit)]
    }
    found: dict[str, Any] = {"statistic": name, "documents": len(values), "limits": limits_on}
    if len(values):
        found["mean"] = float(values.mean())
        found["quantiles"] = {f"{q:g}": float(np.quantile(values, q, method="lower")) for q in _QUANTILES}
        found["bins"] = _histogram(values)
    return found


def _histogram(values: np.ndarray) -> list[dict[str, float]]:
    """Bins from the 1st to the 99th percentile, the first and the last with what lies beyond: equal ones, or of equal
    ratio where values reach over two orders of magnitude."""
    low, high = np.quantile(values, 0.01, method="lower"), np.quantile(values, 0.99, method="higher")
    if low == high:
        return [{"from": float(low), "to": float(high), "documents": len(values)}]
    edges = np.geomspace(low, high, _BINS + 1) if 0 < 100 * low < high else np.linspace(low, high, _BINS + 1)
    edges[0], edges[-1] = low, high
    counts, _ = np.histogram(np.clip(values, low, high), edges)
    return [
        {"from": float(start), "to": float(stop), "documents": int(n)}
        for start, stop, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def sample(view: View, wanted: Filter, number: int, seed: int) -> list[dict[str, Any]]:
    """Documents with their texts: a random choice that depends on the seed and the documents' ids alone. With changed
    thresholds ``kept`` and ``reason`` are what they would be; ``was`` is what they are."""
    chosen: list[tuple[bytes, int, str, str, int, dict[str, Any]]] = []
    count = 0
    for unit in view.units:
        table = _documents(view, unit, bool(view.changed))
        for row in table.filter(_matching(view, table, wanted)).to_pylist():
            place = hashlib.blake2b(row["id"], key=seed.to_bytes(8, "big", signed=True)).digest()
            inverted = bytes(255 - byte for byte in place)  # the heap gives up its smallest, which is the last place
            count += 1
            item = (inverted, count, unit, row["folder"], row["row"], row)
            (heapq.heappush if len(chosen) < number else heapq.heappushpop)(chosen, item)
    found = []
    for _, _, unit, folder, place_in_part, row in sorted(chosen, key=lambda item: item[:1], reverse=True):
        text = _text(view.root, f"{folder}/{unit}.parquet", place_in_part)
        found.append(_described(view, row, text))
    return found


def _matching(view: View, table: pa.Table, wanted: Filter) -> pa.Array:
    reason = table.column("would_reason" if view.changed else "reason")
    keep = pa.array([True] * table.num_rows, pa.bool_())
    if wanted.kept is not None:
        keep = pc.and_(keep, reason.is_null() if wanted.kept else reason.is_valid())
    for name, column in (
        ("reason", reason),
        ("language", table.column("language")),
        ("source", table.column("source")),
    ):
        if value := getattr(wanted, name):
            keep = pc.and_(keep, pc.fill_null(pc.equal(column, value), False))
    if wanted.id:
        keep = pc.and_(keep, pc.starts_with(_hex(table.column("id")), wanted.id.lower()))
    return keep


def _hex(ids: pa.ChunkedArray) -> pa.Array:
    return pa.array([value.hex() for value in ids.to_pylist()], pa.string())


def _described(view: View, row: dict[str, Any], text: str) -> dict[str, Any]:
    found = {"id": row["id"].hex(), **{name: row[name] for name in _FACTS[1:]}, "kept": row["reason"] is None}
    verdict = {name: row[name] for name in _VERDICT if row[name] is not None}
    if row["keeper"] is not None:
        verdict["keeper"] = row["keeper"].hex()
    if view.changed:
        found |= {"kept": row["would_reason"] is None, "was": verdict or "kept"}
        verdict = {name: row[f"would_{name}"] for name in ("reason", "value", "threshold")}
    return {**found, **{name: value for name, value in verdict.items() if value is not None}, "text": text}


def _text(root: Root, part: str, row: int) -> str:
    for batch in read_batches(root, part, ["text"]):
        if row < batch.num_rows:
            return batch.column(0)[row].as_py() or ""
        row -= batch.num_rows
    raise CorpusmillError(f"there is no row {row}", file=root.path(part), mend=f"corpusmill verify {root.url}")


def _part(root: Root, name: str, columns: list[str], schema: pa.Schema) -> pa.Table:
    some = pa.schema([schema.field(column) for column in columns])
    return pa.Table.from_batches([batch.cast(some) for batch in read_batches(root, name, columns)], some)


def _documents(view: View, unit: str, measure: bool) -> pa.Table:
    """All records of a unit that were judged or dropped by the parser, without texts: those kept by ingest, then those
    dropped that were judged, then the others; with ``folder`` and ``row`` (where the text is), ``limit`` (the name of
    the one that failed) and, with ``measure``, ``would`` and the verdict that the changed limits would give."""
    kept = _part(view.root, f"documents/{unit}.parquet", _FACTS, DOCUMENTS)
    lost = _part(view.root, f"dropped/{unit}.parquet", [*_FACTS, *_VERDICT], DROPPED)
    judged = lost.column("language").is_valid()
    order = np.argsort(~judged.to_numpy(), kind="stable")
    lost = lost.take(pa.array(order, pa.int64()))
    empty = pa.nulls(kept.num_rows)
    columns = {name: [*kept.column(name).chunks, *lost.column(name).chunks] for name in _FACTS}
    table = pa.table({name: pa.chunked_array(chunks) for name, chunks in columns.items()})
    for name in _VERDICT:
        column = lost.column(name)
        table = table.append_column(name, pa.chunked_array([empty.cast(column.type), *column.chunks], column.type))
    places = np.concatenate([np.arange(kept.num_rows), order])
    folders = ["documents"] * kept.num_rows + ["dropped"] * lost.num_rows
    table = table.append_column("row", pa.array(places, pa.int64())).append_column("folder", pa.array(folders))
    count = kept.num_rows + int(pc.sum(judged).as_py() or 0)
    measured = _limits_of(view, unit) if measure or view.stored else None
    names = list(view.limits)
    if measured is not None:
        failed, _, _ = first_failing(measured, list(view.limits.values()), count)
        limit = [names[place] if place >= 0 else None for place in failed.tolist()]
    else:  # two limits of one reason cannot be told apart: the first is named
        first = {limit.reason: name for name, limit in reversed(view.limits.items())}
        limit = [first.get(reason) for reason in table.column("reason").to_pylist()[:count]]
    table = table.append_column("limit", pa.array(limit + [None] * (table.num_rows - count), pa.string()))
    if measure:
        assert measured is not None
        now = list((view.limits | view.changed).values())
        failed, value, threshold = first_failing(measured, now, count)
        rest = table.num_rows - count
        would = [names[place] if place >= 0 else None for place in failed.tolist()]
        reason = [now[place].reason if place >= 0 else None for place in failed.tolist()]
        reason += table.column("reason").to_pylist()[count:]
        table = table.append_column("would", pa.array(would + [None] * rest, pa.string()))
        table = table.append_column("would_reason", pa.array(reason, pa.string()))
        for name, column in (("would_value", value), ("would_threshold", threshold)):
            whole = np.concatenate([column, np.full(rest, np.nan)])
            table = table.append_column(name, pa.array(whole, pa.float64(), from_pandas=True))
    return _with_duplicates(view, unit, table, measure)


def _with_duplicates(view: View, unit: str, table: pa.Table, measure: bool) -> pa.Table:
    """The verdicts of deduplication on the documents that ingest kept, where it has run: other thresholds change
    nothing about them."""
    keeper: list[bytes | None] = [None] * table.num_rows
    if view.root.size(f"duplicates/{unit}.parquet") is not None:
        copies = _part(view.root, f"duplicates/{unit}.parquet", ["row", "reason", "keeper", "stage"], DUPLICATES)
        columns = {name: table.column(name).to_pylist() for name in ("reason", "stage")}
        if measure:
            columns["would_reason"] = table.column("would_reason").to_pylist()
        for copy in copies.to_pylist():
            row = copy["row"]
            keeper[row] = copy["keeper"]
            columns["reason"][row], columns["stage"][row] = copy["reason"], copy["stage"]
            if measure and columns["would_reason"][row] is None:
                columns["would_reason"][row] = copy["reason"]
        for name, values in columns.items():
            table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))
    return table.append_column("keeper", pa.array(keeper, pa.binary(16)))


def _limits_of(view: View, unit: str) -> list[np.ndarray]:
    """What was compared with each limit, for the judged records of a unit in the order of `_documents`."""
    table = _measures(view, unit, [f"rule.{name}" for name in view.limits])
    return [column.fill_null(np.nan).to_numpy() for column in table.columns]


def _measures(view: View, unit: str, columns: list[str]) -> pa.Table:
    """Columns of statistics/ for the judged records of a unit in the order of `_documents`: stored, or measured
    again."""
    if view.stored:
        schema = pa.schema([pa.field("reason", pa.string()), *(pa.field(name, pa.float64()) for name in columns)])
        table = _part(view.root, f"statistics/{unit}.parquet", schema.names, schema)
        order = np.argsort(table.column("reason").is_valid().to_numpy(), kind="stable")
        return table.take(pa.array(order, pa.int64())).select(columns)
    tables = []
    for folder in ("documents", "dropped"):
        for batch in read_batches(view.root, f"{folder}/{unit}.parquet", ["text", "language", "language_score"]):
            tables.append(_measured_again(view, batch.filter(batch.column("language").is_valid()), columns))
    return pa.concat_tables(tables) if tables else pa.table({name: pa.nulls(0, pa.float64()) for name in columns})


def _measured_again(view: View, batch: pa.RecordBatch, columns: list[str]) -> pa.Table:
    texts, languages, scores = batch.columns
    rules = [rule for step in view.clean.steps() for rule in step.rules]
    names = {name for name in columns if name in stats.DEFINITIONS}
    if any(name.startswith("rule.") for name in columns):
        names |= {rule.statistic for rule in rules}
    found = quality.measure(Segments(texts), languages, sorted(names), {})
    values = [*language_values(view.clean, languages, scores), *(found[rule.statistic] for rule in rules)]
    if any(name.startswith("rule.") for name in columns):
        found |= {f"rule.{name}": value for name, value in zip(view.limits, values, strict=True)}
    return pa.table({name: pa.array(found[name], pa.float64(), from_pandas=True) for name in columns})
