"""Sending a probe through a running cluster while every namespace on its way is captured.

Only this module touches the cluster. It leaves nothing behind but what any packet leaves:
neighbour entries, and a path MTU where one was learned.
"""

from __future__ import annotations

import dataclasses
import select
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from calico_mn.errors import ClusterError, ToolError
from calico_mn.kernel import facts, lookup, packetfilter
from calico_mn.kernel.packets import PROTOCOLS
from calico_mn.kernel.sniffer import Frame, Sniffer
from calico_mn.measure.programs import Host, run
from calico_mn.trace import analysis
from calico_mn.trace.arp import unanswered
from calico_mn.trace.drop_reasons import FILTER
from calico_mn.trace.endpoints import cables, endpoint, kinds
from calico_mn.trace.follow import sort
from calico_mn.trace.path_trace import Journey
from calico_mn.trace.recording import POD, Endpoint, FilterCounter, Probe, Recording
from calico_mn.trace.sender import new_mark, send, smallest

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

_LARGEST = 65_535
#: Frames are stamped a moment after the first sniffer asked for it (net_enable_timestamp()).
_STAMPING_S = 0.005
#: How long nothing more must be seen before the packet counts as gone, without link delays.
QUIET_S = 0.3
#: A host asks three times by ARP, a second apart, before it gives up and says so.
_ARP_S = 3.6
_CLOSING_THREADS = 64
_NFT_TIMEOUT_S = 10.0
_ROUNDS = 4

Frames = list[tuple[str, Frame]]


def trace(net: CalicoNet, source: str, destination: str, probe: Probe | None = None, *,
          cold: bool = False, patience: float = QUIET_S) -> Journey:
    """Follow one packet from ``source`` to ``destination``, and its answer back.

    Both are the name of a pod, node or router, or an IPv4 address (as the destination also one
    that nobody has). ``cold`` makes every namespace forget its neighbours first, so that each
    ARP question is part of the story. ``patience`` is how long, in seconds, nothing more must
    be seen before the packet counts as gone; the delays of slow links are added.

    Raises ClusterError for unknown names and for a probe that cannot be sent.
    """
    return analysis.journey(record(net, source, destination, probe, cold=cold, patience=patience))


def record(net: CalicoNet, source: str, destination: str, probe: Probe | None = None, *,
           cold: bool = False, patience: float = QUIET_S) -> Recording:
    """What :func:`trace` tells the journey from: captures, facts and the kernel's answers."""
    wanted = _checked(probe or Probe())
    begin, end = endpoint(net, source), endpoint(net, destination)
    if not begin.name:
        raise ClusterError(f"nobody in this cluster has the address {begin.address}: a packet"
                           " can only be sent by a pod, a node or a router")
    watched = [name for name, kind in kinds(net).items()
               if kind != POD or name in (begin.name, end.name)]
    if cold:
        for name in watched:
            net.runtime.inside(name, facts.forget_neighbours)
    delay = max((s.link.delay or 0.0 for s in net.topology.underlay.subnets), default=0.0)
    with _sniffing(net, watched, PROTOCOLS[wanted.protocol]) as sniffers:
        recording = _run(net, sniffers, begin, end, wanted, patience + 4 * delay / 1000)
    recording = _answered(net, recording)
    return _filters_asked(net, recording)


def _checked(probe: Probe) -> Probe:
    if probe.protocol not in PROTOCOLS:
        raise ClusterError(f"a probe is {', '.join(PROTOCOLS)}, not {probe.protocol!r}")
    if probe.protocol != "icmp" and not 0 < probe.port < 65536:
        raise ClusterError(f"a {probe.protocol.upper()} probe needs a port, 1 to 65535")
    if not smallest(probe.protocol) <= probe.size <= _LARGEST:
        raise ClusterError(f"a packet with {probe.protocol.upper()} has"
                           f" {smallest(probe.protocol)} to {_LARGEST} bytes, not {probe.size}")
    if not 0 < probe.ttl < 256:
        raise ClusterError(f"TTL is 1 to 255, not {probe.ttl}")
    return dataclasses.replace(probe, size=40) if probe.protocol == "tcp" else probe


