"""The learning curve of a run, as rows of metrics.csv and as TensorBoard events."""

from __future__ import annotations

import contextlib
import csv
import os
from pathlib import Path
from typing import Any

from pipeline.errors import CorpusmillError
from pipeline.progress import say
from pipeline.storage import TEMPORARY

COLUMNS = (
    "step",
    "tokens",
    "loss",  # nats a target, mean since the row before
    "lr",
    "gradient_norm",
    "seconds",
    "validation_loss",
    "validation_bits_per_byte",
    "skipped",  # updates left out so far
    "tokens_per_second",
    "mfu",  # share of the device's peak; empty where the peak is not known
    "loader_share",  # of the time since the row before, spent waiting for data
    "memory_mb",
)


class Metrics:
    """Opens the curve of a run that has done ``step`` steps; rows of later steps, left by a killed run, are dropped.

    ``seconds`` is the time spent training up to the last row kept, over all processes that worked on the run;
    ``validated`` are the steps whose rows have figures on the validation split.
    """

    def __init__(self, run_dir: Path, step: int):
        self.run_dir = run_dir
        self.path = path = run_dir / "metrics.csv"
        rows = [row for row in read(path) if int(row["step"]) <= step]
        self.seconds = max((float(row["seconds"]) for row in rows if row["seconds"]), default=0.0)
        self.validated = {int(row["step"]) for row in rows if row["validation_loss"]}
        temporary = run_dir / f"{TEMPORARY}metrics.csv"
        with open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(temporary, path)
        self._file = open(path, "a", newline="")  # noqa: SIM115  closed by close()
        self._csv = csv.DictWriter(self._file, COLUMNS)
        self._board = _board(run_dir / "tensorboard", step)

    def write(self, row: dict[str, Any]) -> None:
        """Add one row; columns it lacks stay empty. Raises CorpusmillError where the disk refuses."""
        try:
            self._csv.writerow({name: row.get(name, "") for name in COLUMNS})
            self._file.flush()
            if "validation_loss" in row:
                self.validated.add(row["step"])
            for name in COLUMNS[2:] if self._board is not None else ():
                if name in row:
                    self._board.add_scalar(name, row[name], row["step"])
        except OSError as error:
            raise CorpusmillError(
                f"the learning curve could not be written: {error}",
                file=str(self.path),
                mend="make room, then run the same command again: it resumes from its checkpoint",
            ) from error

    def close(self) -> None:
        """Flush and close both."""
        with contextlib.suppress(OSError):  # a full disk was told by `write`; the next run drops a row cut short
            self._file.close()
        with contextlib.suppress(OSError):
            if self._board is not None:
                self._board.close()


def _board(folder: Path, step: int) -> Any:
    """A writer of TensorBoard events; None where it is not installed, which is said."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("TensorBoard is not installed: the learning curve is in metrics.csv alone")
        return None
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def read(path: Path) -> list[dict[str, str]]:
    """The whole rows of a curve; a last row cut short by a kill is left out."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        text = file.read()
    whole = text[: text.rfind("\n") + 1]
    return list(csv.DictReader(whole.splitlines()))
