"""Deduplicate: who is a copy of whom, found from signatures, then written part by part.

Each level compares what the levels before it left, and is the reason of its drops:

    duplicate_record    the same record read again (equal ids); the first by order of units and row stays
    older_revision      a wiki page of which a newer revision is there
    duplicate_url       equal URLs
    duplicate_exact     equal texts after normalisation
    duplicate_near      neighbours by MinHash-LSH; with ``verify`` checked on their shingles
    repeated_lines      nothing was left of the text without the lines that many documents have

The keeper of a cluster is the first by the configured order of preference, at last by its id; so the result depends
on the documents alone. With ``verify`` every near copy resembles its own keeper; without, clusters are connected
through any chain of neighbours. pipeline/jobs/dedup.py wires these functions into Beam graphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Config, Dedup, Lines
from pipeline.dedup import lines, lsh, minhash
from pipeline.dedup.components import keepers
from pipeline.dedup.urls import url_keys
from pipeline.ledger import Committed, Counts, Row, Unit, digest
from pipeline.schema import DUPLICATES, LINES
from pipeline.stages.parts import PartWriter, read_batches, read_rows, writing_parts
from pipeline.stages.places import Places, gather
from pipeline.storage import Root

STAGE = "dedup"
VERSION = 3
EXCHANGE = "exchange"  # scratch of a running stage: what its jobs tell each other
FOLDERS = ("duplicates", "lines", EXCHANGE)

RECORD, REVISION, URL, EXACT, NEAR = "record", "revision", "url", "exact", "near"
KEYED = (RECORD, REVISION, URL, EXACT)  # levels of equal keys, in their order; near duplicates are no equivalence
REASONS = {
    RECORD: "duplicate_record",
    REVISION: "older_revision",
    URL: "duplicate_url",
    EXACT: "duplicate_exact",
    NEAR: "duplicate_near",
}
_LEVELS = tuple(REASONS)

_VERDICT = np.dtype(
    [
        ("row", "<i8"),
        ("level", "u1"),
        ("value", "<f8"),
        ("keeper_id", "S16"),
        ("keeper_part", "<i8"),
        ("keeper_row", "<i8"),
    ]
)

Block = tuple[tuple[str, int, int], bytes]  # (level, band, range) and packed records


def plan(config: Config, signatures: str, ingested: dict[str, Committed]) -> list[Unit]:
    """One unit a part of documents. Any document can copy any other, so each key has the digest of all signatures.

    Units come in the order of preference of their sources, where the configuration has one, else by name.
    """
    prefer = {source.name: n for n, source in enumerate(config.source)} if "source" in config.dedup.keeper else {}
    wikis = {source.name for source in config.source if source.format == "wikimedia"}
    source = {name: name.split("--", 1)[0] for name in ingested}
    names = sorted(ingested, key=lambda name: (prefer.get(source[name], 0), name))
    settings = config.dedup.model_dump(mode="json")
    everything = digest([STAGE, VERSION, settings, signatures, [(name, source[name] in wikis) for name in names]])
    units = []
    first = 0
    for number, name in enumerate(names):
        spec: dict[str, Any] = {"dedup": settings, "number": number, "first": first, "wiki": source[name] in wikis}
        part = ingested[name]
        spec |= {"preference": prefer.get(source[name], 0), "text_bytes": part.text_bytes}
        units.append(Unit(STAGE, name, digest([everything, name]), part.kept, spec))
        first += part.kept
    return units


# Blocks: what documents tell each other.


def keyed_blocks(root: Root, unit: Unit, ranges: int, chosen: range) -> Iterator[Block]:
    """The packed keys of one unit's documents, at every level of equal keys that is on."""
    settings = Dedup.model_validate(unit.spec["dedup"])
    for documents, batch in _batches(root, unit, "signatures", ["id", "text_hash"]):
        for level, column in ((RECORD, "id"), (EXACT, "text_hash")):
            if level == RECORD or settings.exact:
                keys = lsh.ids_from_arrow(batch.column(column))
                yield from _named(level, 0, lsh.pack_keys(keys, documents, ranges, chosen))
    levels = [level for level, on in ((REVISION, settings.revision and unit.spec["wiki"]), (URL, settings.url)) if on]
    for documents, batch in _batches(root, unit, "documents", ["url"]) if levels else ():
        keys, places = url_keys(batch.column("url"))
        blocks = lsh.pack_keys(keys, documents[places], ranges, chosen)
        for level in levels:
            yield from _named(level, 0, blocks)


