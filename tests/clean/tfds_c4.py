"""C4's published rules on lines and pages, written out one line at a time: the oracle for the preset `c4`.

After Raffel et al. 2020, JMLR 21 (140), section 2.2, and the order and constants of TensorFlow Datasets
(tensorflow_datasets/text/c4_utils.py, `clean_page` and `is_valid_length`). Sentences are counted by a function that is
given, since TFDS takes NLTK's trained Punkt model, which is not on PyPI: `parity.py` gives NLTK's untrained one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MARKS = (".", "?", "!", '"')
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")


def verdict(text: str, sentences: Callable[[str], int]) -> tuple[str, str]:
    """The reason to drop a page ("" to keep it), and what is left of its text."""
    if len(text) > 190_000:
        return "c4_length", ""
    kept: list[str] = []
    for raw in text.splitlines():
        line = raw.strip()
        too_long = any(len(word) > 1000 for word in line.split())
        line = CITATION.sub("", line)
        if too_long or not line.endswith(MARKS) or line.endswith("...") or len(line.split()) < 5:
            continue
        lower = line.lower()
        if "lorem ipsum" in lower:
            return "lorem_ipsum", ""
        if "javascript" in lower:
            continue
        if "{" in line:
            return "curly_bracket", ""
        if not any(phrase in lower for phrase in POLICY):
            kept.append(line)
    if sum(sentences(line) for line in kept) < 3:
        return "too_few_sentences", ""
    return "", "\n".join(kept).strip()
