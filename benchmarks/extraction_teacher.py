"""What other extractors take from web pages: the further features of the teacher in `extraction_train.py`.

    python benchmarks/extraction_teacher.py --gold FOLDER --out opinions.pickle FOLDER...

Needs ``pip install numpy trafilatura lxml_html_clean resiliparse readability-lxml justext boilerpy3``, best in an
environment of its own. Reads the gold pages and the saved pages (``.html``, ``.testhtml``, also ``.gz``) under each
FOLDER, a quarter of a second a page, goes on where it stopped, and writes for each page, by the SHA-256 of its bytes,
the text that each extractor finds in it. No part of these texts is shipped; they help to label blocks while training.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import pickle
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from extraction_gold import FILES, load

TOKENS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")
SECONDS = 4  # that an extractor gets for a page
_SIZES = range(6_000, 1_500_000)  # bytes of a saved page worth reading
Opinions = dict[str, list[str]]


def key(html: bytes) -> str:
    return hashlib.sha256(html).hexdigest()


def saved_pages(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The names and bytes of the saved pages under ``folder``, in the order of their names."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name.removesuffix(".gz").endswith((".html", ".htm", ".testhtml")):
            html = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            if len(html) in _SIZES:
                yield str(path.relative_to(folder)), html


def _extractors() -> list[Callable[[str], str | None]]:
    import justext
    import lxml.html
    import readability
    import trafilatura
    from boilerpy3 import extractors
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    languages = "English German French Spanish Russian Polish Italian Portuguese Greek Dutch"
    stop_words = frozenset().union(*map(justext.get_stoplist, languages.split()))
    article = extractors.ArticleExtractor(raise_on_failure=False)
    default = extractors.DefaultExtractor(raise_on_failure=False)

    def settings(**more: bool) -> Callable[[str], str | None]:
        return lambda html: trafilatura.extract(html, include_comments=False, include_tables=True, **more)

    return [
        settings(),
        settings(favor_recall=True, fast=True),
        settings(favor_precision=True),
        settings(fast=True),
        lambda html: trafilatura.baseline(html)[1],
        lambda html: extract_plain_text(HTMLTree.parse(html), main_content=True, alt_texts=False),
        lambda html: "\n".join(
            p.text for p in justext.justext(html.encode(), stop_words, encoding="utf-8") if not p.is_boilerplate
        ),
        lambda html: "\n".join(lxml.html.fromstring(readability.Document(html).summary()).itertext()),
        article.get_content,
        default.get_content,
    ]


class _Late(BaseException):
    """An extractor's time is over."""


def _late(*_: object) -> None:
    raise _Late


def ask(html: bytes, extractors: list[Callable[[str], str | None]]) -> list[str]:
    """Each extractor's text; empty where it fails or takes too long."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    source = bytes_to_str(html, detect_encoding(html, from_html_meta=True) or "utf-8").replace("\x00", "")
    texts = []
    for extract in extractors:
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            texts.append(extract(source) or "")
        except (_Late, Exception):  # noqa: BLE001 - whatever another's code raises, it has no opinion
            texts.append("")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return texts


def shares(blocks: list[str], outputs: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """For each block the share of its words that each output has (blocks x outputs), and its number of words.

    A word counts where one of the three word trigrams around it, which may reach into the blocks beside, stands in the
    output: short blocks are told by their neighbours.
    """
    numbers: dict[str, int] = {}
    words: list[int] = []
    owner: list[int] = []
    for i, block in enumerate(blocks):
        mine = TOKENS.findall(block.lower())
        words += [numbers.setdefault(word, len(numbers) + 1) for word in mine]
        owner += [i] * len(mine)
    base = len(numbers) + 2

    def trigrams(sequence: list[int]) -> np.ndarray:
        a = np.array(sequence, np.int64)
        return (a[:-2] * base + a[1:-1]) * base + a[2:]

    places = np.array(owner, np.int64)
    sizes = np.bincount(places, minlength=len(blocks))
    found = np.zeros((len(blocks), len(outputs)), np.float32)
    if len(words) > 2:
        on_page = trigrams(words)
        for j, output in enumerate(outputs):
            said = [numbers.get(word, 0) for word in TOKENS.findall(output.lower())]
            if len(said) > 2:
                same = np.isin(on_page, trigrams(said))
                hit = np.zeros(len(words), bool)
                for k in range(3):
                    hit[k : len(words) - 2 + k] |= same
                found[:, j] = np.bincount(places, hit, len(blocks)) / np.maximum(sizes, 1)
    return found, sizes


def opinion_features(share: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """What the extractors say of each block, how far they agree, and where the block stands in what they take."""
    n = len(share)
    mean = share.mean(1)
    taken = (share * sizes[:, None]).sum(0)
    trust = (np.minimum(share, mean[:, None]) * sizes[:, None]).sum(0) / np.maximum(taken, 1)
    speaks = taken > 20
    trusted = (share * (trust * speaks)).sum(1) / max((trust * speaks).sum(), 1e-6)
    median = np.median(share[:, speaks], 1) if speaks.any() else np.zeros(n)
    columns = [share, mean, trusted, median, (share > 0.5).mean(1), share.std(1)]
    padded = np.pad(np.stack([trusted, median], 1), ((3, 3), (0, 0)))
    columns += [padded[3 + by : 3 + by + n] for by in (-1, 1, -2, 2, -3, 3)]
    sure = np.flatnonzero(trusted > 0.5)
    first, last = (sure[0], sure[-1]) if len(sure) else (0, n - 1)
    place = np.arange(n)
    running = np.cumsum(trusted * sizes)
    whole = max(running[-1], 1)
    for distance in (place - first, last - place):
        columns.append(np.sign(distance) * np.log1p(abs(distance)))
    columns += [running / whole, np.full(n, whole / max(sizes.sum(), 1)), np.full(n, np.log1p(whole))]
    columns += [np.tile(trust, (n, 1)), np.tile(taken / whole, (n, 1))]
    sums = np.concatenate([[0], np.cumsum(trusted)])
    for around in (5, 15):
        low, high = np.maximum(place - around, 0), np.minimum(place + around + 1, n)
        columns.append((sums[high] - sums[low]) / (high - low))
    return np.concatenate([column.reshape(n, -1) for column in columns], 1).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("folders", type=Path, nargs="*")
    args = parser.parse_args()
    opinions: Opinions = pickle.loads(args.out.read_bytes()) if args.out.exists() else {}
    signal.signal(signal.SIGALRM, _late)
    extractors = _extractors()
    pages = [page.html for page in load(args.gold, [*FILES]) if page.half == "A"]
    pages += [html for folder in args.folders for _, html in saved_pages(folder)]
    for n, html in enumerate(pages):
        if key(html) not in opinions:
            opinions[key(html)] = ask(html, extractors)
        if n % 100 == 99 or n + 1 == len(pages):
            args.out.write_bytes(pickle.dumps(opinions))
            print(n + 1, "of", len(pages), flush=True)


if __name__ == "__main__":
    main()
