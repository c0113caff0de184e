"""What is so in this cluster only, and would be otherwise on real nodes with Calico. Pure.

In go a recording and its path trace; out come sentences: for the source address that the kernel's
tunl0 gives a node, for what the eBPF tunnel does otherwise (:mod:`calico_mn.ebpf_differences`), and
for the rules of Felix that are not there where they would have decided.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from calico_mn.calico.encapsulation import UPLINK, WITH_BACK_END
from calico_mn.ebpf_differences import Seen, only_with_ebpf
from calico_mn.trace import scene as of
from calico_mn.trace.path_trace import REPLY, Leg, Neighbour, PathTrace, Translation
from calico_mn.trace.recording import NODE, POD, Recording


def notes(path: PathTrace, recording: Recording) -> tuple[str, ...]:
    """The sentences, where they are about something on this path."""
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
        tunnel_is_down=(drop.cause, drop.by) == (of.NOT_DECAPSULATED, WITH_BACK_END.device)
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
