"""The bundled sample is what examples/README.md says it is."""

from __future__ import annotations

import hashlib
import re

from tests.shared import ROOT

EXAMPLES = ROOT / "examples"
ROW = re.compile(
    r"^\| \[(?P<name>[^\]]+)\]\(data/(?P=name)\) \| (?P<bytes>\d+) \| `(?P<sha256>[0-9a-f]{64})` \|", re.MULTILINE
)


def stated() -> dict[str, tuple[int, str]]:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    return {row["name"]: (int(row["bytes"]), row["sha256"]) for row in ROW.finditer(text)}


def test_table_names_every_file_with_its_size_and_digest():
    found = {}
    for path in (EXAMPLES / "data").iterdir():
        content = path.read_bytes()
        found[path.name] = (len(content), hashlib.sha256(content).hexdigest())
    assert stated() == found


def test_sample_stays_small():
    assert 3_000_000 <= sum(size for size, _ in stated().values()) <= 6_000_000
