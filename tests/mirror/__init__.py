"""Both publishers on loopback: their layouts over the bundled sample, and a script of misbehaviour.

    with Mirror() as mirror:
        mirror.misbehave("/zhwiki/20180601/*.bz2", Status(503, retry_after="0"), Short(1000))
        ...mirror.url, mirror.requests...

A misbehaviour answers one request whose path matches; the next one is answered by the next, and then as it should be.
"""

from __future__ import annotations

import bz2
import fnmatch
import gzip
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.corpus import DATA

CRAWL = "CC-MAIN-2024-22"
DATES = ("2018-05-01", "2018-06-01")
_SEGMENT = f"crawl-data/{CRAWL}/segments/1715971057216.39"


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: Message


Misbehaviour = Callable[["_Handler", bytes], None]


def Status(status: int, retry_after: str | None = None) -> Misbehaviour:
    """Refuse with a status."""

    def answer(handler: _Handler, body: bytes) -> None:
        handler.begin(status, 0, **({"Retry-After": retry_after} if retry_after is not None else {}))

    return answer


def Short(n: int) -> Misbehaviour:
    """Promise the whole, send ``n`` bytes of it, hang up."""

    def answer(handler: _Handler, body: bytes) -> None:
        _, start = handler.begin_file(body)
        handler.wfile.write(body[start : start + n])

    return answer


def Hold(n: int, reached: threading.Event) -> Misbehaviour:
    """Send ``n`` bytes, say so, and send nothing more until the client is gone."""

    def answer(handler: _Handler, body: bytes) -> None:
        _, start = handler.begin_file(body)
        handler.wfile.write(body[start : start + n])
        handler.wfile.flush()
        reached.set()
        handler.connection.settimeout(60)
        while handler.connection.recv(1):  # nothing comes; empty when the client has closed or died
            pass

    return answer


def IgnoreRange() -> Misbehaviour:
    """Answer 200 with the whole, whatever part was asked for."""

    def answer(handler: _Handler, body: bytes) -> None:
        handler.begin(200, len(body), ETag=etag(body))
        handler.wfile.write(body)

    return answer


def OtherRange() -> Misbehaviour:
    """Answer 206 with another part than was asked for."""

    def answer(handler: _Handler, body: bytes) -> None:
        handler.begin(206, 10, **{"Content-Range": f"bytes 0-9/{len(body)}", "ETag": etag(body)})
        handler.wfile.write(body[:10])

    return answer


def Corrupt(at: int = 100) -> Misbehaviour:
    """Send the whole with one byte changed."""

    def answer(handler: _Handler, body: bytes) -> None:
        wrong = bytearray(body)
        wrong[at] ^= 1
        _, start = handler.begin_file(bytes(wrong), tag=etag(body))
        handler.wfile.write(wrong[start:])

    return answer


def Redirect(to: str, status: int = 302) -> Misbehaviour:
    """Send the client elsewhere."""

    def answer(handler: _Handler, body: bytes) -> None:
        handler.begin(status, 0, Location=to)

    return answer


def Instead(other: bytes) -> Misbehaviour:
    """Send other content."""

    def answer(handler: _Handler, body: bytes) -> None:
        _, start = handler.begin_file(other)
        handler.wfile.write(other[start:])

    return answer


