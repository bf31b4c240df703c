import os
import sys
import textwrap
import time
from operator import mul

import pytest

from pipeline.errors import CorpusmillError
from pipeline.parse import mediawiki, warc
from pipeline.parse.sandbox import Killed, Sandbox


def test_one_worker_serves_all_calls():
    with Sandbox(os.getpid, timeout_s=60, memory_mb=1024) as pid:
        first = pid()
        assert first != os.getpid()
        assert [pid() for _ in range(20)] == [first] * 20


def test_values_and_exceptions_come_back():
    with Sandbox(textwrap.shorten, timeout_s=60, memory_mb=1024) as shorten:
        assert shorten("four words are here", 14) == "four [...]"
        with pytest.raises(ValueError, match="placeholder too large"):
            shorten("four words are here", 1)
        assert shorten("x", 14) == "x"


def test_what_computes_too_long_is_killed_and_the_next_call_is_served():
    with Sandbox(pow, timeout_s=0.3, memory_mb=1024) as power:
        for _ in range(2):
            with pytest.raises(Killed) as caught:
                power(3, 10**9)  # deaf to every signal handler
            assert (caught.value.limit, caught.value.threshold) == ("timeout", 0.3)
        assert power(2, 3) == 8


def test_waiting_takes_no_time():
    """The limit is processor time: on a busy machine a call takes longer, and is not lost."""
    with Sandbox(time.sleep, timeout_s=0.1, memory_mb=1024) as sleep:
        assert [sleep(0.2) for _ in range(3)] == [None] * 3


def test_time_is_counted_a_call():
    with Sandbox(pow, timeout_s=1, memory_mb=1024) as power:
        assert [power(3, 300_000) > 0 for _ in range(200)] == [True] * 200  # several seconds together


def test_memory_left_over_from_earlier_calls_is_not_counted():
    with Sandbox(hoard, timeout_s=60, memory_mb=1024) as call:
        assert [call(400 << 20) for _ in range(4)] == [400 << 20] * 4
        with pytest.raises(Killed, match="memory"):
            call(2 << 30)


_HOARD: list[bytes] = []


def hoard(size: int) -> int:
    """Keeps what it makes, as a fragmented heap does."""
    _HOARD.append(bytes(size))
    return size


def test_what_wants_too_much_memory_fails_alone():
    with Sandbox(mul, timeout_s=60, memory_mb=512) as times:
        with pytest.raises(Killed) as caught:
            times(b"x", 2 << 30)
        assert caught.value.limit == "memory"
        assert times(6, 7) == 42


def test_a_crash_is_named():
    with Sandbox(os._exit, timeout_s=60, memory_mb=1024) as leave:
        with pytest.raises(Killed) as caught:
            leave(3)
        assert caught.value.limit == "crash"


def test_a_batch_fails_call_by_call():
    with Sandbox(judge, timeout_s=0.3, memory_mb=1024) as call:
        outcomes = call.map([("a",), ("hang",), ("b",), ("raise",), ("swell",), ("crash",), ("c",)])
    kinds = [value or getattr(error, "limit", str(error)) for value, error in outcomes]
    assert kinds == ["a", "timeout", "b", "no", "memory", "crash", "c"]


def test_batches_and_calls_take_turns():
    with Sandbox(divmod, timeout_s=60, memory_mb=1024) as call:
        assert call.map([]) == []
        (value, error), (nothing, fault) = call.map([(7, 2), (7, 0)])
        assert (value, error, nothing, type(fault)) == ((3, 1), None, None, ZeroDivisionError)
        assert call(5, 3) == (1, 2)


def test_an_answer_that_cannot_travel_is_an_error():
    with Sandbox(judge, timeout_s=60, memory_mb=1024) as call:
        (_, error), (value, _) = call.map([("unpicklable",), ("a",)])
        assert "pickle" in str(error)
        assert value == "a"
        assert call.map([("b",)] * 5000) == [("b", None)] * 5000


def judge(word: str) -> object:
    match word:
        case "hang":
            return pow(3, 10**9)
        case "raise":
            raise ValueError("no")
        case "swell":
            return len(bytes(2 << 30))
        case "crash":
            os._exit(3)
        case "unpicklable":
            return lambda: None
    return word


def test_no_worker_outlives_its_sandbox():
    with Sandbox(os.getpid, timeout_s=60, memory_mb=1024) as pid:
        worker = pid()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_a_function_that_cannot_be_found_is_refused():
    def inner() -> None: ...

    with Sandbox(inner, timeout_s=60, memory_mb=1024) as call, pytest.raises(CorpusmillError, match="cannot load"):
        call()


def test_a_worker_that_cannot_start_is_nobodys_drop_and_is_started_again(monkeypatch):
    python = sys.executable
    with Sandbox(divmod, timeout_s=60, memory_mb=1024) as call:
        for broken, cause in (("/nonexistent/python", "cannot be started"), ("/bin/false", "died at its start")):
            monkeypatch.setattr(sys, "executable", broken)
            for _ in range(2):
                with pytest.raises(CorpusmillError, match=cause):
                    call(7, 2)
        monkeypatch.setattr(sys, "executable", python)
        assert call(7, 2) == (3, 1)


@pytest.mark.parametrize("name", ["a.xml", "a.warc"])
def test_pages_are_not_counted_as_faulty_where_no_worker_starts(tmp_path, monkeypatch, name):
    path = tmp_path / name
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>a page</html>"
    record = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://example.org/\r\nContent-Length: %d\r\n\r\n"
    page = b"<page><title>T</title><id>1</id><revision><id>2</id><text>Words.</text></revision></page>"
    path.write_bytes(
        record % len(head) + head + b"\r\n\r\n" if name == "a.warc" else b"<mediawiki>" + page + b"</mediawiki>"
    )
    parser = warc if name == "a.warc" else mediawiki
    options = parser.Options(timeout_s=29.0)  # no other test's worker
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    for _ in range(2):
        with pytest.raises(CorpusmillError, match="cannot be started"):
            list(parser.parse(str(path), options=options))
    monkeypatch.undo()
    assert [row.reason for row in parser.parse(str(path), options=options)] in ([""], ["empty"])
