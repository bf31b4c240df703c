"""Calls that cannot hang or fill the machine: a worker process, kept between calls and killed when it must be.

A regular expression or a C parser that runs away is deaf to Python's signal handlers and to threads; only a process can
be ended. One worker serves all calls of a ``Sandbox``, so that a call costs a round trip through a pipe (tens of
microseconds), and a new one is started only after a death. It is a fresh interpreter, not a fork: the caller may hold
threads and locks.

The time limit is processor time, which the kernel counts and enforces (``setitimer``, ``ITIMER_PROF``): a busy machine
makes a call wait, but costs it nothing. Memory that a worker has left over from earlier calls does not count against a
call either: what fails for want of memory is tried once more in a fresh worker.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Any, BinaryIO

from pipeline.errors import CorpusmillError

_PIPE = 1 << 20  # bytes that a pipe holds: a page goes through in one piece, without turns between the processes
_PATIENCE = 100  # elapsed seconds to wait for an answer, a second of processor time


class Killed(Exception):
    """A call went over a limit. ``limit`` is ``timeout``, ``memory`` or ``crash``; ``threshold`` is seconds or MB."""

    def __init__(self, limit: str, threshold: float):
        super().__init__(f"over the {limit} limit of {threshold:g}")
        self.limit, self.threshold = limit, threshold

    def __reduce__(self) -> tuple:
        return Killed, (self.limit, self.threshold)


class Sandbox:
    """A public function of an importable module, called in a worker process under limits of time and memory.

    It may be given as ``"module:function"``: then only the worker loads the module.

    >>> import textwrap
    >>> with Sandbox(textwrap.shorten, timeout_s=30, memory_mb=1024) as shorten:
    ...     shorten("four words are here", 14)
    'four [...]'

    Arguments and results are pickled. What the function raises is raised here, and ``Killed`` when it exceeded a limit:
    ``timeout`` (processor time of the worker); ``memory`` (its whole address space, or a kill by the kernel);
    ``crash``: any other death. ``CorpusmillError`` says that the worker neither works nor answers, which is no fault
    of the call.
    """

    def __init__(self, function: Callable[..., Any] | str, *, timeout_s: float, memory_mb: int):
        name = function if isinstance(function, str) else f"{function.__module__}:{function.__qualname__}"
        if name.startswith("__main__:"):
            raise ValueError("a sandboxed function must live in a module that a new process can import")
        self._name, self.timeout_s, self.memory_mb = name, timeout_s, memory_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # the process that started the worker: a fork of it must not talk on its pipes
        self._busy = threading.Lock()

    def __call__(self, *args: Any) -> Any:
        """Call the function; the worker starts with the first call. Threads take turns."""
        with self._busy:
            used = self._owner == os.getpid()
            try:
                return self._call(args)
            except Killed as killed:
                if not used or killed.limit == "timeout":
                    raise
            return self._call(args)

    def _call(self, args: tuple) -> Any:
        if self._owner != os.getpid():
            self._start()
        try:
            outcome, value = self._ask(args, self.timeout_s)
            if outcome == "memory":
                raise Killed("memory", float(self.memory_mb))
        except BaseException:
            self.close()  # a worker that was interrupted, or that ran out of memory, is in no known state
            raise
        if outcome == "raised":
            raise value
        return value

    def _start(self) -> None:
        self._owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from pipeline.parse.sandbox import work; work()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # one BLAS thread: each reserves address space, which the memory limit would count
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
        )
        for pipe in filter(None, (self._process.stdin, self._process.stdout)):
            with contextlib.suppress(OSError):  # the user may have no more room for pipes
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
        try:
            outcome, value = self._ask((self._name, self.timeout_s, self.memory_mb), 60.0)
        except Killed:
            self.close()
            raise RuntimeError(f"the sandbox for {self._name} died at its start; its message is on stderr") from None
        except BaseException:
            self.close()
            raise
        if outcome == "raised":
            self.close()
            raise value

    def _ask(self, message: tuple, timeout_s: float) -> tuple[str, Any]:
        """Send a message to the worker and return its answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump(message, self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            patience = max(_PATIENCE * timeout_s, 60.0)
            answer = select.poll()
            answer.register(self._process.stdout, select.POLLIN)
            if not answer.poll(1000 * patience):
                raise CorpusmillError(
                    f"the worker for {self._name} (process {self._process.pid}) does not answer and uses no processor"
                    f" time: nothing came in {patience:g} s",
                    mend="see what holds it up (memory, a stopped process), then run the same command again",
                )
            return pickle.load(self._process.stdout)
        except (EOFError, ConnectionError, pickle.UnpicklingError):
            status = self._process.wait()
            if status == -signal.SIGPROF:
                raise Killed("timeout", timeout_s) from None
            raise Killed("memory" if status == -signal.SIGKILL else "crash", float(self.memory_mb)) from None

    def close(self) -> None:
        """End the worker, whatever it is doing."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):  # what was not sent is not wanted any more
                        pipe.close()
        self._process, self._owner = None, 0

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def work() -> None:
    """The worker: import the function, then answer calls until the pipe closes, which it does when the caller dies."""
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the end of the time limit ends the process, whatever it is doing
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the function prints must not stand among the answers
    name, timeout_s, memory_mb = pickle.load(calls)
    try:
        module, _, qualified = name.partition(":")
        function: Any = import_module(module)
        for part in qualified.split("."):
            function = getattr(function, part)
    except (ImportError, AttributeError) as error:
        _answer(answers, "raised", error)
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _answer(answers, "value", None)
    while True:
        signal.setitimer(signal.ITIMER_PROF, timeout_s)  # from now on, of processor time; waiting for a call takes none
        args = value = None
        try:
            args = pickle.load(calls)
        except EOFError:
            return
        except MemoryError:
            _answer(answers, "memory", None)
            continue
        try:
            value = function(*args)
            _answer(answers, "value", value)
        except MemoryError:
            args = value = None
            _answer(answers, "memory", None)
        except BrokenPipeError:  # the caller died while we worked
            return
        except Exception as error:  # noqa: BLE001 (raised again in the caller)
            _answer(answers, "raised", error)


def _answer(answers: BinaryIO, outcome: str, value: Any) -> None:
    data = pickle.dumps((outcome, value), pickle.HIGHEST_PROTOCOL)  # whole before its first byte goes out
    answers.write(data)
    answers.flush()
