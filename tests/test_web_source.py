"""A source of archives: its table in the configuration, and what the publisher says about its files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import config
from pipeline.errors import UsageError
from pipeline.ledger import Row
from pipeline.report import funnel
from pipeline.stages import ingest
from pipeline.storage import Root

STORY = " ".join(f"The {k}th boat left the harbour before noon, and nobody saw it again." for k in range(12))
PAGES = {
    "https://example.org/story": f"<p>{STORY}</p><table><tr><td>boats of the town</td><td>{STORY}</td></tr></table>",
    "https://ads.example.net/story": f"<p>{STORY}",
    "https://example.org/casino": f"<p>{STORY}",
    "https://example.org/print?id=7": f"<p>{STORY}",
    "https://example.org/private": f"<meta name=robots content=noai><p>{STORY}",
    "gopher://example.org/file": f"<p>{STORY}",
}


def archive(path: Path) -> Path:
    """A gzip member for each page."""
    members = []
    for number, (url, body) in enumerate(PAGES.items()):
        block = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>{body}</html>".encode()
        header = (
            f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{number}>\r\nWARC-Target-URI: {url}\r\n"
            f"WARC-Date: 2024-05-06T07:08:09Z\r\nContent-Length: {len(block)}\r\n\r\n"
        )
        members.append(gzip.compress(header.encode() + block + b"\r\n\r\n", mtime=0))
    path.write_bytes(b"".join(members))
    return path


def ingested(folder: Path, web: str = "") -> tuple[Row, dict[str, str], list[str]]:
    """The row, the reasons by URL and the texts kept of one unit."""
    toml = folder / "corpus.toml"
    toml.write_text(f'[[source]]\nname = "web"\nformat = "warc"\npaths = ["*.warc.gz"]\n[source.web]\n{web}\n')
    root = Root(str(folder / "corpus"))
    (unit,) = ingest.plan(config.load(str(toml)), root)
    row = ingest.process(root, unit)
    row.counts.check("unit")
    dropped = pq.read_table(folder / "corpus" / "dropped" / f"{unit.name}.parquet").to_pylist()
    kept = pq.read_table(folder / "corpus" / "documents" / f"{unit.name}.parquet").to_pylist()
    return row, {r["url"]: r["reason"] for r in dropped}, [r["text"] for r in kept]


def test_the_table_of_a_source_says_what_becomes_a_document(tmp_path: Path) -> None:
    archive(tmp_path / "a.warc.gz")
    (tmp_path / "hosts.txt").write_text("ads.example.net # by name\n")
    _, reasons, texts = ingested(
        tmp_path,
        'blocklists = ["hosts.txt"]\nbanned_words = ["casino"]\npatterns = ["[?&]id=\\\\d"]\n'
        "obey_robots = true\ntables = false",
    )
    assert reasons == {
        "https://ads.example.net/story": "url_host",
        "https://example.org/casino": "url_word",
        "https://example.org/print?id=7": "url_pattern",
        "https://example.org/private": "robots",
        "gopher://example.org/file": "url_scheme",
    }
    assert texts == [STORY]
    _, reasons, texts = ingested(tmp_path, 'extractor = "plain"\nschemes = []')
    assert not reasons
    assert texts[0] == f"{STORY}\nboats of the town\n{STORY}"
    _, reasons, _ = ingested(tmp_path, "max_payload = 1000")
    assert list(reasons.values()).count("too_large") == 1


def test_a_changed_blocklist_is_another_unit(tmp_path: Path) -> None:
    archive(tmp_path / "a.warc.gz")
    keys = set()
    for entry in ("example.net", "example.com", "example.com # the same entries"):
        (tmp_path / "hosts.txt").write_text(entry)
        keys.add(ingested(tmp_path, 'blocklists = ["hosts.txt"]')[0].key)
    assert len(keys) == 2


@pytest.mark.parametrize(
    "web",
    [
        'extractor = "magic"',
        'extractor = "plain"\ntables = false',
        'patterns = ["("]',
        'blocklists = ["absent.txt"]',
        "timeout = 0",
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(tmp_path: Path, web: str) -> None:
    archive(tmp_path / "a.warc.gz")
    with pytest.raises(UsageError):
        ingested(tmp_path, web)


def test_a_file_cut_between_two_records_is_a_fault_where_the_publisher_tells_its_size(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.warc.gz")
    whole = path.read_bytes()
    row, _, texts = ingested(tmp_path)
    assert (row.fault, row.counts.amounts["unverified_bytes"]) == ("", len(whole))
    listing = {"a.warc.gz": {"bytes": len(whole), "checksum": "sha256:0", "url": "https://example.org/a.warc.gz"}}
    (tmp_path / "listing.json").write_text(json.dumps(listing))
    row, _, same = ingested(tmp_path)
    assert same == texts
    assert (row.fault, "unverified_bytes" in row.counts.amounts) == ("", False)
    path.write_bytes(whole[: whole.rindex(b"\x1f\x8b\x08")])
    row, _, fewer = ingested(tmp_path)
    assert f"the publisher's has {len(whole)}" in row.fault
    assert fewer == texts  # the record that is lost was no document: its scheme is unwanted
    assert row.counts.read == len(PAGES) - 1
    (tmp_path / "listing.json").write_text("[]")
    with pytest.raises(UsageError, match="listing"):
        ingested(tmp_path)


def test_the_funnel_tells_unverified_files(tmp_path: Path) -> None:
    facts = {
        "stages": {"ingest": {"counts": {"read": 3, "kept": 3, "dropped": {}, "errors": {}, "amounts": {}}}},
        "files": {"web/a": {"published": 10}, "web/b": {"published": None}},
    }
    assert "records of 2 files, 1 of unverified size" in funnel.lines(facts)[0]
