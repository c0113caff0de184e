"""How a command asks a run: over its socket from anywhere, or directly inside the daemon."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

from calico_mn.control.channel import Channel
from calico_mn.control.dispatcher import Dispatcher
from calico_mn.control.operations import Job
from calico_mn.control.protocol import (
    MAX_ANSWER,
    ProtocolError,
    decode,
    encode,
    problem,
)
from calico_mn.errors import NotFoundError, ToolError
from calico_mn.kernel.registry import FoundRun

_CONNECT_S = 5.0
_AGAIN_S = 0.05
#: how long a sign of life may take; longer than one piece of work waits for another
_PATIENCE_S = 120.0

Progress = Callable[[Any], None]


def _nobody(_message: Any) -> None:
    """Progress that nobody wants to hear of."""


class Session(Protocol):
    """Whom a command asks."""

    @property
    def is_local(self) -> bool:
        """Whether this is the daemon itself, at Mininet's prompt."""

    def ask(self, verb: str, *, progress: Progress = _nobody, **arguments: Any) -> Any:
        """The result of an operation. Raises what it raised there."""


class LocalSession:
    """Inside the daemon."""

    is_local = True

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def ask(self, verb: str, *, progress: Progress = _nobody, **arguments: Any) -> Any:
        """Do it here and now."""
        return self._dispatcher.perform(verb, Job(self._dispatcher.net, progress), arguments)


class RemoteSession:
    """Another process, by the run's socket; every question has its own connection."""

    is_local = False

    def __init__(self, run: FoundRun, patience: float = _PATIENCE_S) -> None:
        self.run = run
        self._patience = patience

    def ask(self, verb: str, *, progress: Progress = _nobody, **arguments: Any) -> Any:
        """Ask and wait. Raises ToolError when the daemon gives no sign of life for two minutes."""
        result, _descriptors = self._ask(verb, progress, arguments)
        return result

    def enter(self, place: str) -> tuple[dict[str, Any], int, int]:
        """What to know for entering a place; its network and mounts as descriptors of ours."""
        result, descriptors = self._ask("enter", _nobody, {"place": place})
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
                    # So many wait already that the kernel takes no more of them (unix(7)).
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_AGAIN_S)
        except OSError as error:
            connection.close()
            raise NotFoundError(f"run {self.run.name} (pid {self.run.pid}) does not take requests:"
                                f" {error.strerror or error}") from None
        return connection
