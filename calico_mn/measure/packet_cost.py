"""The CPU time of each packet, of UDP datagrams by size and of full TCP segments.

Twice: that of the two programs at the ends, as they report it, and the whole machine's
by its kind, including all other programs.
"""

from __future__ import annotations

from calico_mn.measure import iperf, udp
from calico_mn.measure.cpu import Cost, CpuMeter
from calico_mn.measure.metrics import Measurement, Value, metric
from calico_mn.measure.programs import Host
from calico_mn.measure.tcp import CPU_PACKET, MSS, RETRANSMITS, THROUGHPUT
from calico_mn.measure.udp import LOSS, PACKETS, PACKETS_SENT

PROGRAMS_PACKET = metric("programs_packet", "us", "CPU of both programs per packet",
                         more_is_better=False)
#: the whole machine's time by its kind, the sum last
MACHINE_PACKET = (*(
    metric(f"cpu_packet_{part}", "us", f"CPU per packet, {part}", more_is_better=False)
    for part in ("user", "system", "softirq")), CPU_PACKET)


def datagrams(client: Host, server: iperf.Server, *, size: int, duration: float) -> Measurement:
    """UDP as fast as the client can, and the CPU time of each datagram sent.

    A packet that is lost in the receiver's full socket buffer has crossed the whole path.
    """
    with CpuMeter() as meter:
        sent = udp.datagrams(client, server, size=size, duration=duration)
    return Measurement({PROGRAMS_PACKET: sent.cpu_packet_us, **_machine(meter.cost, sent.sent),
                        PACKETS: sent.received_per_s, PACKETS_SENT: sent.sent_per_s,
                        LOSS: round(sent.loss, 5)})


def segments(client: Host, server: iperf.Server, *, duration: float, rate: float) -> Measurement:
    """A bulk transfer, and the CPU time of each full segment of it."""
    with CpuMeter() as meter:
        transfer = iperf.transfer(client, server, duration=duration, rate=rate)
    count = transfer.bytes / (transfer.mss or 1)
    return Measurement({
        PROGRAMS_PACKET: None if transfer.cpu_s is None
        else round(transfer.cpu_s / count * 1e6, 4),
        **_machine(meter.cost, count), THROUGHPUT: transfer.mbit_per_s,
        PACKETS: round(count / transfer.seconds, 3), MSS: transfer.mss,
        RETRANSMITS: transfer.retransmits})


def _machine(cost: Cost, packets: float) -> dict[str, Value]:
    """In us a packet."""
    seconds = (cost.user_s, cost.system_s, cost.softirq_s, cost.total_s)
    return {name: round(part / packets * 1e6, 4)
            for name, part in zip(MACHINE_PACKET, seconds, strict=True)}
