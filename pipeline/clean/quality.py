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

from pipeline.clean import normalise, rules, stats
from pipeline.clean.lines import LineRule, edit
from pipeline.clean.rules import Rule
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

    ``texts`` as the steps left them; ``reasons`` ("" for kept); ``values`` and ``thresholds`` of the rule that failed
    (float64, NaN where there is none); ``removed``: lines removed, by reason (int64 arrays).
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
        import tomli as tomllib  # type: ignore[no-redef]
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
    count = len(texts)
    texts = texts.cast(pa.large_string())
    reasons = np.full(count, "", dtype=object)
    values, thresholds = np.full(count, np.nan), np.full(count, np.nan)
    removed: dict[str, np.ndarray] = {}
    for step in steps:
        open_rows = np.flatnonzero(reasons == "")
        if not len(open_rows):
            break
        rows = pa.array(open_rows)
        part = texts if len(open_rows) == count else texts.take(rows)
        codes = language if isinstance(language, str) else language.take(rows)
        if step.rules:
            table = stats.compute(part, codes, rules.statistics(step.rules))
            verdict, value, threshold = rules.judge(table, step.rules)
            failed = np.flatnonzero(verdict >= 0)
            for row in failed.tolist():
                reasons[open_rows[row]] = step.rules[verdict[row]].reason
            values[open_rows[failed]], thresholds[open_rows[failed]] = value[failed], threshold[failed]
            continue
        if step.classic:
            texts = _replaced(texts, open_rows, normalise.classic(part, codes))
            continue
        edited = edit(part, step.lines, step.citations)
        for reason, lines in edited.removed.items():
            total = removed.setdefault(reason, np.zeros(count, np.int64))
            total[open_rows] += lines
        few = edited.sentences < step.min_sentences
        for row, reason in enumerate(edited.reasons):
            if reason:
                reasons[open_rows[row]] = reason
            elif few[row]:
                reasons[open_rows[row]] = TOO_FEW_SENTENCES
                values[open_rows[row]], thresholds[open_rows[row]] = edited.sentences[row], step.min_sentences
        texts = _replaced(texts, open_rows, edited.texts)
    return Outcome(texts, reasons.tolist(), values, thresholds, removed)


def _replaced(texts: pa.Array, rows: np.ndarray, new: pa.Array) -> pa.Array:
    """Return the texts with those of some rows replaced."""
    places = np.arange(len(texts))
    places[rows] = len(texts) + np.arange(len(rows))
    return pa.concat_arrays([texts, new]).take(pa.array(places))
