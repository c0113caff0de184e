"""TCP throughput by iperf3: one server for one transfer, then both have ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from calico_mn.errors import ToolError
from calico_mn.measure.iperf_json import Transfer, parse
from calico_mn.measure.iperf_version import has_threads, timed
from calico_mn.measure.programs import Host, await_words, end, ending, excerpt, run, start

__all__ = ["CONNECT_TIMEOUT_MS", "DIRECTIONS", "Server", "Transfer", "answer", "client_argv",
           "counted_seconds", "limited_seconds", "listening", "parse", "transfer", "warm_up"]

CONNECT_TIMEOUT_MS = 2000
_START_TIMEOUT_S = 5.0
_GRACE_S = 15.0
_FIRST_PROBE_BYTES = 1_000_000
_SECOND_PROBE_S = 0.2

#: seconds of a transfer over a rate-limited link that are not counted, and the fewest that are
UNSTEADY_S = 1
_STEADY_S = 2

#: direction of the payload -> the client's option; with "both", streams run in each
DIRECTIONS: dict[str, tuple[str, ...]] = {
    "forward": (), "reverse": ("-R",), "both": ("--bidir",)}


def client_argv(ip: str, *, seconds: int | None = None, amount: int | None = None,
                skipped: int = 0, more: Sequence[str] = ()) -> list[str]:
    """The client's command: for a time in whole seconds, or for an ``amount`` in bytes.

    ``more`` are further options. The first ``skipped`` seconds come in addition and are not
    counted. For an amount there are reports, since from 3.16 on iperf3 ends at one of them.
    """
    limit = ["-t", str(seconds)] if amount is None else ["-n", str(amount)]
    if skipped:
        limit = ["-O", str(skipped), *limit]
    return ["iperf3", "-c", ip, "-J", "-i", "0" if amount is None else "0.1",
            "--connect-timeout", str(CONNECT_TIMEOUT_MS), *more, *limit]


class Server(Host, Protocol):
    """A host that has an address: a pod."""

    ip: str


def counted_seconds(client: Host, duration: float, limited: bool) -> float:
    """For how long a transfer is counted when ``duration`` is asked for. Raises ToolError."""
    return limited_seconds(duration) if limited else timed(client, duration)


def limited_seconds(duration: float) -> int:
    """The same over a limited link."""
    return max(_STEADY_S, math.ceil(duration))


def transfer(client: Host, server: Server, *, duration: float, rate: float,
             limited: bool = False, streams: int = 1, direction: str = "forward") -> Transfer:
    """Send for ``duration`` seconds from ``client`` to ``server``, ``streams`` at a time.

    ``direction`` is that of the payload: ``forward``, ``reverse`` (from the server to the
    client) or ``both`` at once. iperf3 up to 3.15 serves all streams of a program by one thread,
    from 3.16 on each by its own.

    iperf3 counts whole seconds only. Any other duration becomes an amount: what ``rate`` (in
    Mbit/s, from :func:`warm_up`) moves in that time; or where iperf3 does not time amounts, the
    next whole second, see :func:`.iperf_version.timed`. Raises ToolError.

    Over a ``limited`` link (tc-tbf) the first second is not counted: it has the bucket's tokens
    on top of the rate, 10 ms worth of it, and TCP's start. What follows lasts two seconds or
    more, since packets arrive in bursts of up to a bucket, which a short window cuts.
    """
    more = [*(["-P", str(streams)] if streams != 1 else []), *DIRECTIONS[direction]]
    if limited:
        seconds = limited_seconds(duration)
        command = client_argv(server.ip, seconds=seconds, skipped=UNSTEADY_S, more=more)
        return _transfer(client, server, command, seconds + UNSTEADY_S)
    seconds_taken = timed(client, duration)
    if seconds_taken == int(seconds_taken):
        return _transfer(client, server,
                         client_argv(server.ip, seconds=int(seconds_taken), more=more),
                         seconds_taken)
    # The amount is that of all streams together; in both directions, each has to share.
    amount = max(1, round(rate * 1e6 / 8 * duration / (2 if direction == "both" else 1)))
    return _transfer(client, server, client_argv(server.ip, amount=amount, more=more),
                     duration * 10)


def warm_up(client: Host, server: Server) -> float:
    """Two short transfers; the rate of the second in Mbit/s. Not a measurement.

    One of a second where iperf3 does not time amounts.
    """
    if has_threads(client) is not False:
        return _transfer(client, server, client_argv(server.ip, seconds=1), 60).mbit_per_s
    first = _transfer(client, server, client_argv(server.ip, amount=_FIRST_PROBE_BYTES), 60)
    amount = max(_FIRST_PROBE_BYTES // 8, round(first.mbit_per_s * 1e6 / 8 * _SECOND_PROBE_S))
    return _transfer(client, server, client_argv(server.ip, amount=amount), 60).mbit_per_s


def answer(client: Host, server: Host, command: Sequence[str], expected: float) -> str:
    """Run the client's ``command`` against a server of its own; what the client wrote.

    ``expected`` is how long it should take, in seconds. Raises ToolError.
    """
    with listening(server):
        finished = run(client, command, timeout=expected + _GRACE_S)
        if finished.status and not finished.out.strip():
            reason = excerpt(finished.err) or ending(finished.status)
            raise ToolError(f"{client.name}: {' '.join(command)}: {reason}")
        return finished.out


@contextmanager
def listening(server: Host) -> Iterator[None]:
    """A server for one client listens when the block begins, and is ended after it."""
    listener = start(server, ["iperf3", "-s", "-1", "-i", "0", "--forceflush"])
    try:
        await_words(server, listener, b"listening", _START_TIMEOUT_S, name="iperf3 -s",
                    aim="start to listen")
        yield
    finally:
        end(listener)


def _transfer(client: Host, server: Host, command: list[str], expected: float) -> Transfer:
    output = answer(client, server, command, expected)
    try:
        return parse(output)
    except ToolError as error:
        raise ToolError(f"{client.name} to {server.name}: {error}") from None
