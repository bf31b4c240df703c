"""Quality rules: the whole FineWeb preset, each preset and each family of statistics, beside datatrove's filters;
language.

    python benchmarks/rules.py --peer-python /venv/with/datatrove/bin/python

The documents are the page texts of two extraction benchmarks, gold text and whole pages (tests/clean/parity.py), in
English or another language in Latin script. One core, seconds of the processor, best of three rounds, batches of 4 MB.
A family of statistics is timed alone, with the segmentation that all share. The first call of the compiled kernels in a
process loads them or, once a machine, compiles them: its wall-clock time is printed. datatrove reads every eighth
document, once, each filter alone and the chain as its FineWeb example has it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from measure import best

ROOT = Path(__file__).resolve().parents[1]
BATCH_CHARACTERS = 4_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer-python", help="an interpreter that has datatrove and spacy installed")
    parser.add_argument("--peer", help=argparse.SUPPRESS)  # the documents that the peer interpreter is asked to judge
    options = parser.parse_args()
    if options.peer:
        print(json.dumps(run_peer(options.peer)))
        return
    sys.path.insert(0, str(ROOT))
    import pyarrow as pa

    from pipeline.clean import language, quality, stats
    from tests.clean import parity

    documents = list(parity.documents())
    size = sum(len(text.encode()) for text in documents)
    batches: list[list[str]] = [[]]
    for text in documents:
        if sum(map(len, batches[-1])) > BATCH_CHARACTERS:
            batches.append([])
        batches[-1].append(text)
    arrays = [pa.array(batch) for batch in batches]
    print(f"{len(documents)} documents, {size / 1e6:.1f} MB")
    print(f"{'what':44}{'documents/s':>12}{'MB/s':>8}")

    def row(name: str, seconds: float, share: float = 1.0) -> None:
        rate = share * len(documents) / seconds
        print(f"{name:44}{rate:12,.1f}{share * size / seconds / 1e6:8.2f}", flush=True)

    start = time.perf_counter()
    stats.compute(pa.array(["A first text."]))
    print(f"first call of the kernels in this process: {time.perf_counter() - start:.2f} s")

    def run(preset: str) -> Callable[[], object]:
        return lambda: [quality.run(texts, "en", quality.load(preset)) for texts in arrays]

    ours = best(run("fineweb"))
    for name in quality.names():
        row(f"preset {name}", ours if name == "fineweb" else best(run(name)))
    for family, names in stats.FAMILIES.items():
        some = list(names)
        row(f"statistics: {family}", best(lambda some=some: [stats.compute(texts, "en", some) for texts in arrays]))
    row("language", best(lambda: [language.identify(texts) for texts in arrays], 1))
    lines = [text.replace("\n", " ") for text in documents]
    model = language.load_model()
    row("  the bare model on each text", best(lambda: [model.predict(line) for line in lines], 1))
    if not options.peer_python:
        return
    some_documents = documents[::8]
    share = sum(len(text.encode()) for text in some_documents) / size
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(some_documents, file)
        file.flush()
        command = [options.peer_python, __file__, "--peer", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    for name, seconds in theirs.items():
        row(name, seconds, share)
    print(f"fineweb preset: {theirs['datatrove, the FineWeb chain'] / share / ours:.0f} times datatrove's chain")


def run_peer(path: str) -> dict[str, float]:
    """Processor seconds of datatrove's filters over the documents of a JSON file (runs in the peer's interpreter)."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.utils.text import split_into_parts, split_into_words

    texts = json.loads(Path(path).read_text())
    split_into_words("Load the tokenizer.", "en")

    def judge(*filters) -> Callable[[], None]:
        def run() -> None:
            split_into_parts.cache_clear()
            for text in texts:
                document = Document(text=text, id="")
                for step in filters:
                    if document.text and step.filter(document) is not True:
                        break

        return run

    lines = C4QualityFilter(filter_no_terminal_punct=False)
    alone = {
        "Gopher repetition": GopherRepetitionFilter(),
        "Gopher quality": GopherQualityFilter(),
        "C4": lines,
        "FineWeb": FineWebQualityFilter(),
    }
    chain = (alone["Gopher repetition"], alone["Gopher quality"], lines, alone["FineWeb"])
    times = {"datatrove, the FineWeb chain": best(judge(*chain), 1)}
    times.update({f"  {name} alone": best(judge(step), 1) for name, step in alone.items()})
    return times


if __name__ == "__main__":
    main()
