"""Many short flows over equal paths: by which of a router's devices they left, and do they spread?

In go two pods and the router that has the choice; out come shares of packets, counted device by
device by the kernel (tx_packets). Whether shares are those of flows that choose as a fair coin
falls, is computed. The flows are sent by :mod:`.endpoint`.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from calico_mn.errors import ClusterError, ToolError
from calico_mn.measure.iperf import Server
from calico_mn.measure.paths import Pair
from calico_mn.measure.programs import ENDPOINT, Host, ending, endpoint, run, serving
from calico_mn.measure.readings import Measurement, metric

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

PATH_SHARE = metric("path_share", "share", "share of packets on the first path")
PACKETS_LEFT = metric("packets_left", "packets", "packets that left by all paths together")
FLOWS_ARRIVED = metric("flows_arrived", "flows", "flows that arrived", more_is_better=True)

PROTOCOLS = ("udp", "tcp")

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


# --- do they spread?

#: verdicts on flows that have the choice of two equal paths
SPREAD, ONE_PATH, UNEVEN = "spread", "one path", "uneven"
#: of many cells that are spread evenly, one in a thousand would be called uneven
_FAIR_CONFIDENCE = 0.999
#: packets of no flow (ARP) may leave by the other path: a smaller share than this is ignored
_STRAY = 0.02


def larger_share(share: float) -> float:
    """The share of the path that has more, from the share of either."""
    return max(share, 1 - share)


def fair_limit(flows: int, confidence: float) -> float:
    """The share that the larger one does not exceed with this probability.

    Each of ``flows`` takes one of two paths as a fair coin falls (binomial). Raises ValueError
    for none.
    """
    if flows < 1:
        raise ValueError("no flows, no shares")
    most = (flows + 1) // 2
    ways = math.comb(flows, most)
    inside = ways if 2 * most == flows else 2 * ways
    wanted = Fraction(confidence) * 2 ** flows  # too large for a float
    while inside < wanted:
        ways = ways * (flows - most) // (most + 1)
        most += 1
        inside += 2 * ways
    return most / flows


def spread_verdict(shares: Sequence[float], flows: int) -> str:
    """What the first path's ``shares`` of several repeats with ``flows`` each say.

    :data:`ONE_PATH` when one path had (nearly) all in each repeat, whichever it was;
    :data:`SPREAD` when all flows together lie within :func:`fair_limit`; else :data:`UNEVEN`.
    """
    if all(larger_share(share) > 1 - _STRAY for share in shares):
        return ONE_PATH
    together = larger_share(math.fsum(shares) / len(shares))
    return (SPREAD if together <= fair_limit(flows * len(shares), _FAIR_CONFIDENCE)
            else UNEVEN)
