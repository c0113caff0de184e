"""Sending a probe through a running cluster while every namespace on its path is captured.

    resolve names --> capture everywhere --> send --> listen until all is quiet --> ask the kernel

In go a cluster, two names and a probe; out comes a Recording, or the path trace made from it.
Only this module and :mod:`.inquiry` touch the cluster. They leave behind what any packet leaves:
neighbour entries, and a path MTU where one was learned.
"""

from __future__ import annotations

import dataclasses
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from calico_mn.calico.encapsulation import ENCAPSULATIONS, WITH_BACK_END
from calico_mn.errors import ClusterError, NotFoundError
from calico_mn.kernel import read
from calico_mn.kernel.capture import Capture, Frame, wait_for_stamps
from calico_mn.kernel.packets import ICMP, PROTOCOLS
from calico_mn.kernel.route_get import Answer, Query, route_get
from calico_mn.packetmatch import CaptureFilter, PacketMatch
from calico_mn.text import join_some, suggest_place
from calico_mn.trace import analysis
from calico_mn.trace.follow import Sighting, is_waiting, sort_frames
from calico_mn.trace.inquiry import looked_into
from calico_mn.trace.path_trace import PathTrace
from calico_mn.trace.recording import (
    HOST,
    NODE,
    POD,
    ROUTER,
    SWITCH,
    Endpoint,
    Port,
    Probe,
    Recording,
)
from calico_mn.trace.scene import VLAN_BYTES
from calico_mn.trace.wire import MAX_SIZE, MIN_SIZE, new_mark, send

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

#: how long at most until the kernel stamps frames; where lo is down or filtered, all of it
_STAMPING_S = 0.5
#: How long nothing more must be seen before the packet counts as gone, without link delays.
QUIET_S = 0.3
#: A host asks three times by ARP, a second apart, before it gives up and sends an ICMP error.
_ARP_S = 3.6
#: how long a frame may take from one end of a cable to the other
_FLIGHT_S = 2.0
_CLOSING_THREADS = 64
#: names in a message
_MOST_NAMES = 20


def trace(net: CalicoNet, source: str, destination: str, probe: Probe | None = None, *,
          cold: bool = False, patience: float = QUIET_S) -> PathTrace:
    """Follow one packet from ``source`` to ``destination``, and its reply.

    Both are the name of a pod, node or router, or an IPv4 address (as the destination also one
    that no host has). ``cold`` makes every namespace forget its neighbours first, so that each
    ARP request is part of the trace. ``patience`` is how long, in seconds, nothing more must
    be seen before the packet counts as gone; the delays of slow links are added.

    Raises ClusterError for unknown names and for a probe that cannot be sent.
    """
    return analysis.path_trace(
        record(net, source, destination, probe, cold=cold, patience=patience))


