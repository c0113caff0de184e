"""TCP connections a second between two pods, one after the other.

The two ends are programs of their own, :mod:`.connect_client` and :mod:`.connect_server`.
"""

from __future__ import annotations

import math
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calico_mn.errors import ToolError
from calico_mn.measure.iperf import Server
from calico_mn.measure.programs import Host, end, run, start

_HERE = Path(__file__).parent
_GRACE_S = 15.0
_START_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Connections:
    """``count`` connections in ``seconds`` carried a byte each way, ``failures`` more did not.

    ``per_s`` counts the former by the whole time. A connection takes two round trips, and is
    closed by a reset: five or six packets.
    """

    per_s: float
    count: int
    seconds: float
    failures: int


def connections(client: Host, server: Server, *, duration: float) -> Connections:
    """Connect from ``client`` to ``server`` again and again for ``duration`` seconds.

    One connection at a time: the result says what a connection's round trips and the two ends'
    work take, Python's part included, and not how many a node could hold. A first connection is
    not counted. Raises ToolError.
    """
    life = duration + _GRACE_S
    listener = start(server, _program("connect_server.py", server.ip, str(math.ceil(life) + 5)))
    try:
        port = _port(server, listener)
        command = _program("connect_client.py", server.ip, str(port), f"{duration:g}")
        finished = run(client, command, timeout=life)
    finally:
        end(listener)
    if finished.status:
        reason = finished.err.strip() or f"exit status {finished.status}"
        raise ToolError(f"{client.name} to {server.name}: TCP connections: {reason}")
    try:
        count, failures, seconds = finished.out.split()
        found = int(count), int(failures), float(seconds)
        return Connections(round(found[0] / found[2], 3), found[0], round(found[2], 6), found[1])
    except (ValueError, ZeroDivisionError):
        raise ToolError(f"{client.name} to {server.name}: TCP connections: unexpected answer"
                        f" {finished.out[:80]!r}") from None


def _program(name: str, *arguments: str) -> list[str]:
    # -I -S: neither the environment nor installed packages change what runs as root here.
    return [sys.executable, "-I", "-S", str(_HERE / name), *arguments]


def _port(host: Host, listener: subprocess.Popen[Any]) -> int:
    """The port that the server says it listens on."""
    assert listener.stdout is not None and listener.stderr is not None
    output = listener.stdout.fileno()
    deadline = time.monotonic() + _START_TIMEOUT_S
    said = b""
    while not said.endswith(b"\n"):
        if not select.select([output], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise ToolError(f"{host.name}: connect_server.py did not start to listen within"
                            f" {_START_TIMEOUT_S:g} s")
        part = os.read(output, 64)
        if not part:
            raise ToolError(f"{host.name}: connect_server.py ended:"
                            f" {listener.stderr.read().strip()}")
        said += part
    return int(said)
