"""Quality rules: a statistic, its limits, and the reason a drop is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.clean import stats
from pipeline.errors import UsageError


@dataclass(frozen=True)
class Rule:
    """Keep a document while ``min <= statistic <= max`` (each limit where given); otherwise drop it for ``reason``.

    A share of 0.3 passes ``max = 0.3``. Raises UsageError for an unknown statistic, no limit at all, or min above max.
    """

    statistic: str
    min: float | None = None
    max: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        stats.check(self.statistic)
        if self.min is None and self.max is None:
            raise UsageError(f"the rule on {self.statistic!r} has neither min nor max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise UsageError(f"the rule on {self.statistic!r} has min {self.min} above max {self.max}")
        if not self.reason:
            object.__setattr__(self, "reason", self.statistic)


def statistics(rules: Sequence[Rule]) -> list[str]:
    """Return the names of the statistics that the rules read, each once."""
    return list(dict.fromkeys(rule.statistic for rule in rules))


def judge(table: pa.Table, rules: Sequence[Rule]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each document the place of the first rule it fails (int64, -1 for none), the value and the threshold
    (float64).

    ``table`` has the columns the rules name, as `stats.compute` returns them. Value and threshold are NaN where no
    rule fails.
    """
    verdict = np.full(table.num_rows, -1, np.int64)
    value = np.full(table.num_rows, np.nan)
    threshold = np.full(table.num_rows, np.nan)
    for place, rule in enumerate(rules):
        column = table.column(rule.statistic).to_numpy()
        for limit, fails in ((rule.min, np.less), (rule.max, np.greater)):
            if limit is not None:
                rows = fails(column, limit) & (verdict < 0)
                verdict[rows] = place
                value[rows] = column[rows]
                threshold[rows] = limit
    return verdict, value, threshold
