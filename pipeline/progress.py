"""Progress of a stage on stderr: units done, time spent and left. Read from the ledger, so workers may be anywhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from pipeline.ledger import Unit
from pipeline.storage import Root

_EVERY_TTY = 0.5  # seconds between looks at the ledger
_EVERY_LOG = 15.0


def say(text: str) -> None:
    """One line on stderr: stdout belongs to results."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def reporting(line: Callable[[], str]) -> Iterator[None]:
    """Print ``line()`` now and then while the block runs."""
    stop = threading.Event()
    thread = threading.Thread(target=_report, args=(line, stop), daemon=True, name="progress")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _report(line: Callable[[], str], stop: threading.Event) -> None:
    tty = sys.stderr.isatty()
    while not stop.wait(_EVERY_TTY if tty else _EVERY_LOG):
        print(f"\r\033[K{line()}" if tty else line(), end="" if tty else "\n", file=sys.stderr, flush=True)
    if tty:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def watching(root: Root, stage: str, units: list[Unit]) -> contextlib.AbstractContextManager[None]:
    """Report while the block runs. ``units`` are those still to do."""
    weights = {f"ledger/{stage}/{unit.name}.json": unit.bytes for unit in units}
    before = root.stamps(f"ledger/{stage}")
    total = sum(weights.values())
    began = time.monotonic()

    def line() -> str:
        done = [name for name, stamp in root.stamps(f"ledger/{stage}").items() if before.get(name) != stamp]
        share = sum(weights.get(name, 0) for name in done) / total if total else 0.0
        spent = time.monotonic() - began
        left = f"{clock(spent / share - spent)} left" if share else "no unit done yet"
        rate = f"{60 * len(done) / spent:.1f} units/min"
        return f"{stage}: {len(done)} of {len(units)} units, {100 * share:.0f} %, {rate}, {clock(spent)} so far, {left}"

    return reporting(line)


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    hours, rest = divmod(int(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def size(n: float) -> str:
    """A number of bytes as people read it."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n) < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"
