"""The daemon's socket: accepts connections, reads a request from each, and answers it.

Every connection has a thread of its own, so that a slow client delays no other; work on the
cluster is serialised by the dispatcher.
"""

from __future__ import annotations

import logging
import os
import reprlib
import socket
import threading
from contextlib import suppress
from pathlib import Path

from calico_mn.control import protocol
from calico_mn.control.dispatcher import Dispatcher, Job
from calico_mn.errors import CalicoMnError, ClusterError

#: connections at a time; further ones wait in the kernel's queue
_CONNECTIONS = 64
#: in that queue; a client that finds it full tries again
_WAITING = 128
_REQUEST_S = 5.0
_ANSWER_S = 30.0

_log = logging.getLogger(__name__)


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
