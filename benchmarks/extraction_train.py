r"""Train the block classifier of pipeline/parse/html.py and write its trees.

    python benchmarks/extraction_train.py --gold FOLDER --fundus FOLDER --readability FOLDER \
        --trafilatura FOLDER --out pipeline/parse/data/html_model.npz
    python benchmarks/extraction_train.py ... --lines --rounds 100 --seeds 1 --out pipeline/parse/data/html_lines.npz

The second command makes the classifier of texts without markup (WET). Needs lightgbm and, for the last source,
trafilatura. Only text licensed for it is used:

- half A of AEB (MIT), WCXB (CC BY 4.0) and the Chinese set (MIT); half B is for `benchmarks/extraction.py`;
- the test pages of github.com/flairNLP/fundus (MIT), ``tests/resources/parser/test_data``: news of 40 countries with
  the text that a parser written by hand for the publisher finds, where the page has it;
- the test pages of github.com/mozilla/readability (Apache-2.0), ``test/test-pages``, at half weight;
- the evaluation pages of github.com/adbar/trafilatura (Apache-2.0), ``tests``: each names some phrases that belong to
  the text and some that do not. Trafilatura's own output serves as gold text on the pages where it has all of the first
  and none of the second; at less than a third of the weight.

Pages of the last three that share text with half B are left out. A block's label is the share of its words that an
alignment with the gold text matches (Ratcliff and Obershelp), so that short blocks get the verdict of their place and
not of their words. (Networks of one hidden layer on the same features did no better; a second classifier that sees the
first one's verdicts on the neighbours gained nothing.)
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import urllib.parse
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from extraction_gold import FILES, Gold, load, scores, shingle_counts

from pipeline.parse import encoding, html, html_blocks, html_model
from pipeline.parse.html_features import features

_TOKENS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")
OTHER_PAGES = 2.0  # weight of WCXB's pages that are no articles, of which there are few of each type
WEIGHTS = {"AEB": 1.0, "WCXB": 1.0, "Chinese": 1.0, "fundus": 0.8, "readability": 0.5, "trafilatura": 0.3}
COVERED = 0.85  # share of the words of a fundus text that its page must have
PARAMETERS = {
    "objective": "cross_entropy",
    "learning_rate": 0.1,
    "num_leaves": 24,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5,
    "max_bin": 63,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbose": -1,
}


def labels(texts: list[str], gold: str) -> tuple[np.ndarray, np.ndarray]:
    """For each block the share of its words that belong to the gold text, and its number of words."""
    words: list[str] = []
    owner: list[int] = []
    for i, text in enumerate(texts):
        mine = _TOKENS.findall(text.lower())
        words += mine
        owner += [i] * len(mine)
    hit = np.zeros(len(words))
    matcher = SequenceMatcher(None, _TOKENS.findall(gold.lower()), words, autojunk=False)
    for _, start, n in matcher.get_matching_blocks():
        hit[start : start + n] = 1
    places = np.array(owner, np.int64)
    sizes = np.bincount(places, minlength=len(texts)).astype(np.float64)
    return np.bincount(places, hit, len(texts)) / np.maximum(sizes, 1), sizes


def fundus(folder: Path) -> Iterator[Gold]:
    """The test pages of fundus with what its parsers are to find on them, as far as files and results correspond."""
    for country in sorted(path.parent for path in folder.glob("*/meta.info")):
        urls = json.loads((country / "meta.info").read_text("utf-8"))
        for results in sorted(country.glob("*.json")):
            expected = json.loads(results.read_text("utf-8"))
            names = sorted(name for name in urls if name.split("_")[0] == results.stem)
            if len(names) != len(expected):
                continue
            for name, result in zip(names, expected.values(), strict=True):
                sections = [
                    text for part in result["body"]["sections"] for text in part["headline"] + part["paragraphs"]
                ]
                text = "\n".join(result["body"]["summary"] + sections)
                yield Gold(
                    "fundus",
                    country.name,
                    name,
                    gzip.decompress((country / name).read_bytes()),
                    text,
                    urls[name]["url"],
                )


def readability(folder: Path) -> Iterator[Gold]:
    """The test pages of Mozilla's Readability and what they expect of it."""
    for page in sorted(folder.iterdir()):
        if (page / "expected.html").exists():
            expected = html_blocks.blocks((page / "expected.html").read_text("utf-8")).text
            yield Gold("readability", "", page.name, (page / "source.html").read_bytes(), "\n".join(expected))


def trafilatura(folder: Path) -> Iterator[Gold]:
    """The evaluation pages of trafilatura on which its output passes the page's own checks."""
    from trafilatura import extract

    for url, page in sorted(json.loads((folder / "evaldata.json").read_text("utf-8")).items()):
        for path in (folder / "eval" / page["file"], folder / "cache" / page["file"]):
            if path.exists():
                source = path.read_bytes()
                text = extract(source, url=url, include_comments=False, include_tables=True) or ""
                if all(phrase in text for phrase in page["with"]) and not any(p in text for p in page["without"]):
                    yield Gold("trafilatura", "", page["file"], source, text, url)
                break


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[k : k + 8]) for k in range(len(words) - 7)}