def near_blocks(root: Root, unit: Unit, ranges: int, chosen: range) -> Iterator[Block]:
    """The packed band hashes of one unit's documents that no level before dropped."""
    gone = left(root, f"gone/{unit.name}", np.dtype("<i8"))
    for documents, batch in _batches(root, unit, "signatures", ["bands"]):
        alive = np.flatnonzero(~np.isin(documents, gone))
        hashes = _bands(batch)[alive]
        for band in range(hashes.shape[1]):
            blocks = lsh.pack_band(hashes[:, band], documents[alive], ranges, chosen)
            yield from _named(NEAR, band, blocks)


def line_blocks(root: Root, unit: Unit, ranges: int, chosen: range) -> Iterator[tuple[int, bytes]]:
    """The packed line hashes of one unit's kept documents, by range; with their documents where the first stays."""
    numbered = Dedup.model_validate(unit.spec["dedup"]).lines.keep_first
    for rows, _, hashes in _kept_lines(root, unit):
        numbers = unit.spec["first"] + rows if numbered else None
        yield from lines.pack_lines(hashes, ranges, chosen, numbers).items()


def leave_repeated(root: Root, settings: Lines, index: int, packed: Iterable[bytes]) -> None:
    """Leave in the exchange the hashes of one range that enough documents have, and the first document of each."""
    find = lines.repeated_first if settings.keep_first else lines.repeated
    leave(root, f"repeated/{index:05}", find(packed, settings.documents).astype("<u8"))


def edges(name: tuple[str, int, int], packed: Iterable[bytes]) -> tuple[str, bytes]:
    """The level and the edges among all blocks of one name: enough to connect each bucket."""
    layout = lsh.BAND_RECORD if name[0] == NEAR else lsh.KEY_RECORD
    return name[0], lsh.star(packed, layout).astype("<i8", copy=False).tobytes()


def candidates(name: tuple[str, int, int], packed: Iterable[bytes]) -> tuple[str, bytes]:
    """The level and the pairs among all blocks of one name that are worth checking."""
    return name[0], lsh.pairs(packed, lsh.BAND_RECORD).astype("<i8", copy=False).tobytes()


def _named(level: str, band: int, blocks: dict[int, bytes]) -> Iterator[Block]:
    for index, block in blocks.items():
        yield (level, band, index), block


def _batches(root: Root, unit: Unit, folder: str, columns: list[str]) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
    """A part of one unit, in batches, with the numbers of the documents."""
    first = unit.spec["first"]
    for batch in read_batches(root, f"{folder}/{unit.name}.parquet", columns, rows=1 << 16):
        yield np.arange(first, first + batch.num_rows), batch
        first += batch.num_rows


def _bands(batch: pa.RecordBatch) -> np.ndarray:
    """The band hashes (uint64, documents x bands) of signature rows."""
    bands = batch.column("bands")
    width = bands.type.list_size
    return bands.values.to_numpy()[bands.offset * width : (bands.offset + len(bands)) * width].reshape(-1, width)


# Verdicts: what became of each document.


