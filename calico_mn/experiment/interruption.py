"""Handles Ctrl-C so that it interrupts measurements and nothing else.

A signal in the middle of boot or of cleaning up would leave things behind. So it is only noted
there; while something is measured it stops the measurement at once.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, TextIO

from calico_mn import streams
from calico_mn.errors import CalicoMnError

#: the shell's status for a program that ended by SIGINT
INTERRUPTED = 130

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ignore_signals() -> None:
    """Ignore further signals in a process that is about to end with its own exit status.

    A second Ctrl-C or SIGTERM while Python shuts down would otherwise replace that status.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Interruption:
    """Takes SIGINT, SIGTERM and SIGHUP over, as a context manager in the main thread.

    ``status`` is the exit status so far, ``reason`` what cut the measurement short (None:
    nothing did), ``error`` the exception if it was one. After the first signal, further ones
    change nothing but in :meth:`breakable`. On exit the handlers from before are back.
    """

    def __init__(self) -> None:
        self.status = 0
        self.reason: str | None = None
        self.error: CalicoMnError | None = None
        self._armed = self._is_breakable = False
        self._terminals: tuple[TextIO, ...] = ()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        self._terminals = tuple(out for out in (sys.stdout, sys.stderr) if out.isatty())
        for number in _SIGNALS:
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def interruptible(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do ``work``, but leave it at the first signal; not even begin it after one.

        An error of ours ends the work too, so that what was measured is reported.
        """
        if self.status == INTERRUPTED:
            self.reason = "interrupted"
            return
        try:
            self._armed = True
            work(*arguments)
        except KeyboardInterrupt:
            self.reason = "interrupted"
        except CalicoMnError as error:
            self.status = self.status or 1
            self.reason, self.error = str(error), error
        finally:
            self._armed = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside :meth:`interruptible`, for a boot or a stop: a signal strikes after it."""
        armed, self._armed = self._armed, False
        try:
            yield
        finally:
            self._armed = armed and self.status != INTERRUPTED
        if armed and not self._armed:
            raise KeyboardInterrupt

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """For cleaning up that may take long: a second signal leaves the block."""
        self._is_breakable = True
        try:
            yield
        finally:
            self._is_breakable = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        is_second, self.status = self.status == INTERRUPTED, INTERRUPTED
        if number == signal.SIGHUP:
            # The terminal is gone: writing to it fails, and the report must still be made.
            for out in self._terminals:
                streams.redirect_to_null(out)
        if self._armed or (self._is_breakable and is_second):
            self._armed = self._is_breakable = False
            raise KeyboardInterrupt
