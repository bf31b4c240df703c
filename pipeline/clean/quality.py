"""Presets: the published rule sets as data, and the steps of one run over a batch.

A preset is a TOML file beside this module: a list of steps, each either rules on statistics (documents go), line rules
(lines go, and documents with too little left), or another preset included. A step sees what the one before it left.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean import normalise, rules, stats
from pipeline.clean.lines import CITATION, LineRule, edit
from pipeline.clean.rules import Rule
from pipeline.clean.segments import Segments
from pipeline.errors import UsageError

TOO_FEW_SENTENCES = "too_few_sentences"
"""The reason of documents that line rules leave with fewer sentences than the step asks for."""


@dataclass(frozen=True)
class Step:
    """Rules on statistics, line rules (with C4's removal of citation marks and its least number of sentences), or
    ``classic``: the preprocessing of `pipeline.clean.normalise.classic`."""

    rules: tuple[Rule, ...] = ()
    lines: tuple[LineRule, ...] = ()
    citations: bool = False
    min_sentences: int = 0
    classic: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a batch, document by document.

    ``texts``: those kept as the steps left them, those dropped as they came; ``reasons`` ("" for kept); ``values`` and
    ``thresholds`` of the rule that failed (float64, NaN where there is none); ``removed``: lines removed, by reason
    (int64 arrays).
    """

    texts: pa.Array
    reasons: list[str]
    values: np.ndarray
    thresholds: np.ndarray
    removed: dict[str, np.ndarray]


def names() -> list[str]:
    """Return the names of the presets."""
    files = resources.files("pipeline.clean.presets").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


@lru_cache(maxsize=32)
def load(name: str) -> tuple[Step, ...]:
    """Return the steps of a preset, includes resolved; refuse an unknown name with the nearest known."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1, 0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"there is no preset {name!r}{hint} (there are {', '.join(names())})")
    return _steps(_read(name)["steps"])


def _read(name: str) -> dict[str, Any]:
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    return tomllib.loads((resources.files("pipeline.clean.presets") / f"{name}.toml").read_text("utf-8"))


def _steps(tables: Sequence[dict[str, Any]]) -> tuple[Step, ...]:
    """Build steps; neighbours that only have rules are one step, so that their statistics are computed together."""
    steps: list[Step] = []
    for table in tables:
        if "include" in table:
            found: tuple[Step, ...] = load(table["include"])
        else:
            given = {**table, "rules": (), "lines": ()}
            given["rules"] = tuple(Rule(**rule) for rule in table.get("rules", ()))
            given["lines"] = tuple(LineRule(**rule) for rule in table.get("lines", ()))
            found = (Step(**given),)
        for step in found:
            if steps and steps[-1].rules and step.rules:
                steps[-1] = Step(rules=steps[-1].rules + step.rules)
            else:
                steps.append(step)
    return tuple(steps)


def run(texts: pa.Array, language: str | pa.Array, steps: Sequence[Step]) -> Outcome:
    """Return what the steps keep and change of a batch; ``language`` is one code, or an array of one per document."""
    texts = pc.fill_null(texts.cast(pa.large_string()), "")
    codes = pa.array([language] * len(texts)) if isinstance(language, str) else language
    if not any(step.citations for step in steps):
        return _run(texts, codes, steps, citations=False)
    # The few texts with citation marks are taken apart twice; the others need not wait for them.
    marked = pc.match_substring_regex(texts, CITATION)
    rows = [pa.array(np.flatnonzero(marked.to_numpy(zero_copy_only=False) == answer)) for answer in (False, True)]
    parts = [_run(texts.take(part), codes.take(part), steps, bool(answer)) for answer, part in enumerate(rows)]
    back = np.argsort(np.concatenate(rows))
    reasons = parts[0].reasons + parts[1].reasons
    return Outcome(
        pa.concat_arrays([part.texts for part in parts]).take(pa.array(back)),
        [reasons[row] for row in back.tolist()],
        np.concatenate([part.values for part in parts])[back],
        np.concatenate([part.thresholds for part in parts])[back],
        {reason: np.concatenate([part.removed[reason] for part in parts])[back] for reason in parts[0].removed},
    )


def _run(texts: pa.Array, codes: pa.Array, steps: Sequence[Step], citations: bool) -> Outcome:
    count = len(texts)
    segments = Segments(texts)
    reasons = [""] * count
    values, thresholds = np.full(count, np.nan), np.full(count, np.nan)
    removed = {rule.reason: np.zeros(count, np.int64) for step in steps for rule in step.lines if rule.drop == "line"}
    alive = np.ones(count, bool)

    def drop(row: int, reason: str, value: float = np.nan, threshold: float = np.nan) -> None:
        if alive[row]:
            reasons[row], values[row], thresholds[row] = reason, value, threshold
            alive[row] = False

    for step in steps:
        if not alive.all():  # a dropped document is empty from here on, and costs nothing
            segments = segments.kept(np.repeat(alive, np.diff(segments.offsets)))
        if step.classic:
            segments = Segments(normalise.classic(segments.texts(), codes))
        elif step.rules:
            table = stats.compute(segments, codes, rules.statistics(step.rules))
            verdict, value, threshold = rules.judge(table, step.rules)
            for row in np.flatnonzero(verdict >= 0).tolist():
                drop(row, step.rules[verdict[row]].reason, value[row], threshold[row])
        else:
            if step.citations and citations:
                segments = Segments(pc.replace_substring_regex(segments.texts(), CITATION, ""))
            edited = edit(segments, step.lines)
            segments = edited.segments
            for reason, lines in edited.removed.items():
                removed[reason] += lines
            for row, reason in enumerate(edited.reasons):
                if reason:
                    drop(row, reason)
            for row in np.flatnonzero(edited.sentences < step.min_sentences).tolist():
                drop(row, TOO_FEW_SENTENCES, edited.sentences[row], step.min_sentences)
    places = np.arange(count)
    places[alive] += count
    return Outcome(
        pa.concat_arrays([texts, segments.texts()]).take(pa.array(places)), reasons, values, thresholds, removed
    )
