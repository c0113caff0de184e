"""TCP connections a second between two pods, one after the other.

The two ends are a program of their own, :mod:`.connect`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from calico_mn.errors import ToolError
from calico_mn.measure.iperf import Server
from calico_mn.measure.metrics import Column, Measurement, metric
from calico_mn.measure.programs import Host, end, ending, excerpt, helper, helper_port, run, start

CONNECTIONS = metric("connections", "1/s", "TCP connections", more_is_better=True,
                     column=Column("delay", 9, "TCP conn/s"))

_GRACE_S = 15.0


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


def connections(client: Host, server: Server, *, duration: float, port: int = 0) -> Connections:
    """Connect from ``client`` to ``server`` again and again for ``duration`` seconds.

    One connection at a time: the result says what a connection's round trips and the two ends'
    work take, Python's part included, and not how many a node could hold. A first connection is
    not counted. ``port`` is the server's; 0 lets the kernel choose. Raises ToolError.
    """
    life = duration + _GRACE_S
    listener = start(server, helper(
        "connect.py", "server", server.ip, str(port), str(math.ceil(life) + 5)))
    try:
        port = helper_port(server, listener, "connect.py")
        command = helper("connect.py", "client", server.ip, str(port), f"{duration:g}")
        finished = run(client, command, timeout=life)
    finally:
        end(listener)
    if finished.status:
        reason = excerpt(finished.err) or ending(finished.status)
        raise ToolError(f"{client.name} to {server.name}: TCP connections: {reason}")
    try:
        count, failures, seconds = finished.out.split()
        return Connections(round(int(count) / float(seconds), 3), int(count),
                           round(float(seconds), 6), int(failures))
    except (ValueError, ZeroDivisionError):
        raise ToolError(f"{client.name} to {server.name}: TCP connections: unexpected answer"
                        f" {finished.out[:80]!r}") from None


def rate(client: Host, server: Server, *, duration: float) -> Measurement:
    """TCP connections, one after the other."""
    return Measurement({CONNECTIONS: connections(client, server, duration=duration).per_s})
