"""Learn which words in the names of elements (class, id, role, itemprop) tell text from the rest of a page.

    python benchmarks/extraction_names.py --gold FOLDER --fundus FOLDER ... --out pipeline/parse/data/html_names.json

Takes the pages and arguments of extraction_train.py, which is to run next: the classifier's features have a bit for
each group of words. A word is learned if the trees miss something without it: over the pages of sites that they have
not seen, the sum of label less probability in the elements of that name is more than `CLEAR` times its standard error.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from extraction_train import add_sources, collect

from pipeline.parse import encoding, html_blocks
from pipeline.parse.html_blocks import Page

CLEAR = 3.0
PAGES = 8  # at least that have the word
AROUND_ALL = 0.97  # share of a page's text from which an element says nothing of it

_NAMES = re.compile(
    rb"(?:^|[\s\"'/])(?:class|id|role|itemprop)\s*=\s*(?:\"([^\"]{0,399})\"|'([^']{0,399})'|([^\s>\"']{1,399}))", re.I
)
_WORDS = re.compile(rb"[A-Z]{2,}|[A-Z][a-z]*|[a-z]+")
Told = dict[str, tuple[float, float]]  # by word: what the trees miss in its elements on a page, and their share of it


def element_words(html: str, page: Page) -> dict[int, set[str]]:
    """The words in the names of a page's elements, by element."""
    data = html.encode("utf-8", "surrogatepass")
    elements = html_blocks._scan(html)[2]
    if len(elements) != len(page.parent):  # read as browsers without scripts do
        return {}
    words = {}
    for k, (start, stop) in enumerate(elements[:, 5:7].tolist()):
        names = (name for match in _NAMES.findall(data[start:stop]) for name in match if name)
        words[k] = {word.lower().decode() for name in names for word in _WORDS.findall(name)}
    return words


def tell(page: Page, words: dict[int, set[str]], missed: np.ndarray, weight: np.ndarray) -> Told:
    """What each word tells on a page: of an element within another of the same word nothing again."""
    m = len(page.parent)
    held = np.stack([np.bincount(page.node, missed, m), np.bincount(page.node, weight, m)], 1)
    for child in range(m - 1, 0, -1):
        held[page.parent[child]] += held[child]
    found: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
    around: list[frozenset[str]] = []
    for k in range(m):
        outer = around[page.parent[k]] if k else frozenset()
        own = words.get(k, set())
        if held[k, 1] > 0:
            for word in own - outer:
                found[word] += held[k]
        around.append(outer | own)
    return {word: (float(miss), float(share)) for word, (miss, share) in found.items() if share <= AROUND_ALL}


def groups(pages: Iterable[Told]) -> dict[str, str]:
    """The words on which the pages agree: two groups for text and two against it, the first the stronger ones."""
    of_word: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for page in pages:
        for word, told in page.items():
            of_word[word].append(told)
    effect: dict[str, float] = {}
    for word, tellings in of_word.items():
        miss, share = np.array(tellings).T
        if len(miss) >= PAGES and abs(miss.sum()) > CLEAR * np.sqrt((miss**2).sum()):
            effect[word] = float(miss.sum() / share.sum())
    found = {}
    for sign, name in ((1, "for"), (-1, "against")):
        ranked = sorted(
            (word for word in effect if effect[word] * sign > 0), key=lambda word: (-abs(effect[word]), word)
        )
        half = len(ranked) // 2
        found[f"{name} text"] = " ".join(sorted(ranked[:half]))
        found[f"rather {name} text"] = " ".join(sorted(ranked[half:]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sources(parser)
    args = parser.parse_args()
    if any(name.endswith(" text") for name in html_blocks.ZONES):
        parser.error("the trees must not see learned words yet: write {} to pipeline/parse/data/html_names.json first")
    data = collect(args)
    taught, _ = data.teach(set(), args.rounds)
    verdicts = data.unseen_verdicts(range(len(data.gold)), taught, args.rounds)
    told = []
    for i, page in enumerate(data.pages):
        weight = data.w[i] / data.w[i].sum()
        missed = weight * (taught[i] - 1 / (1 + np.exp(-verdicts[i])))
        told.append(tell(page, element_words(encoding.decode(data.gold[i].html)[0], page), missed, weight))
    learned = groups(told)
    args.out.write_text(json.dumps(learned, indent=1) + "\n", "utf-8")
    print({name: len(words.split()) for name, words in learned.items()})


if __name__ == "__main__":
    main()
