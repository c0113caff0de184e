"""TCP in bulk: throughput, what it costs in CPU time, and what its packets look like.

In go two pods of a running cluster; out come measurements. The CPU time is the whole machine's
during the transfer, by 10^9 bytes of payload or by full segment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from calico_mn.measure import iperf
from calico_mn.measure.cpu import CpuMeter
from calico_mn.measure.metrics import Column, Measurement, Value, metric
from calico_mn.measure.paths import Pair
from calico_mn.measure.programs import Host
from calico_mn.measure.wire import wire_segments

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

THROUGHPUT = metric("throughput", "Mbit/s", "TCP throughput", more_is_better=True)
RETRANSMITS = metric("retransmits", "segments", "TCP retransmits", more_is_better=False,
                     column=Column("cost", 4, "resent"))
MSS = metric("mss", "bytes", "TCP segment", column=Column("cost", 1, "MSS"))
CPU_PARTS = CPU_USER, CPU_SYSTEM, CPU_SOFTIRQ = tuple(
    metric(f"cpu_{part}", "s/GB", f"CPU per GB, {part}", more_is_better=False,
           column=Column("cost", position, part, digits=3))
    for position, part in ((6, "user"), (7, "system"), (8, "softirq")))
CPU = metric("cpu", "s/GB", "CPU per GB", more_is_better=False,
             column=Column("cost", 5, "CPU s/GB", digits=3))
CPU_PACKET = metric("cpu_packet", "us", "CPU per packet", more_is_better=False,
                    column=Column("cost", 9, "us a packet", digits=3))
WIRE_BYTES = metric("wire_bytes", "bytes/byte", "bytes on the wire per byte of payload",
                    more_is_better=False,
                    column=Column("cost", 2, "headers %", digits=2, scale=100, offset=-100))
LARGEST_SEGMENT = metric("largest_segment", "bytes", "largest segment handed over (GSO)",
                         column=Column("cost", 3, "largest segment"))

#: bytes of the transfer whose segments are captured
_CAPTURED = 4_000_000


def bulk(client: Host, server: iperf.Server, *, duration: float, rate: float, limited: bool,
         streams: int = 1, direction: str = "forward") -> Measurement:
    """A bulk transfer, and what it costs; arguments as of :func:`.iperf.transfer`.

    Over a limited link a part of the transfer is not counted, so that its CPU time has no bytes
    to go with: it is left out there.
    """
    with CpuMeter() as meter:
        transfer = iperf.transfer(client, server, duration=duration, rate=rate, limited=limited,
                                  streams=streams, direction=direction)
    costs: dict[str, Value] = {}
    if not limited:
        cost = meter.cost
        costs = {name: round(seconds / transfer.bytes * 1e9, 4) for name, seconds in zip(
            (*CPU_PARTS, CPU),
            (cost.user_s, cost.system_s, cost.softirq_s, cost.total_s), strict=True)}
        if transfer.mss:
            costs[CPU_PACKET] = round(cost.per_packet(transfer.bytes / transfer.mss), 4)
    return Measurement({THROUGHPUT: transfer.mbit_per_s, RETRANSMITS: transfer.retransmits,
                        MSS: transfer.mss, **costs})


def segments(net: CalicoNet, pair: Pair) -> Measurement:
    """What a short transfer looks like where it leaves the node; needs captures."""
    wire = wire_segments(net, pair, _CAPTURED)
    exact: dict[str, Value] = {} if wire.dropped else {
        WIRE_BYTES: round(wire.wire_bytes / wire.payload_bytes, 5)}
    return Measurement({**exact, LARGEST_SEGMENT: wire.largest_segment},
                       seen={"captures_lost": wire.dropped})
