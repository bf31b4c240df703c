"""Web archives (WARC 0.18 to 1.1, WET, ARC 1 and 2; gzip, zstd or plain) without silent loss.

`read_records` delivers every record of a file or of a byte range: whole, too large (its block is passed over), or
broken (``reason`` starts with ``"error:"``); a cut or corrupt file ends in `InputError`. A record is delivered only
after its gzip member was decoded to its end and the member's CRC agreed, unless one member holds many records.

`parse` turns records into documents and drops. Every record of the archive counts as read; what is not a page is a
drop with the reason ``not_a_response:<type>`` (requests, metadata, warcinfo, ...), so that read = kept + dropped +
errors holds over records.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import TYPE_CHECKING

from pipeline.errors import CorpusmillError, InputError
from pipeline.parse import encoding, html_options, http
from pipeline.parse.record import Parsed, file_name
from pipeline.parse.sandbox import Killed, Sandbox
from pipeline.parse.warc_stream import (
    GZIP_MAGIC,
    READ_BYTES,
    ZSTD_MAGIC,
    Decoder,
    MemberStream,
    ZstdMember,
    compression,
    gzip_member,
    read_dictionary,
)
from pipeline.parse.warc_urls import UrlFilter, UrlRules
from pipeline.storage import open_input

if TYPE_CHECKING:  # its compiled passes take half a second to load: only what extracts does that
    from pipeline.parse import html

MAX_HEADER = 1 << 16
MAX_RECORD = 32 << 20

# The header line of an ARC record: URL IP date type length; version 2 has status, checksum, location, offset and file
# name before the length. URLs and types of real files hold blanks, so the fields are found from the right.
_ARC_1 = re.compile(rb"(\S.*?) (\S*) (\S*) (.*?) ?(-?\w+)$", re.S)
_ARC_2 = re.compile(rb"(\S.*) (\S+) (\d{12,17}) (\S+) (\S+) (\S+) (\S+) (\d+) (\S+) (\d+)$", re.S)
_ARC_START = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:[^\n]* \S+ [0-9A-Za-z]{12,40} [^\n]* ?\d+\r?\n")
_ARC_START_SWAPPED = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:[^\n]* \d{14} \d+\.\d+\.\d+\.\d+ \S+ \d+\r?\n")
_WARC_START = re.compile(rb"WARC/[01]\.\d+\r?\n")
_NEXT_WARC = re.compile(rb"\n(?=WARC/[01]\.\d+\r?\n)")
_NEXT_ARC = re.compile(
    rb"\n(?=[A-Za-z][A-Za-z0-9+.-]*:[^\n]{1,8192} \d+\.\d+\.\d+\.\d+ \d{12,18} [^\n]{0,512}-?\w+\r?\n)"
)
_ARC_LIKE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_LINE_END = re.compile(rb"\n")
_SIZE = re.compile("[0-9]{1,18}")
_BLANK = b"\r\n"


@dataclass(slots=True)
class Record:
    """One record of an archive.

    ``block`` is what follows the record's header (for a response: HTTP header and payload), empty where ``reason`` is
    set. ``offset`` and ``length`` are compressed bytes: the gzip member or zstd frame that holds the record (in a
    member of several records the length reaches to where this record was decoded), or the plain record itself.
    """

    type: str
    id: str = ""
    url: str = ""
    date: datetime | None = None
    content_type: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    block: bytes = b""
    offset: int = 0
    length: int = 0
    content_length: int = 0
    ordinal: int = 0  # of the record in its gzip member or zstd frame
    reason: str = ""
    value: float | None = None
    threshold: float | None = None


class _HeaderFault(ValueError):
    pass


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8").replace("\0", "")
    except UnicodeDecodeError:
        return data.decode("latin-1").replace("\0", "")


_DATE = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ]?(\d\d):?(\d\d)(?::?(\d\d)(?:\.(\d{1,9}))?)?)?")


def parse_date(text: str) -> datetime | None:
    """A WARC (ISO 8601) or ARC (14 digits) date in UTC to the millisecond; None where it is none."""
    match = _DATE.match(text)
    if not match:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    milliseconds = int(((match[7] or "") + "000")[:3])
    try:
        base = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone.utc)
    except ValueError:
        return None
    return base + timedelta(milliseconds=milliseconds)


def _warc_header(lines: bytes) -> Record:
    headers: dict[str, str] = {}
    name = ""
    for line in lines.split(b"\n")[1:]:
        line = line.rstrip(b"\r")
        if line[:1] in (b" ", b"\t") and name:  # a folded line goes on with the field before it
            headers[name] += " " + _text(line.strip())
            continue
        key, colon, value = line.partition(b":")
        if not colon:
            raise _HeaderFault("a line without a colon")
        name = _text(key).strip().lower()
        headers.setdefault(name, _text(value).strip())
    size = headers.get("content-length", "")
    if not _SIZE.fullmatch(size):
        raise _HeaderFault("Content-Length is absent or no number of at most 18 digits")
    if "warc-type" not in headers:
        raise _HeaderFault("WARC-Type is absent")
    return Record(
        type=headers["warc-type"].lower(),
        id=headers.get("warc-record-id", "").strip("<> "),
        url=headers.get("warc-target-uri", "").strip("<> "),
        date=parse_date(headers.get("warc-date", "")),
        content_type=headers.get("content-type", ""),
        headers=headers,
        content_length=int(size),
    )


def _arc_header(line: bytes) -> Record:
    match = _ARC_2.match(line)
    parts = match.group(1, 2, 3, 4, 10) if match else None
    if parts is None:
        fields = line.rsplit(b" ", 4)
        if len(fields) < 5:
            raise _HeaderFault("not the fields of an ARC header")
        parts = (fields[0], fields[1], fields[2], fields[3], fields[4])
        if not (fields[2].isdigit() or fields[1].isdigit()) and (match := _ARC_1.match(line)):
            blank = re.match(rb"(\S.*) (\d+\.\d+\.\d+\.\d+) (\d{12,18}) (.*) (\d+)$", line, re.S)
            if blank:  # a media type with blanks in it
                parts = (blank[1], blank[2], blank[3], blank[4], blank[5])
    url, address, date, kind, size = parts
    if address.isdigit() and len(address) >= 12 and not date.isdigit():
        address, date = date, address  # some crawlers wrote the two the wrong way round
    if not (size.isdigit() and len(size) <= 18):
        raise _HeaderFault("the length is no number of at most 18 digits")
    address_url = _text(url.strip())
    return Record(
        type="filedesc" if address_url.startswith("filedesc:") else "response",
        url=address_url,
        date=parse_date(_text(date)),
        content_type=_text(kind),
        headers={"date": _text(date), "ip-address": _text(address)},
        content_length=int(size),
    )


def _starts_record(data: bytes) -> bool:
    return bool(_WARC_START.match(data) or _ARC_START.match(data) or _ARC_START_SWAPPED.match(data))


class _Reader:
    """The records of one `MemberStream`."""

    def __init__(self, stream: MemberStream, max_record: int) -> None:
        self.stream = stream
        self.max_record = max_record
        self.arc = False  # what the last header was: decides which start is searched for after a damaged record
        before = stream.before  # bytes of line ends after a record, as the records so far had them
        self.blanks = len(before) - len(before.rstrip(_BLANK))
        self.unended = False  # a plain file stopped between the present record and its line ends
        self.end: int | None = None  # where the present record ended, when the next member is open already

    def member(self) -> Iterator[Record]:
        """The records of the present member (of a plain file: of the range), each once its end is known."""
        stream = self.stream
        ordinal = 0
        stream.fresh = False
        self._skip_blanks()
        while stream.need(1):
            start = stream.member if stream.kind else stream.position
            if not stream.kind and stream.stop is not None and start >= stream.stop:
                if start > stream.stop:
                    raise self._straddles(start)
                return
            self.end = None
            record = self._record()
            record.offset = start
            record.ordinal = ordinal if stream.kind else 0
            record.length = (stream.position if self.end is None else self.end) - start
            ordinal += 1
            yield record
            if self.end is not None:
                return
            if self.unended:
                raise self._truncated("the line ends after the last record are missing", stream.size)

    def _truncated(self, what: str, offset: int) -> InputError:
        cause = f"truncated file: {what}"
        return InputError(cause, file=self.stream.path, offset=offset, mend="fetch the file again")

    def _straddles(self, start: int) -> InputError:
        return InputError(
            f"the range edge {self.stream.stop} lies inside a record",
            file=self.stream.path,
            offset=start,
            mend="set the unit size above the size of this file, so that it is read whole",
        )

    def _skip_blanks(self) -> int:
        """Pass over line ends; their number."""
        stream = self.stream
        count = 0
        while stream.need(1) and stream.buffer[stream.place] in _BLANK:
            stream.place += 1
            count += 1
        return count

    def _record(self) -> Record:
        """The record at the present place; the stream stands at the next one, or at the member's end, afterwards."""
        head, record = self._header()
        if record is None:
            return self._broken(Record(type="", reason="error:header"), head)
        size = record.content_length
        if size > self.max_record:
            record.reason, record.value, record.threshold = "too_large", float(size), float(self.max_record)
        block, passed = self._block(size)
        if passed < size:
            return self._short(record, block, passed)
        blanks = self._skip_blanks()
        if self.stream.need(1):
            self.blanks = min(blanks, 1 if self.arc else 4)
            self.stream.need(MAX_HEADER if self.arc else 16)
            ahead = self.stream.buffer[self.stream.place : self.stream.place + MAX_HEADER]
            # A record follows a record. Anything else means that this one's length was wrong; but a header that is
            # damaged and stands where it must (after the line ends) is that record's fault, not this one's.
            expected = _ARC_LIKE.match(ahead) if self.arc else blanks == 4
            if not _starts_record(ahead) and not expected:
                record.reason, record.value, record.threshold = "error:content_length", float(size), None
                return self._broken(record, block)
        elif not self.stream.kind and blanks < (self.blanks or (1 if self.arc else 4)):
            self.unended = True
        record.block = block
        return record

    def _block(self, size: int) -> tuple[bytes, int]:
        """The next ``size`` bytes, over members where the record goes on; nothing is kept of a block too large."""
        parts: list[bytes] = []
        passed = 0
        while True:
            if size > self.max_record:
                passed += self.stream.skip(size - passed)
            else:
                parts.append(self.stream.take(size - passed))
                passed += len(parts[-1])
            if passed == size or self._following().search(parts[-1] if parts else b"") or not self._continues():
                return b"".join(parts), passed

    def _continues(self) -> bool:
        """Whether the next member goes on with the present record (some writers flush within one); opens it."""
        stream = self.stream
        if not stream.kind:
            return False
        end = stream.position
        if not stream.open_member():
            return False
        stream.need(MAX_HEADER)
        if not _starts_record(stream.buffer[:MAX_HEADER].lstrip(_BLANK)):
            stream.fresh = False
            return True
        self.end = end
        return False

    def _following(self) -> re.Pattern[bytes]:
        return _NEXT_ARC if self.arc else _NEXT_WARC

    def _header(self) -> tuple[bytes, Record | None]:
        """The header's bytes and, where they make sense, the record they announce."""
        stream = self.stream
        stream.need(6)
        warc = stream.buffer.startswith(b"WARC/", stream.place)
        head, found = self._until(_HEADER_END if warc else _LINE_END)
        self.arc = not warc and (self.arc or bool(_ARC_LIKE.match(head)))
        if not found:
            if not stream.kind and len(head) < MAX_HEADER:
                raise self._truncated("the last record's header has no end", stream.size - len(head))
            return head, None
        try:
            return head, (_warc_header if warc else _arc_header)(head.rstrip(_BLANK))
        except _HeaderFault:
            return head, None

    def _until(self, end: re.Pattern[bytes]) -> tuple[bytes, bool]:
        """The bytes up to and with the first ``end``; without one, False and those of `MAX_HEADER` or of the member."""
        stream = self.stream
        searched = 0
        while True:
            match = end.search(stream.buffer, stream.place + max(searched - 3, 0), stream.place + MAX_HEADER)
            if match:
                return stream.take(match.end() - stream.place), True
            searched = len(stream.buffer) - stream.place
            if searched >= MAX_HEADER or not stream.fill():
                return stream.take(min(searched, MAX_HEADER)), False

    def _short(self, record: Record, block: bytes, passed: int) -> Record:
        """The member ended before the record did: its Content-Length is wrong, or the file is cut."""
        if not self.stream.kind and not self._following().search(block):
            counts = f"the last record has {passed} of {record.content_length} bytes"
            raise self._truncated(counts, self.stream.size - passed)
        record.reason = "error:content_length"
        record.value, record.threshold = float(passed), float(record.content_length)
        return record if self.end is not None else self._broken(record, block)

    def _broken(self, record: Record, taken: bytes) -> Record:
        """Pass on to the next record start after a broken record of which ``taken`` was read."""
        stream = self.stream
        stream.rewind(taken)
        following = self._following()
        if not taken:
            stream.take(1)
        while True:
            match = following.search(stream.buffer, stream.place)
            if match:
                stream.place = match.end()
                return record
            # Keep the tail: a marker may lie across two fills.
            stream.place = max(stream.place, len(stream.buffer) - (1 << 14 if self.arc else 64))
            if not stream.fill():
                stream.place = len(stream.buffer)
                return record


