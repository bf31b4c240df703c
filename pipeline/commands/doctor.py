"""`corpusmill doctor`."""

from __future__ import annotations

import argparse

from pipeline.commands.common import Commands, print_json, with_json


def add(commands: Commands) -> None:
    """Declare doctor."""
    doctor = commands.add("doctor", "check the environment", "doctor", _doctor)
    doctor.add_argument("--corpus", default=".", metavar="DIR", help="where the corpus is to lie")
    with_json(doctor)


def _doctor(options: argparse.Namespace) -> int:
    from pipeline.doctor import checks

    found = checks(options.corpus)
    if options.json:
        print_json([{"check": what, "ok": ok, "detail": detail} for what, ok, detail in found])
    else:
        for what, ok, detail in found:
            print(f"{'  ' if ok is None else 'ok' if ok else 'NO'}  {what:<34}{detail}")
    return 1 if any(ok is False for _, ok, _ in found) else 0
