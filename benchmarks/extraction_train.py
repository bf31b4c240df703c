r"""Train the block classifier of pipeline/parse/html.py and write its trees.

    python benchmarks/extraction_train.py --gold FOLDER --fundus FOLDER --readability FOLDER --trafilatura FOLDER \
        --opinions FILE --unlabelled FOLDER... --out pipeline/parse/data/html_model.npz
    python benchmarks/extraction_train.py ... --lines --rounds 100 --seeds 1 --out pipeline/parse/data/html_lines.npz

The first command also writes the trees of the second look, html_context.npz, beside the others. The second makes a
classifier of texts without markup (WET). The one in the package is older, of the same gold pages without a teacher:
distilled ones were no better in cross-validation. Needs lightgbm, and what extraction_teacher.py wrote. Only text
licensed for it is used as gold:

- half A of AEB (MIT), WCXB (CC BY 4.0) and the Chinese set (MIT); half B is for `benchmarks/extraction.py`;
- the test pages of github.com/flairNLP/fundus (MIT), ``tests/resources/parser/test_data``: news of 40 countries with
  the text that a parser written by hand for the publisher finds, where the page has it;
- the test pages of github.com/mozilla/readability (Apache-2.0), ``test/test-pages``, at half weight.

A block's label is the share of its words that an alignment with the gold text matches (Ratcliff and Obershelp), so that
short blocks get the verdict of their place and not of their words.

These are some 640 pages of 515 sites for 271 features. 2,040 pages of 1,800 more sites come in by distillation (Hinton
et al., 2015): a teacher, trained on the gold pages, sees besides the features what ten settings of other extractors
take from the page (extraction_teacher.py), and its verdicts are the labels of pages that have none:

- the evaluation pages of github.com/adbar/trafilatura (Apache-2.0), ``tests``: each names some phrases that belong to
  the text and some that do not; a block with one of them has that label, for the teacher too;
- saved pages of many sites, one a site, from the tests of public projects, given as ``--unlabelled``, only ever read
  as input: github.com/codelucas/newspaper (MIT), AndyTheFactory/newspaper4k (MIT), goose3/goose3 (Apache-2.0),
  postlight/parser (Apache-2.0, MIT), omnivore-app/omnivore (AGPL-3.0), microlinkhq/metascraper (MIT), adbar/htmldate
  (Apache-2.0), adbar/trafilatura, scrapinghub/Formasaurus (MIT), scrapinghub/autopager (MIT), hhursev/recipe-scrapers
  (MIT), City-Bureau/city-scrapers (MIT), freelawproject/juriscraper (BSD-2-Clause).

The trees of the second look (`pipeline.parse.html_context`) correct the first ones' verdicts. They learn from verdicts
on pages of sites that the first trees have not seen, as they will meet them.

Pages that share text with half B are left out. In the cross-validation teacher and student see no site of the fold; the
names of extraction_names.py, which is to run before, have been learned from all of them.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import pickle
import random
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from extraction_gold import FILES, Gold, load, scores, shingle_counts, word_f1
from extraction_teacher import TOKENS, Opinions, key, opinion_features, saved_pages, shares

from pipeline.parse import encoding, html, html_blocks, html_context, html_model
from pipeline.parse.html_features import features

OTHER_PAGES = 2.0  # weight of WCXB's pages that are no articles, of which there are few of each type
WEIGHTS = {
    "AEB": 1.0,
    "WCXB": 1.0,
    "Chinese": 1.0,
    "fundus": 0.8,
    "readability": 0.5,
    "trafilatura": 0.3,
    "unlabelled": 0.3,
}
COVERED = 0.85  # share of the words of a fundus text that its page must have
MOST_OF_A_FOLDER = 350
PARTS = 5  # of the sites: verdicts for the second look come from trees that have not seen the page's part
ROUNDS_AGAIN, RATE_AGAIN = 100, 0.06
CLEAR, EVERY = 0.02, 3  # of the blocks of less than this probability every third stands for three, in pages it labels
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


@dataclass
class Weak(Gold):
    """A page without gold text, and phrases that a person found in it: of its text, and of what is none."""

    phrases: list[tuple[str, float]] = field(default_factory=list)


def labels(texts: list[str], gold: str) -> tuple[np.ndarray, np.ndarray]:
    """For each block the share of its words that belong to the gold text, and its number of words."""
    words: list[str] = []
    owner: list[int] = []
    for i, text in enumerate(texts):
        mine = TOKENS.findall(text.lower())
        words += mine
        owner += [i] * len(mine)
    hit = np.zeros(len(words))
    matcher = SequenceMatcher(None, TOKENS.findall(gold.lower()), words, autojunk=False)
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


def trafilatura(folder: Path) -> Iterator[Weak]:
    """The evaluation pages of trafilatura with their phrases."""
    for url, page in sorted(json.loads((folder / "evaldata.json").read_text("utf-8")).items()):
        for path in (folder / "eval" / page["file"], folder / "cache" / page["file"]):
            if path.exists():
                phrases = [(phrase, 1.0) for phrase in page["with"]] + [(phrase, 0.0) for phrase in page["without"]]
                yield Weak("trafilatura", "", page["file"], path.read_bytes(), "", url, phrases)
                break


def unlabelled(folders: list[Path], opinions: Opinions) -> Iterator[Weak]:
    """Saved pages that there are opinions of, one of each site, in a random order that is always the same."""
    found = [(f, name, page) for f in folders for name, page in saved_pages(f) if key(page) in opinions]
    random.Random(1).shuffle(found)
    of_folder = dict.fromkeys(folders, 0)
    sites = set()
    for folder, name, source in found:
        weak = Weak("unlabelled", folder.name, name, source, "", _own_url(source))
        if site(weak) not in sites and of_folder[folder] < MOST_OF_A_FOLDER:
            sites.add(site(weak))
            of_folder[folder] += 1
            yield weak


_CANONICAL = re.compile(rb"<(?:link|meta)\b[^>]{0,500}\b(?:canonical|og:url)\b[^>]{0,800}>", re.I)
_ADDRESS = re.compile(rb"\b(?:href|content)\s*=\s*[\"']?(https?://[^\"'\s>]+)", re.I)


def _own_url(source: bytes) -> str:
    for tag in _CANONICAL.findall(source[:200_000]):
        address = _ADDRESS.search(tag)
        if address:
            return address[1].decode("utf-8", "replace")
    return ""


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = TOKENS.findall(text.lower())
    return {tuple(words[k : k + 8]) for k in range(len(words) - 7)}


def site(gold: Gold) -> str:
    """What must not be split between training and validation: the last labels of the page's host."""
    host = urllib.parse.urlsplit(gold.url).hostname or f"{gold.corpus} {gold.name}"
    return ".".join(host.split(".")[-3 if host.endswith(".uk") else -2 :])


