"""How a run is told to end: by SIGTERM, or by Ctrl-C, which must not lose the steps since the last checkpoint."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stop:
    """``told`` is true once SIGTERM or Ctrl-C came: whoever takes steps saves then, and ends."""

    def __init__(self) -> None:
        self.told = False
        self._interrupted = False
        self._saved = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take note of SIGTERM and of Ctrl-C, in place of ending the process.

        After Ctrl-C the end of the context raises KeyboardInterrupt; a second one raises it at once. Elsewhere than in
        the main thread no signal arrives, and where somebody else has seen to Ctrl-C that is left to him.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {signal.SIGTERM: self._terminate}
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            handlers[signal.SIGINT] = self._interrupt
        before = {number: signal.getsignal(number) for number in handlers}
        try:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            yield
        finally:
            for number, earlier in before.items():
                signal.signal(number, earlier)
        if self._interrupted:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def saved(self) -> Iterator[None]:
        """While every step taken is saved: here Ctrl-C need not wait."""
        self._saved = True
        try:
            if self._interrupted:
                raise KeyboardInterrupt
            yield
        finally:
            self._saved = False

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self.told = True

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted or self._saved:
            raise KeyboardInterrupt
        self._interrupted = self.told = True
