"""Traffic of our own program, :mod:`.endpoint`: steady streams, and many short flows.

Streams of numbered packets run between pods, both ways at once: which were lost, and when. All
namespaces of a machine share CLOCK_MONOTONIC, so each direction's losses are known by themselves
and by the time at which the lost packet was sent. Of short flows it is counted by which of a
router's devices they left: by the kernel, device by device (tx_packets), at the router that has the
choice.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calico_mn.errors import ClusterError, ToolError
from calico_mn.measure.iperf import Server
from calico_mn.measure.metrics import Measurement, metric
from calico_mn.measure.paths import Pair
from calico_mn.measure.programs import (
    ENDPOINT,
    Host,
    end,
    ending,
    endpoint,
    first_line,
    run,
    serving,
    start,
)

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

SENT = metric("sent", "packets", "packets sent")
LOST = metric("lost", "packets", "packets lost", more_is_better=False)
GAP = metric("gap", "ms", "longest run of lost packets", more_is_better=False)
REORDERED = metric("reordered", "packets", "packets that came out of order",
                   more_is_better=False)
DUPLICATED = metric("duplicated", "packets", "packets that came twice", more_is_better=False)
LOST_BEFORE = metric("lost_before", "packets", "packets lost before the change",
                     more_is_better=False)
LASTING_LOSS = metric("lasting_loss", "share",
                      "packets lost in the second half of the time after it",
                      more_is_better=False)
#: the series of the times of lost packets, in ms since the change
LOST_AT = "lost_at"

#: UDP port of the first stream; the others follow
FIRST_PORT = 5500

_END_TIMEOUT_S = 10.0
#: after all ends run and before the first packet counts: the neighbours are being resolved
_LEAD_S = 0.05


@dataclass(frozen=True, slots=True)
class Flow:
    """One direction: when each packet was sent (CLOCK_MONOTONIC, ns), and the numbers that came.

    A packet's number is its place in ``sent``; ``arrived`` is in order of arrival.
    """

    sent: tuple[int, ...]
    arrived: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the packets that were sent in a window of time.

    ``reordered`` ones came after one with a higher number (RFC 4737, 3.3); ``duplicated`` counts
    copies beyond the first (RFC 5560). ``lost_at`` says when each lost packet was sent, in ms
    since the window began. ``gap`` is the longest time in ms during which every packet was lost:
    from the sending of the first to that of the next one that arrived, or to the window's end.
    """

    sent: int
    reordered: int
    duplicated: int
    lost_at: tuple[float, ...]
    gap: float

    @property
    def lost(self) -> int:
        """How many packets never came."""
        return len(self.lost_at)


def tally(flow: Flow, begin: int, until: int) -> Tally:
    """The packets sent from ``begin`` on and before ``until``; both CLOCK_MONOTONIC, ns."""
    window = [number for number, when in enumerate(flow.sent) if begin <= when < until]
    inside = range(window[0], window[-1] + 1) if window else range(0)
    seen: set[int] = set()
    highest = -1
    reordered = duplicated = 0
    for number in flow.arrived:
        if number in seen:
            duplicated += number in inside
            continue
        reordered += number in inside and number < highest
        highest = max(highest, number)
        seen.add(number)
    gap, since = 0, None
    for number in window:
        if number in seen:
            since = None
            continue
        since = flow.sent[number] if since is None else since
        gap = max(gap, (flow.sent[number + 1] if number + 1 in inside else until) - since)
    lost_at = tuple(_ms(flow.sent[number] - begin) for number in window if number not in seen)
    return Tally(len(window), reordered, duplicated, lost_at, _ms(gap))


