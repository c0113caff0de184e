"""Sending a probe through a running cluster while every namespace on its path is captured.

    resolve names --> capture everywhere --> send --> listen until all is quiet --> ask the kernel

In go a cluster, two names and a probe; out comes a Recording, or the path trace made from it.
With ``sender``, the only module that touches the cluster. It leaves behind what any packet leaves:
neighbour entries, and a path MTU where one was learned.
"""

from __future__ import annotations

import dataclasses
import select
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from calico_mn.calico.encapsulation import ENCAPSULATIONS
from calico_mn.errors import ClusterError, ToolError
from calico_mn.kernel import facts, packetfilter
from calico_mn.kernel.capture import Capture, Frame
from calico_mn.kernel.packets import ICMP, PROTOCOLS
from calico_mn.kernel.route_get import route_get
from calico_mn.kernel.socketfilter import CaptureFilter
from calico_mn.measure.programs import Host, run
from calico_mn.packetmatch import PacketMatch
from calico_mn.trace import analysis
from calico_mn.trace.drop_reasons import FILTER
from calico_mn.trace.follow import is_waiting, sort_frames
from calico_mn.trace.path_trace import PathTrace
from calico_mn.trace.recording import (
    NODE,
    POD,
    ROUTER,
    SWITCH,
    Endpoint,
    FilterCounter,
    Port,
    Probe,
    Recording,
)
from calico_mn.trace.sender import MIN_SIZE, new_mark, send

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

_MAX_SIZE = 65_535
#: Frames are stamped a moment after the first capture asked for it (net_enable_timestamp()).
_STAMPING_S = 0.005
#: How long nothing more must be seen before the packet counts as gone, without link delays.
QUIET_S = 0.3
#: A host asks three times by ARP, a second apart, before it gives up and sends an ICMP error.
_ARP_S = 3.6
_CLOSING_THREADS = 64
_NFT_TIMEOUT_S = 10.0
_MAX_ROUNDS = 4


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
    sender, receiver = _endpoint(net, source), _endpoint(net, destination)
    if not sender.name:
        raise ClusterError(f"no host in this cluster has the address {sender.address}: a packet"
                           " can only be sent by a pod, a node or a router")
    kinds = {name: kind for name, kind in _kinds(net).items()
             if kind != POD or name in (sender.name, receiver.name)}
    if cold:
        for name in kinds:
            net.inside(name, facts.forget_neighbours)
    delay = max((s.link.delay or 0.0 for s in net.topology.underlay.subnets), default=0.0)
    with _capturing(net, list(kinds), PROTOCOLS[packet.protocol]) as captures:
        before = {name: net.inside(name, facts.read) for name in kinds}
        mark = new_mark()
        time.sleep(_STAMPING_S)
        refused = net.inside(sender.name, send, packet, mark, receiver.address)
        recording = Recording(sender, receiver, packet, mark, kinds, _cables(net), before, before,
                              (), refused, net.tunnel)
        frames = _listen(captures, recording, patience + 4 * delay / 1000)
        after = {name: net.inside(name, facts.read) for name in kinds}
    recording = dataclasses.replace(recording, after=after, frames=frames)
    _ask_routes(net, recording)
    return _ask_filters(net, recording)


# --- what is meant

def _checked(probe: Probe) -> Probe:
    name = probe.protocol.upper()
    if probe.protocol not in PROTOCOLS:
        raise ClusterError(f"a probe is {', '.join(PROTOCOLS)}, not {probe.protocol!r}")
    if probe.protocol != "icmp" and not 0 < probe.port < 65536:
        raise ClusterError(f"a {name} probe needs a port, 1 to 65535")
    smallest = MIN_SIZE[probe.protocol]
    if not smallest <= probe.size <= _MAX_SIZE:
        raise ClusterError(
            f"a packet with {name} has {smallest} to {_MAX_SIZE} bytes, not {probe.size}")
    if not 0 < probe.ttl < 256:
        raise ClusterError(f"TTL is 1 to 255, not {probe.ttl}")
    return dataclasses.replace(probe, size=smallest) if probe.protocol == "tcp" else probe


def _kinds(net: CalicoNet) -> dict[str, str]:
    """Each namespace's name and what it is, pods last."""
    return {host.name: kind for kind, hosts in (
        (NODE, net.nodes), (SWITCH, net.switches), (ROUTER, net.routers), (POD, net.pods))
        for host in hosts}


def _cables(net: CalicoNet) -> dict[Port, Port]:
    """Each veth's ends, in both directions."""
    cables: dict[Port, Port] = {}
    for link in net.links:
        first, second = ((intf.node.name, intf.name) for intf in (link.intf1, link.intf2))
        cables[first], cables[second] = second, first
    return cables


def _endpoint(net: CalicoNet, text: str) -> Endpoint:
    """A pod, node or router by its name, the host that has an address, or just the address.

    Raises ClusterError for an unknown name, and for a switch, which has no address.
    """
    kinds = _kinds(net)
    try:
        address = str(IPv4Address(text))
    except AddressValueError:
        return _named_endpoint(net, text, kinds)
    owner = next((name for name, state in net.states.items()
                  if any(a.address.partition("/")[0] == address for a in state.addresses)), "")
    return Endpoint(owner, kinds.get(owner, ""), address)


def _named_endpoint(net: CalicoNet, text: str, kinds: dict[str, str]) -> Endpoint:
    if text not in net:
        known = ", ".join(sorted(name for name, kind in kinds.items() if kind != SWITCH))
        raise ClusterError(f"no pod, node or router is called {text!r}; those there are: {known}")
    name = net[text].name
    node = next((node for node in net.nodes if node.name == name), None)
    if node is not None:
        return Endpoint(name, NODE, node.address)
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
        waiting = is_waiting(by_role.arp, recording.kinds) and not is_back
        # After the reply a moment for what is still in the sockets.
        enough = patience / 10 if is_back else _ARP_S if waiting else patience
        if now - (started if waiting else last) > enough:
            return tuple(frames)


# --- the kernel's answers

def _ask_routes(net: CalicoNet, recording: Recording) -> None:
    """Add the answers to what the analysis asks. An answer may raise another question."""
    for _round in range(_MAX_ROUNDS):
        missing = analysis.questions(recording)
        if not missing:
            return
        for name, query in missing:
            recording.answers[name, query] = net.inside(name, route_get, query)


def _ask_filters(net: CalicoNet, recording: Recording) -> Recording:
    """Where nothing else explains the drop: send again, and see which rules count the packet."""
    drop = analysis.path_trace(recording).drop
    if drop is None or (not drop.deduced and drop.cause != FILTER):
        return recording
    host = net[drop.namespace]
    before = _dropping_rules(host)
    if not before:
        return recording
    net.inside(recording.source.name, send, recording.probe, new_mark(),
                       recording.destination.address)
    time.sleep(QUIET_S / 3)
    counted = tuple(FilterCounter(host.name, rule, packets - before.get(rule, 0))
                    for rule, packets in _dropping_rules(host).items()
                    if packets > before.get(rule, 0))
    return dataclasses.replace(recording, filters=counted)


def _dropping_rules(host: Host) -> dict[str, int]:
    """Each dropping rule that counts, with its count; none where nft cannot be asked."""
    try:
        result = run(host, packetfilter.LIST_RULES, _NFT_TIMEOUT_S)
        return packetfilter.dropping_rules(result.out) if result.status == 0 else {}
    except ToolError:
        return {}