_ALGORITHMS = {"sha1": 20, "md5": 16, "sha256": 32, "sha512": 64}


def digest_agrees(label: str, data: bytes) -> bool:
    """Whether ``data`` has the labelled digest (``sha1:BASE32`` or hexadecimal); an unknown algorithm agrees."""
    name, _, value = label.partition(":")
    name = name.strip().lower().replace("-", "")
    size = _ALGORITHMS.get(name)
    if not size:
        return True
    found = hashlib.new(name, data, usedforsecurity=False).digest()
    value = value.strip()
    if len(value) == 2 * size:
        return found.hex() == value.lower()
    try:
        return base64.b32decode(value.upper() + "=" * (-len(value) % 8)) == found
    except ValueError:  # no base 32, or not even ASCII
        return False


def read_records(
    path: str, start: int = 0, stop: int | None = None, *, max_record: int = MAX_RECORD, size: int | None = None
) -> Iterator[Record]:
    """The records of ``path`` that begin in ``start:stop`` (compressed bytes; edges from `cut`).

    ``size`` is the file's size as the publisher states it: a file cut exactly between two members can only be told by
    it. Raises `InputError` for a file that is cut, corrupt, empty, or no archive, after all whole records before the
    fault were delivered.
    """
    stream = MemberStream(path, start, stop)
    try:
        if stream.size == 0:
            raise InputError("empty file: not even one record", file=path, offset=0, mend="fetch the file again")
        reader = _Reader(stream, max_record)
        good = bad = False
        while stream.open_member():
            for record in reader.member():
                good |= record.type != ""
                bad |= record.type == ""
                yield record
        if bad and not good and start == 0 and (stop is None or stop >= stream.size):
            raise InputError(
                "no WARC or ARC record in this file",
                file=path,
                offset=0,
                mend="fetch the file again, or correct paths of the [[source]]",
            )
        if size is not None and size != stream.size:
            cause = f"the file has {stream.size} bytes and the publisher's has {size}"
            raise InputError(cause, file=path, offset=min(size, stream.size), mend="fetch the file again")
    finally:
        stream.close()


