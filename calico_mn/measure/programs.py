"""Running a program in a node to its end, within a time, whatever happens to the caller."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from calico_mn.errors import ToolError

#: Output is parsed, so it must be in English with decimal points.
ENVIRONMENT = {"LC_ALL": "C"}

_END_TIMEOUT_S = 2.0


class Host(Protocol):
    """Where a program can run: any node of a cluster."""

    name: str

    def popen(self, *args: Any, **kwargs: Any) -> subprocess.Popen[Any]:
        """``subprocess.Popen`` in the node's namespace."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a program answered."""

    status: int
    out: str
    err: str


def run(host: Host, argv: Sequence[str], timeout: float) -> Finished:
    """Run a program to its end; ``timeout`` in seconds.

    Raises ToolError when it cannot be started or does not end in time. It has ended in either
    case, and also when the caller is interrupted.
    """
    process = start(host, argv)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise ToolError(f"{host.name}: {' '.join(argv)} did not end within {timeout:g} s"
                        ) from None
    finally:
        end(process)
    return Finished(process.returncode, out, err)


def start(host: Host, argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start a program whose output is text. The caller ends it."""
    process: subprocess.Popen[str] = host.popen(
        list(argv), stdin=subprocess.DEVNULL, text=True, errors="replace",
        env=ENVIRONMENT, **options)
    return process


def end(process: subprocess.Popen[Any]) -> None:
    """End a program if it still runs, and close its pipes."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
