"""HTTP as publishers of dumps want it spoken: a contact in every request, patience when they are busy, no detours.

A request goes to the publisher's configured hosts only, also after redirects, and never to a private address unless
the configuration says so. "Busy" (429, 5xx, a broken connection) is told apart from "no": only the first is tried
again, after the time that Retry-After asks for or a doubling back-off, and all connections wait together.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timezone
from typing import Any, TypeVar, cast
from urllib.parse import urljoin, urlsplit

from pipeline import __version__, progress
from pipeline.errors import CorpusmillError, NotYet, UsageError
from pipeline.sources.settings import Fetch, Publisher

MAX_LISTING = 64 << 20
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_BUSY = (408, 429, 500, 502, 503, 504)
_LONGEST_BACKOFF = 60.0

T = TypeVar("T")


class Missing(CorpusmillError):
    """The publisher has nothing under this URL (404, 410)."""


class Busy(CorpusmillError):
    """Worth another attempt: the server is busy, or the connection broke."""

    retry_after: float | None = None
    gained = False  # whether the attempt brought bytes nearer: then the count of attempts begins anew


class _Connection(http.client.HTTPConnection):
    """A connection that looks at the address before it connects, so that no name can lead it astray."""

    private_addresses = False

    def connect(self) -> None:
        refused = ""
        trouble: OSError | None = None
        for *kind, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
            if not self.private_addresses and (not ip.is_global or ip.is_multicast):
                refused = str(ip)
                continue
            self.sock = socket.socket(*kind)
            try:
                self.sock.settimeout(self.timeout)
                self.sock.connect(address)
            except OSError as error:
                trouble = error
                self.sock.close()
                continue
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return
        if trouble is not None:
            raise trouble
        raise CorpusmillError(
            f"the host {self.host} has the private address {refused}",
            mend="if it is a mirror of your own: --set fetch.private_addresses=true",
        )


class _SecureConnection(http.client.HTTPSConnection, _Connection):
    """The same over TLS: HTTPSConnection wraps the socket that the class after it in the method order has made."""


class Client:
    """Speaks to one publisher. Threads may share it; ``stop`` ends their waiting."""

    def __init__(self, settings: Fetch, publisher: Publisher, *others: str):
        if not settings.contact:
            raise UsageError(
                "no contact configured: publishers refuse downloads from nobody",
                mend="--set fetch.contact=you@example.org, or contact under [fetch] in the TOML",
            )
        self.settings = settings
        self.publisher = publisher
        self.stop = threading.Event()
        self._agent = f"corpusmill/{__version__} ({settings.contact})"
        known = [urlsplit(url) for url in (publisher.origin, *publisher.mirrors, *others)]
        hosts = [*settings.hosts, *(str(parts.hostname) for parts in known)]
        self._allowed = {(parts.scheme, parts.netloc) for parts in known}
        self._allowed |= {("https", host) for host in hosts}
        self._resume_at = 0.0
        self._tls = ssl.create_default_context()

    @contextlib.contextmanager
    def request(
        self, method: str, url: str, headers: dict[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """One attempt; redirects are followed. Yields a response of status 200, 206 or 416.

        Raises Missing, Busy, or CorpusmillError for what another attempt would not change.
        """
        try:
            connection, response = self._follow(method, url, headers or {})
        except (OSError, http.client.HTTPException) as error:
            raise _broke(error, url) from error
        try:
            yield response
        finally:
            connection.close()

    def _follow(
        self, method: str, url: str, headers: dict[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request, go where redirects lead, and judge the answer."""
        for _ in range(_MAX_REDIRECTS + 1):
            connection, response = self._send(method, url, headers)
            try:
                if response.status not in _REDIRECTS:
                    _judge(response, url)
                    return connection, response
            except CorpusmillError:
                connection.close()
                raise
            connection.close()
            location = response.headers.get("Location", "")
            try:
                target = urljoin(url, location)
                target.encode("ascii")
                self._check(target, f"redirected from {url}")
            except ValueError as error:
                mend = "look at the mirrors under [fetch]"
                raise CorpusmillError(f"redirected to {location!r}: {error}", file=url, mend=mend) from None
            url = target
        raise CorpusmillError("redirected in circles", file=url, mend="look at the mirrors under [fetch]")

    def _send(
        self, method: str, url: str, headers: dict[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        self._check(url, "configured under [fetch]")
        self.wait(self._resume_at - time.monotonic())
        parts = urlsplit(url)
        connection: _Connection
        if parts.scheme == "https":
            connection = _SecureConnection(parts.netloc, timeout=self.settings.timeout, context=self._tls)
        else:
            connection = _Connection(parts.netloc, timeout=self.settings.timeout)
        connection.private_addresses = self.settings.private_addresses
        try:
            # identity: the file as it lies there, since its size and checksum are of that
            fixed = {"User-Agent": self._agent, "Accept-Encoding": "identity", "Connection": "close"}
            connection.request(method, parts.path or "/", headers={**fixed, **headers})
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def _check(self, url: str, why: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise CorpusmillError(f"{why}: only https is fetched", file=url, mend="look at the mirrors under [fetch]")
        if (parts.scheme, parts.netloc) not in self._allowed:
            mend = f"if you trust that host: --set 'fetch.hosts=[\"{parts.hostname}\"]'"
            if ("https", parts.netloc) in self._allowed:
                mend = "remove the mirror that leaves https"
            raise CorpusmillError(f"{why}: not one of the allowed hosts", file=url, mend=mend)

    def wait(self, seconds: float) -> None:
        """Wait, but not past the stop."""
        if seconds > 0:
            self.stop.wait(seconds)
        if self.stop.is_set():
            raise CorpusmillError("stopped")

    def patiently(self, attempt: Callable[[], T]) -> T:
        """Call ``attempt`` until it is not Busy; gives up after ``tries`` attempts that brought nothing."""
        idle = 0
        while True:
            try:
                return attempt()
            except Busy as busy:
                idle = 0 if busy.gained else idle + 1
                if idle >= self.settings.tries:
                    raise CorpusmillError(
                        f"{busy.cause}; given up after {idle} attempts",
                        file=busy.file,
                        mend="run the same command again later: what has arrived is kept",
                    ) from busy
                delay = busy.retry_after
                if delay is None:
                    delay = self._backoff(idle)
                elif delay > self.settings.patience:
                    raise NotYet(
                        f"the publisher asks to come back in {delay:.0f} seconds",
                        file=busy.file,
                        mend="run the same command then: what has arrived is kept",
                    ) from busy
                if idle == 1:
                    progress.say(f"{busy.file}: {busy.cause}; {self._plan(delay)}")
                self._resume_at = max(self._resume_at, time.monotonic() + delay)
                self.wait(delay)

    def _plan(self, first: float) -> str:
        """What comes after a first attempt that failed, as a person reads it."""
        again = [self._backoff(idle) for idle in range(2, self.settings.tries)]
        return f"{self.settings.tries - 1} more attempts in {progress.clock(first + sum(again))} at least (fetch.tries)"

    def _backoff(self, idle: int) -> float:
        """Seconds to wait after so many attempts that brought nothing."""
        return min(self.settings.backoff * 2 ** max(0, idle - 1), _LONGEST_BACKOFF)

    def read(self, url: str) -> bytes:
        """A whole listing; refused above 64 MiB."""

        def attempt() -> bytes:
            with self.request("GET", url) as response:
                try:
                    body = response.read(MAX_LISTING + 1)
                except (OSError, http.client.HTTPException) as error:
                    raise _broke(error, url) from error
                promised = response.headers.get("Content-Length")
            if len(body) > MAX_LISTING:
                raise CorpusmillError("longer than any listing", file=url, mend="look at the addresses under [fetch]")
            if promised is not None and promised.strip() != str(len(body)):
                raise Busy(f"ended after {len(body)} of {promised} bytes", file=url)
            return body

        return self.patiently(attempt)

    def size(self, url: str) -> int:
        """The size of a file in bytes, from a HEAD request."""

        def attempt() -> int:
            with self.request("HEAD", url) as response:
                return content_length(response, url)

        return self.patiently(attempt)


def _broke(error: Exception, url: str) -> Busy:
    return Busy(f"the connection broke: {error or type(error).__name__}", file=url)


def content_length(response: http.client.HTTPResponse, url: str) -> int:
    """The Content-Length of a response; CorpusmillError where there is none."""
    length = response.headers.get("Content-Length", "")
    if not re.fullmatch("[0-9]{1,18}", length):
        raise CorpusmillError("the server does not say how long the file is", file=url, mend="use another mirror")
    return int(length)


def _judge(response: http.client.HTTPResponse, url: str) -> None:
    status = response.status
    if status in (200, 206, 416):
        return
    what = f"the server answered {status} {response.reason}".rstrip()
    if status in (404, 410):
        raise Missing(what, file=url, mend="corpusmill sources list")
    if status in _BUSY:
        busy = Busy(what, file=url)
        busy.retry_after = _seconds(response.headers.get("Retry-After"))
        raise busy
    mend = "check fetch.contact: publishers refuse what they cannot reach" if status == 403 else ""
    raise CorpusmillError(what, file=url, mend=mend)


def _seconds(retry_after: Any) -> float | None:
    """Retry-After in seconds: it is a number or a date; None where it is absent or neither."""
    if not retry_after:
        return None
    if re.fullmatch("[0-9]{1,18}", retry_after.strip()):
        return float(retry_after)
    try:
        when = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp() - time.time())


def validator(response: http.client.HTTPResponse) -> str:
    """What names the version of a file in If-Range: its strong ETag, or empty."""
    tag = cast(str, response.headers.get("ETag", ""))
    return tag if tag.startswith('"') and tag.endswith('"') and len(tag) > 2 else ""