def find_record(path: str, offset: int, record: str) -> Record:
    """Read one record back from the lineage of its document.

    Raises `InputError` where the file does not hold that record there.
    """
    for found in read_records(path, offset, offset + 1):
        if record in (found.id, f"#{found.ordinal}"):
            return found
    raise InputError(
        f"no record {record}", file=path, offset=offset, mend="check that the file is still the one that was read"
    )


@dataclass(frozen=True)
class Options:
    """What becomes a document and how."""

    page: html_options.Options = field(default_factory=html_options.Options)
    urls: UrlRules = field(default_factory=UrlRules)
    max_record: int = MAX_RECORD  # bytes of a record's block
    max_payload: int = 16 << 20  # bytes of the decoded page
    keep_truncated: bool = False  # pages that the crawler cut (WARC-Truncated)
    clean_wet: bool = True  # drop the boilerplate lines of WET records
    verify_digests: bool = False  # block and payload digests, where a record has them
    obey_robots: bool = False  # drop pages whose robots meta tag says noindex, noai, none, or reserves text mining
    timeout_s: float = 30.0  # a page; 0 reads the pages in this process, without any limit
    memory_mb: int = 4096  # of address space, of which numpy alone reserves much on a machine of many cores


def parse(path: str, start: int = 0, stop: int | None = None, options: Options | None = None) -> Iterator[Parsed]:
    """One `Parsed` a record of ``path`` that begins in ``start:stop``; raises as `read_records`.

    Reasons for no document: ``not_a_response:<type>``, ``not_http``, ``redirect``, ``http_status``, ``not_html``,
    ``truncated``, ``too_large``, ``empty``, ``robots``, ``url_*`` (see `UrlFilter`), ``parse_timeout``,
    ``parse_memory``, ``parse_crash``, ``too_deep``, ``too_many_blocks``; ``error:header``, ``error:content_length``,
    ``error:block_digest``, ``error:payload_digest``, ``error:http_encoding``, ``error:extract``. Pages are read in a
    process that can be killed.
    """
    options = options or Options()
    unwanted = UrlFilter(options.urls).reason
    extract: Callable[..., html.Extraction]
    if options.timeout_s:
        extract = _sandbox(options.timeout_s, options.memory_mb)
    else:
        from pipeline.parse.html import extract
    name = file_name(path)
    for record in read_records(path, start, stop, max_record=options.max_record):
        row = _parsed(record, options, unwanted, extract)
        if not row.identity:
            row.identity = f"{name}:{row.offset}:{row.record}"
        yield row