def losses(flow: Flow, began: int, change: int, until: int) -> Measurement:
    """A flow before and after a ``change``; all three CLOCK_MONOTONIC, ns."""
    before, after = tally(flow, began, change), tally(flow, change, until)
    late = tally(flow, (change + until) // 2, until)
    return Measurement(
        {SENT: after.sent, LOST: after.lost, GAP: after.gap, REORDERED: after.reordered,
         DUPLICATED: after.duplicated, LOST_BEFORE: before.lost,
         LASTING_LOSS: round(late.lost / late.sent, 4) if late.sent else None},
        {LOST_AT: after.lost_at})


def _ms(ns: int) -> float:
    return round(ns / 1e6, 3)


@dataclass(frozen=True, slots=True)
class _End:
    host: Host
    process: subprocess.Popen[str]


class Streams:
    """Running streams; :meth:`finish` ends them.

    ``began`` is the CLOCK_MONOTONIC time in ns from which on packets count: all ends were up.
    """

    def __init__(self, ends: Mapping[Pair, tuple[_End, _End]]) -> None:
        self._ends = ends
        self.began = time.monotonic_ns()

    def finish(self) -> dict[Pair, Flow]:
        """The flows, of each pair and of its reverse. Raises ToolError when an end failed.

        Packets that were sent after the call are of no use: some ends had stopped by then.
        """
        ends = [each for both in self._ends.values() for each in both]
        for each in ends:
            each.process.send_signal(signal.SIGTERM)
        answers = {id(each): _answer(each) for each in ends}
        flows = {}
        for pair, (near, far) in self._ends.items():
            near_answer, far_answer = answers[id(near)], answers[id(far)]
            flows[pair] = Flow(near_answer["sent"], far_answer["arrived"])
            flows[reverse(pair)] = Flow(far_answer["sent"], near_answer["arrived"])
        return flows


def reverse(pair: Pair) -> Pair:
    """The pair in the other direction."""
    return Pair(pair.destination, pair.source)


@contextmanager
def streams(net: CalicoNet, pairs: Sequence[Pair], *, rate: float, longest: float
            ) -> Iterator[Streams]:
    """Streams of ``rate`` packets a second in both directions of each pair, while the block runs.

    They end with the block, and after ``longest`` seconds in any case. Raises ToolError.
    """
    ends: dict[Pair, tuple[_End, _End]] = {}
    try:
        for port, pair in enumerate(pairs, FIRST_PORT):
            ends[pair] = (_start(net, pair, port, rate, longest),
                          _start(net, reverse(pair), port, rate, longest))
        for both in ends.values():
            for each in both:
                first_line(each.host, each.process)
        time.sleep(_LEAD_S)
        yield Streams(ends)
    finally:
        for both in ends.values():
            for each in both:
                end(each.process)


def _start(net: CalicoNet, pair: Pair, port: int, rate: float, longest: float) -> _End:
    host = net[pair.source.name]
    return _End(host, start(host, endpoint(
        "stream", pair.source.ip, pair.destination.ip, str(port), f"{rate:g}", f"{longest:g}")))


def _answer(end: _End) -> dict[str, tuple[int, ...]]:
    try:
        out, err = end.process.communicate(timeout=_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise ToolError(f"{end.host.name}: a stream did not end within {_END_TIMEOUT_S:g} s"
                        ) from None
    if end.process.returncode:
        reason = err.strip() or ending(end.process.returncode)
        raise ToolError(f"{end.host.name}: a stream failed: {reason}")
    try:
        answer: dict[str, Any] = json.loads(out)
        return {name: tuple(map(int, answer[name])) for name in ("sent", "arrived")}
    except (ValueError, KeyError, TypeError):
        raise ToolError(f"{end.host.name}: unexpected answer of a stream: {out[:80]!r}") from None


# --- many short flows, and by which of a router's devices they left

PATH_SHARE = metric("path_share", "share", "share of packets on the first path")
PACKETS_LEFT = metric("packets_left", "packets", "packets that left by all paths together")
FLOWS_ARRIVED = metric("flows_arrived", "flows", "flows that arrived", more_is_better=True)

PROTOCOLS = UDP, TCP = "udp", "tcp"

_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Fork:
    """A router that has equal ways: its name, and the device of each way in the route's order."""

    router: str
    devices: tuple[str, ...]


def fork(net: CalicoNet, pair: Pair) -> Fork:
    """The router of the source's subnet that has equal ways to the destination's.

    Raises ClusterError when there is none.
    """
    subnets = {subnet.name: subnet for subnet in net.topology.underlay.subnets}
    goal = str(subnets[pair.destination.subnet].cidr)
    for router in net.topology.underlay.routers:
        if pair.source.subnet in {foot.subnet for foot in router.interfaces}:
            for route in net.states[router.name].routes:
                if route.destination == goal and route.next_hops:
                    return Fork(router.name, tuple(hop.device for hop in route.next_hops))
    raise ClusterError(f"{net.topology.source}: no router has several equal ways from"
                       f" {pair.source.subnet} to {pair.destination.subnet}; see"
                       " topologies/two-paths.yaml for one that has")


def flows(client: Host, server: Server, router: Host, devices: Sequence[str], kind: str,
          count: int, *, patience: float = 1.0) -> Measurement:
    """Send ``count`` flows of ``kind``, and count what leaves the ``router`` by each device.

    A UDP flow is one packet, a TCP flow about five. ARP is counted too: a packet or two now and
    then. Flows have ``patience`` seconds to arrive after the last was sent. Raises ToolError.
    """
    with serving(server, "take-flows", kind, server.ip, str(count),
                 str(int(_TIMEOUT_S + patience) + 5)) as (taker, port):
        before = _sent(router, devices)
        sending = run(client, endpoint("send-flows", kind, server.ip, port, str(count)),
                      timeout=_TIMEOUT_S)
        if sending.status:
            reason = sending.err.strip() or ending(sending.status)
            raise ToolError(f"{client.name} to {server.name}: {kind} flows: {reason}")
        arrived = _arrived(server, taker, patience)
    packets = tuple(after - first for after, first in
                    zip(_sent(router, devices), before, strict=True))
    if sum(packets) < count:
        raise ToolError(f"{router.name}: only {sum(packets)} packets of {count} flows left by"
                        f" {', '.join(devices)}")
    return Measurement({PATH_SHARE: round(packets[0] / sum(packets), 6), PACKETS_LEFT: sum(packets),
                        FLOWS_ARRIVED: arrived}, series={"packets": packets})


def _arrived(server: Host, taker: subprocess.Popen[str], patience: float) -> int:
    try:
        out, err = taker.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        taker.terminate()
        try:
            out, err = taker.communicate(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise ToolError(f"{server.name}: {ENDPOINT} did not end") from None
    try:
        return int(out)
    except ValueError:
        raise ToolError(f"{server.name}: {ENDPOINT}: {err.strip() or out[:80]!r}") from None


def _sent(router: Any, devices: Sequence[str]) -> tuple[int, ...]:
    """Packets that each device has sent since it was made."""
    finished = run(router, ["cat", *(f"/sys/class/net/{device}/statistics/tx_packets"
                                     for device in devices)], timeout=10)
    try:
        return tuple(int(word) for word in finished.out.split())
    except ValueError:
        raise ToolError(f"{router.name}: no counters of {', '.join(devices)}:"
                        f" {finished.err.strip()}") from None
