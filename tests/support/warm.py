"""``python -m calico_mn`` as a process of its own, forked from one that has imported all of it.

The tests start hundreds of commands, and a Python that starts and imports takes nine tenths of a
short one's time. :class:`Warm` starts such a Python once; each :meth:`Warm.run` is a fork of it
with the streams, words, environment and directory that are given, and ends as that process does.
What the imports themselves do, and variables that Python reads when it starts, are not seen this
way: :func:`is_read_by_python` tells.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_LIMIT = 1 << 17  # a request's bytes
_DESCRIPTORS = 4  # the three streams and where the answer goes


def is_read_by_python(name: str) -> bool:
    """Whether Python reads the variable as it starts, so that a fork has it too late."""
    return name.startswith(("PYTHON", "LANG", "LC_", "LD_"))


class Warm:
    """A Python that waits for commands; ``prefix`` comes before it, such as ``unshare -U``.

    It starts with the first command, and ends with :meth:`close` or this process.
    """

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        self._prefix = tuple(prefix)
        self._start = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def run(self, words: Sequence[str], *, environment: Mapping[str, str], cwd: Path,
            stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run ``calico-mn words`` to its end. Raises subprocess.TimeoutExpired, as run() does."""
        reading, writing = os.pipe()
        feed = threading.Thread(target=_write, args=(writing, stdin.encode()))
        outputs = [_Collected(), _Collected()]
        try:
            answers = self._begin(words, environment, cwd,
                                  [reading, *(output.writing for output in outputs)])
        finally:
            for descriptor in (reading, *(output.writing for output in outputs)):
                os.close(descriptor)
            for thread in (feed, *outputs):
                thread.start()
        command = [sys.executable, "-m", "calico_mn", *words]
        with answers:
            pid = int(answers.recv(64))
            answers.settimeout(timeout)
            try:
                status = os.waitstatus_to_exitcode(int(answers.recv(64)))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                answers.settimeout(None)
                answers.recv(64)
                raise subprocess.TimeoutExpired(command, timeout) from None
        for thread in (feed, *outputs):
            thread.join(timeout)
            if thread.is_alive():  # a process that was left behind holds the pipe
                raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, status, *(output.text() for output in outputs))

    def close(self) -> None:
        if self._server is not None and self._socket is not None:
            self._socket.close()
            self._server.wait()

    def _begin(self, words: Sequence[str], environment: Mapping[str, str], cwd: Path,
               streams: Sequence[int]) -> socket.socket:
        """Where the answers come, the process's id and then its wait status."""
        with self._start:
            if self._socket is None:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    self._server = subprocess.Popen(
                        [*self._prefix, sys.executable, __file__, str(theirs.fileno())],
                        env={**os.environ, "PYTHONPATH": str(_ROOT)}, cwd="/",
                        pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _LIMIT)
                self._socket = ours
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            request = json.dumps({"words": list(words), "cwd": str(cwd),
                                  "environment": dict(environment)})
            socket.send_fds(self._socket, [request.encode("ascii")], [*streams, theirs.fileno()])
        return ours


#: the one that all tests of a process share
WARM = Warm()


class _Collected(threading.Thread):
    """What comes out of a pipe, until its last writer has closed it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._reading, self.writing = os.pipe()
        self._bytes = b""

    def run(self) -> None:
        with open(self._reading, "rb") as pipe:
            self._bytes = pipe.read()

    def text(self) -> str:
        return self._bytes.decode()


def _write(descriptor: int, data: bytes) -> None:
    with suppress(BrokenPipeError), open(descriptor, "wb") as pipe:  # not all may be read
        pipe.write(data)


# --- the process that waits

def _serve(descriptor: int) -> None:
    """Fork a command for each request until the other end is closed; returns in forks alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the test run's to say
    import calico_mn

    for module in pkgutil.walk_packages(calico_mn.__path__, "calico_mn."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()
    requests = socket.socket(fileno=descriptor)
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not requests:
                    pid, answers = key.data
                    selector.unregister(key.fileobj)
                    os.close(key.fd)
                    _answer(answers, os.waitpid(pid, 0)[1])
                    answers.close()
                    continue
                data, fds, _, _ = socket.recv_fds(requests, _LIMIT, _DESCRIPTORS)
                if not data:
                    os._exit(0)
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    _become(json.loads(data), fds[:3])
                    return
                for stream in fds[:3]:
                    os.close(stream)
                answers = socket.socket(fileno=fds[3])
                _answer(answers, pid)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, answers))


def _answer(answers: socket.socket, number: int) -> None:
    with suppress(OSError):  # the test may have ended
        answers.send(str(number).encode())


def _become(request: dict[str, Any], streams: Sequence[int]) -> None:
    """Be what Python is when it begins a program."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    # New objects, too: a file can be sought in, a pipe cannot.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    program = _ROOT / "calico_mn" / "__main__.py"
    sys.argv[:] = [str(program), *request["words"]]
    sys.path[0] = request["cwd"]


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
    from calico_mn.cli.main import main

    sys.exit(main())