class Verdicts:
    """The level that dropped each document, its keeper, and the similarity of the two, by number of the document."""

    def __init__(self, documents: int):
        self.level = np.zeros(documents, np.uint8)  # 0: kept, else 1 + its place in _LEVELS
        self.keeper = np.arange(documents)
        self.value = np.full(documents, np.nan)

    def alive(self, documents: np.ndarray) -> np.ndarray:
        """Which of the documents no level has dropped yet."""
        return self.level[documents] == 0

    def drop(self, level: str, copies: np.ndarray, values: np.ndarray | float) -> None:
        """Enter copies (documents x 2: document, keeper) with their similarities."""
        self.level[copies[:, 0]] = _LEVELS.index(level) + 1
        self.keeper[copies[:, 0]] = copies[:, 1]
        self.value[copies[:, 0]] = values

    def resolve(self) -> None:
        """Name the keeper that stays where a keeper was dropped by a later level."""
        while len(passed := np.flatnonzero(self.level[self.keeper])):
            through = self.keeper[passed]
            values = np.where(self.value[passed] == 1, self.value[through], np.nan)
            self.keeper[passed], self.value[passed] = self.keeper[through], values

    @property
    def dropped(self) -> np.ndarray:
        """The dropped documents, ascending."""
        return np.flatnonzero(self.level)


def judge_keyed(root: Root, places: Places, settings: Dedup, clusters: dict[str, np.ndarray]) -> Verdicts:
    """Apply the levels of equal keys: ``clusters`` (documents x 2: document, label) by level."""
    verdicts = Verdicts(len(places))
    for level in KEYED:
        if level in clusters:
            star = clusters[level][verdicts.alive(clusters[level][:, 0])]
            criteria: list[str] = [*settings.keeper]
            if level in (RECORD, REVISION):
                criteria.insert(0, "place" if level == RECORD else "newest")
            found = keepers(star, ranks(root, places, star[:, 0], criteria))
            copies = found[found[:, 0] != found[:, 1]]
            value: np.ndarray | float = 1.0 if level == EXACT else np.nan
            if level == RECORD:
                value = _equal_texts(root, places, copies)
            verdicts.drop(level, copies, value)
    return verdicts


def ranks(root: Root, places: Places, documents: np.ndarray, criteria: list[str]) -> np.ndarray:
    """The order of preference among documents (ascending numbers): 0 is the first to keep."""
    keys: list[np.ndarray] = []
    for criterion in criteria:
        if criterion == "place":
            keys.append(documents)
        elif criterion == "source":
            preference = np.array([unit.spec["preference"] for unit in places.units])
            keys.append(preference[places.unit_of(documents)])
        elif criterion == "longest":
            sizes = [
                b.column("text_bytes").to_numpy() for b in gather(root, places, documents, "signatures", ["text_bytes"])
            ]
            keys.append(-np.concatenate([np.empty(0, np.int64), *sizes]))
        else:
            times = [batch.column("timestamp") for batch in gather(root, places, documents, "documents", ["timestamp"])]
            time = pa.chunked_array(times, pa.timestamp("ms", tz="UTC")).cast(pa.int64())
            unknown = np.iinfo(np.int64).max  # a document without a date comes last
            if criterion == "newest":
                time = pc.negate(time)
            keys.append(time.fill_null(unknown).to_numpy())
    high, low = lsh.halves(_ids(root, places, documents))
    order = np.lexsort((documents, low, high, *keys[::-1]))
    result = np.empty(len(documents), np.int64)
    result[order] = np.arange(len(documents))
    return result


def _equal_texts(root: Root, places: Places, copies: np.ndarray) -> np.ndarray:
    """1 where copy and keeper have equal texts, else NaN."""
    documents = np.unique(copies)
    found = gather(root, places, documents, "signatures", ["text_hash"])
    hashes = [np.empty(0, "S16"), *(lsh.ids_from_arrow(batch.column("text_hash")) for batch in found)]
    of = np.concatenate(hashes)[np.searchsorted(documents, copies)]
    return np.where(of[:, 0] == of[:, 1], 1.0, np.nan)