def record(net: CalicoNet, source: str, destination: str, probe: Probe | None = None, *,
           cold: bool = False, patience: float = QUIET_S) -> Recording:
    """What :func:`trace` analyses: captures, facts and the kernel's answers."""
    packet = _checked(probe or Probe())
    every_kind = _kinds(net)
    sender, receiver = (_endpoint(net, end, every_kind) for end in (source, destination))
    if not sender.name:
        raise ClusterError(f"no host in this cluster has the address {sender.address}: a packet"
                           " can only be sent by a pod, a node or a router")
    kinds = {name: kind for name, kind in every_kind.items()
             if kind != POD or name in (sender.name, receiver.name)}
    if cold:
        for name in kinds:
            net.inside(name, read.forget_neighbours)
    delay = max((s.link.delay or 0.0 for s in net.topology.underlay.subnets), default=0.0)
    with _capturing(net, list(kinds), PROTOCOLS[packet.protocol]) as captures:
        before = {name: net.inside(name, read.facts) for name in kinds}
        mark = new_mark(packet)
        net.inside(sender.name, wait_for_stamps, _STAMPING_S)
        refused = net.inside(sender.name, send, packet, mark, receiver.address)
        recording = Recording(sender, receiver, packet, mark, kinds, _cables(net), before, before,
                              (), refused, net.tunnel, pools=tuple(
                                  (pool.name, str(pool.cidr), pool.nat_outgoing)
                                  for pool in net.topology.pools),
                              nodes=tuple(str(node.address.ip)
                                          for node in net.cluster.nodes.values()))
        frames = _listen(captures, recording, patience + 4 * delay / 1000)
        after = {name: net.inside(name, read.facts) for name in kinds}
    recording = dataclasses.replace(recording, after=after, frames=frames)
    def ask(namespace: str, query: Query) -> Answer:
        return net.inside(namespace, route_get, query)

    path = analysis.path_trace(recording, ask)
    ends = {hop.namespace for leg in (path.forward, path.reply) if leg is not None
            for hop in leg.hops if hop.kind == NODE and hop.tunnel is WITH_BACK_END}
    recording = dataclasses.replace(recording, remarks=(
        *net.verifier.remarks(sorted(ends)), *_two_writers(net, sender.address, receiver.address)))
    if path.drop is not None:
        recording = looked_into(net, recording, path)
        analysis.path_trace(recording, ask)
    return recording


def _two_writers(net: CalicoNet, *addresses: str) -> tuple[str, ...]:
    """What is said of these addresses' pools where both Felix and BIRD write the routes."""
    cluster = net.cluster
    modes = [(pool, cluster.mode_of_pool(pool)) for pool in net.topology.pools
             if any(IPv4Address(address) in pool.cidr for address in addresses)]
    return cluster.routes.disputes(
        (pool, mode) for pool, mode in modes if not cluster.routes.neglected(mode))


# --- what is meant

def _checked(probe: Probe) -> Probe:
    name = probe.protocol.upper()
    if probe.protocol not in PROTOCOLS:
        raise ClusterError(f"a probe is {', '.join(PROTOCOLS)}, not {probe.protocol!r}")
    if probe.protocol != "icmp" and not 0 < probe.port < 65536:
        raise ClusterError(f"a {name} probe needs a port, 1 to 65535")
    smallest = MIN_SIZE[probe.protocol]
    if not smallest <= probe.size <= MAX_SIZE:
        raise ClusterError(
            f"a packet with {name} has {smallest} to {MAX_SIZE} bytes, not {probe.size}")
    if not 0 < probe.ttl < 256:
        raise ClusterError(f"TTL is 1 to 255, not {probe.ttl}")
    return dataclasses.replace(probe, size=smallest) if probe.protocol == "tcp" else probe


def _kinds(net: CalicoNet) -> dict[str, str]:
    """Each namespace's name and what it is, pods last."""
    return {host.name: kind for kind, hosts in (
        (NODE, net.nodes), (SWITCH, net.switches), (ROUTER, net.routers),
        (HOST, net.external_hosts), (POD, net.pods))
        for host in hosts}


def _cables(net: CalicoNet) -> dict[Port, Port]:
    """Each veth's ends, in both directions."""
    cables: dict[Port, Port] = {}
    for link in net.links:
        first, second = ((intf.node.name, intf.name) for intf in (link.intf1, link.intf2))
        cables[first], cables[second] = second, first
    return cables


