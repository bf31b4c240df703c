"""Gold pages for main-text extraction: loading, the split in two halves, and the scores.

The archives hold pages and their gold text: scrapinghub's article-extraction-benchmark (AEB, MIT), the WCXB development
sample (CC BY 4.0), DAnIEL (news in five languages, GPL-3.0) and a Chinese set (MIT). Half A serves for development and
training, half B for the figures that count; nobody looks at a page of half B.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import statistics
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

FILES = {
    "AEB": "scrapinghub-aeb-181.zip",
    "WCXB": "wcxb-dev-325.zip",
    "DAnIEL": "daniel-multiling-A-300.zip",
    "Chinese": "zh-web-content-A-35.zip",
}


@dataclass
class Gold:
    """A page, its gold text, and the group it is reported in."""

    corpus: str
    group: str
    name: str
    html: bytes
    text: str
    url: str = ""

    @property
    def half(self) -> str:
        return "AB"[hashlib.sha256(f"{self.corpus}/{self.name}".encode()).digest()[0] & 1]


def load(folder: Path, corpora: list[str]) -> list[Gold]:
    """The gold pages of the named corpora, from their zip files in ``folder``."""
    pages: list[Gold] = []
    for corpus in corpora:
        with zipfile.ZipFile(folder / FILES[corpus]) as archive:
            pages += {"AEB": _aeb, "WCXB": _wcxb, "DAnIEL": _daniel, "Chinese": _chinese}[corpus](archive)
    return pages


def _aeb(archive: zipfile.ZipFile) -> list[Gold]:
    truth = json.loads(archive.read("ground-truth.json"))
    return [
        Gold(
            "AEB",
            "article",
            key,
            gzip.decompress(archive.read(f"html/{key}.html.gz")),
            item["articleBody"],
            item["url"],
        )
        for key, item in sorted(truth.items())
    ]


def _wcxb(archive: zipfile.ZipFile) -> list[Gold]:
    pages = []
    for name in sorted(n for n in archive.namelist() if n.startswith("dev/ground-truth/")):
        item = json.loads(archive.read(name))
        html = gzip.decompress(archive.read(name.replace("ground-truth", "html").replace(".json", ".html.gz")))
        kind = item["_internal"]["page_type"]["primary"]
        text = item["ground_truth"]["main_content"] or ""
        pages.append(Gold("WCXB", kind, Path(name).stem, html, text, item.get("url") or ""))
    return pages


def _daniel(archive: zipfile.ZipFile) -> list[Gold]:
    languages = json.loads(archive.read("doc_lg.json"))
    pages = []
    for name in sorted(n for n in archive.namelist() if n.startswith("reference/") and not n.endswith("/")):
        key = name.split("/", 1)[1]
        text = re.sub(r"<[^>]+>", "\n", archive.read(name).decode("utf-8", "replace"))
        pages.append(Gold("DAnIEL", languages[key], key, archive.read(f"html/{key}"), text))
    return pages


def _chinese(archive: zipfile.ZipFile) -> list[Gold]:
    pages = []
    for name in sorted(n for n in archive.namelist() if n.startswith("cleaned/") and n.endswith(".txt")):
        key = name[len("cleaned/") : -len(".txt")]
        text = archive.read(name).decode("utf-8", "replace")
        pages.append(Gold("Chinese", "Chinese", key, archive.read(f"original/{key}.html"), text))
    return pages


_WORD = re.compile(r"\w+")
_CHARACTER_OR_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")


def shingle_counts(true: str, found: str, wide: bool = False) -> tuple[float, float, float]:
    """True positives, false positives and false negatives over word 4-grams, divided by their sum.

    As the article-extraction-benchmark defines it; with ``wide``, a Chinese or Japanese character is a word.
    """
    pattern = _CHARACTER_OR_WORD if wide else _WORD
    counts = []
    for text in (true, found):
        words = pattern.findall(text)
        counts.append(Counter(t for k in range(max(1, len(words) - 3)) if (t := tuple(words[k : k + 4]))))
    both = sum((counts[0] & counts[1]).values())
    only_true = sum(counts[0].values()) - both
    only_found = sum(counts[1].values()) - both
    total = both + only_true + only_found
    return (both / total, only_found / total, only_true / total) if total else (0.0, 0.0, 0.0)


def scores(counts: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Precision, recall and F1 as that benchmark has them: means over pages, F1 of the means."""
    precision = [1.0 if fp == fn == 0 else tp / (tp + fp) for tp, fp, fn in counts if tp + fp > 0]
    recall = [1.0 if fp == fn == 0 else tp / (tp + fn) for tp, fp, fn in counts if tp + fn > 0]
    p = statistics.mean(precision) if precision else 0.0
    r = statistics.mean(recall) if recall else 0.0
    return p, r, 2 * p * r / (p + r) if p + r else 0.0


def word_f1(true: str, found: str) -> float:
    """F1 over the bag of words of one page, as WCXB defines it."""
    a, b = Counter(_WORD.findall(found.lower())), Counter(_WORD.findall(true.lower()))
    if not b:
        return 1.0 if not a else 0.0
    both = sum((a & b).values())
    return 2 * both / (sum(a.values()) + sum(b.values())) if both else 0.0
