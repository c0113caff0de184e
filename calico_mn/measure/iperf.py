"""iperf3: one server for one transfer, what the installed version can time, and its JSON.

In go two pods and how long to send; out comes a :class:`Transfer`. The instruments on top of it
are :mod:`.tcp` and :mod:`.udp`.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from calico_mn.errors import ClusterError, ToolError
from calico_mn.measure.physics import IPV4, TCP, mss
from calico_mn.measure.programs import Host, end, ending, excerpt, run, start, wait_for_output

T = TypeVar("T")

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
_VERSION_TIMEOUT_S = 10.0

#: the program's path, or the image of a real pod -> whether it has threads, cached so that no
#: measurement runs iperf3 for it
_known: dict[str | None, bool | None] = {}
#: with --bidir, iperf3 has each sum once more for the direction from server to client
_DIRECTIONS = ("", "_bidir_reverse")


@dataclass(frozen=True, slots=True)
class Transfer:
    """What the receiver got: goodput in Mbit/s of TCP payload, bytes, and the time in s.

    Streams are summed up, and so are both directions where both were asked for.
    ``retransmits`` counts segments; None where iperf3 does not know. ``mss``: bytes of payload in
    a full segment, see :func:`segment_size`. ``cpu_s``: see :func:`cpu_seconds`.
    """

    mbit_per_s: float
    bytes: int
    seconds: float
    retransmits: int | None
    mss: int | None = None
    cpu_s: float | None = field(default=None, compare=False)


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

    @property
    def ip(self) -> str:
        """Its IPv4 address."""


def limited_seconds(duration: float) -> int:
    """For how long a transfer over a limited link is counted when ``duration`` is asked for."""
    return max(_STEADY_S, math.ceil(duration))


def transfer(client: Host, server: Server, *, duration: float, rate: float,
             limited: bool = False, streams: int = 1, direction: str = "forward",
             congestion: str = "") -> Transfer:
    """Send for ``duration`` seconds from ``client`` to ``server``, ``streams`` at a time.

    ``direction`` is that of the payload: ``forward``, ``reverse`` (from the server to the
    client) or ``both`` at once. iperf3 up to 3.15 serves all streams of a program by one thread,
    from 3.16 on each by its own. ``congestion`` is TCP's congestion control, one of
    those that :func:`check_congestion` passes; without it, the pod's default.

    iperf3 counts whole seconds only. Any other duration becomes an amount: what ``rate`` (in
    Mbit/s, from :func:`warm_up`) moves in that time; or where iperf3 does not time amounts, the
    next whole second, see :func:`timed`. Raises ToolError.

    Over a ``limited`` link (tc-tbf) the first second is not counted: it has the bucket's tokens
    on top of the rate, 10 ms worth of it, and TCP's start. What follows lasts two seconds or
    more, since packets arrive in bursts of up to a bucket, which a short window cuts.
    """
    more = [*(["-P", str(streams)] if streams != 1 else []), *DIRECTIONS[direction],
            *(["-C", congestion] if congestion else [])]
    if limited:
        seconds = limited_seconds(duration)
        command = client_argv(server.ip, seconds=seconds, skipped=UNSTEADY_S, more=more)
        return exchange(client, server, command, seconds + UNSTEADY_S, parse)
    taken = timed(client, duration)
    if taken == int(taken):
        command = client_argv(server.ip, seconds=int(taken), more=more)
        return exchange(client, server, command, taken, parse)
    # The amount is that of all streams together; in both directions, each has to share.
    amount = max(1, round(rate * 1e6 / 8 * duration / (2 if direction == "both" else 1)))
    return exchange(client, server, client_argv(server.ip, amount=amount, more=more),
                    duration * 10, parse)


def check_congestion(host: Host, names: Sequence[str]) -> None:
    """Raise ClusterError for a congestion control that the host's kernel does not have.

    To ask a socket for it would load a module.
    """
    known = run(host, ["cat", "/proc/sys/net/ipv4/tcp_available_congestion_control"],
                _VERSION_TIMEOUT_S).out.split() if names else []
    for name in names:
        if name not in known:
            raise ClusterError(f"--congestion: the kernel of {host.name} has no {name} (it has"
                               f" {', '.join(known)}); modprobe tcp_{name} may load it")


def warm_up(client: Host, server: Server) -> float:
    """Two short transfers; the rate of the second in Mbit/s. Not a measurement.

    One of a second where iperf3 does not time amounts.
    """
    def rate(seconds: int | None = None, amount: int | None = None) -> float:
        command = client_argv(server.ip, seconds=seconds, amount=amount)
        return exchange(client, server, command, 60, parse).mbit_per_s

    if has_threads(client) is not False:
        return rate(seconds=1)
    first = rate(amount=_FIRST_PROBE_BYTES)
    return rate(amount=max(_FIRST_PROBE_BYTES // 8, round(first * 1e6 / 8 * _SECOND_PROBE_S)))


def answer(client: Host, server: Host, command: Sequence[str], expected: float,
           tick: Callable[[], None] | None = None) -> str:
    """Run the client's ``command`` against a server of its own; what the client wrote.

    ``expected`` is how long it should take, in seconds; ``tick`` as of :func:`.programs.run`.
    Raises ToolError.
    """
    with listening(server):
        finished = run(client, command, expected + _GRACE_S, tick)
        if finished.status and not finished.out.strip():
            reason = excerpt(finished.err) or ending(finished.status)
            raise ToolError(f"{client.name}: {' '.join(command)}: {reason}")
        return finished.out


@contextmanager
def listening(server: Host) -> Iterator[None]:
    """A server for one client listens when the block begins, and is ended after it."""
    listener = start(server, ["iperf3", "-s", "-1", "-i", "0", "--forceflush"])
    try:
        wait_for_output(server, listener, b"listening", _START_TIMEOUT_S, name="iperf3 -s",
                    aim="start to listen")
        yield
    finally:
        end(listener)


def exchange(client: Host, server: Host, command: Sequence[str], expected: float,
             read: Callable[[str], T]) -> T:
    """What ``read`` makes of the client's answer; its errors, ToolError, name both ends."""
    output = answer(client, server, command, expected)
    try:
        return read(output)
    except ToolError as error:
        raise ToolError(f"{client.name} to {server.name}: {error}") from None