def Slow(released: threading.Event) -> Misbehaviour:
    """Answer as it should be, but only once ``released`` is set."""

    def answer(handler: _Handler, body: bytes) -> None:
        released.wait(60)
        _, start = handler.begin_file(body)
        handler.wfile.write(body[start:])

    return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    mirror: Mirror

    def do_GET(self) -> None:
        mirror = self.mirror
        body = mirror.files.get(self.path)
        with mirror.lock:
            mirror.requests.append(Request(self.command, self.path, self.headers))
            script = mirror.script.get(next((p for p in mirror.script if fnmatch.fnmatch(self.path, p)), ""), [])
            misbehave = script.pop(0) if script and (self.command == "GET") else None
        self.close_connection = True
        if not re.search(r"\S@\S|https?://", self.headers.get("User-Agent", "")):
            self.begin(403, 0)
        elif misbehave:
            misbehave(self, body or b"")
        elif body is None:
            self.begin(404, 0)
        else:
            status, start = self.begin_file(body)
            if self.command == "GET":
                stop = int(re.fullmatch(r"bytes=\d+-(\d*)", self.headers["Range"])[1] or -1) if status == 206 else -1
                self.wfile.write(body[start:] if stop < 0 else body[start : stop + 1])

    do_HEAD = do_GET

    def begin(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def begin_file(self, body: bytes, tag: str = "") -> tuple[int, int]:
        """The header of a file or of the range asked for: the status, and where to begin."""
        tag = tag or etag(body)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked or self.headers.get("If-Range", tag) != tag:
            self.begin(200, len(body), **{"ETag": tag, "Accept-Ranges": "bytes"})
            return 200, 0
        start = int(asked[1])
        stop = min(int(asked[2] or len(body) - 1), len(body) - 1)
        if start >= len(body):
            self.begin(416, 0, **{"Content-Range": f"bytes */{len(body)}"})
            return 416, len(body)
        self.begin(206, stop + 1 - start, **{"ETag": tag, "Content-Range": f"bytes {start}-{stop}/{len(body)}"})
        return 206, start

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, address: Any) -> None:
        """A client that went away is what some tests want."""


class Mirror:
    """The server, its files by path, what it was asked, and how it shall misbehave."""

    def __init__(self) -> None:
        self.files = dict(layout())
        self.requests: list[Request] = []
        self.script: dict[str, list[Misbehaviour]] = {}
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"mirror": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Mirror:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def misbehave(self, pattern: str, *answers: Misbehaviour) -> None:
        """Answer the next GETs of paths that match by these, one each."""
        self.script[pattern] = list(answers)

    def paths(self, method: str = "GET") -> list[str]:
        """What was asked for."""
        with self.lock:
            return [request.path for request in self.requests if request.method == method]

    def table(self, **more: Any) -> str:
        """The [fetch] table that leads to this mirror instead of the publishers."""
        lines = ["[fetch]", 'contact = "tests@example.org"', "private_addresses = true", "backoff = 0"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in more.items()]
        lines += ["[fetch.wikimedia]", f'origin = "{self.url}"']
        lines += ["[fetch.commoncrawl]", f'origin = "{self.url}"', f'crawls = "{self.url}/collinfo.json"']
        return "\n".join(lines) + "\n"


def etag(body: bytes) -> str:
    """The ETag of a file of this content."""
    return f'"{hashlib.md5(body).hexdigest()}"'


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pages(name: str, first: int | None = None) -> bytes:
    """A dump of the sample, decompressed; its first pages only."""
    data = (DATA / name).read_bytes()
    text = bz2.decompress(data) if name.endswith(".bz2") else data
    if first is None:
        return text
    parts = text.split(b"</page>")
    return b"</page>".join(parts[:first]) + b"</page>\n</mediawiki>\n"


def layout() -> dict[str, bytes]:
    """Every path of both publishers: zhwiki and enwiki, each with a dump of May and a larger one of June; a crawl."""
    files: dict[str, bytes] = {}
    wikis = {
        "zhwiki": "zhwiki-20180517-pages-articles-excerpt.xml.bz2",
        "enwiki": "enwiki-20141107-pages-articles-excerpt.xml",
    }
    for wiki, source in wikis.items():
        for date, first in zip(DATES, (2, None), strict=True):
            add_legacy(files, wiki, date.replace("-", ""), pages(source, first))
            add_content(files, wiki, date, pages(source, first))
    compact = [date.replace("-", "") for date in DATES]
    index = "".join(f'<li><a href="{wiki}/{compact[-1]}">{wiki}</a>: <span>done</span></li>' for wiki in wikis)
    files["/backup-index.html"] = f'<html><a href="https://meta.wikimedia.org/">x</a>{index}</html>'.encode()
    files["/other/mediawiki_content_current/"] = listing([f"{wiki}/" for wiki in wikis])
    for wiki in wikis:
        files[f"/{wiki}/"] = listing([*(f"{date}/" for date in compact), "latest/"])
        files[f"/other/mediawiki_content_current/{wiki}/"] = listing([f"{date}/" for date in DATES])
    add_crawl(files)
    return files