@cache
def _sandbox(timeout_s: float, memory_mb: int) -> Sandbox:
    """One worker for all files that this process reads."""
    return Sandbox("pipeline.parse.html:extract", timeout_s=timeout_s, memory_mb=memory_mb)


def _parsed(
    record: Record, options: Options, unwanted: Callable[[str], str], extract: Callable[..., html.Extraction]
) -> Parsed:
    row = Parsed(
        identity=record.id or f"{record.url} {record.headers.get('date') or record.date or ''}".strip(),
        text="",
        url=record.url,
        title="",
        timestamp=record.date,
        offset=record.offset,
        length=record.length,
        record=record.id or f"#{record.ordinal}",
        reason=record.reason,
        value=record.value,
        threshold=record.threshold,
    )
    if row.reason:
        return row
    if options.verify_digests and not digest_agrees(record.headers.get("warc-block-digest", ""), record.block):
        row.reason = "error:block_digest"
    elif record.type in ("response", "resource", "conversion"):
        row.reason = unwanted(record.url)
        if row.reason:
            pass
        elif record.type == "conversion":
            _conversion(record, row, options)
        else:
            _page(record, row, options, extract)
    else:
        row.reason = f"not_a_response:{record.type[:32]}"
    return row


def _conversion(record: Record, row: Parsed, options: Options) -> None:
    if not record.content_type.lower().startswith("text/"):
        row.reason = "not_html"
        return
    from pipeline.parse import html

    text = html.tidy(encoding.decode(record.block, "utf-8")[0])
    lines = text.count("\n") + 1
    if options.clean_wet and lines > html.MAX_BLOCKS:
        row.reason, row.value, row.threshold = "too_many_blocks", float(lines), float(html.MAX_BLOCKS)
        return
    row.text = html.clean_lines(text) if options.clean_wet else text
    if not row.text:
        row.reason = "empty"


