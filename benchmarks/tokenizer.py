"""Encoding to Arrow beside bare SentencePiece: tokens a second, on the same text, model and threads, in turn.

    python benchmarks/tokenizer.py

Text: the 32 Wikipedia pages of the bundled WET file, taken as often as makes a batch of about 6 MB. "lists" is what
SentencePiece gives when asked for ids (Python lists), "buffers" its fastest output (one numpy array a text), neither
of them yet an Arrow array. The ratio is to "lists": the median over the rounds, each of which times all ways once.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.tokenizer.real import pages
from tokenizer.encode import available_cores, encode, load
from tokenizer.train import TokenizerOptions, train

COPIES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description="Encoding to Arrow beside bare SentencePiece.")
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    texts = [text for _, text in pages()] * COPIES
    array = pa.array(texts)
    print(f"{len(texts)} texts, {array.nbytes / 1e6:.1f} MB, vocabulary 8,000, median of {rounds} rounds")
    print(f"{'model':8} {'threads':>7} {'way':22} {'Mtok/s':>7} {'ratio':>6}")
    for kind in ("unigram", "bpe"):
        model = load(train(texts[: len(pages())], TokenizerOptions(kind=kind, vocab_size=8000)).model)
        for threads in sorted({1, available_cores()}):

            def ways(model=model, threads=threads) -> dict[str, Callable[[], object]]:
                bare = model.processor.encode
                return {
                    "sentencepiece, lists": lambda: bare(texts, add_eos=True, num_threads=threads),
                    "sentencepiece, buffers": lambda: bare(texts, add_eos=True, num_threads=threads, out_type="numpy"),
                    "corpusmill, Arrow": lambda: encode(array, model, threads=threads),
                }

            tokens = len(encode(array, model).values)
            times: dict[str, list[float]] = {name: [] for name in ways()}
            for _ in range(rounds):
                for name, way in ways().items():
                    start = time.perf_counter()
                    way()
                    times[name].append(time.perf_counter() - start)
            reference = times["sentencepiece, lists"]
            for name, taken in times.items():
                ratio = median(r / t for r, t in zip(reference, taken, strict=True))
                print(f"{kind:8} {threads:7} {name:22} {tokens / median(taken) / 1e6:7.2f} {ratio:6.2f}", flush=True)


if __name__ == "__main__":
    main()