def listing(links: list[str]) -> bytes:
    """A directory as web servers show it."""
    rows = "".join(f'<a href="{link}">{link}</a>    01-Jun-2018 10:00    -\n' for link in ["../", *links])
    return f"<html><head><title>Index</title></head><body><pre>{rows}</pre></body></html>".encode()


def add_legacy(files: dict[str, bytes], wiki: str, date: str, text: bytes, status: str = "done") -> None:
    """A legacy dump: one multistream file, its index, and dumpstatus.json."""
    base = f"{wiki}-{date}-pages-articles-multistream"
    made = {f"{base}.xml.bz2": bz2.compress(text), f"{base}-index.txt.bz2": bz2.compress(b"0:1:A\n")}
    entries = {}
    for name, body in made.items():
        files[f"/{wiki}/{date}/{name}"] = body
        sums = {"size": len(body), "md5": hashlib.md5(body).hexdigest(), "sha1": hashlib.sha1(body).hexdigest()}
        entries[name] = {**sums, "url": f"/{wiki}/{date}/{name}"}
    job = {"status": status, "updated": "2018-06-02 01:00:00", "files": entries}
    jobs = {"articlesmultistreamdump": job, "sitestatstable": {"status": "done"}}
    files[f"/{wiki}/{date}/dumpstatus.json"] = json.dumps({"version": "0.8", "jobs": jobs}).encode()


def add_content(files: dict[str, bytes], wiki: str, date: str, text: bytes, complete: bool = True) -> None:
    """A content export: two files, SHA256SUMS, and _SUCCESS where it is complete."""
    folder = f"/other/mediawiki_content_current/{wiki}/{date}/xml/bzip2"
    head, *rest = text.split(b"<page>")
    half = max(1, len(rest) // 2)
    end = b"\n</mediawiki>\n"
    parts = {"p1p999": b"<page>".join([head, *rest[:half]]) + end, "p1000r1r2": b"<page>".join([head, *rest[half:]])}
    sums = []
    for span, part in parts.items():
        name = f"{wiki}-{date}-{span}.xml.bz2"
        files[f"{folder}/{name}"] = bz2.compress(part)
        sums.append(f"{hashlib.sha256(files[f'{folder}/{name}']).hexdigest()}  {name}\n")
    if complete:
        files[f"{folder}/SHA256SUMS"] = "".join(sums).encode()
        files[f"{folder}/_SUCCESS"] = b""


def add_crawl(files: dict[str, bytes]) -> None:
    """A crawl of two WET files and one WARC file."""
    wet = {
        "00000": (DATA / "CC-MAIN-2024-22-whirlwind.warc.wet.gz").read_bytes(),
        "00001": (DATA / "CC-MAIN-2021-39-wikipedia-excerpt.warc.wet.gz").read_bytes(),
    }
    warc = {"00000": (DATA / "CC-MAIN-2024-22-whirlwind.warc.gz").read_bytes()}
    for kind, bodies in {"wet": wet, "warc": warc}.items():
        suffix = "warc.wet.gz" if kind == "wet" else "warc.gz"
        paths = [f"{_SEGMENT}/{kind}/CC-MAIN-20240517233122-20240518023122-{n}.{suffix}" for n in bodies]
        files |= {f"/{path}": body for path, body in zip(paths, bodies.values(), strict=True)}
        files[f"/crawl-data/{CRAWL}/{kind}.paths.gz"] = gzip.compress("\n".join([*paths, ""]).encode(), mtime=0)
    crawls = [{"id": CRAWL, "name": "May 2024 Index"}, {"id": "CC-MAIN-2021-39"}, {"id": "CC-MAIN-2009-2010"}]
    files["/collinfo.json"] = json.dumps(crawls).encode()
