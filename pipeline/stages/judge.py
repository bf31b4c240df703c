"""Judge batches of parsed records: every record becomes a row of documents, or a row of dropped with its reason.

The order of steps, which is that of the keys of [clean]: normalisation, language, the preset, line rules, rules,
decontamination, personal data. A step sees the text as the one before it left it; the first that fails names the drop.
A dropped record keeps the text it came with.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean import decontaminate, flagged, functions, language, normalise, pii, quality, stats
from pipeline.clean.rules import FUNCTION, Limit, first_failing
from pipeline.clean.segments import Segments
from pipeline.config import FILES, Clean
from pipeline.errors import CorpusmillError, InputError, UsageError
from pipeline.ledger import Counts
from pipeline.parse.record import Parsed
from pipeline.schema import DOCUMENTS, DROPPED, ID, TIMESTAMP, document_id
from pipeline.storage import expand, open_input

LANGUAGE, LANGUAGE_SCORE, CONTAMINATED = "language", "language_score", "contaminated"

_PII_KEY_BYTES = (16, 64)


@dataclass(frozen=True)
class File:
    """A file that judging reads besides the dumps: how it is named in rows, where it lies, its SHA-256."""

    name: str
    path: str
    sha256: str

    def read(self) -> bytes:
        """Its content; refused when it is not what the build was planned with."""
        data = _read(self.path)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise CorpusmillError(
                "the file changed while the corpus was built", file=self.path, mend="corpusmill build CONFIG"
            )
        return data


@dataclass(frozen=True)
class Material:
    """All that judging depends on besides the configuration: files, and the code of functions of the user's own."""

    benchmarks: tuple[File, ...] = ()
    flagged_words: Mapping[str, File] = field(default_factory=dict)
    pii_key: File | None = None
    functions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For a unit's spec."""
        return {
            "benchmarks": [asdict(file) for file in self.benchmarks],
            "flagged_words": {code: asdict(file) for code, file in self.flagged_words.items()},
            "pii_key": asdict(self.pii_key) if self.pii_key else None,
            "functions": dict(self.functions),
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> Material:
        """Back from a unit's spec."""
        return Material(
            tuple(File(**file) for file in value["benchmarks"]),
            {code: File(**file) for code, file in value["flagged_words"].items()},
            File(**value["pii_key"]) if value["pii_key"] else None,
            value["functions"],
        )


def find_material(clean: Clean) -> Material:
    """Find and fingerprint what [clean] names; UsageError for what is not there or cannot be used."""
    wanted = clean.decontaminate.paths if clean.decontaminate else []
    paths = []
    for pattern in wanted:
        if not (found := expand(pattern)):
            raise UsageError("no benchmark file matches", file=pattern, mend="correct clean.decontaminate.paths")
        paths += [path for path in found if path not in paths]
    return Material(
        tuple(sorted((_file(path) for path in paths), key=lambda file: (file.name, file.sha256))),
        {code: _file(path) for code, path in sorted(clean.flagged_words.items())},
        _file(clean.pii.key) if clean.pii else None,
        {
            rule.statistic: functions.fingerprint(rule.statistic, rule.version)
            for rule in clean.rules
            if FUNCTION.fullmatch(rule.statistic)
        },
    )


def settings(clean: Clean, material: Material) -> dict[str, Any]:
    """What the key of a unit covers of [clean]: the settings, and the content of files instead of their places."""
    value = clean.model_dump(exclude=FILES)
    files = material.to_json()
    for file in (*files["benchmarks"], *files["flagged_words"].values(), *filter(None, [files["pii_key"]])):
        file.pop("path")
    return {**value, "material": files, "model": language.model_digest()}


def _file(path: str) -> File:
    try:
        return File(path.rsplit("/", 1)[-1], path, hashlib.sha256(_read(path)).hexdigest())
    except OSError as error:
        cause = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise UsageError(cause, file=path, mend="correct [clean] in the configuration") from None


def _read(path: str) -> bytes:
    with open_input(path) as stream:
        return stream.read()


def limits(clean: Clean) -> dict[str, Limit]:
    """Everything that can drop a document, by unique name, in the order in which it is tried."""
    found: list[tuple[str, Limit]] = []
    if clean.languages:
        found.append((LANGUAGE, Limit("other_language", max=0, reason=LANGUAGE)))
    found.append((LANGUAGE_SCORE, Limit(LANGUAGE_SCORE, min=clean.language_score)))
    for code, score in clean.language_scores.items():
        found.append((f"{LANGUAGE_SCORE}.{code}", Limit(LANGUAGE_SCORE, min=score, reason=LANGUAGE_SCORE)))
    found += [(limit.reason, limit) for step in clean.steps() for limit in step.limits]
    if clean.decontaminate:
        limit = Limit("contaminated_share", max=clean.decontaminate.share, reason=CONTAMINATED)
        found.append((CONTAMINATED, limit))
    unique: dict[str, Limit] = {}
    for name, limit in found:
        again = sum(other == name or other.startswith(f"{name}#") for other in unique)
        unique[f"{name}#{again + 1}" if again else name] = limit
    return unique


@dataclass(frozen=True)
class Assessed:
    """What became of texts, one by one.

    ``texts``: those kept as they are now, those dropped as they came; ``verdict``: the place in the judge's limits of
    the one that failed (int64, -1 for kept), with ``values`` and ``thresholds`` (float64) and ``details``;
    ``statistics``: the rows of statistics/ where asked for; ``amounts``: what was edited in the kept texts, by name.
    """

    texts: pa.Array
    languages: pa.Array
    scores: pa.Array
    verdict: np.ndarray
    values: np.ndarray
    thresholds: np.ndarray
    details: list[str | None]
    statistics: pa.RecordBatch | None
    amounts: dict[str, int]


@dataclass(frozen=True)
class Judged:
    """What became of a batch: rows of documents/, of dropped/ and, where asked for, of statistics/."""

    kept: pa.RecordBatch
    dropped: pa.RecordBatch
    statistics: pa.RecordBatch | None
    amounts: dict[str, int]


class Judge:
    """Judges texts by one [clean]. Raises UsageError or InputError for material that cannot be used."""

    def __init__(self, clean: Clean, material: Material):
        self.clean = clean
        self.steps = clean.steps()
        self.limits = limits(clean)
        self._flagged = {code: _word_list(file) for code, file in material.flagged_words.items()}
        self.benchmark = _benchmark(clean.decontaminate.ngram, material) if clean.decontaminate else None
        self._key = _pii_key(material.pii_key) if material.pii_key else b""

    @property
    def statistics_schema(self) -> pa.Schema:
        """The schema of statistics/: a column per statistic of the text before any step but normalisation, and what
        each limit measured when its turn came, as ``rule.NAME``; the limits stand in the metadata."""
        names = [*stats.DEFINITIONS, *(flagged.DEFINITIONS if self._flagged else ())]
        return pa.schema(
            [
                pa.field("id", ID, nullable=False),
                pa.field("reason", pa.string()),
                pa.field("source", pa.string(), nullable=False),
                pa.field("language", pa.string(), nullable=False),
                pa.field("language_score", pa.float32(), nullable=False),
                *(pa.field(name, pa.float64()) for name in names),
                *(pa.field(f"rule.{name}", pa.float64()) for name in self.limits),
            ],
            metadata={"limits": json.dumps({name: asdict(limit) for name, limit in self.limits.items()})},
        )

    def judge(self, batch: list[Parsed], source: str, file: str) -> Judged:
        """The rows of one batch of records; those that the parser could not make a document of are dropped as it
        says."""
        columns = _columns(batch, source, file)
        living = np.flatnonzero([not record.reason for record in batch])
        found = self.assess(columns["text"].take(pa.array(living)))
        reason_of = [*(limit.reason for limit in self.limits.values()), None]  # the last stands for -1: kept
        columns["text"] = _put(columns["text"], living, found.texts)
        columns["language"] = _put(pa.nulls(len(batch), pa.string()), living, found.languages)
        columns["language_score"] = _put(pa.nulls(len(batch), pa.float32()), living, found.scores)
        failed = pa.array([reason_of[place] for place in found.verdict.tolist()], pa.string())
        reasons = pa.array([record.reason or None for record in batch], pa.string())
        columns["reason"] = _put(reasons, living, failed)
        values = pa.array([record.value for record in batch], pa.float64())
        thresholds = pa.array([record.threshold for record in batch], pa.float64())
        columns["value"] = _put(values, living, pa.array(found.values, from_pandas=True))
        columns["threshold"] = _put(thresholds, living, pa.array(found.thresholds, from_pandas=True))
        columns["detail"] = _put(pa.nulls(len(batch), pa.string()), living, pa.array(found.details, pa.string()))
        columns["stage"] = pa.array(["ingest"] * len(batch), pa.string())
        columns["keeper"] = pa.nulls(len(batch), DROPPED.field("keeper").type)
        statistics = None
        if found.statistics is not None:
            rows = pa.array(living)
            some = [columns["id"].take(rows), failed, columns["source"].take(rows)]
            statistics = pa.record_batch([*some, *found.statistics.columns], schema=self.statistics_schema)
        kept = columns["reason"].is_null()
        return Judged(
            pa.record_batch([columns[name] for name in DOCUMENTS.names], schema=DOCUMENTS).filter(kept),
            pa.record_batch([columns[name] for name in DROPPED.names], schema=DROPPED).filter(pc.invert(kept)),
            statistics,
            found.amounts,
        )

    def assess(self, texts: pa.Array) -> Assessed:
        """Run all steps over texts."""
        count = len(texts)
        came = pc.fill_null(texts.cast(pa.large_string()), "")
        edits: dict[str, np.ndarray] = {}
        now = came
        if self.clean.normalise:
            now, changes = normalise.normalise(now, self.clean.normalise.names())
            edits |= {f"normalised:{name}": found for name, found in changes.items()}
        normal = now
        languages, scores = language.identify(now, self.clean.languages if self.clean.confusable else ())
        measured = language_values(self.clean, languages, scores)
        if not self.clean.statistics:  # what is dropped already needs no more work
            passed = first_failing(measured, list(self.limits.values())[: len(measured)], count)[0] < 0
            now = _if_else(passed, now, "")
        outcome = quality.run(
            now, languages, self.steps, flagged_words=self._flagged, measure_all=self.clean.statistics
        )
        measured += outcome.measured
        edits |= {f"lines_removed:{reason}": lines for reason, lines in outcome.removed.items()}
        now = outcome.left
        items = [""] * count
        if self.benchmark:
            now, items, share, cuts = self._decontaminate(now)
            measured.append(share)
            edits |= cuts
        verdict, values, thresholds = first_failing(measured, list(self.limits.values()), count)
        kept = verdict < 0
        if self.clean.pii:
            now, found = pii.redact(_if_else(kept, now, ""), self._key, self.clean.pii.kinds)
            edits |= {f"pii:{kind}": counts for kind, counts in found.items()}
        names = list(self.limits.items())
        details: list[str | None] = [None] * count
        for row in np.flatnonzero(~kept).tolist():
            name, limit = names[verdict[row]]
            details[row] = items[row] if name == CONTAMINATED else limit.statistic
            if name == LANGUAGE:
                values[row] = thresholds[row] = np.nan  # the row has the language
        statistics = self._statistics(normal, languages, scores, measured) if self.clean.statistics else None
        amounts = {name: total for name, found in edits.items() if (total := int(found[kept].sum()))}
        texts = _if_else(kept, now, came)
        return Assessed(texts, languages, scores, verdict, values, thresholds, details, statistics, amounts)

    def _decontaminate(self, texts: pa.Array) -> tuple[pa.Array, list[str], np.ndarray, dict[str, np.ndarray]]:
        """Texts, the item found in each, the share of n-grams shared, and what was cut out."""
        wanted = self.clean.decontaminate
        assert wanted is not None
        assert self.benchmark is not None
        found = decontaminate.overlap(texts, self.benchmark)
        if wanted.action == "drop":
            return texts, found.items, found.share, {}
        spans, signs = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
        rows = np.flatnonzero(found.share > wanted.share)
        if len(rows):
            some, spans[rows], signs[rows] = decontaminate.cut(texts.take(pa.array(rows)), self.benchmark)
            texts = _put(texts, rows, some)
            found.share[rows] = decontaminate.overlap(some, self.benchmark).share
        return texts, found.items, found.share, {"cut_spans": spans, "cut_characters": signs}

    def _statistics(
        self, texts: pa.Array, languages: pa.Array, scores: pa.Array, measured: list[np.ndarray]
    ) -> pa.RecordBatch:
        """The columns of statistics/ from the language on."""
        names = [name for name in (*stats.DEFINITIONS, *flagged.DEFINITIONS) if name in self.statistics_schema.names]
        table = quality.measure(Segments(texts), languages, names, self._flagged)
        columns = [table[name] for name in names] + measured
        arrays = [languages, scores, *(pa.array(column, from_pandas=True) for column in columns)]
        return pa.record_batch(arrays, schema=pa.schema(list(self.statistics_schema)[3:]))


def language_values(clean: Clean, languages: pa.Array, scores: pa.Array) -> list[np.ndarray]:
    """What is compared with the limits on languages, in the order of `limits` (float64 arrays)."""
    certainty = scores.to_numpy(zero_copy_only=False).astype(np.float64)
    found = []
    if clean.languages:
        found.append(1.0 - pc.is_in(languages, value_set=pa.array(clean.languages)).to_numpy(zero_copy_only=False))
    own = {code: pc.equal(languages, code).to_numpy(zero_copy_only=False) for code in clean.language_scores}
    others = ~np.logical_or.reduce([*own.values(), np.zeros(len(certainty), bool)])
    return found + [np.where(rows, certainty, np.nan) for rows in (others, *own.values())]


def count(counts: Counts, judged: Judged) -> None:
    """Add what became of one batch to the unit's counts."""
    counts.kept += judged.kept.num_rows
    for reason in judged.dropped.column("reason").to_pylist():
        counts.drop(reason)
    for code, n in Counter(judged.kept.column("language").to_pylist()).items():
        counts.measure(f"language:{code}", n)
    counts.measure("text_bytes", pc.sum(pc.binary_length(judged.kept.column("text"))).as_py() or 0)
    for name, amount in judged.amounts.items():
        counts.measure(name, amount)


@lru_cache(maxsize=1)
def judge_of(clean: str, material: str) -> Judge:
    """The judge of a [clean] and its material, both as JSON: a process that does many units reads the files once."""
    return Judge(Clean.model_validate_json(clean), Material.from_json(json.loads(material)))


def _text(file: File) -> str:
    try:
        return file.read().decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8: {error.reason}", file=file.path, offset=error.start, mend="save the file as UTF-8"
        ) from error