# --- what the installed version can time

def threads(version: str | None) -> bool | None:
    """Whether iperf3 has a thread for each stream (since 3.16), from its own first line.

    None where no version can be read. With one thread, parallel streams share one CPU.
    """
    match = re.search(r"\biperf (\d+)\.(\d+)", version or "")
    return (int(match[1]), int(match[2])) >= (3, 16) if match else None


def has_threads(host: Host) -> bool | None:
    """The same of the iperf3 that runs in ``host``. Raises ToolError if it does not answer."""
    path = getattr(host, "image", None) or shutil.which("iperf3")
    if path not in _known:
        _known[path] = threads(run(host, ["iperf3", "--version"], _VERSION_TIMEOUT_S).out)
    return _known[path]


def timed(host: Host, duration: float) -> float:
    """The seconds that iperf3 takes where ``duration`` is asked for. Raises ToolError.

    The one thread of iperf3 up to 3.15 counts a transfer of some amount to its last byte. From
    3.16 on the main thread looks at the amount only when one of its timers wakes it
    (iperf_run_client in src/iperf_client_api.c): never with ``-i 0``, and with reports every
    0.1 s up to that much too late. So there, as with unknown versions, a transfer
    lasts whole seconds.
    """
    if duration == int(duration) or has_threads(host) is False:
        return duration
    return max(1, math.ceil(duration))


# --- iperf3's JSON, read on the client's side

def load(output: str) -> dict[str, Any]:
    """The answer as iperf3 wrote it. Raises ToolError with its error, or with ours."""
    try:
        answer = json.loads(output)
    except ValueError:
        raise ToolError(f"iperf3 answered something that is not JSON: {output[:80]!r}") from None
    if not isinstance(answer, dict):
        raise ToolError(f"iperf3 answered no JSON object: {output[:80]!r}")
    if "error" in answer:
        raise ToolError(f"iperf3: {answer['error']}")
    return answer


def parse(output: str) -> Transfer:
    """Read the answer to a TCP transfer. Raises ToolError with iperf3's error, or with ours."""
    answer = load(output)
    try:
        end = answer["end"]
        received = [end[f"sum_received{way}"] for way in _DIRECTIONS
                    if not way or f"sum_received{way}" in end]
        sent = [end.get(f"sum_sent{way}", {}) for way in _DIRECTIONS[:len(received)]]
        retransmits = [total.get("retransmits") for total in sent]
        transfer = Transfer(
            round(sum(float(total["bits_per_second"]) for total in received) / 1e6, 3),
            sum(int(total["bytes"]) for total in received),
            max(float(total["seconds"]) for total in received),
            None if None in retransmits else sum(int(number) for number in retransmits),
            segment_size(answer),
            cpu_seconds(answer, max(float(total["seconds"]) for total in received)))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ToolError("iperf3's answer has no end.sum_received with bytes, seconds and"
                        " bits_per_second") from None
    if transfer.bytes <= 0:
        raise ToolError("iperf3: nothing arrived")
    return transfer


def cpu_seconds(answer: dict[str, Any], seconds: float) -> float | None:
    """CPU time of both iperf3s in a transfer of so many seconds; None if it is not reported.

    ``end.cpu_utilization_percent`` is getrusage(2) by the clock from the transfer's begin to its
    end (cpu_util in src/iperf_util.c). The kernel's work for a program counts, and so do softirqs
    that run in its name, as they do after each packet sent on a veth unless the kernel accounts
    for them apart (CONFIG_IRQ_TIME_ACCOUNTING). What ksoftirqd does, does not.
    """
    utilization = answer.get("end", {}).get("cpu_utilization_percent", {})
    try:
        return float(utilization["host_total"] + utilization["remote_total"]) / 100 * seconds
    except (KeyError, TypeError):
        return None


def segment_size(answer: dict[str, Any]) -> int | None:
    """Bytes of payload in a full segment of the transfer; None where iperf3 does not report it.

    ``start.tcp_mss_default`` is TCP_MAXSEG of iperf3's *control* connection, asked for when that
    has just been set up (iperf_connect in src/iperf_client_api.c of iperf3 3.1 to 3.18): what a
    packet carries after TCP's options (1428 with an MTU of 1480), and not what ICMP may tell
    later. Where the path turns out to be narrower than the pod's MTU, it is 20 too many in the
    first transfer. So ``pmtu`` of the sending streams' TCP_INFO, which is taken at the end, has
    the last word when the two contradict each other; options are taken to be timestamps then.
    A transfer in reverse has no ``pmtu``: its sender is at the other end.
    """
    size = answer.get("start", {}).get("tcp_mss_default")
    if not isinstance(size, int) or size <= 0:
        return None
    intervals = answer.get("intervals") or [{}]
    widths = [stream["pmtu"] for stream in intervals[-1].get("streams", ())
              if isinstance(stream.get("pmtu"), int) and stream["pmtu"] > 0]
    if widths and size > min(widths) - IPV4 - TCP:
        return mss(min(widths))
    return size
