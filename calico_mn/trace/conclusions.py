"""What is concluded from a path: why a packet was dropped, and what only this cluster does. Pure.

    leg that did not arrive, recording --> drop_reason --> DropReason
    path trace, recording              --> notes       --> sentences on what real nodes do otherwise

What counts as evidence: captures, the kernel's answer to a route lookup with the packet's own
addresses and device, the namespace's counters before and after, ICMP errors, and what differs from
the wanted state on the packet's path. :mod:`.causes` has the table of causes; a cause that follows
from none of the evidence is marked as deduced, or unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise

from calico_mn.calico.encapsulation import UPLINK, WITH_BACK_END
from calico_mn.ebpf_differences import Seen, only_with_ebpf
from calico_mn.kernel.route_get import Answer
from calico_mn.trace.causes import checks
from calico_mn.trace.path_trace import (
    REPLY,
    Crossing,
    DropReason,
    Hop,
    Leg,
    Neighbour,
    PathTrace,
    Routing,
    Translation,
)
from calico_mn.trace.recording import NODE, POD, Recording
from calico_mn.trace.scene import (
    BLACKHOLE,
    NO_ROUTE,
    NOT_DECAPSULATED,
    TTL,
    UNREACHABLE,
    Ask,
    Scene,
)

#: what comes of a route that was not learned
_WITHOUT_ROUTE = (NO_ROUTE, BLACKHOLE, UNREACHABLE, TTL)


def drop_reason(legs: Sequence[Leg], errors: Sequence[Leg], recording: Recording, ask: Ask
                ) -> DropReason:
    """Why the last one of ``legs`` did not arrive. ``ask`` makes a route lookup in a namespace."""
    leg = legs[-1]
    scene = Scene(leg, errors, recording, ask)
    finding = next(item for check in checks(scene) if (item := check(scene)) is not None)
    reason = finding.reason
    if recording.unlearned and finding.cause in _WITHOUT_ROUTE:
        reason += f"; {recording.unlearned}"
    evidence = [_last_sighting(scene)]
    if scene.crossing is None and leg.kind != REPLY and recording.refused:
        evidence.append(f"send() in {scene.namespace} failed with {recording.refused}")
    evidence += finding.evidence
    evidence += [f"NAT in {hop.namespace} changed it: {step}" for item in legs for hop in item.hops
                 for step in hop.steps if isinstance(step, Translation)]
    evidence += [f"{hop.namespace} sent it by {device} and not by {answer.device}: its policy rule"
                 f" '{answer.skipped}' asks for more than addresses and device"
                 for hop in leg.hops for device, answer in _other_ways(hop)]
    evidence += [f"{error.text}, sent by {error.sender} ({error.origin})"
                 for error in errors if error.origin == scene.namespace]
    evidence += [text for name, delta in scene.counters.items() if (
        text := f"counter {name} of {scene.namespace} rose by {delta}") not in evidence]
    evidence += [f"not as it should be: {text}" for text in recording.differences]
    return DropReason(leg.kind, finding.cause, finding.namespace or scene.namespace,
                      scene.crossing.device if scene.crossing else "", finding.by, reason,
                      tuple(evidence), finding.deduced)


def _other_ways(hop: Hop) -> Iterator[tuple[str, Answer]]:
    """Where a host's packet left by another device than its route says, past a skipped rule."""
    for step, following in pairwise(hop.steps):
        if isinstance(step, Routing) and isinstance(following, Neighbour | Crossing) and (
                step.answer.skipped and following.device != step.answer.device):
            yield following.device, step.answer


def _last_sighting(scene: Scene) -> str:
    if scene.crossing is not None:
        verb = "leave by" if scene.leaving else "come in by"
        return (f"captures saw it {verb} {scene.crossing.device} of {scene.namespace}, and at no"
                " device after that")
    if scene.leg.kind == REPLY and scene.facts.owns(scene.leg.sender):
        return f"captures saw the request arrive at {scene.namespace}, and no answer leave"
    return "no capture saw it on any device"


