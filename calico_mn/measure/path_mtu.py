"""Probes of a path with packets that may be too large, and what was seen meanwhile.

A probe sends from one pod to another on another node, inside IPIP. The outcome follows from what
was seen, and never by the MTUs: what arrived, what the source pod's routing has learned, ICMP
messages that came to it, and what left its node through the uplink.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calico_mn.calico.encapsulation import UPLINK
from calico_mn.errors import ToolError
from calico_mn.kernel.capture import Capture
from calico_mn.kernel.route_get import Query, flush_learned_routes, route_get
from calico_mn.measure import ping
from calico_mn.measure.cluster import DROPPED
from calico_mn.measure.iperf import Server
from calico_mn.measure.paths import Pair
from calico_mn.measure.programs import ENDPOINT, Finished, Host, endpoint, run, serving
from calico_mn.measure.readings import Measurement, metric
from calico_mn.measure.tcp import RETRANSMITS
from calico_mn.measure.wire import OUTER
from calico_mn.packetmatch import CaptureFilter, Drop

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

OUTCOME = metric("outcome", "word", "what happened")
DELIVERED = metric("delivered", "bytes", "payload acknowledged", more_is_better=True)
ANSWERED = metric("answered", "packets", "pings answered", more_is_better=True)
PATH_MTU = metric("path_mtu", "bytes", "path MTU learned")
FRAG_NEEDED = metric("frag_needed", "messages", "ICMP fragmentation needed received")
SENT_FRAGMENTS = metric("fragments", "packets", "IPv4 fragments sent")
LARGEST_PACKET = metric("largest_packet", "bytes", "largest IP packet sent")

#: what a probe's reading has
METRICS = (OUTCOME, ANSWERED, DELIVERED, PATH_MTU, FRAG_NEEDED, DROPPED, SENT_FRAGMENTS,
           LARGEST_PACKET, RETRANSMITS)

#: the outcomes of a probe, from the best to the worst, and what they mean
OUTCOMES = WORKS, LEARNS, FRAGMENTS, REFUSED, HANGS = (
    "works", "learns", "cut", "refused", "hangs")
LEGEND = (f"{WORKS}: as it was sent. {LEARNS}: after ICMP taught the source pod the path MTU."
          f" {FRAGMENTS}: seen on the uplink in fragments. {REFUSED}: the sender's kernel says"
          ' "message too long", which it knows from ICMP.'
          f" {HANGS}: nothing or not all gets through, and no message says so.")

#: IPv4's and ICMP's header
PING_HEADERS = 28
SMALL_PING, SMALL_TRANSFER = 84, 64
BULK = 256 * 1024

_PINGS = 3
_PING_INTERVAL_S = 0.02
_TIMEOUT_S = 60.0
#: between reads of the captures, which hold a few thousand packets
_LOOK_S = 0.002
_RECEIVED = re.compile(r"(\d+) received")


@dataclass(frozen=True, slots=True)
class Probe:
    """One way to send.

    ``size``: for ``ping`` that of the IP packet in bytes, 0 for the source pod's MTU; for ``tcp``
    the amount in bytes. ``discovery`` is path MTU discovery as the socket asks for it (ip(7),
    IP_MTU_DISCOVER): ``do`` sets DF and refuses what is larger than the path is known to take;
    ``want``, what UDP and TCP do by themselves, sets DF and cuts to what is known; ``dont`` leaves
    DF out. ``uncut``: to be sent with the pods' segmentation offloads, all others without.
    """

    name: str
    program: str
    size: int
    discovery: str
    uncut: bool = False


PING_DF = Probe("ping DF", "ping", 0, "do")
PROBES = (
    Probe("ping 84", "ping", SMALL_PING, "want"),
    PING_DF,
    Probe("ping as UDP", "ping", 0, "want"),
    Probe("ping no DF", "ping", 0, "dont"),
    Probe("TCP 64", "tcp", SMALL_TRANSFER, "want"),
    Probe("TCP", "tcp", BULK, "want"),
    Probe("TCP no DF", "tcp", BULK, "dont"),
    Probe("TCP GSO", "tcp", BULK, "want", uncut=True),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one probe.

    ``delivered``: bytes of TCP acknowledged, or pings answered, and ``asked`` how many there
    were. ``refused``: the kernel refused to send ("message too long", EMSGSIZE). ``path_mtu``:
    what the source pod's route exception says afterwards, None for none. ``frag_needed``: ICMP
    messages "fragmentation needed" that reached the source pod, and ``filtered`` those that a
    filter on the pair's nodes lost. ``fragments``: IPv4 fragments, outer or inner, that left the
    source's node; ``largest``: bytes of the largest IP packet that did, outer header included,
    0 for none. ``retransmits`` is None for pings.
    """

    delivered: int
    asked: int
    refused: bool
    path_mtu: int | None
    frag_needed: int
    filtered: int
    fragments: int
    largest: int
    retransmits: int | None = None

    @property
    def outcome(self) -> str:
        """One of the five words.

        A ping has got through when one was answered: the first may be the one that teaches the
        path MTU. TCP has, when all is acknowledged.
        """
        if self.delivered < (self.asked if self.retransmits is not None else 1):
            return REFUSED if self.refused else HANGS
        if self.path_mtu is not None:
            return LEARNS
        return FRAGMENTS if self.fragments else WORKS

    @property
    def measurement(self) -> Measurement:
        """The same for the log."""
        return Measurement({
            OUTCOME: self.outcome,
            (ANSWERED if self.retransmits is None else DELIVERED): self.delivered,
            **({} if self.path_mtu is None else {PATH_MTU: self.path_mtu}),
            FRAG_NEEDED: self.frag_needed, DROPPED: self.filtered,
            SENT_FRAGMENTS: self.fragments, LARGEST_PACKET: self.largest,
            **({} if self.retransmits is None else {RETRANSMITS: self.retransmits})})


