"""Archives: nothing is lost without a row or an error, whatever is done to the file."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import itertools
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.parse import warc
from pipeline.parse.warc_stream import ZSTD_DICTIONARY, ZSTD_MAGIC, compression, read_dictionary
from tests.shared import SHARED, shared

ARCHIVES = sorted(p for p in (SHARED / "warc").rglob("*") if p.is_file()) if SHARED.exists() else []
PAGE = b"<html><head><title>A title</title></head><body><p>%s</p></body></html>"


def record(kind: str, number: int, block: bytes, *more: str, length: int | None = None) -> bytes:
    """The bytes of one WARC record."""
    head = [
        "WARC/1.0",
        f"WARC-Type: {kind}",
        f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{number:012d}>",
        "WARC-Date: 2024-05-06T07:08:09Z",
        f"WARC-Target-URI: https://example.org/{number}",
        *more,
        f"Content-Length: {len(block) if length is None else length}",
        "",
        "",
    ]
    return "\r\n".join(head).encode() + block + b"\r\n\r\n"


def response(number: int, body: bytes, header: str = "Content-Type: text/html", status: str = "200 OK") -> bytes:
    """A response record."""
    return record("response", number, f"HTTP/1.1 {status}\r\n{header}\r\n\r\n".encode() + body)


def sentence(number: int) -> bytes:
    """A page with a paragraph long enough for any extractor."""
    words = " ".join(f"word{(number * 7919 + k * 104729) % 9973}" for k in range(60))
    return PAGE % f"Page {number} says: {words}. The end of it comes here.".encode()


def write(path: Path, records: list[bytes], form: str) -> Path:
    """The records as a file: plain, a gzip member each, one member, or a zstd frame each."""
    if form == "plain":
        path.write_bytes(b"".join(records))
    elif form == "members":
        path.write_bytes(b"".join(gzip.compress(r, mtime=0) for r in records))
    elif form == "single":
        path.write_bytes(gzip.compress(b"".join(records), mtime=0))
    else:
        path.write_bytes(b"".join(zstandard.compress(r) for r in records))
    return path


def summary(path: Path, start: int = 0, stop: int | None = None) -> list[tuple]:
    return [
        (r.type, r.id, r.url, r.date, r.reason, r.offset, r.length, r.ordinal, hashlib.sha1(r.block).hexdigest())
        for r in warc.read_records(str(path), start, stop)
    ]


def reasons(path: Path, options: warc.Options | None = None) -> list[str]:
    return [p.reason for p in warc.parse(str(path), 0, None, options or warc.Options())]


FORMS = ["plain", "members", "single", "frames"]


@pytest.mark.parametrize("form", FORMS)
def test_records_of_every_form_are_the_same(tmp_path: Path, form: str) -> None:
    blocks = [b"one", b"", b"three\r\n\r\n", bytes(range(256)) * 4000]
    path = write(tmp_path / "a", [record("resource", n, b) for n, b in enumerate(blocks)], form)
    assert [r.block for r in warc.read_records(str(path))] == blocks


def test_lineage_finds_a_record_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gz", [response(n, sentence(n)) for n in range(5)], "members")
    data = path.read_bytes()
    for r in warc.read_records(str(path)):
        alone = gzip.decompress(data[r.offset : r.offset + r.length])
        assert r.id.encode() in alone
        assert alone.count(b"WARC/1.0") == 1
        assert [a.id for a in warc.read_records(str(path), r.offset, r.offset + r.length)] == [r.id]


def test_lineage_in_a_shared_member_reaches_the_record(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gz", [response(n, sentence(n) * 300) for n in range(20)], "single")
    data = path.read_bytes()
    for r in warc.read_records(str(path)):
        decoded = zlib.decompressobj(31).decompress(data[r.offset : r.offset + r.length])
        assert r.block in decoded


@pytest.mark.parametrize("form", FORMS)
def test_a_file_cut_at_every_byte_is_an_error_or_all_records(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "whole", [response(n, b"<p>%d" % n) for n in range(3)], form)
    whole = summary(path)
    data = path.read_bytes()
    edges = {offset for *_, offset, _, _, _ in whole}
    cut = tmp_path / "cut"
    for size in range(len(data)):
        cut.write_bytes(data[:size])
        seen: list[warc.Record] = []
        try:
            for r in warc.read_records(str(cut)):
                seen.append(r)
        except InputError as fault:
            assert str(cut) in str(fault) and fault.offset is not None  # noqa: PT017, PT018
            continue
        assert not any(r.reason for r in seen)
        # Only a cut between two members cannot be seen in the bytes; the publisher's size tells it.
        assert len(seen) == len(whole) or size in edges
        with pytest.raises(InputError, match="publisher"):
            list(warc.read_records(str(cut), size=len(data)))


def test_every_record_before_the_fault_is_delivered(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gz", [response(n, sentence(n)) for n in range(4)], "members")
    whole = summary(path)
    path.write_bytes(path.read_bytes()[:-1])
    seen: list[str] = []
    records = (r.id for r in warc.read_records(str(path)))
    with pytest.raises(InputError) as fault:
        seen.extend(records)
    assert seen == [row[1] for row in whole[:3]]
    assert fault.value.offset == whole[3][5]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_flipped_bit_loses_nothing_silently(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("flip") / "a.gz"
    write(path, [response(n, sentence(n)) for n in range(3)], "members")
    whole = [(row[1], row[-1]) for row in summary(path)]
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[place // 8] ^= 1 << place % 8
    path.write_bytes(raw)
    seen = []
    try:
        for r in warc.read_records(str(path)):
            seen.append((r.id, hashlib.sha1(r.block).hexdigest()))
    except InputError:
        assert seen == whole[: len(seen)]
    else:  # a bit of a member's header that means nothing (time, system)
        assert seen == whole


@pytest.mark.parametrize("form", FORMS)
def test_one_bad_header_costs_one_record(tmp_path: Path, form: str) -> None:
    records = [response(n, sentence(n)) for n in range(4)]
    for damaged in (
        records[1].replace(b"WARC/1.0", b"WXRC/1.0"),
        records[1].replace(b"Content-Length: ", b"Content-Length: x"),
        records[1].replace(b"Content-Length: ", b"Content-Length: " + b"9" * 5000),
        records[1].replace(b"Content-Length: ", b"Content-Length: " + b"9" * 400),
        records[1].replace(b"Content-Length: ", "Content-Length: ²".encode()),
        records[1].replace(b"WARC-Date: 2024-05-06T07:08:09Z", b"no colon here"),
        records[1].replace(b"WARC-Type", b"WARC-Tipe"),
    ):
        path = write(tmp_path / "a", [records[0], damaged, *records[2:]], form)
        assert [r.reason for r in warc.read_records(str(path))] == ["", "error:header", "", ""]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("wrong", [-20, 7, 400, 100_000])
def test_a_wrong_content_length_costs_one_record(tmp_path: Path, form: str, wrong: int) -> None:
    records = [record("resource", n, b"x" * 300) for n in range(4)]
    records[1] = record("resource", 1, b"x" * 300, length=300 + wrong)
    path = write(tmp_path / "a", records, form)
    assert [r.reason for r in warc.read_records(str(path))] == ["", "error:content_length", "", ""]


@pytest.mark.parametrize("form", ["members", "frames"])
def test_a_wrong_content_length_in_the_last_record_is_an_error_row(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "a", [record("resource", 0, b"a"), record("resource", 1, b"x", length=9999)], form)
    assert [r.reason for r in warc.read_records(str(path))] == ["", "error:content_length"]


def test_a_record_over_two_members_is_one_record(tmp_path: Path) -> None:
    one, two, three = (response(n, sentence(n)) for n in range(3))
    path = tmp_path / "a.gz"
    path.write_bytes(b"".join(map(gzip.compress, (one, two[:400], two[400:], three))))
    assert [r.reason for r in warc.read_records(str(path))] == ["", "", ""]


def test_a_record_too_large_is_passed_over(tmp_path: Path) -> None:
    records = [record("resource", 0, b"a"), record("resource", 1, b"b" * 5000), record("resource", 2, b"c")]
    for form in FORMS:
        path = write(tmp_path / "a", records, form)
        rows = list(warc.read_records(str(path), max_record=1000))
        assert [r.reason for r in rows] == ["", "too_large", ""]
        assert (rows[1].value, rows[1].threshold, rows[1].block) == (5000, 1000, b"")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("target", [1, 700, 3000])
def test_ranges_in_order_equal_the_file(tmp_path: Path, form: str, target: int) -> None:
    path = write(tmp_path / "a", [response(n, sentence(n)) for n in range(12)], form)
    ranges = warc.cut(str(path), target)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == path.stat().st_size
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))
    assert [row for a, b in ranges for row in summary(path, a, b)] == summary(path)
    assert len(ranges) > 1 or form == "single" or target == 3000


@pytest.mark.parametrize("path", ARCHIVES, ids=lambda p: p.name)
def test_real_archives_end_in_rows_or_a_named_error(path: Path) -> None:
    def read(start: int = 0, stop: int | None = None) -> tuple[list[tuple], str]:
        rows = []
        try:
            for r in warc.read_records(str(path), start, stop):
                rows.append((r.type, r.id, r.url, r.reason, r.offset, r.length, len(r.block)))
        except InputError as fault:
            return rows, fault.cause
        return rows, ""

    whole, fault = read()
    assert whole or fault
    ranges = warc.cut(str(path), 5000 if path.stat().st_size < 50_000 else 200_000)
    parts = [read(a, b) for a, b in ranges]
    assert [row for rows, _ in parts for row in rows] == whole
    assert [cause for _, cause in parts if cause] == ([fault] if fault else [])


def test_an_embedded_archive_is_not_taken_for_an_edge_silently(tmp_path: Path) -> None:
    inner = b"".join(gzip.compress(response(n, sentence(n))) for n in range(30))
    outer = [response(100, sentence(1)), record("resource", 101, inner), response(102, sentence(2))]
    path = tmp_path / "a.gz"
    path.write_bytes(b"".join(gzip.compress(r, 0) for r in outer))
    try:
        seen = [row for a, b in warc.cut(str(path), 2000) for row in summary(path, a, b)]
    except InputError as fault:
        assert "unit size" in str(fault)  # noqa: PT017
    else:
        assert seen == summary(path)


def test_what_becomes_of_each_kind_of_record(tmp_path: Path) -> None:
    page = sentence(1)
    zipped = gzip.compress(page)
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(page), page)
    rows = [
        (record("warcinfo", 1, b"software: x\r\n"), "not_a_response:warcinfo"),
        (record("request", 2, b"GET / HTTP/1.1\r\n\r\n"), "not_a_response:request"),
        (record("revisit", 3, b"HTTP/1.1 200 OK\r\n\r\n"), "not_a_response:revisit"),
        (response(4, page), ""),
        (response(5, page, status="404 Not Found"), "http_status"),
        (response(6, b"", "Location: /x", status="301 Moved"), "redirect"),
        (response(7, b"%PDF-1.4", "Content-Type: application/pdf"), "not_html"),
        (response(8, b"   "), "empty"),
        (response(9, b"<html><body></body></html>"), "empty"),
        (response(10, zipped, "Content-Type: text/html\r\nContent-Encoding: gzip"), ""),
        (response(11, page, "Content-Type: text/html\r\nContent-Encoding: gzip"), ""),
        (
            response(12, zipped[:20] + b"???" + zipped[20:], "Content-Type: text/html\r\nContent-Encoding: gzip"),
            "error:",
        ),
        (response(13, chunked, "Content-Type: text/html\r\nTransfer-Encoding: chunked"), ""),
        (response(14, page, "X-Nothing: 1"), ""),
        (record("response", 15, b"SSH-2.0-OpenSSH_5.3p1\r\n"), "not_http"),
        (record("response", 16, b"HTTP/1.1 200 OK\r\n\r\n" + page, "WARC-Truncated: length"), "truncated"),
        (record("conversion", 17, sentence(17)[54:-18], "Content-Type: text/plain"), ""),
        (record("resource", 18, page, "Content-Type: text/html; charset=utf-8"), ""),
    ]
    path = write(tmp_path / "a.gz", [raw for raw, _ in rows], "members")
    found = list(warc.parse(str(path), 0, None, warc.Options()))
    assert [p.reason for p in found if not p.reason.startswith("error:")] == [w for _, w in rows if w != "error:"]
    assert all(p.text for p in found if not p.reason)
    assert not any(p.text for p in found if p.reason)
    assert len({p.identity for p in found}) == len(rows)


def test_a_compressed_bomb_is_too_large(tmp_path: Path) -> None:
    bomb = gzip.compress(b"<p>" + b" " * 200_000_000)
    head = "Content-Type: text/html\r\nContent-Encoding: gzip"
    path = write(tmp_path / "a.gz", [response(1, bomb, head), response(2, sentence(2))], "members")
    assert reasons(path) == ["too_large", ""]


def test_digests_are_checked_on_request(tmp_path: Path) -> None:
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + sentence(3)
    good = base64.b32encode(hashlib.sha1(block).digest()).decode()
    payload = hashlib.md5(sentence(3)).hexdigest()
    rows = [
        record("response", 1, block, f"WARC-Block-Digest: sha1:{good}", f"WARC-Payload-Digest: md5:{payload}"),
        record("response", 2, block, "WARC-Block-Digest: sha1:" + "A" * 32),
        record("response", 3, block, "WARC-Payload-Digest: sha1:" + "A" * 32),
        record("response", 4, block, "WARC-Block-Digest: sha1:é"),
    ]
    path = write(tmp_path / "a.gz", rows, "members")
    assert reasons(path) == [""] * 4
    found = reasons(path, warc.Options(verify_digests=True))
    assert found == ["", "error:block_digest", "error:payload_digest", "error:block_digest"]


@pytest.mark.parametrize("digits", [19, 400, 5000])
def test_an_arc_length_without_end_costs_one_record(tmp_path: Path, digits: int) -> None:
    line = b"http://example.org/%d 10.0.0.1 20080430204825 text/html %s\n"
    rows = [line % (n, b"9" * digits if n == 1 else b"5") + b"body\n\n" for n in range(3)]
    path = tmp_path / "a.arc"
    path.write_bytes(b"".join(rows))
    assert [r.reason for r in warc.read_records(str(path))] == ["", "error:header", ""]


def test_arc_fields_are_read_from_the_right(tmp_path: Path) -> None:
    body = b"HTTP/1.0 200 OK\nContent-Type: text/html\n\n" + sentence(1)
    lines = [
        (b"http://example.org/a b.html 10.0.0.1 20080430204825 text/html %d\n", "http://example.org/a b.html"),
        (b"http://example.org/c 20080430204825 10.0.0.1 text/html %d\n", "http://example.org/c"),
        (b"http://example.org/d 10.0.0.1 20080430204825  %d\n", "http://example.org/d"),
        (b"http://example.org/e 10.0.0.1 20080430204825 text/html 200 ABC - 17 f.arc %d\n", "http://example.org/e"),
    ]
    path = tmp_path / "a.arc"
    path.write_bytes(b"".join(line % len(body) + body + b"\n" for line, _ in lines))
    rows = list(warc.read_records(str(path)))
    assert [r.url for r in rows] == [url for _, url in lines]
    assert all(r.block == body and r.date is not None and r.date.year == 2008 for r in rows)


def test_nothing_that_is_no_archive_is_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for data in (b"", b"hello world\n" * 50, gzip.compress(b"hello world\n" * 50), b"\x00" * 100):
        path.write_bytes(data)
        with pytest.raises(InputError, match="x"):
            list(warc.read_records(str(path)))


def test_a_giant_page_is_dropped_in_little_memory() -> None:
    path = shared("warc/internetarchive__CDX-Writer/giant_html.warc.gz")
    script = (
        "import sys; from pipeline.parse import warc\n"
        "print(*(row.reason for row in warc.parse(sys.argv[1])))\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"  # its own only
    )
    found = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    reason, kilobytes = found.stdout.split()
    assert reason == "too_large"
    assert int(kilobytes) < 1_000_000


def test_a_member_that_swells_behind_its_record_costs_one_row(tmp_path: Path) -> None:
    bomb = gzip.compress(response(2, sentence(2), "Content-Type: text/html") + bytes(100_000_000), mtime=0)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(response(1, sentence(1))) + bomb + gzip.compress(response(3, sentence(3))))
    assert reasons(path) == ["", "", "error:header", ""]


def test_pages_with_bytes_that_are_no_text(tmp_path: Path) -> None:
    bodies = [
        sentence(1).replace(b"word", b"\xed\xa0\x80w\0rd"),
        sentence(2).replace(b" ", b"\0"),
        b"\xff\xfe" + sentence(3),
    ]
    path = write(tmp_path / "a.gz", [response(k, body) for k, body in enumerate(bodies)], "members")
    rows = list(warc.parse(str(path)))
    assert rows[0].reason == ""
    for row in rows:
        assert bool(row.text) != bool(row.reason)
        row.text.encode("utf-8")
        assert "\0" not in row.text


def test_pages_that_opt_out_are_dropped_on_request(tmp_path: Path) -> None:
    page = sentence(1).replace(b"<title>", b'<meta name="robots" content="noai, noimageai"><title>')
    path = write(tmp_path / "a.gz", [response(1, page), response(2, sentence(2))], "members")
    assert reasons(path) == ["", ""]
    assert reasons(path, warc.Options(obey_robots=True)) == ["robots", ""]


def test_url_rules_apply_before_the_page_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gz", [response(1, sentence(1)), response(2, sentence(2))], "members")
    rules = warc.UrlRules(patterns=("/1$",))
    assert reasons(path, warc.Options(urls=rules)) == ["url_pattern", ""]


def test_a_page_over_its_limits_costs_one_row(tmp_path: Path) -> None:
    huge = b"<p>" + b"x &amp; y " * 1_500_000
    path = write(tmp_path / "a.gz", [response(1, sentence(1)), response(2, huge), response(3, sentence(3))], "members")
    rows = list(warc.parse(str(path), 0, None, warc.Options(timeout_s=0.2)))
    assert [row.reason for row in rows] == ["", "parse_timeout", ""]
    assert rows[1].threshold == 0.2


def test_broken_records_of_two_files_have_different_identities(tmp_path: Path) -> None:
    bad = b"WARC/1.0\r\nnothing\r\n\r\n"
    identities = set()
    for name in ("a.gz", "b.gz"):
        path = write(tmp_path / name, [bad, response(1, sentence(1))], "members")
        identities |= {row.identity for row in warc.parse(str(path))}
    assert len(identities) == 3


@pytest.mark.parametrize("packed", [False, True])
def test_zstd_frames_with_a_shared_dictionary(tmp_path: Path, packed: bool) -> None:
    records = [response(n, sentence(n)) for n in range(40)]
    dictionary = zstandard.train_dictionary(4096, [*records])
    stored = dictionary.as_bytes()
    stored = zstandard.compress(stored) if packed else stored
    coder = zstandard.ZstdCompressor(dict_data=dictionary)
    head = b"\x5d\x2a\x4d\x18" + len(stored).to_bytes(4, "little") + stored
    path = tmp_path / "a.warc.zst"
    path.write_bytes(head + b"".join(map(coder.compress, records)))
    whole = summary(path)
    assert len(whole) == len(records)
    ranges = warc.cut(str(path), 1000)
    assert len(ranges) > 2
    assert [row for a, b in ranges for row in summary(path, a, b)] == whole
    path.write_bytes(path.read_bytes()[: len(head) - 5])
    with pytest.raises(InputError):
        summary(path)


@pytest.mark.parametrize(
    ("name", "data", "cause"),
    [
        ("a.warc.zst", ZSTD_DICTIONARY + b"\xff" * 4, "is refused"),
        ("a.warc.zst", ZSTD_DICTIONARY + b"\x09\0\0\0" + b"half", "truncated inside the zstd dictionary"),
        ("a.warc.zst", ZSTD_DICTIONARY + b"\x08\0\0\0" + ZSTD_MAGIC + b"none", "corrupt zstd dictionary"),
        ("a.warc.gz", b"1234", "the name says compressed"),
    ],
)
def test_an_archive_whose_head_is_wrong_is_refused_with_what_mends_it(name, data, cause):
    def look(raw):
        read_dictionary(raw, name)
        compression(raw, name)

    with pytest.raises(InputError, match=cause) as refused:
        look(io.BytesIO(data))
    assert refused.value.mend
