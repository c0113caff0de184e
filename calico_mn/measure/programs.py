"""Running a program in a node to its end, within a time, also when the caller is interrupted."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from calico_mn.errors import ToolError
from calico_mn.kernel import processes
from calico_mn.text import strip_control

#: Output is parsed, so it must be in English with decimal points.
ENVIRONMENT = {"LC_ALL": "C"}

ENDPOINT = "endpoint.py"

_END_TIMEOUT_S = 2.0
_TICK_S = 1.0
_ENDPOINT_START_S = 5.0
_PART_BYTES = 65536
_MOST_BYTES = 64 << 20
_EXCERPT = 300
#: how much of what a program says before it is ready is kept, in bytes
_LONGEST_ANSWER = 65536


class Host(Protocol):
    """Where a program can run: any node of a cluster."""

    @property
    def name(self) -> str:
        """As messages call it."""

    def popen(self, *args: Any, **kwargs: Any) -> subprocess.Popen[Any]:
        """``subprocess.Popen`` in the node's namespace."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a program answered."""

    status: int
    out: str
    err: str


def run(host: Host, argv: Sequence[str], timeout: float, tick: Callable[[], None] | None = None, *,
        every: float = _TICK_S) -> Finished:
    """Run a program to its end; ``timeout`` in seconds.

    ``tick`` is called about every second meanwhile, or as often as ``every`` says, in seconds; what
    it raises ends the program. Raises ToolError when it cannot be started, does not end in time or
    says more than 64 MB. It has ended in every case, and also when the caller is interrupted.
    """
    process = start(host, argv)
    try:
        out, err = _collect(process, timeout, tick, every)
    except ValueError as wrong:
        raise ToolError(f"{host.name}: {' '.join(argv)} {wrong}") from None
    finally:
        end(process)
    return Finished(process.returncode, out, err)


def _collect(process: subprocess.Popen[str], timeout: float, tick: Callable[[], None] | None,
             every: float) -> tuple[str, str]:
    """Read until the program has closed its output and ended. Raises ValueError if it does not."""
    assert process.stdout is not None and process.stderr is not None
    deadline = time.monotonic() + timeout
    said = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    out, err = said.values()
    still_open = [*said]
    while still_open:
        left = deadline - time.monotonic()
        ready = readable(still_open, min(left, every) if tick else left)
        if tick:
            tick()
        for pipe in ready:
            part = os.read(pipe, _PART_BYTES)
            said[pipe] += part
            if not part:
                still_open.remove(pipe)
        if len(out) + len(err) > _MOST_BYTES:
            raise ValueError(f"wrote more than {_MOST_BYTES >> 20} MB")
        # If we were stopped ourselves meanwhile (Ctrl-Z), it may well have ended in time.
        late = time.monotonic() >= deadline and not (ready and processes.is_finished(process))
        if still_open and late:
            raise ValueError(f"did not end within {timeout:g} s")
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise ValueError(f"did not end within {timeout:g} s") from None
    return out.decode(errors="replace"), err.decode(errors="replace")


def readable(descriptors: Collection[int], seconds: float) -> list[int]:
    """Those that can be read, or have been closed at the other end, within so many seconds.

    Not select(2), which knows no descriptor above 1023: a large cluster has more.
    """
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _events in poll.poll(max(0.0, seconds) * 1000)]


def ending(status: int | None) -> str:
    """How a program ended that says nothing itself: its exit status, or the signal."""
    if status is None:
        return "it still runs"
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-status).name}"
    return f"killed by signal {-status}"


def last_words(process: subprocess.Popen[Any]) -> str:
    """What a program that closed its output had to say on standard error.

    A child of it that holds the pipe open is not waited for.
    """
    assert process.stderr is not None
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_TIMEOUT_S)
    pipe = process.stderr.fileno()
    os.set_blocking(pipe, False)
    with suppress(BlockingIOError):
        return excerpt(os.read(pipe, _PART_BYTES).decode(errors="replace"))
    return ""


def excerpt(text: str) -> str:
    """The end of what a program said, where the reason mostly is, fit for an error message."""
    text = text.strip()
    shown = strip_control(text[-_EXCERPT:])
    return ("... " if len(text) > _EXCERPT else "") + shown.strip()


def start(host: Host, argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start a program whose output is text. The caller ends it."""
    process: subprocess.Popen[str] = host.popen(
        list(argv), stdin=subprocess.DEVNULL, text=True, errors="replace",
        env=ENVIRONMENT, **options)
    return process


def wait_for_output(host: Host, process: subprocess.Popen[Any], words: bytes, seconds: float, *,
                    name: str, aim: str, times: int = 1) -> bytes:
    """What a program has printed, once that has ``words`` so many ``times``.

    Raises ToolError if it ends before, or has not after ``seconds``: "NAME ended: why" or "NAME
    did not AIM within SECONDS s".
    """
    assert process.stdout is not None
    # Read below Python's own buffer, which select() does not see.
    output = process.stdout.fileno()
    deadline = time.monotonic() + seconds
    said = b""
    while said.count(words) < times:
        if time.monotonic() > deadline or not readable([output], deadline - time.monotonic()):
            raise ToolError(f"{host.name}: {name} did not {aim} within {seconds:g} s")
        part = os.read(output, 4096)
        if not part:
            reason = (last_words(process) or excerpt(said.decode(errors="replace"))
                      or ending(process.returncode))
            raise ToolError(f"{host.name}: {name} ended: {reason}")
        said = (said + part)[-_LONGEST_ANSWER:]
    return said


# --- programs of our own in a pod: endpoint.py and one_way.py

def endpoint(*arguments: str, program: str = ENDPOINT) -> list[str]:
    """The command of one."""
    # -I -S: neither the environment nor installed packages change what runs as root here.
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name(program)), *arguments]


def first_line(host: Host, process: subprocess.Popen[Any], program: str = ENDPOINT) -> str:
    """The line that it prints when it is at work. Raises ToolError if it does not."""
    return wait_for_output(host, process, b"\n", _ENDPOINT_START_S, name=program,
                           aim="begin its work").decode().strip()


@contextmanager
def serving(server: Host, *arguments: str, program: str = ENDPOINT
            ) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """It as a server in a pod, and the port on which it listens; it is ended after the block."""
    process = start(server, endpoint(*arguments, program=program))
    try:
        yield process, first_line(server, process, program)
    finally:
        end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """End a program if it still runs, with its children, and close its pipes."""
    processes.end([process], grace=_END_TIMEOUT_S)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