def estimates(root: Root, places: Places, params: minhash.MinHashParams, copies: np.ndarray, most: int) -> np.ndarray:
    """The similarity of copies (documents x 2: document, keeper) by their shared bands; NaN where they share none.

    At most about ``most`` bytes are held at once.
    """
    found = np.empty(len(copies))
    step = max(1, most // (6 * 8 * params.bands))  # two documents a copy, as read, as one array, and as pairs
    for start in range(0, len(copies), step):
        part = copies[start : start + step]
        documents = np.unique(part)
        bands = [_bands(batch) for batch in gather(root, places, documents, "signatures", ["bands"])]
        of = np.concatenate(bands)[np.searchsorted(documents, part)]
        shared = (of[:, 0] == of[:, 1]).sum(axis=1)
        found[start : start + step] = np.where(shared, params.estimate(shared), np.nan)
    return found


# Verification: the true similarity of candidate pairs, some at a time.


def batches_of_pairs(root: Root, places: Places, pairs: np.ndarray, most: int) -> list[slice]:
    """Cut pairs (ascending) where the documents of a batch would hold more than about ``most`` bytes of shingles."""
    documents = np.unique(pairs)
    sizes = [b.column("text_bytes").to_numpy() for b in gather(root, places, documents, "signatures", ["text_bytes"])]
    of = np.concatenate([np.empty(0, np.int64), *sizes])[np.searchsorted(documents, pairs)]
    fresh = np.insert(pairs[1:, 0] != pairs[:-1, 0], 0, True)[: len(pairs)]
    weights = (of[:, 1] + np.where(fresh, of[:, 0], 0)) * _SHINGLE_BYTES
    batch = np.cumsum(weights) // max(most, 1)
    cuts = [0, *(np.flatnonzero(batch[1:] != batch[:-1]) + 1).tolist(), len(pairs)]
    return [slice(a, b) for a, b in pairwise(cuts) if a < b]


_SHINGLE_BYTES = 12  # memory a byte of text: itself, its words and shingles while they are computed, and the set


def leave_places(root: Root, places: Places) -> None:
    """Leave in the exchange where documents are."""
    root.write_json(f"{EXCHANGE}/places.json", [[unit.name for unit in places.units], places.firsts.tolist()])


def similarities(root: Root, batch: Unit) -> np.ndarray:
    """The Jaccard similarities of the shingle sets of the pairs that lie in the exchange under the name of ``batch``,
    from the texts."""
    pairs = left(root, batch.name, np.dtype("<i8")).reshape(-1, 2)
    params = Dedup.model_validate(batch.spec["dedup"]).minhash.params()
    documents = np.unique(pairs)
    sets: list[np.ndarray] = [np.empty(0, np.uint64)]
    sizes: list[np.ndarray] = [np.zeros(1, np.int64)]
    names, firsts = root.read_json(f"{EXCHANGE}/places.json")
    bounds = np.searchsorted(documents, firsts)
    for place in np.flatnonzero(np.diff(bounds)).tolist():
        rows = documents[bounds[place] : bounds[place + 1]] - firsts[place]
        for part in read_rows(root, f"documents/{names[place]}.parquet", rows, ["text"]):
            for texts in _small(part.column("text")):
                found, offsets = minhash.sets_of(texts, params)
                sets.append(found)
                sizes.append(np.diff(offsets))
    offsets = np.cumsum(np.concatenate(sizes))
    return minhash.similarities(np.concatenate(sets), offsets, np.searchsorted(documents, pairs))


def _small(texts: pa.Array) -> Iterator[pa.Array]:
    """Slices of a few megabytes of text, or of one document."""
    sizes = np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False)) // 4_000_000
    cuts = [0, *(np.flatnonzero(sizes[1:] != sizes[:-1]) + 1).tolist(), len(texts)]
    for start, stop in pairwise(cuts):
        if start < stop:
            yield texts.slice(start, stop - start)


# Parts: what is committed.


