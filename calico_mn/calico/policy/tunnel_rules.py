"""Felix's rules about packets of tunnels: between nodes, and those that a pod sends itself. Pure.

In go no more than encapsulations; out come, for each, the rules by which a node takes its packets
from other nodes and sends them there, and the rule that drops those of pods. Sources: felix
``rules/static.go``, ``rules/endpoints.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from calico_mn.calico.encapsulation import IPIP, VXLAN, Encapsulation
from calico_mn.calico.policy.chains import Rule, jump

ALL_HOSTS, _VXLAN_HOSTS = "cali40all-hosts-net", "cali40all-vxlan-net"
_IPIP, _VXLAN = "-p 4", "-p 17 -m multiport --destination-ports 4789"
_TO_HERE, _FROM_HERE = (f"-m addrtype --{end}-type LOCAL" for end in ("dst", "src"))


@dataclass(frozen=True)
class TunnelRules:
    """The rules for one encapsulation; ``hosts`` is the IP set of the nodes at other ends."""

    hosts: str
    input: tuple[Rule, ...]
    output: tuple[Rule, ...]


BETWEEN_NODES: Mapping[Encapsulation, TunnelRules] = {
    IPIP: TunnelRules(
        ALL_HOSTS,
        (Rule(f"{_IPIP} -m set --match-set {ALL_HOSTS} src {_TO_HERE}", jump("ACCEPT"),
              ("Allow IPIP packets from Calico hosts",)),
         Rule(_IPIP, jump("DROP"), ("Drop IPIP packets from non-Calico hosts",))),
        (Rule(f"{_IPIP} -m set --match-set {ALL_HOSTS} dst {_FROM_HERE}", jump("ACCEPT"),
              ("Allow IPIP packets to other Calico hosts",)),)),
    VXLAN: TunnelRules(
        _VXLAN_HOSTS,
        (Rule(f"{_VXLAN} -m set --match-set {_VXLAN_HOSTS} src {_TO_HERE}", jump("ACCEPT"),
              ("Allow IPv4 VXLAN packets from allowed hosts",)),
         Rule(f"{_VXLAN} {_TO_HERE}", jump("DROP"),
              ("Drop IPv4 VXLAN packets from non-allowed hosts",))),
        (Rule(f"{_VXLAN} {_FROM_HERE} -m set --match-set {_VXLAN_HOSTS} dst", jump("ACCEPT"),
              ("Allow IPv4 VXLAN packets to other allowed hosts",)),)),
}

#: what drops the packets that pods send, in Felix's order
FROM_PODS: Mapping[Encapsulation, Rule] = {
    encapsulation: Rule(match, jump("DROP"),
                        (f"Drop {name} encapped packets originating in workloads",))
    for encapsulation, name, match in ((VXLAN, "VXLAN", _VXLAN), (IPIP, "IPinIP", _IPIP))}

#: Where eBPF makes tunl0, packets reach it through lo, out of INPUT (kernel/ebpf/handover.py): a
#: host endpoint for all devices must let them. Felix has no such rule.
INTO_EBPF_TUNNEL = Rule("-p 255 --out-interface lo", jump("ACCEPT"), ("Into the eBPF tunl0",))