def _page(record: Record, row: Parsed, options: Options, extract: Callable[..., html.Extraction]) -> None:
    declared = record.content_type
    payload = record.block
    response = None
    is_http = record.type == "response" and record.url[:4].lower() not in ("dns:", "ftp:")
    if is_http:
        response = http.parse_response(record.block, options.max_payload)
        if response is None:
            row.reason = "not_http"
            return
        if 300 <= response.status < 400:
            row.reason, row.value = "redirect", float(response.status)
            return
        if response.status != 200:
            row.reason, row.value = "http_status", float(response.status)
            return
        declared, payload = response.content_type, response.payload
    row.reason, row.value, row.threshold = _refusal(record, response, declared, payload, options)
    if row.reason:
        return
    try:
        page = extract(payload, record.url, http.charset(declared) or None, options.page)
    except Killed as fault:
        row.reason, row.threshold = f"parse_{fault.limit}", fault.threshold
        return
    except CorpusmillError:
        raise
    except Exception:  # noqa: BLE001 (a fault of ours in one page: it is counted, and the next is read)
        row.reason = "error:extract"
        return
    row.title, row.reason = page.title, page.reason
    if options.obey_robots and not _OPT_OUTS.isdisjoint(re.split(r"[,\s]+", page.robots)):
        row.reason = "robots"
    if not row.reason:
        row.text = page.text


_OPT_OUTS = frozenset(("noindex", "none", "noai", "tdm-reservation"))


