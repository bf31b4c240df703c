"""What is left in the text of Wikipedia pages that should not be, and what is missing: beside other tools, same pages.

    python benchmarks/wikitext_fidelity.py [--peer-python /venv/python] [--data FOLDER] [--holes N] [--sentences N]

For each language and system:

- markup: share of articles whose text still has ``{{ }} [[ ]] '' <ref thumb| |-``;
- holes: sentences, in thousandths, in which punctuation or a preposition stands alone, as where a template was removed
  ("At , Alabama has", "( ; born 1990)"); some are so in the source itself, and count for every system;
- agreed words: of the words that both wikiextractor and mwparserfromhell find on a page (of each, as often as the one
  that has it less often), the share that the system has too: what it loses; characters in Chinese and Japanese.

Formulas and code keep braces and quotes on purpose, so they are cut out of the pages before any system sees them.
``--holes N`` prints N sentences of ours that count as holes, ``--sentences N`` N English ones, to be read by eye.

Peers: pip install wikiextractor==3.1.0 mwparserfromhell==0.7.2
"""

from __future__ import annotations

import argparse
import dataclasses
import html
import json
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from measure import has

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.parse.mediawiki_page import Page  # noqa: E402
from pipeline.parse.mediawiki_reader import read_pages  # noqa: E402
from pipeline.parse.mediawiki_site import SiteInfo  # noqa: E402
from pipeline.parse.wikitext import render  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "wiki"
FILES = {
    "en": ["enwiki-2016-gensim.xml.bz2", "minidumps/en-wiki.xml.bz2"],
    "ja": ["jawiki-2022-A.xml.bz2"],
    "it": ["itwiki-2013-A-multistream.xml.bz2", "minidumps/it-wiki.xml.bz2"],
    "et": ["etwiki-2015.xml.bz2"],
    "ltg": ["ltgwiki-2017.xml.bz2"],
    "zh": ["zhwiki-2018-A.xml.bz2"],
}
NO_TEXT = re.compile(
    r"<(math|chem|ce|nowiki|pre|source|syntaxhighlight)\b[^<>]*>.*?</\1\s*>", re.DOTALL | re.IGNORECASE
)
MARKUP = re.compile(r"\{\{|\}\}|\[\[|\]\]|''|</?ref\b|\bthumb\||^\|-|\{\||^\|\}", re.MULTILINE)
HOLE = re.compile(
    r"[(（][ ]?[,;:、，；：)）]|[,;:、，；：–—-][ ]?[)）]|,[ ]?,|;[ ]?;|、、|\w [,;](?= )|\w \.(?=\s|$)"
    r"|\b(?:of|in|at|by|from|about|to|the|an?) [,.;)](?=\s|$)|\w[$€£] ",
    re.MULTILINE,
)
SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])|\n+")
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")
STRIP_CODE = """
import sys, json, mwparserfromhell
for line in open(sys.argv[1], encoding="utf-8"):
    number, text = json.loads(line)
    print(json.dumps([number, mwparserfromhell.parse(text).strip_code()]))
"""


def language_of(path: Path) -> str:
    """The one-page dumps say enwiki in their siteinfo whatever they hold; their names are right."""
    return path.name.partition("-wiki")[0] if path.parent.name == "minidumps" else ""


def articles(folder: Path) -> dict[str, list[Page]]:
    """The articles at hand by language, those of the one-page dumps that are no group of their own under "others"."""
    named = {file for files in FILES.values() for file in files}
    groups = {language: [folder / file for file in files] for language, files in FILES.items()}
    rest = [path for path in sorted((folder / "minidumps").glob("*.bz2")) if f"minidumps/{path.name}" not in named]
    groups["others"] = rest
    found: dict[str, list[Page]] = {}
    for language, paths in groups.items():
        for path in (path for path in paths if path.exists()):
            for page in read_pages(str(path)):
                if not page.ns and not page.redirect:
                    if code := language_of(path):
                        page.site = dataclasses.replace(page.site, language=code, db=f"{code}wiki")
                    page.text = NO_TEXT.sub("X", page.text)
                    pages = found.setdefault(language, [])
                    page.id = len(pages) + 1
                    pages.append(page)
    return found


def dump_of(pages: list[Page], site: SiteInfo, target: Path) -> None:
    """The pages as an uncompressed dump for the tools that read nothing else."""
    names = "".join(f'<namespace key="{key}" case="first-letter">{name}</namespace>\n' for key, name in site.namespaces)
    head = (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en">\n<siteinfo>\n'
        f"<sitename>Wikipedia</sitename>\n<base>{site.article_url}Main</base>\n<namespaces>\n{names}</namespaces>\n</siteinfo>\n"
    )
    body = "".join(
        f"  <page>\n    <title>{html.escape(page.title, quote=False)}</title>\n    <ns>0</ns>\n    <id>{page.id}</id>\n"
        f"    <revision>\n      <id>{page.id}</id>\n"
        f'      <text xml:space="preserve">{html.escape(page.text, quote=False)}</text>\n    </revision>\n  </page>\n'
        for page in pages
    )
    target.write_text(head + body + "</mediawiki>\n", "utf-8")


