"""Train the configured models on the shards of a corpus."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from pipeline import progress
from pipeline.config import Config
from pipeline.errors import CorpusmillError, Stopped
from pipeline.ledger import Counts, Row, Unit, digest
from pipeline.storage import Root
from train import snapshot
from train.config import TrainConfig

STAGE = "train"
VERSION = 3
FOLDERS: tuple[str, ...] = ()  # runs are never swept: they hold hours of work


def plan(config: Config, shards_digest: str) -> list[Unit]:
    """One unit a run."""
    units = []
    for name, run in sorted(config.run.items()):
        spec = {"run": run.model_dump(mode="json")}
        units.append(Unit(STAGE, name, digest([STAGE, VERSION, run.identity, shards_digest]), 1, spec))
    return units


def process(root: Root, unit: Unit) -> Row:
    """Train one run to its end, or go on from its latest checkpoint."""
    from train.device import check
    from train.loop import train

    if not root.local:
        raise CorpusmillError(
            "training needs a local disk", file=root.url, mend="copy shards/ and tokenizer/ to one and train there"
        )
    config = TrainConfig.model_validate_json(json.dumps(unit.spec["run"]))
    run_dir = root.path(f"runs/{unit.name}")
    check(config)  # before an earlier run is moved
    _make_way(run_dir, config, root)
    result = train(config, root.path("shards"), run_dir, progress=lambda row: _say(unit.name, row))
    if not result["finished"]:
        raise Stopped(
            f"stopped at step {result['step']}", file=run_dir, mend="the same command goes on from the checkpoint"
        )
    outputs = [
        {"path": f"runs/{unit.name}/{name}", "bytes": os.path.getsize(os.path.join(run_dir, name)), "sha256": sha256}
        for name, sha256 in sorted(result["files"].items())
    ]
    counts = Counts()
    counts.measure("tokens", result["tokens"])
    return Row(STAGE, unit.name, unit.key, outputs, counts, code=f"{STAGE}.{VERSION}")


def _make_way(run_dir: str, config: TrainConfig, root: Root) -> None:
    """Move a run of another configuration or other shards aside, and a run of this one back: none is overwritten."""
    known = root.read_json(f"runs/{os.path.basename(run_dir)}/run.json")
    wanted = _aside(run_dir, config.digest, root.read_json("shards/index.json")["fingerprint"])
    if known is not None:
        aside = _aside(run_dir, known["config_digest"], known["fingerprint"])
        if aside == wanted:
            return
        progress.say(f"train: configuration or shards changed; the earlier run is now {aside}")
        os.rename(run_dir, aside)
    if os.path.isdir(wanted):
        progress.say(f"train: going back to the run in {wanted}")
        os.rename(wanted, run_dir)


def _aside(run_dir: str, config_digest: str, fingerprint: str) -> str:
    return f"{run_dir}.{config_digest[:12]}-{fingerprint[:12]}"


def damage(root: Root, rows: dict[str, bool], repair: bool) -> list[str]:
    """What is wrong with the checkpoints of runs that have no row (``rows``: whether those that have one are sound).

    With ``repair`` every damaged run goes back to its newest whole checkpoint, or to its beginning.
    """
    found = []
    for folder in sorted(Path(root.path("runs")).glob(f"*/{snapshot.FOLDER}")) if root.local else ():
        run_dir = folder.parent
        if rows.get(run_dir.name):
            continue
        if (trouble := snapshot.check(run_dir)) and run_dir.name not in rows:
            found.append(trouble)
        if repair and (trouble or run_dir.name in rows):
            step = snapshot.repair(run_dir)
            (run_dir / "result.json").unlink(missing_ok=True)
            progress.say(f"train: {run_dir.name} goes back to step {step}")
    return found


def _say(name: str, row: dict[str, Any]) -> None:
    """One line a row; on a terminal one line that is drawn over, with a bar."""
    done = row["step"] / row["steps"]
    left = progress.clock((1 / done - 1) * row["seconds"])
    rate = f"{row['tokens_per_second']:,.0f} tokens/s" + (f", MFU {100 * row['mfu']:.0f} %" if "mfu" in row else "")
    line = f"train {name}: step {row['step']} of {row['steps']}, loss {row['loss']:.3f}, {rate}, {left} left"
    if "validation_loss" in row:
        line += f", validation {row['validation_loss']:.3f}"
    if sys.stderr.isatty():
        bar = "#" * round(20 * done)
        end = "\n" if row["step"] == row["steps"] or "validation_loss" in row else ""
        print(f"\r\033[K[{bar:<20}] {line}", end=end, file=sys.stderr, flush=True)
    else:
        progress.say(line)
