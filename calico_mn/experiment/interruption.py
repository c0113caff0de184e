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
from calico_mn.kernel import signals

#: the shell's status for a program that ended by SIGINT
INTERRUPTED = 130

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: more signals than ever come
_NEVER = sys.maxsize


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
    change nothing but in :meth:`breakable`. On exit the handlers from before are back. SIGALRM and
    its timer are in use from a signal on (:mod:`calico_mn.kernel.signals`).
    """

    def __init__(self) -> None:
        self.status = 0
        self.reason: str | None = None
        self.error: CalicoMnError | None = None
        self._count = 0
        self._enough = _NEVER
        self._is_deferred = False
        self._terminals: tuple[TextIO, ...] = ()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        self._terminals = tuple(out for out in (sys.stdout, sys.stderr) if out.isatty())
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._strike)
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
            with self._left_at(1):
                work(*arguments)
        except KeyboardInterrupt:
            self.reason = "interrupted"
        except CalicoMnError as error:
            self.status = self.status or 1
            self.reason, self.error = str(error), error

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside :meth:`interruptible`, for a boot or a stop: a signal strikes after it."""
        before, self._is_deferred = self._is_deferred, True
        try:
            yield
        finally:
            self._is_deferred = before
        self._strike()

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """For cleaning up that may take long: a second signal leaves the block."""
        with self._left_at(max(2, self._count + 1)):
            yield

    @contextmanager
    def _left_at(self, enough: int) -> Iterator[None]:
        """KeyboardInterrupt leaves the block as soon as there were so many signals in all."""
        try:
            try:
                self._enough = enough
                self._strike()
                yield
            finally:
                self._disarm()
        except KeyboardInterrupt:
            self._disarm()  # if it struck in the finally
            raise

    def _disarm(self) -> None:
        self._enough = _NEVER
        signals.stop_repeating()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.status = INTERRUPTED
        self._count += 1
        if number == signal.SIGHUP:
            # The terminal is gone: writing to it fails, and the report must still be made.
            for out in self._terminals:
                streams.redirect_to_null(out)
        if self._enough != _NEVER:
            signals.repeat(self._strike)
        self._strike()

    def _strike(self, *_: object) -> None:
        """Raise KeyboardInterrupt where one is due, unless there is one already."""
        if (self._count >= self._enough and not self._is_deferred
                and not signals.is_handled(KeyboardInterrupt)):
            raise KeyboardInterrupt
