"""Calls that cannot hang or fill the machine: a worker process, kept between calls and killed when it must be.

A regular expression or a C parser that runs away is deaf to signals and to threads; only a process can be ended. One
worker serves all calls of a ``Sandbox``, so that a call costs a round trip through a pipe (tens of microseconds), and a
new one is started only after a death. It is a fresh interpreter, not a fork: the caller may hold threads and locks.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any


class Killed(Exception):
    """A call went over a limit. ``limit`` is ``timeout``, ``memory`` or ``crash``; ``threshold`` is seconds or MB."""

    def __init__(self, limit: str, threshold: float):
        super().__init__(f"over the {limit} limit of {threshold:g}")
        self.limit, self.threshold = limit, threshold

    def __reduce__(self) -> tuple:
        return Killed, (self.limit, self.threshold)


class Sandbox:
    """A public function of an importable module, called in a worker process under a deadline and a memory limit.

    >>> import textwrap
    >>> with Sandbox(textwrap.shorten, timeout_s=30, memory_mb=1024) as shorten:
    ...     shorten("four words are here", 14)
    'four [...]'

    Arguments and results are pickled. What the function raises is raised here, and ``Killed`` when it exceeded a limit:
    ``timeout``; ``memory`` (the worker's whole address space, or a kill by the kernel); ``crash``: any other death.
    """

    def __init__(self, function: Callable[..., Any], *, timeout_s: float, memory_mb: int):
        if function.__module__ == "__main__":
            raise ValueError("a sandboxed function must live in a module that a new process can import")
        self.function, self.timeout_s, self.memory_mb = function, timeout_s, memory_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._owner = 0  # the process that started the worker: a fork of it must not talk on its pipe
        self._busy = threading.Lock()

    def __call__(self, *args: Any) -> Any:
        """Call the function; the worker starts with the first call. Threads take turns."""
        with self._busy:
            return self._call(args)

    def _call(self, args: tuple) -> Any:
        if self._owner != os.getpid():
            self._process = self._pipe = None
            self._start()
        assert self._process is not None
        assert self._pipe is not None
        outcome = ""
        try:
            try:
                self._pipe.send(args)
                if not self._pipe.poll(self.timeout_s):
                    raise Killed("timeout", self.timeout_s)
                outcome, value = self._pipe.recv()
            except (EOFError, ConnectionError):
                killed = self._process.wait() == -signal.SIGKILL
                raise Killed("memory" if killed else "crash", float(self.memory_mb)) from None
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
        self._pipe, theirs = multiprocessing.Pipe()
        name = f"{self.function.__module__}:{self.function.__qualname__}"
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from pipeline.parse.sandbox import work; work()", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            # one BLAS thread: each reserves address space, which the memory limit would count
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
        )
        theirs.close()
        self._pipe.send((name, self.memory_mb))
        if not self._pipe.poll(max(self.timeout_s, 60.0)):
            self.close()
            raise RuntimeError(f"the sandbox for {name} did not start")
        try:
            outcome, value = self._pipe.recv()
        except EOFError:
            self.close()
            raise RuntimeError(f"the sandbox for {name} died at its start; its message is on stderr") from None
        if outcome == "raised":
            self.close()
            raise value

    def close(self) -> None:
        """End the worker, whatever it is doing."""
        if self._owner == os.getpid():
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            if self._pipe is not None:
                self._pipe.close()
        self._process, self._pipe, self._owner = None, None, 0

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
    pipe = Connection(int(sys.argv[1]))
    name, memory_mb = pipe.recv()
    try:
        module, _, qualified = name.partition(":")
        function: Any = import_module(module)
        for part in qualified.split("."):
            function = getattr(function, part)
    except (ImportError, AttributeError) as error:
        pipe.send(("raised", error))
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send(("value", None))
    while True:
        args = value = None
        try:
            args = pipe.recv()
        except (EOFError, ConnectionError):
            return
        except MemoryError:
            pipe.send(("memory", None))
            continue
        try:
            value = function(*args)
            pipe.send(("value", value))  # pickled whole before its first byte goes out
        except MemoryError:
            args = value = None
            pipe.send(("memory", None))
        except BrokenPipeError:  # the caller died while we worked
            return
        except Exception as error:  # noqa: BLE001 (raised again in the caller)
            pipe.send(("raised", error))
