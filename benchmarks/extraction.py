"""Main-text extraction: F1 and pages a second on gold pages, beside trafilatura and resiliparse.

    python benchmarks/extraction.py --gold FOLDER [--half B] [--peer-python PATH] [--repeat 3]

FOLDER holds the zip files named in extraction_gold.py. Everything runs on the same pages, one after the other, on one
core. AEB, DAnIEL and the Chinese pages are scored as AEB's evaluate.py does (word 4-grams; a Chinese or Japanese
character counts as a word), WCXB by its own bag-of-words F1. Half A was used in development; half B is what counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from extraction_gold import FILES, Gold, load, scores, shingle_counts, word_f1

HINT = {"trafilatura": "trafilatura lxml_html_clean"}

# Runs under the peer's interpreter, which need not have this project: pages in, texts and seconds out.
_PEER = """
import pickle, sys, time
name, source, target, repeat = sys.argv[1:]
pages = pickle.load(open(source, "rb"))
if name == "trafilatura":
    import trafilatura
    def extract(html, url):
        return trafilatura.extract(html, include_comments=False, include_tables=True) or ""
else:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding
    from resiliparse.parse.html import HTMLTree
    def extract(html, url):
        text = bytes_to_str(html, detect_encoding(html, from_html_meta=True) or "utf-8")
        return extract_plain_text(HTMLTree.parse(text), main_content=True, alt_texts=False)
best = float("inf")
for _ in range(int(repeat)):
    start = time.process_time()
    texts = [extract(html, url) for html, url in pages]
    best = min(best, time.process_time() - start)
pickle.dump((texts, best), open(target, "wb"))
"""


def run_peer(python: str, name: str, pages: list[Gold], repeat: int) -> tuple[list[str], float] | None:
    """The peer's texts and the seconds of its best run, or None where it is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in"), Path(folder, "out")
        source.write_bytes(pickle.dumps([(p.html, p.url) for p in pages]))
        done = subprocess.run(
            [python, "-c", _PEER, name, source, target, str(repeat)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            if "ImportError" in done.stderr or "ModuleNotFoundError" in done.stderr:
                return None
            raise SystemExit(done.stderr)
        return pickle.loads(target.read_bytes())


def run_mill(pages: list[Gold], repeat: int) -> tuple[list[str], float]:
    from pipeline.parse import html

    best = float("inf")
    texts: list[str] = []
    for _ in range(repeat):
        start = time.process_time()
        texts = [html.extract(page.html, page.url).text for page in pages]
        best = min(best, time.process_time() - start)
    return texts, best


def table(pages: list[Gold], texts: list[str]) -> dict[str, tuple[float, ...]]:
    """Scores by group: (precision, recall, F1), or (F1,) for WCXB."""
    groups: dict[str, list[tuple[Gold, str]]] = {}
    for page, text in zip(pages, texts, strict=True):
        groups.setdefault(page.corpus, []).append((page, text))
        if page.group not in ("article", "Chinese") or page.corpus in ("WCXB", "DAnIEL"):
            groups.setdefault(f"{page.corpus} {page.group}", []).append((page, text))
    rows: dict[str, tuple[float, ...]] = {}
    for group, items in sorted(groups.items()):
        if group.startswith("WCXB"):
            rows[group] = (statistics.mean(word_f1(p.text, t) for p, t in items),)
        else:
            wide = "Chinese" in group
            rows[group] = scores([shingle_counts(p.text, t, wide or p.group == "Chinese") for p, t in items])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", type=Path, required=True)
    parser.add_argument("--half", choices=["A", "B", "both"], default="B")
    parser.add_argument("--corpora", default=",".join(FILES))
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--peers", default="resiliparse,trafilatura")
    parser.add_argument("--repeat", type=int, default=1)
    args = parser.parse_args()
    pages = [p for p in load(args.gold, args.corpora.split(",")) if args.half in (p.half, "both")]
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    speed: dict[str, str] = {}
    run_mill(pages[:5], 1)
    for name in ["mill", *filter(None, args.peers.split(","))]:
        seconds = 0.0
        texts: list[str] = []
        rates = []
        for corpus in args.corpora.split(","):
            part = [p for p in pages if p.corpus == corpus]
            result = (
                run_mill(part, args.repeat) if name == "mill" else run_peer(args.peer_python, name, part, args.repeat)
            )
            if result is None:
                break
            texts += result[0]
            seconds += result[1]
            rates.append(f"{corpus} {len(part) / result[1]:.0f}")
        if len(texts) < len(pages):
            print(f"{name}: not installed; pip install {HINT.get(name, name)}, or --peer-python PATH")
            continue
        found[name] = table(pages, texts)
        speed[name] = ", ".join(rates)
    groups = list(found["mill"])
    counts = {g: sum(g in (p.corpus, f"{p.corpus} {p.group}") for p in pages) for g in groups}
    print(f"half {args.half}, {len(pages)} pages, F1" + " " * 4 + "".join(f"{name:>24}" for name in found))
    for group in groups:
        cells = []
        for name in found:
            *parts, f1 = found[name][group]
            cells.append((f"{parts[0]:.3f}/{parts[1]:.3f} " if parts else "") + f"{f1:.3f}")
        best = max(found[name][group][-1] for name in found)
        lost = " <" if found["mill"][group][-1] < best - 5e-4 else ""
        print(f"{group:<22}{counts[group]:>5}" + "".join(f"{cell:>24}" for cell in cells) + lost)
    for name, rates_text in speed.items():
        print(f"pages/s {name}: {rates_text}")
    if importlib.util.find_spec("trafilatura") is None and args.peer_python == sys.executable:
        print("peers run under this interpreter; --peer-python names another")


if __name__ == "__main__":
    main()
