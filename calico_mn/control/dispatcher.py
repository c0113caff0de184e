"""The one place where work on a running cluster is done: one piece of work after the other.

Requests of other processes and the commands of Mininet's prompt in the daemon's own terminal
both come here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from calico_mn.control.operations import Job, is_alone, perform
from calico_mn.errors import CalicoMnError, ToolError

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

#: how long one piece of work waits for another, in seconds
_PATIENCE_S = 60.0
#: how long ending waits for what is at work
_LAST_PATIENCE_S = 10.0


class Dispatcher:
    """A cluster, and the lock that everybody takes who works on it."""

    def __init__(self, net: CalicoNet) -> None:
        self.net = net
        self._lock = threading.RLock()
        self._closing = False

    def perform(self, verb: str, job: Job, arguments: Mapping[str, Any]) -> Any:
        """Do one operation. Raises what it raises, and ToolError when others take too long."""
        job.progress = self._unless_closing(job.progress)
        if not is_alone(verb):
            job.turn = self._turn
            return perform(verb, job, arguments)
        with self._turn():
            return perform(verb, job, arguments)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Work on the cluster while nobody else does."""
        if not self._lock.acquire(timeout=_PATIENCE_S):
            raise ToolError(f"the run was busy with something else for {_PATIENCE_S:g} s")
        try:
            self._refuse_when_closing()
            yield
        finally:
            self._lock.release()

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Let nothing more begin, and wait a while for what is at work."""
        self._closing = True
        mine = self._lock.acquire(timeout=_LAST_PATIENCE_S)
        try:
            yield
        finally:
            if mine:
                self._lock.release()

    def _unless_closing(self, progress: Callable[[object], None]) -> Callable[[object], None]:
        def told(message: object) -> None:
            self._refuse_when_closing()
            progress(message)
        return told

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise CalicoMnError("the run is ending")