def site(gold: Gold) -> str:
    """What must not be split between training and validation: the last labels of the page's host."""
    host = urllib.parse.urlsplit(gold.url).hostname or f"{gold.corpus} {gold.name}"
    return ".".join(host.split(".")[-3 if host.endswith(".uk") else -2 :])


class Data:
    """Pages with features and labels."""

    def __init__(self, pages: list[Gold], lines: bool) -> None:
        self.gold, self.pages = [], []
        self.x: list[np.ndarray] = []
        self.y: list[np.ndarray] = []
        self.w: list[np.ndarray] = []
        for gold in pages:
            page = html_blocks.blocks(encoding.decode(gold.html)[0])
            if lines:
                page = html_blocks.from_lines("\n".join(page.text))
            if not page.text:
                continue
            y, sizes = labels(page.text, gold.text)
            if gold.corpus == "fundus" and (y * sizes).sum() < COVERED * len(_TOKENS.findall(gold.text)):
                continue
            weight = np.sqrt(sizes + 3) + sizes * 0.15
            self.gold.append(gold)
            self.pages.append(page)
            self.x.append(features(page))
            self.y.append(y)
            of_page = WEIGHTS[gold.corpus] * (OTHER_PAGES if gold.corpus == "WCXB" and gold.group != "article" else 1)
            self.w.append(weight / weight.sum() * of_page)

    def soften(self, rounds: int) -> None:
        """Make the labels of machine-labelled pages the mean of what they are and what the others teach."""
        told = [i for i, gold in enumerate(self.gold) if gold.corpus == "trafilatura"]
        model = self.train([i for i, gold in enumerate(self.gold) if gold.corpus != "trafilatura"], 0, rounds)
        for i in told:
            self.y[i] = (self.y[i] + model.predict(self.x[i])) / 2

    def train(self, which: list[int], seed: int, rounds: int) -> lightgbm.Booster:
        x, y, w = (np.concatenate([column[i] for i in which]) for column in (self.x, self.y, self.w))
        parameters: dict[str, Any] = {**PARAMETERS, "seed": seed}
        return lightgbm.train(parameters, lightgbm.Dataset(x, y, weight=w, params=parameters), rounds)

    def report(self, logits: dict[int, np.ndarray], what: str) -> None:
        groups: dict[str, list] = {}
        for i, logit in sorted(logits.items()):
            gold, page = self.gold[i], self.pages[i]
            chosen = html.distinct(html.choose(logit, page), page.text)
            found = "\n".join(text for text, taken in zip(page.text, chosen, strict=True) if taken)
            counts = shingle_counts(gold.text, found, gold.corpus == "Chinese")
            groups.setdefault(gold.corpus, []).append(counts)
            if gold.corpus == "WCXB":
                groups.setdefault(f"WCXB {gold.group}", []).append(counts)
        print(what, {k: tuple(round(s, 3) for s in scores(v)) for k, v in sorted(groups.items())})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", type=Path, required=True)
    parser.add_argument("--fundus", type=Path, required=True)
    parser.add_argument("--readability", type=Path, required=True)
    parser.add_argument("--trafilatura", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lines", action="store_true", help="for texts without markup (html_lines.npz)")
    parser.add_argument("--folds", type=int, default=5, help="of the cross-validation by site; 0: none")
    parser.add_argument("--rounds", type=int, default=170)
    parser.add_argument("--seeds", type=int, default=2, help="models whose mean is stored")
    args = parser.parse_args()
    gold = load(args.gold, ["AEB", "WCXB", "Chinese", "DAnIEL"])
    held_out = set().union(*(_shingles(page.text) for page in gold if page.half == "B"))
    pages = [page for page in gold if page.half == "A" and page.corpus in WEIGHTS]
    n_validated = len(pages)
    for page in [*fundus(args.fundus), *readability(args.readability), *trafilatura(args.trafilatura)]:
        shingles = _shingles(page.text)
        if len(shingles & held_out) <= 0.1 * len(shingles):
            pages.append(page)
    print(f"{n_validated} gold pages of half A, {len(pages) - n_validated} others")
    data = Data(pages, args.lines)
    validated = [i for i, page in enumerate(data.gold) if page.half == "A" and page.corpus in FILES]
    data.soften(args.rounds)
    data.report({i: data.y[i] * 8 - 4 for i in validated}, "best that blocks can give")
    if args.folds:
        sites = sorted({site(data.gold[i]) for i in validated})
        fold = dict(zip(sites, np.random.default_rng(1).permutation(len(sites)) % args.folds, strict=True))
        logits = {}
        for k in range(args.folds):
            model = data.train([i for i, page in enumerate(data.gold) if fold.get(site(page)) != k], k, args.rounds)
            logits |= {i: model.predict(data.x[i], raw_score=True) for i in validated if fold[site(data.gold[i])] == k}
        data.report(logits, "cross-validated by site")
    everything = list(range(len(data.gold)))
    models = [data.train(everything, seed, args.rounds) for seed in range(args.seeds)]
    trees = html_model.pack([model.dump_model() for model in models])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out, **trees._asdict())
    print(args.out, args.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
