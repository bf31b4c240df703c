"""Presets: the published rule sets as data, and the steps of one run over a batch.

A preset is a TOML file beside this module: a list of steps, each either rules on statistics (documents go), line rules
(lines go, and documents with too little left), or another preset included. A step sees what the one before it left.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean import flagged, functions, normalise, rules, stats
from pipeline.clean.lines import CITATION, LineRule, edit
from pipeline.clean.rules import Limit, Rule
from pipeline.clean.segments import Segments
from pipeline.errors import UsageError

TOO_FEW_SENTENCES = "too_few_sentences"
"""The reason of documents that line rules leave with fewer sentences than the step asks for."""

TOO_MUCH_REMOVED = "too_much_removed"
"""The reason of documents of whose words line rules remove a larger share than the step allows."""


@dataclass(frozen=True)
class Step:
    """Rules on statistics, line rules (with C4's removal of citation marks and its least number of sentences, and
    RefinedWeb's largest share of words in removed lines), or ``classic``: the
    preprocessing of `pipeline.clean.normalise.classic`."""

    rules: tuple[Rule, ...] = ()
    lines: tuple[LineRule, ...] = ()
    citations: bool = False
    min_sentences: int = 0
    max_removed: float | None = None
    classic: bool = False

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What decides on documents in this step, in order."""
        fatal = dict.fromkeys(rule.reason for rule in self.lines if rule.drop == "document")
        found = [Limit("fatal_lines", max=0, reason=reason) for reason in fatal]
        if self.min_sentences:
            found.append(Limit("sentences", min=self.min_sentences, reason=TOO_FEW_SENTENCES))
        if self.max_removed is not None:
            found.append(Limit("removed_word_share", max=self.max_removed, reason=TOO_MUCH_REMOVED))
        return self.rules or tuple(found)

    @property
    def edits(self) -> bool:
        """Whether the step changes texts."""
        return not self.rules


@dataclass(frozen=True)
class Outcome:
    """What became of a batch, document by document.

    ``texts``: those kept as the steps left them, those dropped as they came; ``limits``: what decided, in order;
    ``verdict``: the place of the limit that dropped the document (int64, -1 for kept); ``values`` and ``thresholds`` of
    it (float64, NaN for kept); ``removed``: lines removed, by reason (int64 arrays); ``left``: all texts as the last
    step left them; ``measured``: what was compared with each limit (float64 arrays), right up to a document's verdict.
    """

    texts: pa.Array
    limits: tuple[Limit, ...]
    verdict: np.ndarray
    values: np.ndarray
    thresholds: np.ndarray
    removed: dict[str, np.ndarray]
    left: pa.Array
    measured: list[np.ndarray]

    @property
    def reasons(self) -> list[str]:
        """The reason of each drop, "" for kept."""
        return [self.limits[place].reason if place >= 0 else "" for place in self.verdict.tolist()]


def names() -> list[str]:
    """Return the names of the presets."""
    files = resources.files("pipeline.clean.presets").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def check(name: str) -> str:
    """Return the name of a preset; refuse an unknown one with the nearest known."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1, 0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"there is no preset {name!r}{hint} (there are {', '.join(names())})")
    return name


@lru_cache(maxsize=32)
def load(name: str) -> tuple[Step, ...]:
    """Return the steps of a preset, includes resolved; refuse an unknown name with the nearest known."""
    return _steps(_read(check(name))["steps"])


def _read(name: str) -> dict[str, Any]:
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    return tomllib.loads((resources.files("pipeline.clean.presets") / f"{name}.toml").read_text("utf-8"))


def _steps(tables: Sequence[dict[str, Any]]) -> tuple[Step, ...]:
    found: list[Step] = []
    for table in tables:
        if "include" in table:
            found += load(table["include"])
        else:
            given = {**table, "rules": (), "lines": ()}
            given["rules"] = tuple(Rule(**rule) for rule in table.get("rules", ()))
            given["lines"] = tuple(LineRule(**rule) for rule in table.get("lines", ()))
            found.append(Step(**given))
    return joined(found)


def joined(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps, neighbours that only have rules as one, so that their statistics are computed together."""
    found: list[Step] = []
    for step in steps:
        if found and found[-1].rules and step.rules:
            found[-1] = Step(rules=found[-1].rules + step.rules)
        else:
            found.append(step)
    return tuple(found)


def run(
    texts: pa.Array,
    language: str | pa.Array,
    steps: Sequence[Step],
    *,
    flagged_words: Mapping[str, flagged.WordList] | None = None,
    measure_all: bool = False,
) -> Outcome:
    """Return what the steps keep and change of a batch; ``language`` is one code, or an array of one per document.

    ``flagged_words`` are the lists that `flagged_word_share` reads, by language. With ``measure_all``, a document that
    a step drops goes through the steps after it too, so that `Outcome.measured` tells what they would have found.
    """
    texts = pc.fill_null(texts.cast(pa.large_string()), "")
    codes = pa.array([language] * len(texts), pa.string()) if isinstance(language, str) else language
    lists = flagged_words or {}
    if not any(step.citations for step in steps):
        return _run(texts, codes, steps, False, lists, measure_all)
    # The few texts with citation marks are taken apart twice; the others need not wait for them.
    marked = pc.match_substring_regex(texts, CITATION)
    rows = [pa.array(np.flatnonzero(marked.to_numpy(zero_copy_only=False) == answer)) for answer in (False, True)]
    parts = [
        _run(texts.take(part), codes.take(part), steps, bool(answer), lists, measure_all)
        for answer, part in enumerate(rows)
    ]
    back = np.argsort(np.concatenate(rows))
    return Outcome(
        pa.concat_arrays([part.texts for part in parts]).take(pa.array(back)),
        parts[0].limits,
        np.concatenate([part.verdict for part in parts])[back],
        np.concatenate([part.values for part in parts])[back],
        np.concatenate([part.thresholds for part in parts])[back],
        {reason: np.concatenate([part.removed[reason] for part in parts])[back] for reason in parts[0].removed},
        pa.concat_arrays([part.left for part in parts]).take(pa.array(back)),
        [np.concatenate(both)[back] for both in zip(*[part.measured for part in parts], strict=True)],
    )


def _run(
    texts: pa.Array,
    codes: pa.Array,
    steps: Sequence[Step],
    citations: bool,
    lists: Mapping[str, flagged.WordList],
    measure_all: bool,
) -> Outcome:
    count = len(texts)
    segments = Segments(texts)
    removed = {rule.reason: np.zeros(count, np.int64) for step in steps for rule in step.lines if rule.drop == "line"}
    limits = [limit for step in steps for limit in step.limits]
    measured: list[np.ndarray] = []
    verdict, values, thresholds = rules.first_failing([], [], count)
    for step in steps:
        if not measure_all and (verdict >= 0).any():  # a dropped document is empty from here on, and costs nothing
            segments = segments.only_documents(verdict < 0)
        if step.classic:
            segments = Segments(normalise.classic(segments.texts(), codes))
        elif step.rules:
            table = measure(segments, codes, rules.statistics(step.rules), lists)
            measured += [table[rule.statistic] for rule in step.rules]
        else:
            if step.citations and citations:
                segments = Segments(pc.replace_substring_regex(segments.texts(), CITATION, ""))
            edited = edit(segments, step.lines)
            segments = edited.segments
            for reason, lines in edited.removed.items():
                removed[reason] += lines
            measured += [lines.astype(np.float64) for lines in edited.fatal.values()]
            if step.min_sentences:
                measured.append(edited.sentences.astype(np.float64))
            if step.max_removed is not None:
                measured.append(edited.removed_share)
        verdict, values, thresholds = rules.first_failing(measured, limits[: len(measured)], count)
    left = segments.texts()
    kept = pc.if_else(pa.array(verdict < 0), left, texts)
    return Outcome(kept, tuple(limits), verdict, values, thresholds, removed, left, measured)


def measure(
    segments: Segments, codes: pa.Array, names: Sequence[str], lists: Mapping[str, flagged.WordList]
) -> dict[str, np.ndarray]:
    """Return statistics of any kind by name (float64): ours, flagged words, and functions of the user's own."""
    table = stats.compute(segments, codes, [name for name in names if name in stats.DEFINITIONS])
    found = {name: table.column(name).to_numpy() for name in table.column_names}
    for name in names:
        if name in flagged.DEFINITIONS:
            found[name] = flagged.share(segments.texts(), codes, lists)
        elif name not in found:
            found[name] = functions.measure(name, segments.texts(), codes)
    return found