def _endpoint(net: CalicoNet, text: str, kinds: Mapping[str, str]) -> Endpoint:
    """A pod, node or router by its name, the host that has an address, or just the address.

    Raises NotFoundError for an unknown name, ClusterError for a switch, which has no address.
    """
    with suppress(AddressValueError):
        address = str(IPv4Address(text))
        owner = next((name for name, state in net.states.items()
                      if any(a.address.partition("/")[0] == address for a in state.addresses)), "")
        return Endpoint(owner, kinds.get(owner, ""), address)
    if text not in net:
        names = sorted(name for name, kind in kinds.items() if kind != SWITCH)
        similar = suggest_place(text, names)
        raise NotFoundError(f"there is no pod, node or router {text!r}; " + (
            f"did you mean {similar}?" if similar else
            f"those there are: {join_some(names, _MOST_NAMES)}"))
    name = net[text].name
    if kinds[name] == NODE:
        return Endpoint(name, NODE, str(net.cluster.nodes[name].address.ip))
    addresses = net.states[name].addresses
    if not addresses:
        raise ClusterError(f"{name} is a {kinds[name]} and has no address")
    return Endpoint(name, kinds[name], addresses[0].address.partition("/")[0])


# --- captures

@contextmanager
def _capturing(net: CalicoNet, names: Sequence[str], protocol: int
               ) -> Iterator[dict[str, Capture]]:
    """A capture of all devices in each namespace while the block runs.

    It takes what can tell of the probe: ARP, ICMP and the probe's protocol, also encapsulated.
    Closing one takes the kernel some 10 ms of waiting, so they are closed side by side.
    """
    wanted = CaptureFilter(tuple(map(PacketMatch, {ICMP, protocol})),
                           tuple(e.match for e in ENCAPSULATIONS), arp=True)
    captures: dict[str, Capture] = {}
    try:
        for name in names:
            captures[name] = net.inside(name, lambda: Capture(wanted, stamped=True))
        yield captures
    finally:
        if captures:
            with ThreadPoolExecutor(min(len(captures), _CLOSING_THREADS)) as pool:
                list(pool.map(Capture.close, captures.values()))


def _listen(captures: dict[str, Capture], recording: Recording, patience: float
            ) -> tuple[tuple[str, Frame], ...]:
    """Gather frames until the reply is back, or no frame of the probe has come for a while."""
    frames: list[tuple[str, Frame]] = []
    poll = select.poll()
    names = {}
    for name, capture in captures.items():
        poll.register(capture.fileno(), select.POLLIN)
        names[capture.fileno()] = name
    started = last = time.monotonic()
    seen = 0
    # A host that asks already sends no further request for this packet, for up to a second.
    asking = any(entry.state == "INCOMPLETE" for facts in recording.before.values()
                 for entry in facts.neighbours)
    while True:
        # The time before looking: on a busy machine much may come between looking and deciding.
        now = time.monotonic()
        for descriptor, _event in poll.poll(20):
            name = names[descriptor]
            frames += [(name, frame) for frame in captures[name].read()]
        frames.sort(key=lambda item: item[1].time)
        by_role = sort_frames(dataclasses.replace(recording, frames=tuple(frames)))
        answers = [*by_role.reply, *(s for sightings in by_role.errors for s in sightings)]
        count = len(by_role.forward) + len(by_role.arp) + len(answers)
        if count > seen:
            seen, last = count, time.monotonic()
        is_back = any(answer.namespace == recording.source.name and not answer.frame.outgoing
                      for answer in answers)
        waiting = (asking or is_waiting(by_role.arp)) and not is_back
        # After the reply a moment for what is still in the sockets.
        enough = (patience / 10 if is_back else _ARP_S if waiting else
                  _FLIGHT_S if _is_under_way(recording, [*by_role.forward, *answers]) else patience)
        if now - (started if waiting else last) > enough:
            return tuple(frames)


def _is_under_way(recording: Recording, sightings: Sequence[Sighting]) -> bool:
    """Whether it was seen last on its way out, to a device that can receive it.

    On a busy machine the kernel may receive it only when ksoftirqd gets a CPU.
    """
    if not sightings:
        return False
    last = max(sightings, key=lambda sighting: sighting.frame.time)
    name, port = recording.cables.get((last.namespace, last.frame.device), ("", ""))
    end = recording.before[name].device(port) if name in recording.before else None
    return (last.frame.outgoing and end is not None and end.up
            and last.packet.headers[0].length <= end.mtu + VLAN_BYTES)