SHARED = 20  # runs of eight words that a page may share with a gold text


class Data:
    """Pages with features and labels; with what the teacher sees of them."""

    def __init__(self, pages: list[Gold], opinions: Opinions) -> None:
        self.gold, self.pages = [], []
        self.x: list[np.ndarray] = []
        self.seen: list[np.ndarray] = []  # by the teacher
        self.y: list[np.ndarray] = []  # nan: only the teacher can tell
        self.w: list[np.ndarray] = []
        for gold in pages:
            page = html_blocks.blocks(encoding.decode(gold.html)[0])
            if not page.text or key(gold.html) not in opinions:
                continue
            share, sizes = shares(page.text, opinions[key(gold.html)])
            y = _told(page.text, gold.phrases) if isinstance(gold, Weak) else labels(page.text, gold.text)[0]
            if gold.corpus == "fundus" and (y * sizes).sum() < COVERED * len(TOKENS.findall(gold.text)):
                continue
            weight = np.sqrt(sizes + 3) + sizes * 0.15
            of_page = WEIGHTS[gold.corpus] * (OTHER_PAGES if gold.corpus == "WCXB" and gold.group != "article" else 1)
            self.gold.append(gold)
            self.pages.append(page)
            self.x.append(features(page))
            self.seen.append(np.concatenate([self.x[-1], opinion_features(share, sizes)], 1))
            self.y.append(y)
            self.w.append(weight / weight.sum() * of_page)

    def teach(self, unseen: set[int], rounds: int) -> tuple[list[np.ndarray], list[lightgbm.Booster]]:
        """Labels of all blocks, a teacher's where there is none yet, and the teacher; it learns from no ``unseen``."""
        rows = []
        for i, gold in enumerate(self.gold):
            told = ~np.isnan(self.y[i])
            if told.any() and i not in unseen:
                weight = self.w[i][told]
                if isinstance(gold, Weak):
                    weight = np.full(len(weight), WEIGHTS[gold.corpus] / len(weight))
                rows.append((self.seen[i][told], self.y[i][told], weight))
        teacher = [self._fit(rows, 1000 + seed, rounds) for seed in range(2)]
        taught = []
        for y, seen in zip(self.y, self.seen, strict=True):
            unknown = np.isnan(y)
            if unknown.any():
                y = np.where(unknown, np.mean([model.predict(seen) for model in teacher], 0), y)
            taught.append(y)
        return taught, teacher

    def train(self, which: Iterable[int], taught: list[np.ndarray], seed: int, rounds: int) -> lightgbm.Booster:
        """Trees of the first look."""
        rows = []
        for i in which:
            kept, weight = self._thinned(i, taught[i])
            rows.append((self.x[i][kept], taught[i][kept], weight[kept]))
        return self._fit(rows, seed, rounds)

    def unseen_verdicts(self, which: Iterable[int], taught: list[np.ndarray], rounds: int) -> dict[int, np.ndarray]:
        """The logits of each page by trees of the first look that have not seen its part of the sites."""
        which = list(which)
        part = parts(site(self.gold[i]) for i in which)
        verdicts = {}
        for k in range(PARTS):
            model = self.train([i for i in which if part[site(self.gold[i])] != k], taught, 100 + k, rounds)
            for i in which:
                if part[site(self.gold[i])] == k:
                    verdicts[i] = model.predict(self.x[i], raw_score=True)
        return verdicts

    def train_again(self, taught: list[np.ndarray], verdicts: dict[int, np.ndarray], seed: int) -> lightgbm.Booster:
        """Trees of the second look, of the pages that there are first verdicts on."""
        rows = []
        for i, logits in sorted(verdicts.items()):
            kept, weight = self._thinned(i, taught[i])
            kept = kept & (logits > html_model.SETTLED)
            rows.append((self._around(i, logits)[kept], taught[i][kept], weight[kept], logits[kept]))
        return self._fit(rows, seed, ROUNDS_AGAIN)

    def look_again(self, i: int, logits: np.ndarray, model: lightgbm.Booster) -> np.ndarray:
        """The verdicts on a page after the second look."""
        correction = model.predict(self._around(i, logits), raw_score=True)
        return np.where(logits > html_model.SETTLED, logits + correction, logits)

    def _around(self, i: int, logits: np.ndarray) -> np.ndarray:
        return np.concatenate([self.x[i], html_context.context(self.pages[i], logits)], 1)

    def _thinned(self, i: int, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which blocks of a page to learn from, and the weights of all."""
        if not isinstance(self.gold[i], Weak):
            return np.ones(len(y), bool), self.w[i]
        clear = y < CLEAR
        return ~clear | (np.arange(len(y)) % EVERY == 0), np.where(clear, self.w[i] * EVERY, self.w[i])

    @staticmethod
    def _fit(rows: list[tuple[np.ndarray, ...]], seed: int, rounds: int) -> lightgbm.Booster:
        """Trees of (features, labels, weights); of the second look, if there are logits to start from too."""
        x, y, w, *start = (np.concatenate(column) for column in zip(*rows, strict=True))
        parameters: dict[str, Any] = {**PARAMETERS, "seed": seed}
        if start:
            parameters["learning_rate"] = RATE_AGAIN
        data = lightgbm.Dataset(x, y, weight=w, init_score=start[0] if start else None, params=parameters)
        return lightgbm.train(parameters, data, rounds)

    def as_lines(self, taught: list[np.ndarray]) -> tuple[Data, list[np.ndarray]]:
        """The same pages when they have lost their markup, and the blocks' labels for their lines."""
        data = copy.copy(self)
        data.pages, data.x, data.w, labels = [], [], [], []
        for page, y, w in zip(self.pages, taught, self.w, strict=True):
            lines = [(line, k) for k, text in enumerate(page.text) for line in text.split("\n") if line.strip()]
            blocks = [k for _, k in lines]
            data.pages.append(html_blocks.from_lines("\n".join(line for line, _ in lines)))
            data.x.append(features(data.pages[-1]))
            data.w.append(w[blocks])
            labels.append(y[blocks])
        return data, labels

    def report(self, logits: dict[int, np.ndarray], what: str) -> None:
        groups: dict[str, list] = {}
        for i, logit in sorted(logits.items()):
            gold, page = self.gold[i], self.pages[i]
            chosen = html.distinct(html.choose(logit, page), page.text)
            found = "\n".join(text for text, taken in zip(page.text, chosen, strict=True) if taken)
            counts = shingle_counts(gold.text, found, gold.corpus == "Chinese")
            for group in (gold.corpus, f"{gold.corpus} {gold.group}") if gold.corpus == "WCXB" else (gold.corpus,):
                groups.setdefault(group, []).append((counts, word_f1(gold.text, found)))
        print(what)
        for group, values in sorted(groups.items()):
            precision, recall, f1 = scores([counts for counts, _ in values])
            words = np.mean([score for _, score in values])
            print(
                f"  {group:<20}{len(values):>4}  {precision:.3f} {recall:.3f} {f1:.4f}, of words {words:.4f}",
                flush=True,
            )


def _told(texts: list[str], phrases: list[tuple[str, float]]) -> np.ndarray:
    """The labels of the blocks that alone have a person's phrase; nan for the others."""
    y = np.full(len(texts), np.nan)
    for phrase, label in sorted(phrases, key=lambda pair: pair[1]):
        phrase = " ".join(phrase.split())
        holders = [i for i, text in enumerate(texts) if phrase in text]
        if len(phrase) >= 4 and len(holders) == 1:
            y[holders[0]] = label
    return y


def parts(sites: Iterable[str], n: int = PARTS, seed: int = 2) -> dict[str, int]:
    """The sites in ``n`` parts, at random."""
    found = sorted(set(sites))
    return dict(zip(found, (np.random.default_rng(seed).permutation(len(found)) % n).tolist(), strict=True))


def add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gold", type=Path, required=True)
    parser.add_argument("--fundus", type=Path, required=True)
    parser.add_argument("--readability", type=Path, required=True)
    parser.add_argument("--trafilatura", type=Path, required=True)
    parser.add_argument("--unlabelled", type=Path, nargs="*", default=[])
    parser.add_argument("--opinions", type=Path, required=True, help="what extraction_teacher.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=170)


def collect(args: argparse.Namespace) -> Data:
    """The pages of all sources that there are opinions of, but none that shares text with half B."""
    gold = load(args.gold, ["AEB", "WCXB", "Chinese", "DAnIEL"])
    held_out = set().union(*(_shingles(page.text) for page in gold if page.half == "B"))
    pages = [page for page in gold if page.half == "A" and page.corpus in WEIGHTS]
    for page in [*fundus(args.fundus), *readability(args.readability)]:
        shingles = _shingles(page.text)
        if len(shingles & held_out) <= 0.1 * len(shingles):
            pages.append(page)
    known = held_out.union(*(_shingles(page.text) for page in pages))
    opinions: Opinions = pickle.loads(args.opinions.read_bytes())
    for weak in [*trafilatura(args.trafilatura), *unlabelled(args.unlabelled, opinions)]:
        shingles = _shingles("\n".join(html_blocks.blocks(encoding.decode(weak.html)[0]).text))
        if len(shingles & (held_out if weak.phrases else known)) < SHARED:
            pages.append(weak)
    data = Data(pages, opinions)
    print({corpus: sum(page.corpus == corpus for page in data.gold) for corpus in WEIGHTS}, flush=True)
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sources(parser)
    parser.add_argument("--lines", action="store_true", help="for texts without markup (html_lines.npz)")
    parser.add_argument("--folds", type=int, default=5, help="of the cross-validation by site; 0: none")
    parser.add_argument("--seeds", type=int, default=2, help="models whose mean is stored")
    args = parser.parse_args()
    data = collect(args)
    validated = {i for i, page in enumerate(data.gold) if page.half == "A" and page.corpus in FILES}
    fold_of = parts((site(data.gold[i]) for i in validated), max(args.folds, 1), 1)
    verdicts: dict[str, dict[int, np.ndarray]] = {"teacher": {}, "first look": {}, "second look": {}}
    for k in range(args.folds):
        unseen = {i for i, page in enumerate(data.gold) if fold_of.get(site(page)) == k}
        rest = [i for i in range(len(data.gold)) if i not in unseen]
        taught, teacher = data.teach(unseen, args.rounds)
        given, taught = data.as_lines(taught) if args.lines else (data, taught)
        first = given.train(rest, taught, k, args.rounds)
        for i in unseen & validated:
            verdicts["first look"][i] = first.predict(given.x[i], raw_score=True)
        if not args.lines:
            second = data.train_again(taught, data.unseen_verdicts(rest, taught, args.rounds), k)
            for i in unseen & validated:
                verdicts["second look"][i] = data.look_again(i, verdicts["first look"][i], second)
                verdicts["teacher"][i] = sum(model.predict(data.seen[i], raw_score=True) for model in teacher) / 2
        print("fold", k, flush=True)
    for what, logits in verdicts.items():
        if logits:
            given.report(logits, f"cross-validated by site: {what}")
    if not args.seeds:
        return
    taught, _ = data.teach(set(), args.rounds)
    given, taught = data.as_lines(taught) if args.lines else (data, taught)
    everything = range(len(data.gold))
    _store(args.out, [given.train(everything, taught, seed, args.rounds) for seed in range(args.seeds)])
    if not args.lines:
        unseen_verdicts = data.unseen_verdicts(everything, taught, args.rounds)
        again = [data.train_again(taught, unseen_verdicts, seed) for seed in range(args.seeds)]
        _store(args.out.with_name("html_context.npz"), again)


def _store(path: Path, models: list[lightgbm.Booster]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **html_model.pack([model.dump_model() for model in models])._asdict())
    print(path, path.stat().st_size, "bytes", flush=True)


if __name__ == "__main__":
    main()
