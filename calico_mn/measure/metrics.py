"""Every metric that results hold: its name, unit, and which way is better.

docs/results.md describes how each is taken; a test compares the two lists.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """``more_is_better`` is None for what is a fact and not a performance."""

    unit: str
    title: str
    more_is_better: bool | None = None


METRICS: dict[str, Metric] = {
    # the main experiment
    "reachable": Metric("bool", "answers on the fabric as it is"),
    "throughput": Metric("Mbit/s", "TCP throughput", True),
    "retransmits": Metric("segments", "TCP retransmits", False),
    "mss": Metric("bytes", "TCP segment"),
    "cpu_user": Metric("s/GB", "CPU per GB, user", False),
    "cpu_system": Metric("s/GB", "CPU per GB, system", False),
    "cpu_softirq": Metric("s/GB", "CPU per GB, softirq", False),
    "cpu": Metric("s/GB", "CPU per GB", False),
    "cpu_packet": Metric("us", "CPU per packet", False),
    "cpu_packet_user": Metric("us", "CPU per packet, user", False),
    "cpu_packet_system": Metric("us", "CPU per packet, system", False),
    "cpu_packet_softirq": Metric("us", "CPU per packet, softirq", False),
    "programs_packet": Metric("us", "CPU of both programs per packet", False),
    "latency": Metric("us", "round-trip time, median", False),
    "latency_p99": Metric("us", "round-trip time, p99", False),
    "loaded_latency": Metric("us", "round-trip time under load, median", False),
    "loaded_latency_p99": Metric("us", "round-trip time under load, p99", False),
    "packets": Metric("1/s", "UDP packets received", True),
    "packets_sent": Metric("1/s", "UDP packets sent"),
    "loss": Metric("share", "UDP packets lost", False),
    "connections": Metric("1/s", "TCP connections", True),
    "wire_bytes": Metric("bytes/byte", "bytes on the wire per byte of payload", False),
    "largest_segment": Metric("bytes", "largest segment handed over (GSO)"),
    # other experiments
    "delivered": Metric("bytes", "payload acknowledged", True),
    "answered": Metric("packets", "pings answered", True),
    "path_mtu": Metric("bytes", "path MTU learned"),
    "frag_needed": Metric("messages", "ICMP fragmentation needed received"),
    "fragments": Metric("packets", "IPv4 fragments sent"),
    "largest_packet": Metric("bytes", "largest IP packet sent"),
    "outcome": Metric("word", "what happened"),
    "lost": Metric("packets", "packets lost", False),
    "sent": Metric("packets", "packets sent"),
    "gap": Metric("ms", "longest run of lost packets", False),
    "lost_before": Metric("packets", "packets lost before the change", False),
    "lasting_loss": Metric("share", "packets lost in the second half of the time after it", False),
    "reordered": Metric("packets", "packets that came out of order", False),
    "duplicated": Metric("packets", "packets that came twice", False),
    "rp_dropped": Metric("packets", "packets that a node's reverse path filter dropped", False),
    "change": Metric("ms", "time that a mode change took", False),
    "sessions": Metric("sessions", "route sessions established", True),
    "dropped": Metric("packets", "packets that the fabric dropped"),
    "boot": Metric("ms", "boot time", False),
    "stop": Metric("ms", "stop time", False),
    "convergence": Metric("ms", "time until every node has every route", False),
    "memory": Metric("MB", "memory", False),
    "change_back": Metric("ms", "time that the change back took", False),
    "memory_slab": Metric("MB", "memory in the kernel's slabs", False),
    "memory_process": Metric("MB", "memory of the emulating process", False),
    "routes": Metric("routes", "routes in the kernel"),
    "routes_remote": Metric("routes", "routes to other nodes' blocks in the kernel"),
    "routes_changed": Metric("routes", "routes that a mode change replaced"),
    "path_share": Metric("share", "share of packets on the first path"),
    "packets_left": Metric("packets", "packets that left by all paths together"),
    "flows_arrived": Metric("flows", "flows that arrived", True),
}
