"""Do one unit, wherever that is: announce it, process it, commit its row, or record why it failed."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import socket
import time
import traceback
from typing import Any

from pipeline import progress
from pipeline.errors import CorpusmillError, Stopped, UsageError, without_query
from pipeline.ledger import Ledger, Row, Unit
from pipeline.memory import peak_memory
from pipeline.storage import Root

RUNNING = "ledger/running"
"""What a build leaves here only while it runs."""


def claim_name(unit: Unit) -> str:
    """The file that says a unit is in progress, and where: it names the unit when a worker is killed."""
    return f"{RUNNING}/{unit.stage}/{unit.name}.json"


def failure_name(unit: Unit) -> str:
    """The file that says why the last try at a unit failed."""
    return f"ledger/failed/{unit.stage}/{unit.name}.json"


def process(root_url: str, unit: Unit, *known: Any) -> str:
    """Process ``unit`` and commit it, given what the job already knows. Returns "" or what went wrong.

    A unit that fails leaves no row, so a later run tries it again; the other units go on.
    """
    root = Root(root_url)
    claim = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "unit": unit.name}).encode()
    wall, cpu = time.monotonic(), _cpu_seconds()
    try:
        root.write(claim_name(unit), claim)
        # before its parts change: an earlier row must not vouch for other content
        Ledger(root).forget(unit.stage, unit.name)
        row: Row = importlib.import_module(f"pipeline.stages.{unit.stage}").process(root, unit, *known)
        row.took = {
            "seconds": round(time.monotonic() - wall, 3),
            "cpu_seconds": round(_cpu_seconds() - cpu, 3),
            "peak_memory": peak_memory(),
        }
        Ledger(root).commit(row)
        root.remove(failure_name(unit))
        return ""
    except Stopped:
        raise
    except Exception as error:  # noqa: BLE001  becomes a failure row and exit status 1; the unit has no row
        cause = without_query(f"{type(error).__name__}: {error}")
        value: dict[str, Any] = {"stage": unit.stage, "unit": unit.name, "cause": cause}
        value["traceback"] = without_query(traceback.format_exc())
        value["usage"] = isinstance(error, UsageError)  # the command line tells by it what to mend
        try:
            root.write(failure_name(unit), json.dumps(value, indent=1).encode())
        except (CorpusmillError, OSError):  # storage that refuses, a full disk
            progress.say(f"{unit.stage}: {unit.name}: {cause}")
        return cause
    finally:
        with contextlib.suppress(CorpusmillError, OSError):
            root.remove(claim_name(unit))


def _cpu_seconds() -> float:
    """Processor time of this process and of those it started and that have ended."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def running(root: Root, stage: str) -> list[dict[str, Any]]:
    """The claims of units in progress: host, pid, unit."""
    claims = [root.read_json(name) for name in root.sizes(f"{RUNNING}/{stage}")]
    return [claim for claim in claims if claim]


def failures(root: Root, stage: str) -> list[dict[str, Any]]:
    """The recorded failures of a stage: unit, cause, traceback."""
    return [value for name in root.sizes(f"ledger/failed/{stage}") if (value := root.read_json(name))]
