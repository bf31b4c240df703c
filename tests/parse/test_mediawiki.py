import bz2
import gzip
import os
import random
import re
import subprocess
import sys
import tracemalloc
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.parse import mediawiki_page, mediawiki_stream, wikitext
from pipeline.parse.mediawiki import Options, parse
from pipeline.parse.mediawiki_head import read_site
from pipeline.parse.mediawiki_page import PageParser
from pipeline.parse.mediawiki_reader import find_page, read_pages
from pipeline.parse.mediawiki_site import SiteInfo
from pipeline.parse.mediawiki_units import cut, superseded
from tests.shared import shared

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>dewiki</dbname>
    <base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>
    <generator>MediaWiki 1.43</generator>
    <case>first-letter</case>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="1" case="first-letter">Diskussion</namespace>
      <namespace key="10" case="first-letter">Vorlage</namespace>
    </namespaces>
  </siteinfo>
"""
FOOTER = "</mediawiki>\n"


def page(number: int, text: str = "", *, title: str = "", ns: int | None = 0, extra: str = "", model: str = "wikitext"):
    text = text or f"'''Seite {number}''' ist die Seite [[Nummer]] {number}. " + "Wort " * (number % 50)
    return f"""  <page>
    <title>{title or f"Seite {number}"}</title>
    {"" if ns is None else f"<ns>{ns}</ns>"}
    <id>{number}</id>{extra}
    <revision>
      <id>{number + 1000}</id>
      <parentid>7</parentid>
      <timestamp>2024-05-06T07:08:09Z</timestamp>
      <contributor><username>A &amp; B</username><id>99</id></contributor>
      <comment>c</comment>
      <origin>{number}</origin>
      <model>{model}</model>
      <format>text/x-wiki</format>
      <text bytes="3" sha1="x" xml:space="preserve">{text}</text>
    </revision>
  </page>
