"""Many short flows between two pods, and by which of a router's devices they left.

The two ends are a program of their own, :mod:`.endpoint`. Packets are counted by the kernel, device
by device (tx_packets), at the router that has the choice.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calico_mn.errors import ClusterError, ToolError
from calico_mn.measure.iperf import Server
from calico_mn.measure.metrics import Measurement, metric
from calico_mn.measure.paths import Pair
from calico_mn.measure.programs import ENDPOINT, Host, ending, endpoint, run, serving

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

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
