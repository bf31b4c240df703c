"""The worker of a ``Sandbox``: the other end of its pipes. It loads nothing that the function called does not need.

What a worker for wikitext loads has no dataclasses, pathlib or urllib either: they were a third of its start.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def work() -> None:
    """Import the function, then answer calls until the pipe closes, which it does when the caller dies."""
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
        answers.write(_pickled(None, error))
        answers.flush()
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = _pickled(None, None)
    while True:
        try:
            answers.write(answer)
            answers.flush()
        except BrokenPipeError:  # the caller died while we worked
            return
        signal.setitimer(signal.ITIMER_PROF, timeout_s)  # from now on, of processor time; waiting for calls takes none
        answer = b""
        outcomes: list[bytes] = []
        batch = args = None
        try:
            batch = pickle.load(calls)
            for args in batch:
                signal.setitimer(signal.ITIMER_PROF, timeout_s)
                outcomes.append(_outcome(function, args))
            answer = b"".join(outcomes)  # whole before its first byte goes out
        except EOFError:
            return
        except MemoryError:
            outcomes, batch, args = [], None, None
            answer = _pickled(None, MemoryError())


def _outcome(function: Callable[..., object], args: tuple) -> bytes:
    try:
        return _pickled(function(*args), None)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (raised again in the caller)
        try:
            pickle.loads(answer := _pickled(None, error))
        except Exception:  # noqa: BLE001 (one that cannot travel)
            return _pickled(None, RuntimeError(repr(error)))
        return answer


def _pickled(value: object, error: Exception | None) -> bytes:
    return pickle.dumps((value, error), pickle.HIGHEST_PROTOCOL)
