"""Instruments as readings: what each one's answer is called in the results."""

from __future__ import annotations

from collections.abc import Callable

from calico_mn.emulation.net import CalicoNet
from calico_mn.measure import iperf, ping, udp
from calico_mn.measure.connections import connections
from calico_mn.measure.cpu import Cost, CpuMeter
from calico_mn.measure.iperf import Transfer
from calico_mn.measure.metrics import Measurement, Value
from calico_mn.measure.paths import Pair
from calico_mn.measure.programs import Host
from calico_mn.measure.wire import wire_segments

#: name, factors of the instrument's own, and what takes the reading
Instrument = tuple[str, dict[str, Value], Callable[[], Measurement]]

#: bytes of the transfer whose segments are looked at
_LOOKED_AT = 4_000_000


def round_trips(client: Host, server: iperf.Server) -> Measurement:
    """Round trips, one after the other, nothing else going on."""
    found = ping.round_trips(client, server.ip)
    return Measurement({"latency": found.p50, "latency_p99": found.p99},
                 series={"round_trips_us": found.times})


def round_trips_under_load(client: Host, server: iperf.Server) -> Measurement:
    """The same beside a TCP stream."""
    found = ping.round_trips_under_load(client, server)
    return Measurement({"loaded_latency": found.p50, "loaded_latency_p99": found.p99},
                 series={"round_trips_us": found.times})


def tcp(client: Host, server: iperf.Server, *, duration: float, rate: float, limited: bool,
        streams: int = 1, direction: str = "forward") -> Measurement:
    """A bulk transfer, and what it cost.

    Over a limited link a part of the transfer is not counted, so that its CPU time has no bytes
    to go with: it is left out there.
    """
    with CpuMeter() as meter:
        found = iperf.transfer(client, server, duration=duration, rate=rate, limited=limited,
                               streams=streams, direction=direction)
    costs = {} if limited else _costs(meter.cost, found)
    return Measurement({"throughput": found.mbit_per_s, "retransmits": found.retransmits,
                  "mss": found.mss, **costs})


def _costs(cost: Cost, found: Transfer) -> dict[str, Value]:
    per_gigabyte = {"cpu_user": cost.user_s, "cpu_system": cost.system_s,
                    "cpu_softirq": cost.softirq_s, "cpu": cost.total_s}
    values: dict[str, Value] = {name: round(seconds / found.bytes * 1e9, 4)
                                for name, seconds in per_gigabyte.items()}
    if found.mss:
        values["cpu_packet"] = round(cost.per_packet(found.bytes / found.mss), 4)
    return values


def datagrams(client: Host, server: iperf.Server, *, size: int, duration: float) -> Measurement:
    """UDP as fast as the client can."""
    found = udp.datagrams(client, server, size=size, duration=duration)
    return Measurement({"packets": found.received_per_s, "packets_sent": found.sent_per_s,
                  "loss": round(found.loss, 5)})


def datagrams_cost(client: Host, server: iperf.Server, *, size: int, duration: float
                   ) -> Measurement:
    """UDP as fast as the client can, and the CPU time of each packet sent.

    A packet that the receiver's full socket buffer loses has come all the way by then.
    """
    with CpuMeter() as meter:
        found = udp.datagrams(client, server, size=size, duration=duration)
    return Measurement({"programs_packet": found.cpu_packet_us,
                  **_per_packet(meter.cost, found.sent),
                  "packets": found.received_per_s, "packets_sent": found.sent_per_s,
                  "loss": round(found.loss, 5)})


def tcp_cost(client: Host, server: iperf.Server, *, duration: float, rate: float) -> Measurement:
    """A bulk transfer, and the CPU time of each full segment of it."""
    with CpuMeter() as meter:
        found = iperf.transfer(client, server, duration=duration, rate=rate)
    segments = found.bytes / (found.mss or 1)
    return Measurement({"programs_packet": None if found.cpu_s is None
                  else round(found.cpu_s / segments * 1e6, 4),
                  **_per_packet(meter.cost, segments), "throughput": found.mbit_per_s,
                  "packets": round(segments / found.seconds, 3), "mss": found.mss,
                  "retransmits": found.retransmits})


def _per_packet(cost: Cost, packets: float) -> dict[str, Value]:
    """The whole machine's CPU time by its kind, in us a packet; the sum last."""
    parts = {"cpu_packet_user": cost.user_s, "cpu_packet_system": cost.system_s,
             "cpu_packet_softirq": cost.softirq_s, "cpu_packet": cost.total_s}
    return {name: round(seconds / packets * 1e6, 4) for name, seconds in parts.items()}


def connects(client: Host, server: iperf.Server, *, duration: float) -> Measurement:
    """TCP connections, one after the other."""
    found = connections(client, server, duration=duration)
    return Measurement({"connections": found.per_s})


def wire(net: CalicoNet, pair: Pair) -> Measurement:
    """What a short transfer looks like where it leaves the node."""
    found = wire_segments(net, pair, _LOOKED_AT)
    exact: dict[str, Value] = {} if found.dropped else {
        "wire_bytes": round(found.wire_bytes / found.payload_bytes, 5)}
    return Measurement({**exact, "largest_segment": found.largest_segment},
                 seen={"captures_lost": found.dropped})
