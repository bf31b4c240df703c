"""Quality rules: something measured, its limits, and the reason a drop is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.clean import flagged, stats
from pipeline.errors import UsageError

FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""How a rule names a function of the user's own: ``module:function`` (see `pipeline.clean.functions`)."""


@dataclass(frozen=True)
class Limit:
    """Keep a document while ``min <= value <= max`` (each where given) of what ``statistic`` names; otherwise drop it
    for ``reason``.

    A share of 0.3 passes ``max = 0.3``; what could not be measured (NaN) passes. Raises UsageError for no limit at all,
    or min above max.
    """

    statistic: str
    min: float | None = None
    max: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise UsageError(f"the rule on {self.statistic!r} has neither min nor max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise UsageError(f"the rule on {self.statistic!r} has min {self.min} above max {self.max}")
        if not self.reason:
            object.__setattr__(self, "reason", self.statistic)


@dataclass(frozen=True)
class Rule(Limit):
    """Limits on a statistic of `stats.DEFINITIONS` or `flagged.DEFINITIONS`, or on what a function of the user's own
    returns. Raises UsageError for an unknown statistic too."""

    def __post_init__(self) -> None:
        if not FUNCTION.fullmatch(self.statistic) and self.statistic not in flagged.DEFINITIONS:
            stats.check(self.statistic)
        super().__post_init__()


def statistics(rules: Sequence[Limit]) -> list[str]:
    """Return the names of the statistics that the rules read, each once."""
    return list(dict.fromkeys(rule.statistic for rule in rules))


def judge(
    table: pa.Table | Mapping[str, np.ndarray], rules: Sequence[Limit]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each document the place of the first rule it fails (int64, -1 for none), the value and the threshold
    (float64).

    ``table`` has the columns the rules name, as `stats.compute` returns them. Value and threshold are NaN where no
    rule fails.
    """
    columns = [table[rule.statistic] for rule in rules]
    values = [column if isinstance(column, np.ndarray) else column.to_numpy() for column in columns]
    count = table.num_rows if isinstance(table, pa.Table) else len(next(iter(table.values())))
    return first_failing(values, rules, count)


def first_failing(
    values: Sequence[np.ndarray], limits: Sequence[Limit], count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `judge` returns, from one array of values (float64, ``count``) per limit."""
    verdict = np.full(count, -1, np.int64)
    value = np.full(count, np.nan)
    threshold = np.full(count, np.nan)
    for place, (rule, column) in enumerate(zip(limits, values, strict=True)):
        for limit, fails in ((rule.min, np.less), (rule.max, np.greater)):
            if limit is not None:
                rows = fails(column, limit) & (verdict < 0)
                verdict[rows] = place
                value[rows] = column[rows]
                threshold[rows] = limit
    return verdict, value, threshold
