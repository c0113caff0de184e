"""The process that holds a run: boots it, serves requests, and ends it when a signal comes.

:class:`Daemon` is the run as a context manager, in any terminal; :func:`detached` puts it into a
process of its own in the background. :class:`ControlServer` reads a request from each connection to
the run's socket and answers it. Every connection has a thread of its own, so that a slow client
delays no other; work on the cluster is serialised by the dispatcher.
"""

from __future__ import annotations

import logging
import os
import reprlib
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType

from calico_mn.control import protocol
from calico_mn.control.dispatcher import Dispatcher, Job
from calico_mn.errors import CalicoMnError, ClusterError
from calico_mn.kernel import signals
from calico_mn.net import CalicoNet

LOG = "daemon.log"
TOPOLOGY = "topology.yaml"

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_LOOK_S = 5.0
#: connections at a time; further ones wait in the kernel's queue
_CONNECTIONS = 64
#: in that queue; a client that finds it full tries again
_WAITING = 128
_REQUEST_S = 5.0
_ANSWER_S = 30.0

_log = logging.getLogger("calico_mn.control")


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
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False


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
        _log.exception("the daemon failed")
        return 1
    return 0


def _become_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, descriptor)
    os.close(null)


# --- the socket

class ControlServer:
    """Answers requests about the cluster behind ``dispatcher`` until it is closed."""

    def __init__(self, dispatcher: Dispatcher, path: Path) -> None:
        self._dispatcher = dispatcher
        self._path = path
        self._slots = threading.BoundedSemaphore(_CONNECTIONS)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            # The name appears when requests are taken, not before.
            waiting = path.with_name(f"{path.name}.new")
            self._socket.bind(str(waiting))
            waiting.chmod(0o600)
            self._socket.listen(_WAITING)
            waiting.rename(path)
        except BaseException:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more requests."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._thread.join()
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._socket.accept()
            except OSError:
                return
            self._slots.acquire()
            threading.Thread(target=self._serve, args=(connection,), name="request",
                             daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with protocol.Channel(connection) as channel:
                self._answer(channel)
        except OSError as gone:
            _log.info("a client is gone: %s", gone)
        except CalicoMnError as wrong:
            _log.info("a request is refused: %s", wrong)
        except Exception:
            _log.exception("a request failed")
        finally:
            self._slots.release()

    def _answer(self, channel: protocol.Channel) -> None:
        pid, uid = channel.peer()
        if uid not in (0, os.geteuid()):
            refused = protocol.error(ClusterError("this run belongs to another user"))
            channel.send(protocol.encode(refused), _ANSWER_S)
            return
        try:
            verb, arguments = protocol.decode_request(
                channel.receive(protocol.MAX_REQUEST, _REQUEST_S))
        except protocol.ProtocolError as wrong:
            channel.send(protocol.encode(protocol.error(wrong)), _ANSWER_S)
            raise
        _log.info("pid %d asks: %r %s", pid, verb, reprlib.repr(arguments))

        def progress(message: object) -> None:
            channel.send(protocol.encode({"progress": message}), _ANSWER_S)

        job = Job(self._dispatcher.net, progress)
        try:
            answer = protocol.encode({"result": self._dispatcher.perform(verb, job, arguments)})
        except CalicoMnError as problem:
            answer = protocol.encode(protocol.error(problem))
        except OSError:
            raise
        except Exception as bug:
            _log.exception("%s failed", verb)
            answer = protocol.encode(protocol.error(CalicoMnError(
                f"internal error in {verb}: {bug!r}; more in the run's daemon.log")))
        try:
            channel.send(answer, _ANSWER_S, job.descriptors)
        finally:
            while job.descriptors:
                os.close(job.descriptors.pop())
            if job.on_reply is not None:
                job.on_reply()
