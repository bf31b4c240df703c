"""What a process takes, and what an interpreter has. It needs nothing but Python: benchmarks of other tools run it in
theirs."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def best(function: Callable[[], object], rounds: int = 3) -> float:
    """Processor seconds of the best of the rounds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def peak_bytes() -> int:
    """The peak memory of this process (VmHWM: without that of the process that started it, unlike ru_maxrss)."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def has(python: str, module: str) -> bool:
    """Whether an interpreter has a module."""
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0