def _refusal(
    record: Record, response: http.Response | None, declared: str, payload: bytes, options: Options
) -> tuple[str, float | None, float | None]:
    """Why this page is not read, with value and threshold; an empty reason lets it pass."""
    if not is_html(declared, record.headers.get("warc-identified-payload-type", ""), payload):
        return "not_html", None, None
    if response is not None:
        label = record.headers.get("warc-payload-digest", "")
        if options.verify_digests and not any(digest_agrees(label, form) for form in response.forms()):
            return "error:payload_digest", None, None
        if response.too_large or len(payload) > options.max_payload:
            return "too_large", float(len(payload)), float(options.max_payload)
        if response.fault:
            return f"error:{response.fault}", None, None
    elif len(payload) > options.max_payload:
        return "too_large", float(len(payload)), float(options.max_payload)
    if "warc-truncated" in record.headers and not options.keep_truncated:
        return "truncated", None, None
    if not payload.strip():
        return "empty", None, None
    return "", None, None


_HTML_TYPES = ("text/html", "application/xhtml+xml")
_SNIFF = re.compile(
    rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|title|meta|div|p|table|script)\b", re.I | re.S
)


def is_html(declared: str, identified: str, payload: bytes) -> bool:
    """Whether a payload is a page: what the crawler identified, else the declared type, else its first bytes."""
    for kind in (identified, declared):
        kind = kind.partition(";")[0].strip().lower()
        if kind and kind not in ("no-type", "unknown/unknown", "application/octet-stream", "text/plain"):
            return kind in _HTML_TYPES
        if kind == "text/plain":
            return False
    return bool(_SNIFF.match(payload[:1024]))


_PROOF_INPUT = 1 << 14
_PROOF_OUTPUT = 1 << 16


def cut(path: str, target_bytes: int) -> list[tuple[int, int]]:
    """Byte ranges of about ``target_bytes`` whose edges are record starts, proved by decoding there.

    Reading the ranges in order equals reading the file. A file of one member is one range. Reads only around the edges.
    """
    if target_bytes <= 0:
        raise ValueError("target_bytes must be positive")
    with open_input(path) as raw:
        size = raw.seek(0, 2)
        kind = compression(raw, path)
        dictionary = read_dictionary(raw, path) if kind == "zstd" else None
        edges = [0]
        while (wanted := edges[-1] + target_bytes) < size:
            edge = _next_start(raw, kind, dictionary, wanted, size)
            if edge is None:
                break
            edges.append(edge)
    return list(zip(edges, [*edges[1:], size], strict=True))


def _next_start(raw, kind: str, dictionary: object, wanted: int, size: int) -> int | None:
    """The first proved record start at or after ``wanted``."""
    pattern = {
        "gzip": re.compile(re.escape(GZIP_MAGIC)),
        "zstd": re.compile(re.escape(ZSTD_MAGIC)),
        "": re.compile(_NEXT_WARC.pattern + b"|" + _NEXT_ARC.pattern),
    }[kind]
    overlap = 8 if kind else 1 << 14
    place = wanted if kind else max(wanted - 1, 0)
    step = max(READ_BYTES, 4 * overlap)
    while place < size:
        raw.seek(place)
        window = raw.read(step + overlap)
        for match in pattern.finditer(window):
            if match.start() >= step:
                break
            edge = place + match.end() if not kind else place + match.start()
            if _proved(raw, kind, dictionary, edge, size):
                return edge
        place += step
    return None


def _proved(raw, kind: str, dictionary: object, edge: int, size: int) -> bool:
    raw.seek(edge)
    if kind:
        decoder: Decoder = gzip_member() if kind == "gzip" else ZstdMember(dictionary)
        try:
            return _starts_record(decoder.decompress(raw.read(_PROOF_INPUT), _PROOF_OUTPUT))
        except Exception as fault:
            if type(fault).__module__ not in ("zlib", "zstandard"):
                raise
            return False
    return _chained(raw, edge, size)


def _chained(raw, edge: int, size: int) -> bool:
    """Whether a plain record begins at ``edge`` and another one, or the end, where its length says."""
    raw.seek(edge)
    head = raw.read(MAX_HEADER)
    try:
        if head.startswith(b"WARC/"):
            end = _HEADER_END.search(head)
            if not end:
                return False
            length = _warc_header(head[: end.start()]).content_length
        else:
            end = _LINE_END.search(head)
            if not end:
                return False
            length = _arc_header(head[: end.start()].rstrip(b"\r")).content_length
    except _HeaderFault:
        return False
    after = edge + end.end() + length
    if after > size:
        return False
    raw.seek(after)
    rest = raw.read(MAX_HEADER).lstrip(_BLANK)
    return not rest or _starts_record(rest)