def leave_gone(root: Root, places: Places, verdicts: Verdicts) -> None:
    """Leave in the exchange which documents are out of the next level."""
    dropped = verdicts.dropped
    for place, here, _ in places.by_unit(dropped):
        leave(root, f"gone/{places.units[place].name}", dropped[here].astype("<i8"))


def leave_verdicts(root: Root, places: Places, verdicts: Verdicts) -> None:
    """Leave in the exchange what `process` writes for each unit."""
    dropped = verdicts.dropped
    distinct = np.unique(verdicts.keeper[dropped])
    ids = _ids(root, places, distinct)
    root.write_json(f"{EXCHANGE}/parts.json", [unit.name for unit in places.units])
    for place, here, rows in places.by_unit(dropped):
        documents = dropped[here]
        keeper = verdicts.keeper[documents]
        table = np.empty(len(documents), _VERDICT)
        table["row"], table["level"], table["value"] = rows, verdicts.level[documents], verdicts.value[documents]
        table["keeper_id"] = ids[np.searchsorted(distinct, keeper)]
        table["keeper_part"] = places.unit_of(keeper)
        table["keeper_row"] = keeper - places.firsts[table["keeper_part"]]
        leave(root, f"verdicts/{places.units[place].name}", table)


def _ids(root: Root, places: Places, documents: np.ndarray) -> np.ndarray:
    """The ids ("S16") of documents (ascending numbers)."""
    ids = np.empty(len(documents), "S16")
    first = 0
    for batch in gather(root, places, documents, "signatures", ["id"]):
        ids[first : first + batch.num_rows] = lsh.ids_from_arrow(batch.column("id"))
        first += batch.num_rows
    return ids


def leave(root: Root, name: str, values: np.ndarray) -> None:
    """Leave an array in the exchange."""
    root.write(f"{EXCHANGE}/{name}", np.ascontiguousarray(values).tobytes())


def left(root: Root, name: str, layout: np.dtype) -> np.ndarray:
    """An array left in the exchange; none where nothing was left."""
    try:
        return np.frombuffer(root.read(f"{EXCHANGE}/{name}"), layout)
    except FileNotFoundError:
        return np.empty(0, layout)


def process(root: Root, unit: Unit) -> Row:
    """Commit the duplicates and the repeated lines of one part, as the exchange has them."""
    settings = Dedup.model_validate(unit.spec["dedup"])
    verdict = left(root, f"verdicts/{unit.name}", _VERDICT)
    added = _verdict_columns(root, verdict, settings)
    counts = Counts(read=unit.bytes)  # what ingest kept, as planned; what is found must add up to it
    with writing_parts(root) as parts:
        part = parts.add(f"duplicates/{unit.name}.parquet", DUPLICATES)
        if settings.lines.documents:
            empty = _write_lines(root, unit, settings, parts.add(f"lines/{unit.name}.parquet", LINES), counts)
            added = pa.concat_tables([added, _empty_columns(empty, settings)])
        added = added.sort_by("row")
        first = 0
        rows = added["row"].to_numpy()
        for batch in read_rows(root, f"documents/{unit.name}.parquet", rows, _IDENTITY) if len(rows) else ():
            here = added.slice(first, batch.num_rows).combine_chunks().to_batches()[0]
            first += batch.num_rows
            columns = [here.column(name) if name in _ADDED else batch.column(name) for name in DUPLICATES.names]
            part.write(pa.record_batch(columns, DUPLICATES))
        for reason in added["reason"].to_pylist():
            counts.drop(reason)
        counts.kept = unit.bytes - first
    return Row(STAGE, unit.name, unit.key, parts.outputs, counts, code=f"{STAGE}.{VERSION}")


_ADDED = ("stage", "reason", "value", "threshold", "keeper", "row", "keeper_source", "keeper_part", "keeper_row")
_IDENTITY = [name for name in DUPLICATES.names if name not in _ADDED]
_ADDED_SCHEMA = pa.schema([DUPLICATES.field(name) for name in _ADDED])


