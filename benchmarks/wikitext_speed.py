"""Wikipedia dump to plain text, beside wikiextractor and mwparserfromhell: seconds of the processor, same run.

    python benchmarks/wikitext_speed.py [--dump FILE] [--peer-python /venv/python] [--rounds 3] [--times 1] [--memory]

Every system is a process of its own that reads the dump from bz2 and hands out the text of each article; what counts is
the processor time of that process and its children, start included, best of the rounds, the systems taken in turn. All
have one and the same core, so that none pays for being moved; two workers have two, and one worker beside them one. The
rows "floor" do only the first steps; the last of them is what a renderer on mwparserfromhell's C tokenizer starts from.
``--memory`` adds the peak memory at 1, 5 and 20 times the dump.

Peers: pip install wikiextractor==3.1.0 mwparserfromhell==0.7.2
"""

from __future__ import annotations

import argparse
import bz2
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from measure import has

ROOT = Path(__file__).resolve().parents[1]
DUMP = ROOT.parent / "shared" / "data" / "wiki" / "enwiki-2016-gensim.xml.bz2"
MIB = 1 << 20

INFLATE = "import bz2,sys; bz2.decompress(open(sys.argv[1],'rb').read())"
PAGES = "import sys; from pipeline.parse.mediawiki_reader import read_pages\nfor page in read_pages(sys.argv[1]): pass"
ALONE = """
import sys
from pipeline.parse.mediawiki_reader import read_pages
from pipeline.parse.wikitext import render
for page in read_pages(sys.argv[1]):
    if not page.ns and not page.redirect:
        render(page.text, page.site, title=page.title)
"""
PARSE = "import sys; from pipeline.parse.mediawiki import parse\nfor row in parse(sys.argv[1]): pass"
MEMORY = """
import re, sys
from pathlib import Path
from pipeline.parse.mediawiki import parse
for row in parse(sys.argv[1]): pass
workers = Path("/proc/self/task").glob("*/children")
for process in ["self", *(" ".join(path.read_text() for path in workers)).split()]:
    print(re.search(r"VmHWM:\\s+(\\d+)", Path(f"/proc/{process}/status").read_text())[1])
"""
UNITS = """
import sys
from multiprocessing import get_context
from pipeline.parse.mediawiki import parse
from pipeline.parse.mediawiki_units import cut
def work(unit):
    return sum(not row.reason for row in parse(sys.argv[1], *unit))
if __name__ == "__main__":
    units = cut(sys.argv[1], 200_000)
    workers = int(sys.argv[2])
    if workers == 1:
        print(sum(map(work, units)))
    else:
        with get_context("fork").Pool(workers) as pool:
            print(sum(pool.imap_unordered(work, units)))
"""
ARTICLES = """
import bz2, sys
from xml.etree.ElementTree import iterparse
ns = text = None
for _, node in iterparse(bz2.open(sys.argv[1])):
    tag = node.tag.rpartition("}")[2]
    if tag == "ns": ns = node.text
    elif tag == "text": text = node.text or ""
    elif tag == "redirect": ns = "redirect"
    elif tag == "page":
        if ns == "0": work(text)
        node.clear()
"""
TOKENIZE = (
    "from mwparserfromhell.parser._tokenizer import CTokenizer\ndef work(text): CTokenizer().tokenize(text)" + ARTICLES
)
STRIP_CODE = "import mwparserfromhell\ndef work(text): mwparserfromhell.parse(text).strip_code()" + ARTICLES


@cache
def environment() -> dict[str, str]:
    """Our modules from this checkout, compiled once, as those of an installed package are; peers are installed."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": tempfile.mkdtemp(prefix="bytecode-")}


def measure(command: list[str]) -> tuple[float, float]:
    """Processor seconds and elapsed seconds of a process and its children."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)[:200]}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - begun