"""


def write(path: Path, parts: list[str], compress=bz2.compress) -> str:
    """A file with each part as a stream of its own."""
    path.write_bytes(b"".join(compress(part.encode()) for part in parts))
    return str(path)


@pytest.fixture
def multistream(tmp_path: Path) -> str:
    """Ten streams of three pages between a head and a footer, as Wikimedia writes them."""
    groups = ["".join(page(3 * i + j) for j in range(3)) for i in range(10)]
    return write(tmp_path / "dewiki-multistream.xml.bz2", [HEAD, *groups, FOOTER])


def test_a_page_has_all_its_fields(tmp_path: Path):
    path = write(tmp_path / "d.xml.bz2", [HEAD + page(5, "a &lt;b&gt; &amp; c", title="Größe &amp; Maß") + FOOTER])
    (found,) = read_pages(path)
    assert (found.id, found.revision, found.ns, found.title, found.text) == (5, 1005, 0, "Größe & Maß", "a <b> & c")
    assert found.timestamp == datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
    assert (found.model, found.format, found.redirect, found.error) == ("wikitext", "text/x-wiki", "", "")
    assert found.url == "https://de.wikipedia.org/wiki/Gr%C3%B6%C3%9Fe_%26_Ma%C3%9F"
    assert (found.site.db, found.site.language) == ("dewiki", "de")
    assert (10, "Vorlage") in found.site.namespaces


@pytest.mark.parametrize("kind", ["bz2", "gz", "zst", "pzstd", "xml", "utf-16"])
def test_every_compression_gives_the_same_pages(tmp_path: Path, kind: str):
    document = HEAD + "".join(page(i) for i in range(40)) + FOOTER
    if kind == "zst":
        zstandard = pytest.importorskip("zstandard")
        data = zstandard.ZstdCompressor().compress(document.encode())
    elif kind == "pzstd":  # before each frame, and here after the last too, one that holds no content
        zstandard = pytest.importorskip("zstandard")
        half = len(document) // 2
        frames = [zstandard.ZstdCompressor().compress(part.encode()) for part in (document[:half], document[half:])]
        skipped = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
        data = skipped + skipped.join(frames) + skipped
    else:
        data = {
            "bz2": bz2.compress(document.encode()),
            "gz": gzip.compress(document.encode()),
            "xml": document.encode(),
            "utf-16": document.encode("utf-16"),
        }[kind]
    path = tmp_path / "dump.bin"  # the name says nothing: the bytes do
    path.write_bytes(data)
    pages = list(read_pages(str(path)))
    assert [found.id for found in pages] == list(range(40))
    for found in pages[::13]:
        again = find_page(str(path), found.offset, found.record)
        assert (again.id, again.text) == (found.id, found.text)


@pytest.mark.parametrize("target", [1, 300, 1000, 10**9])
def test_ranges_give_what_the_whole_file_gives(multistream: str, target: int):
    whole = list(read_pages(multistream))
    assert [found.id for found in whole] == list(range(30))
    ranges = cut(multistream, target)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == Path(multistream).stat().st_size
    assert [stop for _, stop in ranges[:-1]] == [start for start, _ in ranges[1:]]
    assert [found for start, stop in ranges for found in read_pages(multistream, start, stop)] == whole
    if target == 1:
        assert len(ranges) == 12  # every stream


def test_streams_that_split_pages_anywhere(tmp_path: Path):
    """Block-parallel compressors cut at a number of bytes, in the middle of a page or of its marker."""
    document = HEAD + "".join(page(i) for i in range(12)) + FOOTER
    for size in (37, 211, 1000):
        path = write(tmp_path / f"{size}.bz2", [document[i : i + size] for i in range(0, len(document), size)])
        whole = list(read_pages(path))
        assert [found.id for found in whole] == list(range(12))
        ranges = cut(path, 150)
        assert len(ranges) > 3
        assert [found for start, stop in ranges for found in read_pages(path, start, stop)] == whole
        found = find_page(path, whole[7].offset, whole[7].record)
        assert (found.id, found.text) == (7, whole[7].text)


@given(st.integers(1, 4000))
@settings(max_examples=25, deadline=None)
def test_plain_xml_can_be_cut_anywhere(tmp_path_factory, target: int):
    path = tmp_path_factory.getbasetemp() / "plain.xml"
    if not path.exists():
        path.write_text(HEAD + "".join(page(i) for i in range(8)) + FOOTER, "utf-8")
    whole = list(read_pages(str(path)))
    assert [found for start, stop in cut(str(path), target) for found in read_pages(str(path), start, stop)] == whole
    data = path.read_bytes()
    assert all(data[p.offset : p.offset + p.length].startswith(b"<page>") for p in whole)
    assert all(data[: p.offset + p.length].endswith(b"</page>") for p in whole)


def test_the_bytes_a_page_names_suffice_to_read_it(multistream: str, tmp_path: Path):
    for found in list(read_pages(multistream))[::7]:
        data = Path(multistream).read_bytes()
        text = bz2.BZ2Decompressor().decompress(data[found.offset : found.offset + found.length])
        begin, size = map(int, found.record.split("+"))
        assert text[begin : begin + size].startswith(b"<page>")
        assert text[begin : begin + size].endswith(b"</page>")


def test_a_false_stream_start_is_not_a_boundary(tmp_path: Path):
    """The magic may stand in compressed data by chance; what does not decode is no stream."""
    body = bz2.compress((HEAD + page(1) + FOOTER).encode())
    path = tmp_path / "d.bz2"
    path.write_bytes(body + b"BZh91AY&SY" + b"\xff" * 50)
    assert cut(str(path), 100) == [(0, path.stat().st_size)]
    found = []
    with pytest.raises(InputError):
        found.extend(read_pages(str(path)))


def test_a_single_stream_is_one_unit():
    path = str(shared("wiki/enwiki-2016-gensim.xml.bz2"))
    assert cut(path, 100_000) == [(0, Path(path).stat().st_size)]


# ---------------------------------------------------------------------------------------------------------------------
# Old and odd forms


def test_namespaces_come_from_titles_where_there_is_no_mark(tmp_path: Path):
    pages = [("Vorlage:X", 10), ("Diskussion:X", 1), ("2001: Odyssee", 0), ("Datei:X.jpg", 6), ("Category:X", 14)]
    body = "".join(page(i, title=title, ns=None) for i, (title, _) in enumerate(pages))
    path = write(tmp_path / "d.bz2", [HEAD + body + FOOTER])
    assert [found.ns for found in read_pages(path)] == [ns for _, ns in pages]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("#REDIRECT [[Ziel]]", "Ziel"),
        ("#WEITERLEITUNG [[Ziel#Teil]] x", "Ziel#Teil"),
        ("# redirect: [[Z|z]]", "Z"),
        ("＃転送 [[目標]]", "目標"),
        ("# eins\n# [[zwei]]", ""),
        ("#redirecting is [[hard]]", ""),
    ],
)
def test_redirects_without_a_mark(tmp_path: Path, text: str, target: str):
    path = write(tmp_path / "d.bz2", [HEAD + page(1, text) + FOOTER])
    assert next(read_pages(path)).redirect == target


def test_the_newest_revision_counts(tmp_path: Path):
    body = page(1)
    old = re.search(r"    <revision>.*</revision>\n", body, re.DOTALL)[0]
    older = old.replace("2024-", "2019-").replace("Seite", "Alte").replace("<id>1001<", "<id>9<")
    path = write(tmp_path / "d.bz2", [HEAD + body.replace(old, older + old + older) + FOOTER])
    (found,) = read_pages(path)
    assert (found.revision, found.revisions, found.timestamp.year) == (1001, 3, 2024)
    assert "Seite" in found.text


def test_other_slots_are_not_the_text(tmp_path: Path):
    slot = "<content><role>mediainfo</role><model>json</model><text>{}</text></content>"
    body = page(1, "Haupttext").replace("</revision>", slot + "</revision>")
    (found,) = read_pages(write(tmp_path / "d.bz2", [HEAD + body + FOOTER]))
    assert (found.text, found.model) == ("Haupttext", "wikitext")


def test_site_of_hosts_and_names(tmp_path: Path):
    def site(base: str, name: str = "x.xml") -> SiteInfo:
        head = re.sub(r"<base>.*</base>", f"<base>{base}</base>" if base else "", HEAD).replace(
            "<dbname>dewiki</dbname>", ""
        )
        path = tmp_path / name
        path.write_text(head.replace('xml:lang="de"', "") + page(1) + FOOTER)
        return read_site(str(path))

    assert site("https://en.wiktionary.org/wiki/Main").db == "enwiktionary"
    assert site("https://zh-yue.wikipedia.org/wiki/Main").db == "zh_yuewiki"
    assert site("https://simple.wikipedia.org/wiki/Main").language == "en"
    assert site("https://commons.wikimedia.org/wiki/Main").db == "commonswiki"
    assert site("", "ptwikisource-20240101-pages-articles.xml").db == "ptwikisource"
    assert site("").url("x") == ""
    assert (site("http://[x/y").db, site("").db) == ("", "")


def test_real_odd_files():
    utf16 = list(read_pages(str(shared("wiki/odd/bgwiki-utf16le.xml.bz2"))))
    assert [found.site.db for found in utf16] == ["bgwiki"] * 3
    assert "България" in "".join(found.text for found in utf16)
    old = list(read_pages(str(shared("wiki/odd/frwiki-2010-export0.3.xml"))))
    assert [found.redirect for found in old if found.redirect] != []
    assert [found.ns for found in old] == [0] * 6
    broken = [list(read_pages(str(shared(f"wiki/odd/zhwiki-broken-{i}.xml")))) for i in (1, 2)]
    assert [[found.error for found in pages] for pages in broken] == [["", "", "page: no id or no title"], [""] * 3]
    headless = list(read_pages(str(shared("wiki/odd/enwiki-table-markup.xml.bz2"))))
    assert len(headless) == 5
    assert headless[0].site.language == "en"


def test_a_file_cut_inside_a_page_keeps_every_whole_page():
    found = []
    with pytest.raises(InputError, match="ends inside a page") as caught:
        found.extend(read_pages(str(shared("wiki/odd/simplewiki-cut-mid-page.xml"))))
    assert len(found) == 7
    assert caught.value.offset > 0
    assert "simplewiki-cut" in caught.value.file


def test_every_minidump_reads_and_renders():
    folder = shared("wiki/minidumps")
    for path in sorted(folder.glob("*.bz2")):
        rows = list(parse(str(path)))
        assert rows, path
        for row in rows:
            assert not row.reason.startswith(("error", "parse")), (path, row.reason)


# ---------------------------------------------------------------------------------------------------------------------
# Refusals and faults


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"<html><body>503</body></html>", "first element is <html>"),
        (b"PK\x03\x04 zip", "neither XML nor"),
        (b"7z\xbc\xaf\x27\x1c rest", "7z archives"),
        (b"<!DOCTYPE mediawiki [<!ENTITY a 'b'>]><mediawiki><page></page></mediawiki>", "DOCTYPE refused"),
        (b"<mediawiki><siteinfo><base>&lol;</base></siteinfo></mediawiki>", "undefined entity"),
        (b"just text", "neither XML nor"),
        (b"<mediawiki", "not XML|ends without"),
    ],
)
def test_what_is_no_export_is_refused_by_name(tmp_path: Path, data: bytes, message: str):
    for suffix, compress in (("xml", bytes), ("bz2", bz2.compress), ("gz", gzip.compress)):
        if suffix != "xml" and not data.startswith(b"<"):
            continue
        path = tmp_path / f"bad.{suffix}"
        path.write_bytes(compress(data))
        with pytest.raises(InputError, match=message) as caught:
            list(read_pages(str(path)))
        assert caught.value.file == str(path)


def test_billion_laughs_is_refused_at_once(tmp_path: Path):
    entities = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(12))
    path = tmp_path / "laughs.xml"
    path.write_text(f'<!DOCTYPE mediawiki [<!ENTITY l0 "ha">{entities}]><mediawiki>&l12;</mediawiki>')
    with pytest.raises(InputError, match="DOCTYPE"):
        list(read_pages(str(path)))


@pytest.mark.parametrize("bad", ["<broken", "&undefined;", "\x00", "<a></b>", "]]>", "<!DOCTYPE x>"])
def test_a_bad_page_costs_itself_only(tmp_path: Path, bad: str):
    path = write(tmp_path / "d.bz2", [HEAD + page(1) + page(2, f"x {bad} y") + page(3) + FOOTER])
    pages = list(read_pages(path))
    assert [found.id for found in pages if not found.error] == [1, 3]
    assert [found.error[:4] for found in pages] == ["", "xml:", ""]
    rows = list(parse(path))
    assert [row.reason for row in rows] == ["", "error:xml", ""]
    assert len({row.identity for row in rows}) == 3


def test_lost_markers_leave_a_row(tmp_path: Path):
    unclosed = page(2).replace("</page>", "")
    unopened = page(4).replace("<page>", "")
    path = write(tmp_path / "d.bz2", [HEAD + page(1) + unclosed + page(3) + unopened + page(5) + FOOTER])
    pages = list(read_pages(path))
    assert [found.id for found in pages if not found.error] == [1, 3, 5]
    assert [found.error for found in pages if found.error] == ["xml: no </page>", "xml: text between pages"]


def test_a_page_without_id_is_an_error_row(tmp_path: Path):
    path = write(tmp_path / "d.bz2", [HEAD + page(1).replace("<id>1</id>", "") + FOOTER])
    assert [row.reason for row in parse(path)] == ["error:page"]


@pytest.mark.parametrize("number", ["--1", "²", "-", "9" * 19, "9" * 5000])
def test_an_id_that_is_no_number_is_an_error_row(tmp_path: Path, number: str):
    path = write(tmp_path / "d.bz2", [HEAD + page(1).replace("<id>1</id>", f"<id>{number}</id>") + page(2) + FOOTER])
    assert [row.reason for row in parse(path)] == ["error:page", ""]
    path = write(tmp_path / "n.bz2", [HEAD + page(1).replace("<ns>0</ns>", f"<ns>{number}</ns>") + FOOTER])
    assert [found.ns for found in read_pages(path)] == [0]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_a_time_without_a_zone_is_utc(zone: str):
    code = "from pipeline.parse.mediawiki_page import _timestamp; print(_timestamp('2016-09-28T02:05:13').isoformat())"
    found = subprocess.run([sys.executable, "-c", code], env={**os.environ, "TZ": zone}, capture_output=True, text=True)
    assert found.stdout.strip() == "2016-09-28T02:05:13+00:00", found.stderr


def test_where_the_dump_names_no_wiki_the_source_stands_for_it(tmp_path: Path):
    bare = write(tmp_path / "x.bz2", ["<mediawiki>" + page(1) + FOOTER])
    named = write(tmp_path / "d.bz2", [HEAD + page(1) + FOOTER])

    def identity(path: str, source: str) -> str:
        return next(parse(path, options=Options(source=source))).identity

    assert identity(bare, "a") != identity(bare, "b")
    assert identity(named, "a") == identity(named, "b") == "dewiki:1:1001"


def whole_pages(data: bytes) -> int:
    """How many pages end in the bytes of a bz2 file that can be decoded."""
    text = b""
    while data:
        inflate = bz2.BZ2Decompressor()
        text += inflate.decompress(data)
        data = inflate.unused_data
    return text.count(b"</page>")


@pytest.mark.parametrize("name", ["bz2", "gz", "xml"])
def test_cut_at_every_percent(tmp_path: Path, multistream: str, name: str):
    data = Path(multistream).read_bytes()
    document = HEAD + "".join(page(i) for i in range(30)) + FOOTER
    data = {"bz2": data, "gz": gzip.compress(document.encode()), "xml": document.encode()}[name]
    path = tmp_path / f"cut.{name}"
    for percent in range(1, 100):
        short = data[: len(data) * percent // 100]
        path.write_bytes(short)
        found = []
        with pytest.raises(InputError) as caught:
            found.extend(read_pages(str(path)))
        assert caught.value.file == str(path)
        assert [p.id for p in found] == list(range(len(found)))
        assert not any(p.error for p in found)
        if name == "bz2":
            assert len(found) == whole_pages(short)
        if name == "xml":
            assert len(found) == short.count(b"</page>")


def test_a_real_dump_cut_at_every_percent_keeps_every_whole_page(tmp_path: Path):
    data = shared("wiki/zhwiki-2018-A.xml.bz2").read_bytes()
    for percent in range(1, 100):
        path = tmp_path / "cut.xml.bz2"
        path.write_bytes(data[: len(data) * percent // 100])
        found = []
        with pytest.raises(InputError):
            found.extend(read_pages(str(path)))
        assert len(found) == whole_pages(path.read_bytes())
        assert not any(p.error for p in found)


def test_byte_flips_lose_no_page_without_a_word(tmp_path: Path, multistream: str):
    """In bz2 and gzip a flip is an error of the file; in plain XML it may change a text, never hide a page."""
    rng = random.Random(5)
    document = (HEAD + "".join(page(i) for i in range(30)) + FOOTER).encode()
    for name, data in (("bz2", Path(multistream).read_bytes()), ("gz", gzip.compress(document)), ("xml", document)):
        path = tmp_path / f"flip.{name}"
        for _ in range(60):
            bad = bytearray(data)
            at = rng.randrange(len(bad))
            bad[at] ^= 1 << rng.randrange(8)
            path.write_bytes(bad)
            found, fault = [], None
            try:
                found.extend(read_pages(str(path)))
            except InputError as error:
                fault = error
            good = [p.id for p in found if not p.error]
            # A flip may join two pages into one faulty row, and may change an id.
            assert fault or len(good) + 2 * sum(bool(p.error) for p in found) >= 30, (name, at)


def test_a_giant_page_is_cut_off_and_counted(tmp_path: Path):
    path = write(tmp_path / "d.bz2", [HEAD + page(1, "x" * 50_000) + page(2) + FOOTER])
    rows = list(parse(path, options=Options(max_chars=10_000)))
    assert [(row.reason, row.value, row.threshold) for row in rows] == [("too_large", 50_000, 10_000), ("", None, None)]
    assert rows[0].text == ""


def test_memory_is_flat_in_pages_and_in_one_page(tmp_path: Path):
    def peak(parts: list[str]) -> int:
        path = write(tmp_path / "m.bz2", parts)
        tracemalloc.start()
        for _ in read_pages(path, max_chars=100_000):
            pass
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    few = "".join(page(i, "word " * 4000) for i in range(5))
    once = peak([HEAD, few, FOOTER])
    assert peak([HEAD, *[few] * 20, FOOTER]) < once + 2_000_000
    assert peak([HEAD, page(1, "word " * 2_000_000), FOOTER]) < once + 8_000_000


# ---------------------------------------------------------------------------------------------------------------------
# Documents


def test_every_page_has_one_row_with_its_reason(tmp_path: Path):
    redirect = '\n    <redirect title="Ziel" />'
    body = [
        page(1),
        page(2, title="Vorlage:X", ns=10),
        page(3, extra=redirect),
        page(4, "{}", model="json"),
        page(5).replace("<text ", '<text deleted="deleted" '),
        page(6, " \n "),
        page(7, "{{Infobox|a=b}}"),
        page(8, title="Diskussion:Y", ns=1),
    ]
    path = write(tmp_path / "d.bz2", [HEAD + "".join(body) + FOOTER])
    rows = list(parse(path))
    reasons = ["", "namespace", "redirect", "content_model", "deleted", "empty", "empty", "namespace"]
    assert [row.reason for row in rows] == reasons
    assert rows[0].text == "Seite 1 ist die Seite Nummer 1. Wort"
    assert rows[0].identity == "dewiki:1:1001"
    assert rows[1].value == 10
    assert all(row.offset == 0 and row.length > 0 and row.record for row in rows)
    assert [row.reason for row in parse(path, options=Options(namespaces=(0, 1)))][-1] == ""


def test_a_page_over_a_limit_is_dropped_and_the_next_is_read(tmp_path: Path):
    slow = "'''Langsam''' " + "{{a|" * 900_000
    path = write(tmp_path / "d.bz2", [HEAD + page(1, slow) + page(2, "#REDIRECT [[x]]") + page(3) + FOOTER])
    rows = list(parse(path, options=Options(timeout_s=0.3)))
    assert [(row.reason, row.threshold) for row in rows] == [("parse_timeout", 0.3), ("redirect", None), ("", None)]
    assert rows[0].text.startswith("'''Langsam")
    big = "x" * 15_000_000
    path = write(tmp_path / "e.bz2", [HEAD + page(1, f"[[{big}|y") + page(3) + FOOTER])
    assert [row.reason for row in parse(path, options=Options(memory_mb=64, max_chars=20_000_000))] == [
        "parse_memory",
        "",
    ]


@pytest.mark.parametrize("bad", ["<a>" * 1000 + "</a>" * 1000, "<a b='" + "c" * (17 << 20) + "'/>"])
def test_no_page_can_fill_the_parser(tmp_path: Path, bad: str):
    path = write(tmp_path / "d.bz2", [HEAD + page(1).replace("</page>", bad + "</page>") + page(2) + FOOTER])
    assert [found.error[:4] for found in read_pages(path)] == ["xml:", ""]


def test_ranges_of_a_real_multistream_dump():
    path = str(shared("wiki/enwiktionary-20150224-multistream.xml.bz2"))
    ranges = cut(path, 1)
    assert len(ranges) == 5
    index = bz2.decompress(shared("wiki/enwiktionary-20150224-multistream-index.txt.bz2").read_bytes()).decode()
    starts = {int(line.split(":")[0]) for line in index.splitlines()}
    assert starts <= {start for start, _ in ranges}
    by_page = {int(line.split(":")[1]): int(line.split(":")[0]) for line in index.splitlines()}
    assert {found.id: found.offset for found in read_pages(path)} == by_page


def test_a_wrong_template_rule_stops_before_the_first_page(multistream: str):
    from pipeline.errors import UsageError

    options = Options(rendering=wikitext.Options(templates=(("x", "@nothing"),)))
    with pytest.raises(UsageError, match="no template function"):
        next(parse(multistream, options=options))


def test_split_pages_name_their_newest_part():
    base = "enwiki-2025-11-01-p"
    paths = [f"/d/{base}{part}.xml.bz2" for part in ("1p9", "10r1r50", "10r51r90", "10r91r99", "11r1r5")]
    assert superseded(paths) == {paths[1]: paths[3], paths[2]: paths[3]}


def test_find_page_refuses_what_is_not_there(multistream: str):
    with pytest.raises(InputError, match="no page at"):
        find_page(multistream, 0, "5+100")
    with pytest.raises(InputError, match="no record"):
        find_page(multistream, 0, "x")


def test_pages_survive_any_block_size(monkeypatch, tmp_path: Path):
    """The marker search must not depend on where a block ends."""
    document = HEAD + "".join(page(i) for i in range(6)) + FOOTER
    path = tmp_path / "plain.xml"
    path.write_text(document, "utf-8")
    whole = list(read_pages(str(path)))
    for size in (1, 2, 3, 5, 7, 64):
        monkeypatch.setattr(mediawiki_stream, "_INFLATED", size)
        monkeypatch.setattr(mediawiki_page, "_AT_ONCE", size)
        assert list(read_pages(str(path))) == whole


XML_PIECES = st.sampled_from(
    [
        *re.split(
            " ", "& &lt; &gt; &amp; &amp;lt; &quot; &apos; &#65; &nope; ]]> <b/> </text> <text> <text/> < > ' ä中"
        ),
        *("word ", "\r\n", "\n", "\t", "\x01", "\ufffe", "<![CDATA[<x>]]>", "<!-- c -->", "<textile>", "</textile>"),
        *("<text a='>'>", '<text a=">">', "</revision><revision>", "<content><text>y</text></content>"),
    ]
)


@given(st.lists(XML_PIECES, max_size=12).map("".join), st.integers(1, 60))
@settings(max_examples=300, deadline=None)
def test_texts_read_at_once_are_those_that_the_parser_reads(text: str, max_chars: int):
    data = re.sub("<page>|</page>", "", page(7, "&empty;")).strip().replace("&empty;", text).encode()
    found = []
    for held in (True, False):
        parser = PageParser(max_chars)
        if not held:
            parser._held = None
        parser.feed(b"<page>")
        parser.feed(data + b"</page>", True)
        read = parser.finish(SiteInfo())
        found.append(
            (read.error[:4], (read.id, read.title, read.text, read.chars, read.revisions) if not read.error else ())
        )
    assert found[0] == found[1]
