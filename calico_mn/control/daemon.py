"""The process that holds a run: boots it, serves requests, and ends it when a signal comes.

:class:`Daemon` is the run as a context manager, in any terminal; :func:`detached` puts it into a
process of its own in the background.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType

from calico_mn.control.dispatcher import Dispatcher
from calico_mn.control.server import ControlServer
from calico_mn.kernel import signals
from calico_mn.net import CalicoNet

LOG = "daemon.log"
TOPOLOGY = "topology.yaml"

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_LOOK_S = 5.0


class Ended(SystemExit):
    """A signal ended the run: SIGTERM, also by 'calico-mn down', or SIGHUP of a closed terminal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


class Daemon:
    """A running cluster that other processes can ask, as a context manager in the main thread.

    ``source`` is the topology's text, kept beside the run. SIGTERM and SIGHUP raise :class:`Ended`
    in the block; while the run is being ended, they are ignored.
    """

    def __init__(self, net: CalicoNet, source: bytes) -> None:
        self.net = net
        self.dispatcher = Dispatcher(net)
        self._source = source
        self._server: ControlServer | None = None

    def __enter__(self) -> Daemon:
        for number in _ENDING:
            signal.signal(number, self._end)
        try:
            self.net.start()
            directory = self.net.runtime.directory
            (directory.path / TOPOLOGY).write_bytes(self._source)
            _log_to(directory.path / LOG)
            self._server = ControlServer(self.dispatcher, directory.socket)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        signals.stop_repeating()
        for number in (*_ENDING, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
        with self.dispatcher.closing():
            if self._server is not None:
                self._server.close()
            self.net.stop()

    def _end(self, number: int, _frame: FrameType | None) -> None:
        def strike(*_: object) -> None:
            if not signals.is_handled(Ended):
                raise Ended(number)

        for other in _ENDING:
            signal.signal(other, signal.SIG_IGN)
        signals.repeat(strike)
        strike()


def _log_to(path: Path) -> None:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    ours = logging.getLogger("calico_mn.control")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False


def wait_for_the_end() -> None:
    """Do nothing until a signal ends the run."""
    while True:
        time.sleep(_LOOK_S)  # not pause(2), which a signal just before it does not end


def detached(work: Callable[[Callable[[bytes], None]], None]) -> tuple[int, bytes]:
    """Run ``work`` in a process of its own that outlives this one; its pid and first message.

    ``work`` gets a function that takes this message, once; until then its output is the caller's,
    afterwards /dev/null. An empty message means that the process ended before. Ctrl-C in between
    ends it and is passed on. Only for a process with a single thread.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os._exit(_in_child(work, writing))
    os.close(writing)
    try:
        with open(reading, "rb") as pipe:
            message = pipe.read()
    except BaseException:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    if not message:
        os.waitpid(pid, 0)
    return pid, message


def _in_child(work: Callable[[Callable[[bytes], None]], None], writing: int) -> int:
    """What the new process does; its exit status."""
    try:
        os.setsid()
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            if descriptor > 2 and descriptor != writing:
                with suppress(OSError):  # the listing's own
                    os.close(descriptor)
        os.chdir("/")
        _become_null(0)

        def report(message: bytes) -> None:
            _become_null(1)
            _become_null(2)
            with open(writing, "wb") as pipe:
                pipe.write(message)

        work(report)
    except Ended:
        return 0
    except BaseException:
        logging.getLogger("calico_mn.control").exception("the daemon failed")
        return 1
    return 0


def _become_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, descriptor)
    os.close(null)
