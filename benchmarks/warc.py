"""Archives to documents: records and pages a second, beside datatrove's reader with trafilatura.

    python benchmarks/warc.py ARCHIVE... [--peer-python PATH] [--repeat 3]

Two stages on the same files, one after the other, in seconds of the best run (datatrove extracts in
a child process, so that CPU seconds of one would not tell): reading every record (ours, FastWARC,
warcio) and reading with main text (ours; datatrove's WarcReader and Trafilatura). The readers differ in what they
promise: ours checks each member's CRC and each record's length, and ends a cut file with an error.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

_PEER = """
import json, sys, time
name, repeat, *paths = sys.argv[1:]
def records():
    n = 0
    for path in paths:
        if name == "fastwarc":
            from fastwarc.warc import ArchiveIterator
            for record in ArchiveIterator(open(path, "rb")):
                record.reader.read(); n += 1
        else:
            from warcio.archiveiterator import ArchiveIterator
            for record in ArchiveIterator(open(path, "rb")):
                record.content_stream().read(); n += 1
    return n
def documents():
    import os
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.readers import WarcReader
    n = 0
    for path in paths:
        reader = WarcReader(os.path.dirname(path), glob_pattern=os.path.basename(path))
        for _ in Trafilatura()(reader()):
            n += 1
    return n
work = documents if name == "datatrove" else records
work()
best = 1e9
for _ in range(int(repeat)):
    start = time.perf_counter()
    n = work()
    best = min(best, time.perf_counter() - start)
print("RESULT", json.dumps([n, best]))
"""


def peer(python: str, name: str, repeat: int, paths: list[str]) -> tuple[int, float] | None:
    """Records or documents, and seconds; None where the peer is not installed."""
    done = subprocess.run([python, "-c", _PEER, name, str(repeat), *paths], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        if "No module named" in done.stderr or "ImportError" in done.stderr:
            return None
        raise SystemExit(done.stderr)
    n, seconds = json.loads(lines[0][len("RESULT ") :])
    return n, seconds


def ours(paths: list[str], repeat: int, text: bool) -> tuple[int, float]:
    from pipeline.parse import warc

    options = warc.Options(timeout_s=0)
    best, n = float("inf"), 0
    for _ in range(repeat + 1):
        start = time.perf_counter()
        if text:
            n = sum(not row.reason for path in paths for row in warc.parse(path, 0, None, options))
        else:
            n = sum(1 for path in paths for _ in warc.read_records(path))
        best = min(best, time.perf_counter() - start)
    return n, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", nargs="+")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    paths = [str(Path(path).resolve()) for path in args.archives]
    rows: list[tuple[str, str, tuple[int, float] | None]] = [("records", "corpusmill", ours(paths, args.repeat, False))]
    rows += [("records", name, peer(args.peer_python, name, args.repeat, paths)) for name in ("fastwarc", "warcio")]
    rows += [("documents", "corpusmill", ours(paths, args.repeat, True))]
    rows += [("documents", "datatrove", peer(args.peer_python, "datatrove", args.repeat, paths))]
    print(f"{'stage':<12}{'reader':<14}{'found':>8}{'seconds':>10}{'a second':>10}")
    for stage, name, result in rows:
        if result is None:
            print(f"{stage:<12}{name:<14}  not installed; pip install {name}, or --peer-python PATH")
        else:
            print(f"{stage:<12}{name:<14}{result[0]:>8}{result[1]:>10.3f}{result[0] / result[1]:>10.0f}")


if __name__ == "__main__":
    main()
