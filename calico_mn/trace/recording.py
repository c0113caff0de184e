"""What was captured of one probe: the values from which :mod:`calico_mn.trace.analysis` works.

A recording holds the captured frames, what every namespace was before and after, and the kernel's
answers to the questions of the analysis. It needs no cluster, so it can be stored and analysed
again. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from calico_mn.calico.encapsulation import WITH_BACK_END
from calico_mn.kernel.capture import Frame
from calico_mn.kernel.read import NEIGHBOURS_FULL, DeviceFacts, Facts
from calico_mn.kernel.route_get import Answer, Query

POD, NODE, SWITCH, ROUTER, HOST = "pod", "node", "switch", "router", "host"

#: (namespace, device)
Port = tuple[str, str]

#: counters of dropped packets in /proc/net/netstat and /proc/net/snmp; a device's own by suffix
_DROP_COUNTERS = frozenset((
    "TcpExt.IPReversePathFilter", "Ip.InHdrErrors", "Ip.InAddrErrors", "Ip.InUnknownProtos",
    "Ip.InDiscards", "Ip.OutDiscards", "Ip.OutNoRoutes", "Ip.FragFails", "IpExt.InNoRoutes",
    "Icmp.OutDestUnreachs", "Icmp.OutTimeExcds", "TcpExt.TCPMinTTLDrop", NEIGHBOURS_FULL,
))
_DEVICE_COUNTERS = (".rx_dropped", ".tx_dropped", ".rx_errors", ".tx_errors")


@dataclass(frozen=True, slots=True)
class Probe:
    """The packet to send.

    ``protocol`` is ``icmp`` (an echo request), ``udp`` or ``tcp`` (a SYN), these to ``port``;
    ``size`` is the whole IPv4 packet in bytes (a SYN is always 40), ``df`` the flag "don't
    fragment", ``ttl`` the time to live.
    """

    protocol: str = "icmp"
    size: int = 84
    df: bool = True
    ttl: int = 64
    port: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells the probe from all other packets.

    ``identifier`` is ICMP's, or the source port; ``token`` begins the payload; ``sequence`` is
    ICMP's, or TCP's.
    """

    identifier: int
    sequence: int
    token: bytes


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The source or destination of a probe; ``name`` is empty for an address without a host."""

    name: str
    kind: str
    address: str

    def __str__(self) -> str:
        return f"{self.name} {self.address}" if self.name else f"{self.address} (unassigned)"


@dataclass(frozen=True, slots=True)
class Filtered:
    """A rule or policy of a packet filter that dropped a packet, in words.

    ``incoming``: before the host took it in. ``seen`` by nftables' trace, or concluded from
    ``counters`` alone, which are those of iptables that rose with it.
    """

    incoming: bool
    text: str
    counters: tuple[str, ...] = ()
    seen: bool = True

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Recording:
    """One probe. ``kinds`` tells what each namespace is; ``frames`` are in order of time.

    ``cables`` maps each end of a veth pair to the other one. ``refused`` is the errno's name
    where the source's own kernel did not accept the packet. ``tunnel`` is tunl0's back end.
    ``answers`` are the kernel's answers to what the analysis asked. ``filters`` are the rules and
    policies of a packet filter that dropped a second packet where the first one was dropped;
    ``differences`` is what differs from the wanted state on the path of the dropped packet.
    ``pools`` are the IPPools: name, CIDR, natOutgoing; ``nodes`` the Nodes' addresses.
    ``addresses`` are source and destination of the second packet, from hook to hook;
    ``remarks`` are what verify notes of the eBPF tunnel at the nodes that changed outer headers;
    ``unlearned`` says which route the first node on the path did not learn by BGP, and why.
    """

    source: Endpoint
    destination: Endpoint
    probe: Probe
    mark: Mark
    kinds: Mapping[str, str]
    cables: Mapping[Port, Port]
    before: Mapping[str, Facts]
    after: Mapping[str, Facts]
    frames: tuple[tuple[str, Frame], ...]
    refused: str = ""
    tunnel: str = ""
    answers: dict[tuple[str, Query], Answer] = field(default_factory=dict)
    filters: tuple[Filtered, ...] = ()
    differences: tuple[str, ...] = ()
    pools: tuple[tuple[str, str, bool], ...] = ()
    nodes: tuple[str, ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    unlearned: str = ""

    def device(self, namespace: str, device: str) -> DeviceFacts | None:
        """A device as it was afterwards."""
        facts = self.after.get(namespace)
        return facts.device(device) if facts else None

    def counter_deltas(self, namespace: str) -> dict[str, int]:
        """By how much a namespace's drop counters rose during the probe, only those that did.

        Those of the eBPF tunnel's device tell nothing: what passes it counts as dropped.
        """
        own = f"{WITH_BACK_END.device}." if self.tunnel == "ebpf" else "\0"
        before = self.before[namespace].counters
        deltas = {name: value - before.get(name, 0)
                  for name, value in self.after[namespace].counters.items()
                  if name in _DROP_COUNTERS or (name.endswith(_DEVICE_COUNTERS)
                                                and not name.startswith(own))}
        return {name: delta for name, delta in deltas.items() if delta > 0}
