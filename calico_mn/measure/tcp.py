"""TCP: throughput, what it costs in CPU time, what its packets look like; connections a second.

In go two pods of a running cluster; out come measurements. The CPU time is the whole machine's
during the transfer, by 10^9 bytes of payload or by full segment. The two ends of connections are a
program of their own, :mod:`.endpoint`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from calico_mn.errors import ToolError
from calico_mn.measure import iperf
from calico_mn.measure.paths import Net, Pair
from calico_mn.measure.programs import Host, ending, endpoint, excerpt, run, serving
from calico_mn.measure.readings import Column, Measurement, Value, metric
from calico_mn.measure.resources import CPU_PACKET, PROGRAMS_PACKET, CpuMeter
from calico_mn.measure.udp import PACKETS
from calico_mn.measure.wire import wire_segments

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

THROUGHPUT = metric("throughput", "Mbit/s", "TCP throughput", more_is_better=True)
RETRANSMITS = metric("retransmits", "segments", "TCP retransmits", more_is_better=False,
                     column=Column("cost", 4, "resent"))
MSS = metric("mss", "bytes", "TCP segment", column=Column("cost", 1, "MSS B"))
CPU_PARTS = tuple(
    metric(f"cpu_{part}", "s/GB", f"CPU per GB, {part}", more_is_better=False,
           column=Column("cost", position, f"{part} s/GB", digits=3))
    for position, part in ((6, "user"), (7, "system"), (8, "softirq")))
CPU = metric("cpu", "s/GB", "CPU per GB", more_is_better=False,
             column=Column("cost", 5, "CPU s/GB", digits=3))
WIRE_BYTES = metric("wire_bytes", "bytes/byte", "bytes on the wire per byte of payload",
                    more_is_better=False,
                    column=Column("cost", 2, "headers %", digits=2, scale=100, offset=-100))
LARGEST_SEGMENT = metric("largest_segment", "bytes", "largest segment handed over (GSO)",
                         column=Column("cost", 3, "largest segment B"))

CONNECTIONS = metric("connections", "1/s", "TCP connections", more_is_better=True,
                     column=Column("delay", 9, "TCP conn/s"))

_GRACE_S = 15.0
#: bytes of the transfer whose segments are captured, and seconds that it may take
_CAPTURED, _CAPTURED_S = 4_000_000, 60.0


def bulk(client: Host, server: iperf.Server, *, duration: float, rate: float, limited: bool,
         streams: int = 1, direction: str = "forward", congestion: str = "",
         metered: bool = True) -> Measurement:
    """A bulk transfer, and what it costs; arguments as of :func:`.iperf.transfer`.

    Over a limited link a part of the transfer is not counted, so that its CPU time has no bytes
    to go with: it is left out there. Without ``metered``, as between other machines, the CPU time
    is that of the two programs, as iperf3 reports it.
    """
    with CpuMeter() as meter:
        transfer = iperf.transfer(client, server, duration=duration, rate=rate, limited=limited,
                                  streams=streams, direction=direction, congestion=congestion)
    costs: dict[str, Value] = {}
    if not metered and transfer.mss and transfer.cpu_s is not None and not limited:
        costs = {PROGRAMS_PACKET: round(transfer.cpu_s / (transfer.bytes / transfer.mss) * 1e6, 4)}
    elif metered and not limited:
        costs = {name: round(seconds / transfer.bytes * 1e9, 4) for name, seconds in zip(
            (*CPU_PARTS, CPU), meter.cost.parts_s, strict=True)}
        if transfer.mss:
            costs[CPU_PACKET] = meter.cost.by_packet(transfer.bytes / transfer.mss)[CPU_PACKET]
    return Measurement({THROUGHPUT: transfer.mbit_per_s, RETRANSMITS: transfer.retransmits,
                        MSS: transfer.mss, **costs})


def cost(client: Host, server: iperf.Server, *, duration: float, rate: float) -> Measurement:
    """A bulk transfer, and the CPU time of each full segment of it."""
    with CpuMeter() as meter:
        transfer = iperf.transfer(client, server, duration=duration, rate=rate)
    count = transfer.bytes / (transfer.mss or 1)
    return Measurement({
        PROGRAMS_PACKET: None if transfer.cpu_s is None
        else round(transfer.cpu_s / count * 1e6, 4),
        **meter.cost.by_packet(count), THROUGHPUT: transfer.mbit_per_s,
        PACKETS: round(count / transfer.seconds, 3), MSS: transfer.mss,
        RETRANSMITS: transfer.retransmits})


def segments(net: Net, pair: Pair) -> Measurement:
    """What a short transfer looks like where it leaves the node; needs captures.

    iperf3 stops with some of the amount still unsent, so a little less may be seen.
    """
    client, server = net[pair.source.name], net[pair.destination.name]
    wire = wire_segments(cast("CalicoNet", net), pair, lambda: iperf.parse(iperf.answer(
        client, server, iperf.client_argv(server.ip, amount=_CAPTURED), _CAPTURED_S)))
    exact: dict[str, Value] = {} if wire.dropped else {
        WIRE_BYTES: round(wire.wire_bytes / wire.payload_bytes, 5)}
    return Measurement({**exact, LARGEST_SEGMENT: wire.largest_segment},
                       seen={"captures_lost": wire.dropped})


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


def connections(client: Host, server: iperf.Server, *, duration: float, port: int = 0
                ) -> Connections:
    """Connect from ``client`` to ``server`` again and again for ``duration`` seconds.

    One connection at a time: the result says what a connection's round trips and the two ends'
    work take, Python's part included, and not how many a node could hold. A first connection is
    not counted. ``port`` is the server's; 0 lets the kernel choose. Raises ToolError.
    """
    life = duration + _GRACE_S
    with serving(server, "echo", server.ip, str(port), str(math.ceil(life) + 5)) as (_, taken):
        finished = run(client, endpoint("connect", server.ip, taken, f"{duration:g}"),
                       timeout=life)
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


def connection_rate(client: Host, server: iperf.Server, *, duration: float) -> Measurement:
    """TCP connections, one after the other."""
    return Measurement({CONNECTIONS: connections(client, server, duration=duration).per_s})
