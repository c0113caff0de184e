"""How a command asks a run: over its socket from any process, or directly inside the daemon."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

from calico_mn.control.dispatcher import Dispatcher, Job, ignore
from calico_mn.control.protocol import MAX_ANSWER, Channel, ProtocolError, decode, encode, problem
from calico_mn.errors import NotFoundError, ToolError
from calico_mn.kernel import registry
from calico_mn.kernel.registry import FoundRun

_CONNECT_S = 5.0
_AGAIN_S = 0.05
#: seconds to wait for an answer; longer than an operation waits for another
_PATIENCE_S = 120.0

Progress = Callable[[Any], None]


class Session(Protocol):
    """A run that a command asks, wherever it is."""

    @property
    def is_local(self) -> bool:
        """Whether this is the daemon itself, at Mininet's prompt."""

    def ask(self, verb: str, *, progress: Progress = ignore, **arguments: Any) -> Any:
        """The result of an operation. Raises what it raised there."""


class LocalSession:
    """A session inside the daemon, at Mininet's prompt."""

    is_local = True

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def ask(self, verb: str, *, progress: Progress = ignore, **arguments: Any) -> Any:
        """Run the operation in this process."""
        return self._dispatcher.perform(verb, Job(self._dispatcher.net, progress), arguments)


class RemoteSession:
    """A session over the run's socket; every request has its own connection."""

    is_local = False

    def __init__(self, run: FoundRun, patience: float = _PATIENCE_S) -> None:
        self.run = run
        self._patience = patience

    def ask(self, verb: str, *, progress: Progress = ignore, **arguments: Any) -> Any:
        """Ask and wait. Raises ToolError when the daemon sends nothing for two minutes."""
        result, _descriptors = self._ask(verb, progress, arguments)
        return result

    def enter(self, place: str) -> tuple[dict[str, Any], int, int]:
        """A node's facts for a program in it; its network and mount namespaces as descriptors."""
        result, descriptors = self._ask("enter", ignore, {"place": place})
        if len(descriptors) != 2:
            raise ProtocolError(f"the run passed {len(descriptors)} descriptors instead of 2")
        return result, *descriptors

    def _ask(self, verb: str, progress: Progress, arguments: dict[str, Any]
             ) -> tuple[Any, tuple[int, ...]]:
        with Channel(self._connect(), expecting=True) as channel:
            try:
                channel.send(encode({"verb": verb, "arguments": arguments}), _CONNECT_S)
                while True:
                    answer = decode(channel.receive(MAX_ANSWER, self._patience))
                    if "progress" in answer:
                        progress(answer["progress"])
                    elif "error" in answer:
                        raise problem(answer)
                    else:
                        return answer.get("result"), channel.take_descriptors()
            except TimeoutError:
                raise ToolError(
                    f"run {self.run.name} (pid {self.run.pid}) gave no answer to {verb!r} within"
                    f" {self._patience:g} s") from None
            except (ConnectionError, ProtocolError):
                raise NotFoundError(f"run {self.run.name} ended meanwhile") from None

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        deadline = time.monotonic() + _CONNECT_S
        try:
            connection.settimeout(_CONNECT_S)
            while True:
                try:
                    connection.connect(str(self.run.socket))
                    break
                except BlockingIOError:
                    # The socket's backlog is full (unix(7)).
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_AGAIN_S)
        except OSError as error:
            connection.close()
            raise NotFoundError(f"run {self.run.name} (pid {self.run.pid}) does not take requests:"
                                f" {error.strerror or error}") from None
        return connection


def remote(name: str | None = None, patience: float = _PATIENCE_S) -> RemoteSession:
    """The run to ask: the one of that name, else that of CALICO_MN_RUN, else the only one.

    ``patience``: seconds that an answer may take. Raises NotFoundError.
    """
    return RemoteSession(registry.find(name or os.environ.get("CALICO_MN_RUN", "")), patience)
