"""Calls that cannot hang or fill the machine: a worker process, kept between calls and killed when it must be.

A regular expression or a C parser that runs away is deaf to Python's signal handlers and to threads; only a process can
be ended. One worker serves all calls of a ``Sandbox``, and a new one is started only after a death. It is a fresh
interpreter, not a fork: the caller may hold threads and locks.

Calls travel in batches, so that the two processes seldom wait for one another. The limits are each call's own: a batch
whose worker fails is judged again call by call, and only what fails alone has failed.

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
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from pipeline.errors import CorpusmillError

_PIPE = 1 << 20  # bytes that a pipe holds: a batch goes through in one piece, without turns between the processes
_PATIENCE = 100  # elapsed seconds to wait for an answer, a second of processor time
_MOST_PATIENCE = 1_000_000.0  # what the system call takes
# Where a worker, which reads no .pth files, finds this package when it is installed editable.
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Killed(Exception):
    """A call went over a limit. ``limit`` is ``timeout``, ``memory`` or ``crash``; ``threshold`` is seconds or MB."""

    def __init__(self, limit: str, threshold: float):
        super().__init__(f"over the {limit} limit of {threshold:g}")
        self.limit, self.threshold = limit, threshold

    def __reduce__(self) -> tuple:
        return Killed, (self.limit, self.threshold)


Outcome = tuple[Any, Exception | None]  # of a call: its value, or what it raised


class Sandbox:
    """A public function of an importable module, called in a worker process under limits of time and memory.

    It may be given as ``"module:function"``: then only the worker loads the module.

    >>> import textwrap
    >>> with Sandbox(textwrap.shorten, timeout_s=30, memory_mb=1024) as shorten:
    ...     shorten("four words are here", 14)
    'four [...]'

    Arguments and results are pickled. What the function raises is raised here, and ``Killed`` when it exceeded a limit:
    ``timeout`` (processor time of the worker); ``memory`` (its whole address space, or a kill by the kernel);
    ``crash``: any other death. ``CorpusmillError`` says that the worker cannot be started, or neither works nor
    answers, which is no fault of the call; the next call tries to start it anew.

    >>> with Sandbox(textwrap.shorten, timeout_s=30, memory_mb=1024) as shorten:
    ...     [value for value, error in shorten.map([("four words are here", 14), ("two words", 14)])]
    ['four [...]', 'two words']
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
        ((value, error),) = self.map([args])
        if error is not None:
            raise error
        return value

    def map(self, calls: Sequence[tuple]) -> list[Outcome]:
        """What each call of a batch of arguments gives, in their order. Threads take turns."""
        with self._busy:
            return self._outcomes(calls)

    def _outcomes(self, calls: Sequence[tuple]) -> list[Outcome]:
        if not calls:
            return []
        fresh = self._owner != os.getpid()
        if fresh:
            self._start()
        with contextlib.suppress(ConnectionError):  # a death shows when the answer is waited for
            self._write(calls)
        try:
            return self._answer(len(calls), self.timeout_s)
        except Killed as killed:
            if len(calls) == 1 and (fresh or killed.limit == "timeout"):
                return [(None, killed)]
        return [outcome for call in calls for outcome in self._outcomes([call])]

    def _start(self) -> None:
        try:
            # -S: the path is this process's own, and looking through site-packages for it takes longer than all else.
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-c", "from pipeline.parse.sandbox_worker import work; work()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # one BLAS thread: each reserves address space, which the memory limit would count
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), _ROOT]),
                    "OPENBLAS_NUM_THREADS": "1",
                },
            )
        except OSError as fault:
            raise self._unstarted(f"cannot be started: {fault}") from fault
        self._owner = os.getpid()
        for pipe in filter(None, (self._process.stdin, self._process.stdout)):
            with contextlib.suppress(OSError):  # the user may have no more room for pipes
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
        try:
            with contextlib.suppress(ConnectionError):
                self._write((self._name, self.timeout_s, self.memory_mb))
            ((_, error),) = self._answer(1, 60.0)
        except Killed:
            raise self._unstarted("died at its start; its message is on stderr") from None
        if error is not None:
            self.close()
            raise self._unstarted(f"cannot load its function: {error}") from error

    def _unstarted(self, what: str) -> CorpusmillError:
        """Not the fault of any call: none may be counted as a page that failed."""
        limits = f"limits: {self.memory_mb} MB, {self.timeout_s:g} s"
        return CorpusmillError(
            f"the worker for {self._name} {what} ({limits})",
            mend="see to memory, processes and open files of this machine, and that corpusmill is installed whole; "
            "then run the same command again",
        )

    def _write(self, message: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))  # whole, in one piece
            self._process.stdin.flush()
        except ConnectionError:
            raise
        except BaseException:
            self.close()  # a worker that got half a message is in no known state
            raise

    def _answer(self, count: int, timeout_s: float) -> list[Outcome]:
        """The worker's answer to ``count`` calls; ``Killed``, with the worker ended, where there is none."""
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            patience = min(max(_PATIENCE * timeout_s, 60.0) * count, _MOST_PATIENCE)
            answer = select.poll()
            answer.register(self._process.stdout, select.POLLIN)
            if not answer.poll(1000 * patience):
                raise CorpusmillError(
                    f"the worker for {self._name} (process {self._process.pid}) does not answer and uses no processor"
                    f" time: nothing came in {patience:g} s",
                    mend="see what holds it up (memory, a stopped process), then run the same command again",
                )
            outcomes: list[Outcome] = []
            while len(outcomes) < count:
                outcomes.append(pickle.load(self._process.stdout))
                if isinstance(outcomes[-1][1], MemoryError):
                    raise Killed("memory", float(self.memory_mb))
            return outcomes
        except (EOFError, ConnectionError, pickle.UnpicklingError):
            status = self._process.wait()
            self.close()
            if status == -signal.SIGPROF:
                raise Killed("timeout", timeout_s) from None
            raise Killed("memory" if status == -signal.SIGKILL else "crash", float(self.memory_mb)) from None
        except BaseException:
            self.close()  # a worker that was interrupted, or that ran out of memory, is in no known state
            raise

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