def renderings(pages: list[Page], peer: str, there: dict[str, bool]) -> dict[str, dict[int, str] | None]:
    """The text of every page by every system; None for a system that is not installed."""
    found: dict[str, dict[int, str] | None] = {
        "corpusmill": {page.id or 0: render(page.text, page.site, title=page.title) for page in pages}
    }
    with tempfile.TemporaryDirectory() as folder:
        dump, lines = Path(folder) / "pages.xml", Path(folder) / "pages.jsonl"
        dump_of(pages, pages[0].site, dump)
        lines.write_text("".join(json.dumps([page.id, page.text]) + "\n" for page in pages), "utf-8")
        for name, flags in (("wikiextractor --no-templates", ["--no-templates"]), ("wikiextractor, templates", [])):
            command = [
                peer,
                "-m",
                "wikiextractor.WikiExtractor",
                "--json",
                "--processes",
                "1",
                "-q",
                *flags,
                "-o",
                "-",
                str(dump),
            ]
            found[name] = None
            if there["wikiextractor"]:
                rows = [json.loads(row) for row in run(command).splitlines() if row.startswith("{")]
                found[name] = {int(row["id"]): row["text"] for row in rows}
        found["mwparserfromhell strip_code"] = None
        if there["mwparserfromhell"]:
            rows = map(json.loads, run([peer, "-c", STRIP_CODE, str(lines)]).splitlines())
            found["mwparserfromhell strip_code"] = {int(row[0]): row[1] for row in rows}
    return found


def run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8").stdout


def agreement(texts: list[str], peers: list[list[str]]) -> float:
    """The share of the words on which all peers agree that the texts have too."""
    common = wanted = 0
    for at, text in enumerate(texts):
        first, *others = (Counter(WORD.findall(peer[at].lower())) for peer in peers)
        agreed = Counter({word: min(count, *(other[word] for other in others)) for word, count in first.items()})
        mine = Counter(WORD.findall(text.lower()))
        common += sum(min(mine[word], count) for word, count in agreed.items())
        wanted += sum(agreed.values())
    return common / wanted if wanted else 1.0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=DATA)
    options.add_argument("--peer-python", default=sys.executable, help="an interpreter that has the peers")
    options.add_argument(
        "--holes", type=int, default=0, metavar="N", help="print N sentences of ours that count as holes"
    )
    options.add_argument(
        "--sentences", type=int, default=0, metavar="N", help="print N English sentences of ours, drawn by --seed"
    )
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args()
    groups = articles(args.data)
    if not groups:
        sys.exit(f"no dumps under {args.data}: name their folder with --data")
    there = {module: has(args.peer_python, module) for module in ("wikiextractor", "mwparserfromhell")}
    holes: list[str] = []
    english: list[str] = []
    print(f"{'language':10}{'system':32}{'articles':>9}{'markup %':>10}{'holes ‰':>9}{'agreed words %':>16}")
    for language, pages in groups.items():
        found = renderings(pages, args.peer_python, there)
        ids = [page.id or 0 for page in pages]
        judges = [found[name] for name in ("wikiextractor --no-templates", "mwparserfromhell strip_code")]
        peers = [[texts.get(at, "") for at in ids] for texts in judges if texts]
        for name, texts in found.items():
            if texts is None:
                print(f"{language:10}{name:32}not installed: pip install {name.split()[0].strip(',')}")
                continue
            marked = sum(bool(MARKUP.search(text)) for text in texts.values())
            sentences = [s for text in texts.values() for s in SENTENCE.split(text) if s and len(s) > 20]
            holed = [sentence for sentence in sentences if HOLE.search(sentence)]
            if name == "corpusmill":
                holes += holed
                english += sentences if language == "en" else []
            score = (
                f"{100 * agreement([texts.get(at, '') for at in ids], peers):16.2f}"
                if len(peers) == 2
                else f"{'-':>16}"
            )
            print(
                f"{language:10}{name:32}{len(texts):9}{100 * marked / len(ids):10.2f}"
                f"{1000 * len(holed) / max(1, len(sentences)):9.2f}{score}"
            )
    for title, found, n in (("count as holes", holes, args.holes), ("English, at random", english, args.sentences)):
        if n:
            print(f"\nof {len(found)} sentences ({title}), drawn by seed {args.seed}:")
        for number, sentence in enumerate(random.Random(args.seed).sample(found, min(n, len(found))), 1):
            print(f"{number:4} {sentence}")


if __name__ == "__main__":
    main()