def _verdict_columns(root: Root, verdict: np.ndarray, settings: Dedup) -> pa.Table:
    """What is added to the identity of copies."""
    parts = root.read_json(f"{EXCHANGE}/parts.json")
    keeper_parts = [parts[place] for place in verdict["keeper_part"].tolist()]
    reasons = [REASONS[_LEVELS[level - 1]] for level in verdict["level"].tolist()]
    checked = [settings.verify if reason == REASONS[NEAR] and settings.verify else None for reason in reasons]
    columns = {
        "stage": [STAGE] * len(verdict),
        "reason": reasons,
        "value": pa.array(verdict["value"], from_pandas=True),  # NaN: unknown
        "threshold": checked,
        "keeper": lsh.ids_to_arrow(verdict["keeper_id"]),
        "row": verdict["row"],
        "keeper_source": [part.split("--", 1)[0] for part in keeper_parts],
        "keeper_part": keeper_parts,
        "keeper_row": verdict["keeper_row"],
    }
    return pa.table(columns, _ADDED_SCHEMA)


def _empty_columns(rows: list[int], settings: Dedup) -> pa.Table:
    """What is added to the identity of documents of which no line is left."""
    known: dict[str, list[Any]] = {"stage": [STAGE], "reason": ["repeated_lines"]}
    known["threshold"] = [float(settings.lines.documents)]
    columns = {name: known.get(name, [None]) * len(rows) for name in _ADDED} | {"row": rows}
    return pa.table(columns, _ADDED_SCHEMA)


def _kept_lines(root: Root, unit: Unit) -> Iterator[tuple[np.ndarray, pa.Array, lines.LineHashes]]:
    """The rows, texts and lines of a unit's documents that are no copies, in batches."""
    settings = Dedup.model_validate(unit.spec["dedup"]).lines
    copies = left(root, f"verdicts/{unit.name}", _VERDICT)["row"]
    first = 0
    for batch in read_batches(root, f"documents/{unit.name}.parquet", ["text"], rows=1024):
        rows = np.setdiff1d(np.arange(first, first + batch.num_rows), copies)
        texts = batch.column("text").take(pa.array(rows - first))
        first += batch.num_rows
        yield rows, texts, lines.line_hashes(texts, settings.min_words, settings.unit)


def _write_lines(root: Root, unit: Unit, settings: Dedup, part: PartWriter, counts: Counts) -> list[int]:
    """Write the repeated lines of one unit's kept documents; returns the rows of those that have nothing else."""
    names = sorted(root.sizes(f"{EXCHANGE}/repeated"))  # ranges in order, so the hashes ascend
    known = [left(root, name.removeprefix(f"{EXCHANGE}/"), np.dtype("<u8")) for name in names]
    repeated = np.concatenate([np.empty(0, np.uint64), *known])
    first = np.empty(0, np.uint64)
    if settings.lines.keep_first:
        repeated, first = np.ascontiguousarray(repeated.reshape(-1, 2).T)
    empty: list[int] = []
    for rows, texts, hashes in _kept_lines(root, unit):
        found = lines.found(hashes, repeated)
        if settings.lines.keep_first and len(found.hashes):
            found = lines.but_first(found, unit.spec["first"] + rows, repeated, first)
        touched, at = np.unique(found.documents, return_inverse=True)
        cut = lines.without(texts.take(pa.array(touched)), at, found.starts, found.stops)
        alive = np.array([bool(text) for text in cut.to_pylist()], bool)
        empty += rows[touched[~alive]].tolist()
        found = found.take(alive[at])
        counts.measure("lines_removed", len(found.hashes))
        counts.measure("lines_removed_bytes", int((found.stops - found.starts).sum()))
        counts.measure("documents_shortened", int(alive.sum()))
        columns = [rows[found.documents], found.starts, found.stops, found.hashes]
        part.write(pa.record_batch([pa.array(column) for column in columns], LINES))
    return empty