def _word_list(file: File) -> flagged.WordList:
    try:
        return flagged.word_list(_text(file))
    except UsageError as error:
        mend = "give it an entry a line, or leave its language out of clean.flagged_words"
        raise UsageError(error.cause, file=file.path, mend=mend) from error


def _benchmark(ngram: int, material: Material) -> decontaminate.Benchmark:
    items = [item for file in material.benchmarks for item in decontaminate.read_items(file.path, file.read())]
    return decontaminate.index(items, ngram)


def _pii_key(file: File) -> bytes:
    key = file.read().strip()
    least, most = _PII_KEY_BYTES
    if not least <= len(key) <= most:
        raise UsageError(
            f"the key of clean.pii must have {least} to {most} bytes, this file has {len(key)}",
            file=file.path,
            mend="openssl rand -hex 32 > FILE",
        )
    return key


def _put(column: pa.Array, rows: np.ndarray, values: pa.Array) -> pa.Array:
    """The column with other values in some rows."""
    places = np.arange(len(column))
    places[rows] = len(column) + np.arange(len(rows))
    return pa.concat_arrays([column, values.cast(column.type)]).take(pa.array(places))


def _if_else(rows: np.ndarray, texts: pa.Array, others: pa.Array | str) -> pa.Array:
    return texts if rows.all() else pc.if_else(pa.array(rows), texts, others)


def _columns(batch: list[Parsed], source: str, file: str) -> dict[str, pa.Array]:
    n = len(batch)
    return {
        "id": pa.array([document_id(record.identity) for record in batch], DOCUMENTS.field("id").type),
        "text": pa.array([record.text for record in batch], pa.string()),
        "source": pa.array([source] * n, pa.string()),
        "url": pa.array([record.url for record in batch], pa.string()),
        "title": pa.array([record.title for record in batch], pa.string()),
        "timestamp": pa.array([record.timestamp for record in batch], TIMESTAMP),
        "file": pa.array([file] * n, pa.string()),
        "offset": pa.array([record.offset for record in batch], pa.int64()),
        "length": pa.array([record.length for record in batch], pa.int64()),
        "record": pa.array([record.record for record in batch], pa.string()),
    }
