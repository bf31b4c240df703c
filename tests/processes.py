"""Processes of tests: waited for, looked for."""

from __future__ import annotations

import os
import time


def wait_for(process, seen):
    """Wait until ``seen()`` or the process has ended; returns whether it was seen."""
    while process.poll() is None:
        if seen():
            return True
        time.sleep(0.01)
    return False


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(pid):
    """Every process below ``pid``."""
    found, wave = [], [pid]
    while wave:
        parent = wave.pop()
        for task in os.listdir(f"/proc/{parent}/task") if os.path.exists(f"/proc/{parent}/task") else ():
            try:
                with open(f"/proc/{parent}/task/{task}/children") as file:
                    wave += (children := [int(child) for child in file.read().split()])
            except OSError:
                continue
            found += children
    return found
