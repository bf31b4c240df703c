"""Compute what datatrove's filters, and the published rules of TensorFlow Datasets' C4, say of real documents: the
expected values of test_quality.py.

Run in an environment with datatrove (0.10.1 when the stored file was made), spacy (3.8.18) and nltk (3.10.4), from the
repository's root:

    python -m tests.clean.parity > tests/clean/data/datatrove.json

The documents are the page texts of two extraction benchmarks (their gold text, and the whole page with its tags cut
out); only a hash of each is stored.
"""

import gzip
import hashlib
import html
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from itertools import islice

from tests.clean import tfds_c4
from tests.shared import SHARED

ARCHIVES = ("html/scrapinghub-aeb-181.zip", "html/wcxb-dev-325.zip")


def documents() -> Iterator[str]:
    """Yield some four hundred real texts in Latin script, clean and dirty."""
    every = (text for text in _pages() if text.strip() and len(text) > 0.97 * len(text.encode()))
    yield from islice(every, 0, None, 2)


def _pages() -> Iterator[str]:
    with zipfile.ZipFile(SHARED / ARCHIVES[0]) as archive:
        truth = json.loads(archive.read("ground-truth.json"))
        for place, name in enumerate(sorted(truth)):
            page = page_text(gzip.decompress(archive.read(f"html/{name}.html.gz")))
            yield truth[name]["articleBody"] if place % 3 == 0 else page
    with zipfile.ZipFile(SHARED / ARCHIVES[1]) as archive:
        for path in sorted(name for name in archive.namelist() if name.endswith(".html.gz")):
            truth = json.loads(archive.read(path.replace("html/", "ground-truth/", 1).replace(".html.gz", ".json")))
            yield truth["ground_truth"]["main_content"]
            yield page_text(gzip.decompress(archive.read(path)))


def page_text(page: bytes) -> str:
    """All text of a page, one line a block element, good and bad alike."""
    text = page.decode("utf-8", "replace")
    text = re.sub(r"(?is)<(script|style|noscript)\b.*?</\1>|<!--.*?-->", " ", text)
    text = re.sub(r"(?i)</?(p|div|li|br|h[1-6]|tr|td|ul|ol|section|article|header|footer)\b[^>]*>", "\n", text)
    text = html.unescape(re.sub(r"<[^>]+>", "", text))
    lines = [" ".join(line.split()) for line in text.split("\n")]
    return re.sub("\n{3,}", "\n\n", "\n".join(lines)).strip()


def digest(text: str) -> str:
    """A short name for a text."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def reference(text: str) -> dict:
    """Values and verdicts of datatrove for an English text."""
    import numpy as np
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.filters import gopher_quality_filter as quality
    from datatrove.pipeline.filters import gopher_repetition_filter as repetition
    from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION, split_into_words
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    words = split_into_words(text, "en")
    plain = [word for word in words if any(char not in PUNCTUATION_SET for char in word)]
    lines = text.splitlines()
    seen = [line for line in text.split("\n") if line.strip()]
    paragraphs = re.split(r"\n{2,}", text.strip())
    split = re.split("\n+", text)
    values = {
        "words": len(plain),
        "mean_word_length": np.mean([len(word) for word in plain]) if plain else 0,
        "alphabetic_word_share": sum(any(c.isalpha() for c in word) for word in words) / max(len(words), 1),
        "hash_word_ratio": text.count("#") / max(len(words), 1),
        "ellipsis_word_ratio": (text.count("...") + text.count("…")) / max(len(words), 1),
        "newline_word_ratio": text.count("\n") / max(len(words), 1),
        "stop_words": len(set(quality.STOP_WORDS) & set(words)),
        "bullet_line_share": sum(line.lstrip().startswith(("•", "-")) for line in lines) / max(len(lines), 1),
        "ellipsis_line_share": sum(line.rstrip().endswith(("...", "…")) for line in lines) / max(len(lines), 1),
        "terminal_line_share": sum(line.endswith(tuple(TERMINAL_PUNCTUATION)) for line in seen) / max(len(seen), 1),
        "short_line_share": sum(len(line) <= 30 for line in seen) / max(len(seen), 1),
        "duplicate_line_share": repetition.find_duplicates(split)[0] / len(split),
        "duplicate_line_character_share": repetition.find_duplicates(split)[1] / max(len(text), 1),
        "duplicate_line_text_share": repetition.find_duplicates(seen)[1] / max(len(text.replace("\n", "")), 1),
        "duplicate_paragraph_share": repetition.find_duplicates(paragraphs)[0] / len(paragraphs),
        "duplicate_paragraph_character_share": repetition.find_duplicates(paragraphs)[1] / max(len(text), 1),
    }
    for n in (2, 3, 4):
        grams = repetition.get_n_grams(words, n)
        values[f"top_{n}gram_character_share"] = repetition.find_top_duplicate(grams) / len(text) if grams else 0
    for n in range(5, 11):
        values[f"duplicate_{n}gram_character_share"] = repetition.find_all_duplicate(words, n) / max(len(text), 1)

    def verdict(*steps) -> list[str]:
        """The reason of the first filter that drops the document ("" for none), and the digest of what it leaves."""
        document = Document(text=text, id="")
        for step in steps:
            found = step.filter(document)
            if found is not True:
                return [found[1], ""]
        return ["", digest(document.text)]

    lines = C4QualityFilter(filter_no_terminal_punct=False)
    reason, left = tfds_c4.verdict(text, lambda line: len(PunktSentenceTokenizer().tokenize(line)))
    return {
        "digest": digest(text),
        "values": {name: float(f"{value:.4g}") for name, value in values.items()},
        "gopher-repetition": verdict(GopherRepetitionFilter()),
        "gopher": verdict(GopherQualityFilter()) if plain else ["gopher_short_doc", ""],
        "c4": [reason, digest(left) if not reason else ""],
        "c4-datatrove": verdict(C4QualityFilter()),
        "fineweb": verdict(GopherRepetitionFilter(), GopherQualityFilter(), lines, FineWebQualityFilter()),
    }


if __name__ == "__main__":
    rows = [reference(text) for text in documents()]
    names = list(rows[0]["values"])
    lines = [json.dumps({**row, "values": list(row["values"].values())}, separators=(",", ":")) for row in rows]
    sys.stdout.write(f'{{"names":{json.dumps(names)},"rows":[\n' + ",\n".join(lines) + "\n]}\n")