@contextmanager
def _sniffing(net: CalicoNet, names: Sequence[str], protocol: int
              ) -> Iterator[dict[str, Sniffer]]:
    """A sniffer in each namespace while the block runs.

    Closing one takes the kernel some 10 ms of waiting, so they are closed side by side.
    """
    sniffers: dict[str, Sniffer] = {}
    try:
        for name in names:
            sniffers[name] = net.runtime.inside(name, Sniffer, protocol)
        yield sniffers
    finally:
        if sniffers:
            with ThreadPoolExecutor(min(len(sniffers), _CLOSING_THREADS)) as pool:
                list(pool.map(Sniffer.close, sniffers.values()))


def _run(net: CalicoNet, sniffers: dict[str, Sniffer], begin: Endpoint, end: Endpoint,
         probe: Probe, patience: float) -> Recording:
    known = kinds(net)
    before = {name: net.runtime.inside(name, facts.read) for name in sniffers}
    mark = new_mark()
    time.sleep(_STAMPING_S)
    started = time.monotonic()
    refused = net.runtime.inside(begin.name, send, probe, mark, end.address)
    recording = Recording(begin, end, probe, mark, {name: known[name] for name in sniffers},
                          cables(net), before, before, (), refused, net.tunnel)
    frames = _listen(sniffers, recording, patience)
    waited = time.monotonic() - started
    after = {name: net.runtime.inside(name, facts.read) for name in sniffers}
    return dataclasses.replace(recording, after=after, frames=frames, waited=waited)


def _listen(sniffers: dict[str, Sniffer], recording: Recording, patience: float
            ) -> tuple[tuple[str, Frame], ...]:
    """Gather frames until the answer is back, or nothing of the story has come for a while."""
    frames: Frames = []
    poll = select.poll()
    names = {}
    for name, sniffer in sniffers.items():
        poll.register(sniffer.fileno(), select.POLLIN)
        names[sniffer.fileno()] = name
    begun = last = time.monotonic()
    seen = 0
    while True:
        # The time before looking: on a busy machine much may come between looking and deciding.
        asked = time.monotonic()
        for descriptor, _event in poll.poll(20):
            name = names[descriptor]
            frames += [(name, frame) for frame in sniffers[name].read()]
        frames.sort(key=lambda one: one[1].time)
        partial = dataclasses.replace(recording, frames=tuple(frames))
        told = sort(partial)
        count = sum(map(len, (told.there, told.back, told.arp, *told.errors)))
        if count > seen:
            seen, last = count, time.monotonic()
        back = any(s.namespace == recording.source.name and not s.frame.outgoing
                   for s in (*told.back, *(s for group in told.errors for s in group)))
        waiting = unanswered(told.arp, dict(recording.kinds)) and not back
        # After the answer a moment for what is still in the sockets.
        enough = patience / 10 if back else _ARP_S if waiting else patience
        if asked - (begun if waiting else last) > enough:
            return tuple(frames)


def _answered(net: CalicoNet, recording: Recording) -> Recording:
    """Ask the kernel what the story wants to know. An answer may raise another question."""
    for _round in range(_ROUNDS):
        missing = analysis.questions(recording)
        if not missing:
            break
        for name, query in missing:
            recording.answers[name, query] = net.runtime.inside(name, lookup.ask, query)
    return recording


def _filters_asked(net: CalicoNet, recording: Recording) -> Recording:
    """Where nothing else explains the end: send it again, and see which rules count it."""
    death = analysis.journey(recording).death
    if death is None or (not death.deduced and death.cause != FILTER):
        return recording
    host = net[death.place]
    before = _dropping_rules(host)
    if not before:
        return recording
    net.runtime.inside(recording.source.name, send, recording.probe, new_mark(),
                       recording.destination.address)
    time.sleep(QUIET_S / 3)
    counted = tuple(FilterCounter(host.name, rule, packets - before.get(rule, 0))
                    for rule, packets in _dropping_rules(host).items()
                    if packets > before.get(rule, 0))
    return dataclasses.replace(recording, filters=counted)


def _dropping_rules(host: Host) -> dict[str, int]:
    """Each dropping rule that counts, with its count; none where nft cannot be asked."""
    try:
        done = run(host, packetfilter.LIST_RULES, _NFT_TIMEOUT_S)
        return packetfilter.dropping_rules(done.out) if done.status == 0 else {}
    except ToolError:
        return {}