def peak(dump: Path) -> str:
    """Peak MiB of the reading process and of its worker."""
    command = [sys.executable, "-c", MEMORY, str(dump)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    return " + ".join(f"{int(kilobytes) / 1024:.0f}" for kilobytes in done.stdout.split())


def repeated(dump: Path, times: int, target: Path, multistream: bool = False) -> None:
    """The dump ``times`` over under new page ids, as one bz2 stream or one stream for each ten pages."""
    text = bz2.decompress(dump.read_bytes()).decode()
    first, last = text.index("<page>"), text.rindex("</page>") + len("</page>\n")
    pages = re.findall(r"<page>.*?</page>\n?", text[first:last], re.DOTALL)
    with target.open("wb") as out:
        if multistream:
            out.write(bz2.compress(text[:first].encode()))
            for i in range(0, len(pages) * times, 10):
                numbers = range(i, min(i + 10, len(pages) * times))
                group = "".join(pages[n % len(pages)].replace("<id>", f"<id>{n // len(pages)}", 1) for n in numbers)
                out.write(bz2.compress(group.encode()))
            out.write(bz2.compress(text[last:].encode()))
            return
        packer = bz2.BZ2Compressor()
        out.write(packer.compress(text[:first].encode()))
        for n in range(times):
            for page in pages:
                out.write(packer.compress(page.replace("<id>", f"<id>{n}", 1).encode()))
        out.write(packer.compress(text[last:].encode()) + packer.flush())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dump", type=Path, default=DUMP)
    options.add_argument("--peer-python", default=sys.executable, help="an interpreter that has the peers")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--times", type=int, default=1, help="repeat the dump, so that starting up counts less")
    options.add_argument("--memory", action="store_true", help="also peak memory at 1, 5 and 20 times the dump")
    args = options.parse_args()
    if not args.dump.exists():
        sys.exit(f"no dump at {args.dump}: name one with --dump")
    with tempfile.TemporaryDirectory() as folder:
        compare(args, Path(folder))


def compare(args: argparse.Namespace, folder: Path) -> None:
    """Print the tables."""
    source = args.dump
    if args.times > 1:
        source = folder / f"enwiki-{args.times}-times.xml.bz2"
        repeated(args.dump, args.times, source)
    dump, peer, python = str(source), args.peer_python, sys.executable
    extractor = [peer, "-m", "wikiextractor.WikiExtractor", "--json", "--processes", "1", "-q", "-o", "-"]
    systems: list[tuple[str, list[str], str]] = [
        ("floor: start Python", [python, "-c", "pass"], ""),
        ("floor: start, inflate", [python, "-c", INFLATE, dump], ""),
        ("floor: start, inflate, XML pages", [python, "-c", PAGES, dump], ""),
        ("floor: the same, C tokenizer", [peer, "-c", TOKENIZE, dump], "mwparserfromhell"),
        ("corpusmill, in this process", [python, "-c", ALONE, dump], ""),
        ("corpusmill, killable worker (as ingest)", [python, "-c", PARSE, dump], ""),
        ("wikiextractor --no-templates", [*extractor, "--no-templates", dump], "wikiextractor"),
        ("wikiextractor, templates", [*extractor, dump], "wikiextractor"),
        ("mwparserfromhell parse + strip_code", [peer, "-c", STRIP_CODE, dump], "mwparserfromhell"),
    ]
    there = {module: has(peer, module) for module in ("wikiextractor", "mwparserfromhell")}
    best: dict[str, float] = {}
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    for _ in range(args.rounds):
        for name, command, module in systems:
            if there.get(module, True):
                found = measure(command)[0]
                best[name] = min(best.get(name, found), found)
    size = len(bz2.decompress(source.read_bytes())) / MIB
    ours = best["corpusmill, killable worker (as ingest)"]
    floor = best["floor: start, inflate, XML pages"]
    print(
        f"{source.name}: {size:.1f} MiB of XML, best of {args.rounds}; ours is {ours / floor:.2f} x the pages alone\n"
    )
    print(f"{'system':42}{'CPU s':>8}{'MiB/s':>8}{'x ours':>8}")
    for name, _, module in systems:
        if name in best:
            print(f"{name:42}{best[name]:8.2f}{size / best[name]:8.1f}{best[name] / ours:8.2f}")
        else:
            print(f"{name:42}not installed: pip install {module}")
    many = folder / "enwiki-multistream.xml.bz2"
    repeated(args.dump, 16, many, multistream=True)
    script = folder / "units.py"
    script.write_text(UNITS)
    walls = {}
    for n in (1, 2):
        os.sched_setaffinity(0, cores[-n:])
        walls[n] = min(measure([python, str(script), str(many), str(n)])[1] for _ in range(args.rounds))
    os.sched_setaffinity(0, cores)
    elapsed = f"({walls[1]:.2f} s, {walls[2]:.2f} s elapsed; nothing else may run)"
    print(f"\ntwo workers on one multistream file of 16 dumps: {walls[1] / walls[2]:.2f} x one {elapsed}")
    if args.memory:
        for times in (1, 5, 20):
            longer = folder / f"enwiki-{times}.xml.bz2"
            repeated(args.dump, times, longer)
            print(f"peak memory at {times:2} x: {peak(longer)} MiB (reader + worker)")


if __name__ == "__main__":
    main()