def look(net: CalicoNet, pair: Pair, probe: Probe, *, pod_mtu: int, patience: float) -> Seen:
    """Send one probe. ``patience``: seconds without any progress after which it hangs.

    What the pods and their nodes have learned of paths before is forgotten first. Raises ToolError
    when a program fails.
    """
    client, server = net[pair.source.name], net[pair.destination.name]
    nodes = [net[end.node] for end in (pair.source, pair.destination)]
    for host in (client, server, *nodes):
        net.inside(host.name, flush_learned_routes)
    before = _filtered(net, nodes)
    with _watching(net, pair) as watch:
        if probe.program == "ping":
            size = (probe.size or pod_mtu) - PING_HEADERS
            finished = run(client, ping.argv(
                server.ip, count=_PINGS, interval=_PING_INTERVAL_S, wait=patience,
                more=["-M", probe.discovery, "-s", str(size)]),
                _TIMEOUT_S, watch.drain, every=_LOOK_S)
            delivered, asked, retransmits = _pings_received(client, finished), _PINGS, None
        else:
            delivered, retransmits = _push(watch, client, server, probe, patience)
            finished, asked = None, probe.size
    route = net.inside(client.name, route_get, Query(server.ip))
    return Seen(delivered, asked,
                finished is not None and "essage too long" in finished.out + finished.err,
                route.mtu if route.learned else None,
                watch.frag_needed, _filtered(net, nodes) - before, watch.fragments,
                watch.largest, retransmits)


def _push(watch: _Watch, client: Host, server: Server, probe: Probe, patience: float
          ) -> tuple[int, int]:
    """Bytes acknowledged, and retransmits."""
    with serving(server, "sink", server.ip, "60") as (_, port):
        finished = run(client, endpoint(
            "push", server.ip, port, str(probe.size), probe.discovery, f"{patience:g}"),
            _TIMEOUT_S, watch.drain, every=_LOOK_S)
    try:
        acked, _seconds, _mtu, retransmits = finished.out.split()
        return int(acked), int(retransmits)
    except ValueError:
        raise ToolError(f"{client.name}: {ENDPOINT}: unexpected answer"
                        f" {(finished.out or finished.err)[:80]!r}") from None


def _pings_received(client: Host, finished: Finished) -> int:
    match = _RECEIVED.search(finished.out)
    if match is None:
        raise ToolError(f"{client.name}: ping: {finished.err.strip() or finished.out[:80]}")
    return int(match.group(1))


def _filtered(net: CalicoNet, nodes: Iterable[Host]) -> int:
    return sum(net.dropped(node.name).get(Drop.FRAGMENTATION_NEEDED, 0) for node in nodes)


class _Watch:
    """Captures at the source: encapsulated packets that leave its node, errors to the pod."""

    def __init__(self, uplink: Capture, pod: Capture) -> None:
        self._uplink, self._pod = uplink, pod
        self.fragments = self.largest = self.frag_needed = 0

    def drain(self) -> None:
        """Take note of the packets since the last call."""
        for frame in self._uplink.read():
            packet = frame.packet
            if frame.outgoing and packet is not None:
                self.largest = max(self.largest, len(frame.network))
                self.fragments += packet.is_fragment
        self.frag_needed += sum(not frame.outgoing for frame in self._pod.read())


@contextmanager
def _watching(net: CalicoNet, pair: Pair) -> Iterator[_Watch]:
    source = pair.source
    with net.capture(source.node, UPLINK, CaptureFilter(OUTER)) as uplink, net.capture(
            source.name, "eth0", CaptureFilter((Drop.FRAGMENTATION_NEEDED,))) as pod:
        watch = _Watch(uplink, pod)
        yield watch
        watch.drain()