# --- what is so in this cluster only

def notes(path: PathTrace, recording: Recording) -> tuple[str, ...]:
    """Sentences on what would be otherwise on real nodes with Calico, of what is on this path.

    They are about the source address that the kernel's tunl0 gives a node, what the eBPF tunnel
    does otherwise (:mod:`calico_mn.ebpf_differences`), and the rules of Felix that are not there
    where they would have decided.
    """
    return (*recording.remarks, *_first_device(path, recording), *_ebpf(path, recording),
            *_no_nat(path, recording), *_unknown_tunnel(path, recording))


def _legs(path: PathTrace) -> list[Leg]:
    return [leg for leg in (path.forward, path.reply, *path.errors) if leg is not None and leg.hops]


def _first_device(path: PathTrace, recording: Recording) -> Iterator[str]:
    """The kernel's module makes its tunnel device before any NIC, and the first one counts.

    It gives the source of what a node sends to its own pods, ARP too (inet_select_addr()).
    """
    if recording.tunnel != "kernel":
        return
    chosen = {(leg.origin, leg.sender) for leg in _legs(path)
              if leg is not path.reply and leg.hops[0].tunnel is None}
    chosen |= {(hop.namespace, step.asker) for leg in _legs(path) for hop in leg.hops
               for step in hop.steps if isinstance(step, Neighbour)}
    for name, address in sorted(chosen):
        device = WITH_BACK_END.device
        if (device, f"{address}/32") in recording.after[name].addresses:
            yield (f"{name} talks to its own pods with {device}'s address: the kernel's module"
                   f" made {device} before {UPLINK}. On a real node {UPLINK} comes first, and"
                   " its address is used")


def _ebpf(path: PathTrace, recording: Recording) -> tuple[str, ...]:
    """What the eBPF tunnel does otherwise, of what decides this drop."""
    drop = path.drop
    if drop is None or recording.kinds[drop.namespace] != NODE:
        return ()
    tunnel = recording.device(drop.namespace, WITH_BACK_END.device)
    return only_with_ebpf(recording.tunnel, Seen(
        tunnel_is_down=(drop.cause, drop.by) == (NOT_DECAPSULATED, WITH_BACK_END.device)
        and tunnel is not None and not tunnel.up))


def _no_nat(path: PathTrace, recording: Recording) -> Iterator[str]:
    """natOutgoing: a pod's packet to outside all pools leaves with its node's address.

    felix/rules/nat.go, cali-nat-outgoing.
    """
    drop, source, destination = path.drop, path.source, path.destination
    if drop is None or drop.leg != REPLY or source.kind != POD or any(
            isinstance(step, Translation) for hop in path.forward.hops for step in hop.steps):
        return
    pools = [(name, IPv4Network(cidr), nat) for name, cidr, nat in recording.pools]
    if any(IPv4Address(destination.address) in cidr for _name, cidr, _nat in pools):
        return
    for name, cidr, nat in pools:
        if nat and IPv4Address(source.address) in cidr:
            yield (f"natOutgoing of IPPool {name} has no effect here: with Calico the request"
                   " leaves its node with the node's address as source, and the answer comes back"
                   " to that address")


def _unknown_tunnel(path: PathTrace, recording: Recording) -> Iterator[str]:
    """Felix drops what no node has encapsulated (felix/rules/static.go, cali-INPUT)."""
    senders = {(hop.namespace, change.outer.source, str(change.encapsulation))
               for leg in _legs(path) for hop in leg.hops if hop.kind == NODE
               for change in hop.header_changes if not change.added}
    for name, sender, encapsulation in sorted(senders):
        if sender not in recording.nodes:
            yield (f"{name} takes {encapsulation} from {sender}, which is no Node's address: with"
                   " Calico a rule of Felix's, at the head of INPUT, drops it")
