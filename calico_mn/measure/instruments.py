"""What a trial reads of two pods, one instrument after the other, by the readings' names.

In go two pods, how long to measure and which of :data:`READINGS`; out come measurements, and how
long they are expected to take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from calico_mn.errors import ToolError
from calico_mn.measure import iperf, ping, tcp, udp
from calico_mn.measure.iperf import Server
from calico_mn.measure.metrics import Measurement, Value
from calico_mn.measure.net import Net
from calico_mn.measure.paths import Pair

#: a reading's name -> seconds that it takes besides its transfer, in their order in a trial
READINGS = {"round trips": 0.1, "tcp": 0.0, "round trips under load": 0.5, "udp": 0.2,
            "connections": 0.0, "wire": 0.1}
#: readings other than the TCP transfer take this part of its time, but no less than
_SHORT, _SHORTEST_S = 0.3, 0.1


@dataclass(frozen=True, slots=True)
class Instruments:
    """Some of :data:`READINGS`; ``duration`` of the TCP transfer in seconds.

    ``sizes`` are UDP payloads in bytes, a reading each. ``metered`` adds this machine's CPU time to
    a TCP transfer, for clusters that are on this machine. ``besides_s`` are seconds that a trial
    takes besides its readings.
    """

    names: tuple[str, ...]
    duration: float
    sizes: tuple[int, ...]
    metered: bool = True
    besides_s: float = 0.3

    @property
    def readings(self) -> tuple[tuple[str, Mapping[str, Value]], ...]:
        """Each reading's name, and the factors of its own."""
        return tuple((name, factors) for name in self.names for factors in (
            [{"size": size} for size in self.sizes] if name == "udp" else [{}]))

    def take(self, name: str, net: Net, pair: Pair, factors: Mapping[str, Value], *, rate: float,
             limited: bool) -> Measurement:
        """One reading. ``factors`` are all that it is taken under: ``size``, ``streams``...

        ``rate`` and ``limited`` as of :func:`.iperf.transfer`. Raises ToolError.
        """
        client: Server = net[pair.source.name]
        server: Server = net[pair.destination.name]
        match name:
            case "round trips":
                return ping.latency(client, server)
            case "tcp":
                return tcp.bulk(
                    client, server, duration=self.duration, rate=rate, limited=limited,
                    streams=int(str(factors["streams"])), direction=str(factors["direction"]),
                    congestion=str(factors.get("congestion", "")), metered=self.metered)
            case "round trips under load":
                return ping.latency_under_load(client, server)
            case "udp":
                return udp.rates(client, server, size=cast(int, factors["size"]),
                                 duration=self._short)
            case "connections":
                return tcp.connection_rate(client, server, duration=self._short)
            case "wire":
                return tcp.segments(net, pair)
        raise ToolError(f"there is no reading {name!r}")

    def seconds(self, client: Server, *, limited: bool) -> float:
        """How long a trial is expected to take. Raises ToolError without an iperf3."""
        transfers = {
            "tcp": (iperf.limited_seconds(self.duration) + iperf.UNSTEADY_S if limited
                    else iperf.timed(client, self.duration)),
            "udp": iperf.timed(client, self._short), "connections": self._short}
        return self.besides_s + sum(READINGS[name] + transfers.get(name, 0)
                                    for name, _ in self.readings)

    @property
    def _short(self) -> float:
        return max(_SHORTEST_S, self.duration * _SHORT)
