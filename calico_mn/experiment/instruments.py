"""Instruments as readings: what each one's answer is called in the results."""

from __future__ import annotations

from collections.abc import Callable

from calico_mn.measure import iperf, ping
from calico_mn.measure.programs import Host
from calico_mn.measure.readings import Taken, Value

#: name, factors of the instrument's own, and what takes the reading
Instrument = tuple[str, dict[str, Value], Callable[[], Taken]]


def latency(client: Host, server: iperf.Server) -> Taken:
    """Round trips, one after the other, nothing else going on."""
    return Taken({"latency": ping.median_rtt(client, server.ip)})


def tcp(client: Host, server: iperf.Server, *, duration: float, rate: float, limited: bool
        ) -> Taken:
    """A bulk transfer."""
    found = iperf.transfer(client, server, duration=duration, rate=rate, limited=limited)
    return Taken({"throughput": found.mbit_per_s, "retransmits": found.retransmits})
