"""Exceptions that a signal's handler raises, to end what the main thread does.

Python drops an exception that strikes in a destructor or in a callback of a weak reference
("Exception ignored in", sys.unraisablehook), and the program goes on. So a timer calls the handler
again until the exception is being handled: one that is dropped only delays the end.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

_EVERY_S = 0.02


def repeat(handler: Callable[[int, FrameType | None], None]) -> None:
    """Call ``handler`` by SIGALRM every 0.02 s, until :func:`stop_repeating`."""
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, _EVERY_S, _EVERY_S)


def stop_repeating() -> None:
    """End the timer. Whose handler SIGALRM has is up to the caller."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def is_handled(kind: type[BaseException]) -> bool:
    """Whether an exception of this kind is being handled: an ``except``, a ``finally`` or an
    ``__exit__`` runs because of it.
    """
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, kind):
        error = error.__context__
    return error is not None
