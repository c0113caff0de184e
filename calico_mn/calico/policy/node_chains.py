"""All of Felix's tables of one node: the static chains, and those of its pods. Pure.

In goes what a node's Felix knows (:class:`NodeFirewall`), out come its chains by table, as Felix
v3.25 has them: chains that nothing refers to are left out. Sources: felix
``rules/static.go``, ``rules/nat.go``; the chains of policies and pods are in :mod:`~.chains`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network

from calico_mn.calico.policy.chains import (
    ACCEPT,
    FROM_WORKLOAD,
    PASS,
    SCRATCH_0,
    SCRATCH_1,
    TO_WORKLOAD,
    Chains,
    Rule,
    clear_mark,
    dispatch_chains,
    endpoint_rules,
    is_clear,
    is_marked,
    jump,
    limited,
    policy_chains,
    profile_chains,
    set_mark,
)
from calico_mn.calico.policy.resolve import member
from calico_mn.policy import Policy

ALL_MARKS = ACCEPT | PASS | SCRATCH_0 | SCRATCH_1
WORKLOADS = "cali+"
ALL_HOSTS, ALL_POOLS, MASQUERADED_POOLS, VXLAN_HOSTS = (
    f"cali40{name}" for name in ("all-hosts-net", "all-ipam-pools", "masq-ipam-pools",
                                 "all-vxlan-net"))
_MASQUERADE = "--jump MASQUERADE --random-fully"
_HOST_ACCEPTED = Rule(is_marked(ACCEPT), jump("ACCEPT"),
                      ("Host endpoint policy accepted packet.",))
_ACCEPTED = Rule(is_marked(ACCEPT), jump("ACCEPT"))
_VXLAN = "-p 17 -m multiport --destination-ports 4789"
_FROM_HOST, _TO_HOST = "cali-from-host-endpoint", "cali-to-host-endpoint"

#: the kernel's chain -> the rules that Felix puts before its others, by table
HOOKS: Mapping[str, Mapping[str, Rule]] = {
    table: {chain: Rule("", jump(f"cali-{chain}")) for chain in chains} for table, chains in (
        ("raw", ("PREROUTING", "OUTPUT")), ("mangle", ("PREROUTING", "POSTROUTING")),
        ("nat", ("PREROUTING", "OUTPUT", "POSTROUTING")),
        ("filter", ("FORWARD", "INPUT", "OUTPUT")))}
#: what it puts behind all others of filter's FORWARD
APPENDED = (Rule(is_marked(ACCEPT), jump("ACCEPT"), ("Policy explicitly accepted packet.",)),
            Rule("", set_mark(ACCEPT)))


@dataclass(frozen=True)
class PodRules:
    """A pod of the node: its device, its profiles, and its policies in their order."""

    device: str
    profiles: tuple[str, ...]
    ingress: tuple[Policy, ...] = ()
    egress: tuple[Policy, ...] = ()


@dataclass(frozen=True)
class NodeFirewall:
    """What one node's rules follow from.

    ``tunnels`` are the devices with an address of this node, ``to_host`` the
    DefaultEndpointToHostAction in capitals, ``may_send`` the encapsulations (IPIP, VXLAN) of which
    pods may send packets of their own, ``external`` the senders that are accepted besides nodes.
    ``inserts`` False puts Felix's rules behind all others.
    """

    pods: tuple[PodRules, ...] = ()
    ipip: bool = False
    vxlan: bool = False
    tunnels: tuple[str, ...] = ()
    to_host: str = "ACCEPT"
    nat_outgoing: bool = False
    hosts: tuple[IPv4Address, ...] = ()
    external: tuple[IPv4Network, ...] = ()
    pools: tuple[IPv4Network, ...] = ()
    masqueraded: tuple[IPv4Network, ...] = ()
    may_send: tuple[str, ...] = ()
    inserts: bool = True

    @cached_property
    def sets(self) -> dict[str, frozenset[str]]:
        """The members of the IP sets that follow from no policy."""
        # An IP set holds no prefix of length 0, but its halves.
        senders: tuple[IPv4Address | IPv4Network, ...] = (
            *self.hosts, *(part for network in self.external for part in (
                (network,) if network.prefixlen else network.subnets())))
        sets: dict[str, Sequence[IPv4Address | IPv4Network]] = {
            ALL_POOLS: self.pools, MASQUERADED_POOLS: self.masqueraded,
            **({ALL_HOSTS: senders} if self.ipip else {}),
            **({VXLAN_HOSTS: senders} if self.vxlan else {})}
        return {name: frozenset(map(member, members)) for name, members in sets.items()}


def tables(node: NodeFirewall) -> dict[str, Chains]:
    """Felix's chains of a node, by table."""
    return {"raw": _raw(), "mangle": _mangle(), "nat": _nat(node), "filter": _filter(node)}


def _filter(node: NodeFirewall) -> Chains:
    devices = [pod.device for pod in node.pods]
    chains: Chains = {
        "cali-INPUT": [*_tunnel_input(node),
                       Rule(f"--in-interface {WORKLOADS}", "--goto cali-wl-to-host"),
                       _ACCEPTED, Rule("", clear_mark(ALL_MARKS)), Rule("", jump(_FROM_HOST)),
                       _HOST_ACCEPTED],
        "cali-wl-to-host": [Rule("", jump("cali-from-wl-dispatch")),
                            Rule("", jump(node.to_host),
                                 ("Configured DefaultEndpointToHostAction",))],
        "cali-FORWARD": [
            Rule("", clear_mark(ALL_MARKS & ~ACCEPT)),
            Rule(is_clear(ACCEPT), jump("cali-from-hep-forward")),
            Rule(f"--in-interface {WORKLOADS}", jump("cali-from-wl-dispatch")),
            Rule(f"--out-interface {WORKLOADS}", jump("cali-to-wl-dispatch")),
            Rule("", jump("cali-to-hep-forward")),
            Rule("", jump("cali-cidr-block"))],
        "cali-OUTPUT": [_ACCEPTED, Rule(f"--out-interface {WORKLOADS}", jump("RETURN")),
                        *_tunnel_output(node), Rule("", clear_mark(ALL_MARKS)),
                        Rule("-m conntrack ! --ctstate DNAT", jump(_TO_HOST)), _HOST_ACCEPTED],
        **{name: [] for name in ("cali-from-hep-forward", "cali-to-hep-forward", _FROM_HOST,
                                 _TO_HOST, "cali-cidr-block")},
        **dispatch_chains("cali-from-wl-dispatch", FROM_WORKLOAD, devices),
        **dispatch_chains("cali-to-wl-dispatch", TO_WORKLOAD, devices)}
    for pod in node.pods:
        for way, applied in ((TO_WORKLOAD, pod.ingress), (FROM_WORKLOAD, pod.egress)):
            chains[limited(way, pod.device)] = endpoint_rules(
                way, pod.profiles, tuple(policy.id for policy in applied), node.may_send)
    for profile in dict.fromkeys(name for pod in node.pods for name in pod.profiles):
        chains.update(profile_chains(profile))
    wanted = {rule.action.rpartition(" ")[2] for rules in chains.values() for rule in rules}
    policies = {policy.id: policy for pod in node.pods for policy in (*pod.ingress, *pod.egress)}
    for policy in policies.values():
        chains.update((name, rules) for name, rules in policy_chains(policy).items()
                      if name in wanted)
    return chains


def _tunnel_input(node: NodeFirewall) -> Iterator[Rule]:
    local = "-m addrtype --dst-type LOCAL"
    if node.ipip:
        yield Rule(f"-p 4 -m set --match-set {ALL_HOSTS} src {local}", jump("ACCEPT"),
                   ("Allow IPIP packets from Calico hosts",))
        yield Rule("-p 4", jump("DROP"), ("Drop IPIP packets from non-Calico hosts",))
    if node.vxlan:
        yield Rule(f"{_VXLAN} -m set --match-set {VXLAN_HOSTS} src {local}", jump("ACCEPT"),
                   ("Allow IPv4 VXLAN packets from allowed hosts",))
        yield Rule(f"{_VXLAN} {local}", jump("DROP"),
                   ("Drop IPv4 VXLAN packets from non-allowed hosts",))


def _tunnel_output(node: NodeFirewall) -> Iterator[Rule]:
    local = "-m addrtype --src-type LOCAL"
    if node.ipip:
        yield Rule(f"-p 4 -m set --match-set {ALL_HOSTS} dst {local}", jump("ACCEPT"),
                   ("Allow IPIP packets to other Calico hosts",))
    if node.vxlan:
        yield Rule(f"{_VXLAN} {local} -m set --match-set {VXLAN_HOSTS} dst", jump("ACCEPT"),
                   ("Allow IPv4 VXLAN packets to other allowed hosts",))


def _raw() -> Chains:
    return {
        "cali-PREROUTING": [
            Rule("", clear_mark(ALL_MARKS)),
            Rule(f"--in-interface {WORKLOADS}", set_mark(SCRATCH_0)),
            Rule(is_marked(SCRATCH_0), jump("cali-rpf-skip")),
            Rule(f"{is_marked(SCRATCH_0)} -m rpfilter --validmark --invert", jump("DROP")),
            Rule(is_clear(SCRATCH_0), jump(_FROM_HOST)), _ACCEPTED],
        "cali-OUTPUT": [Rule("", clear_mark(ALL_MARKS)), Rule("", jump(_TO_HOST)), _ACCEPTED],
        "cali-rpf-skip": [], _FROM_HOST: [], _TO_HOST: []}


def _mangle() -> Chains:
    accepted = Rule(is_marked(ACCEPT), jump("RETURN"), _HOST_ACCEPTED.comments)
    return {
        "cali-PREROUTING": [Rule("-m conntrack --ctstate RELATED,ESTABLISHED", jump("ACCEPT")),
                            _ACCEPTED, Rule("", jump(_FROM_HOST)), _HOST_ACCEPTED],
        "cali-POSTROUTING": [Rule(is_marked(ACCEPT), jump("RETURN")),
                             Rule("", clear_mark(ALL_MARKS)),
                             Rule("-m conntrack --ctstate DNAT", jump(_TO_HOST)), accepted],
        _FROM_HOST: [], _TO_HOST: []}


def _nat(node: NodeFirewall) -> Chains:
    # A socket of the host that is bound to another of its addresses gets the tunnel's.
    post = [Rule(f"--out-interface {device} -m addrtype ! --src-type LOCAL --limit-iface-out "
                 "-m addrtype --src-type LOCAL", _MASQUERADE) for device in node.tunnels]
    outgoing = [Rule(f"-m set --match-set {MASQUERADED_POOLS} src -m set ! --match-set {ALL_POOLS} "
                     "dst", _MASQUERADE)] if node.nat_outgoing else []
    return {
        "cali-PREROUTING": [Rule("", jump("cali-fip-dnat"))],
        "cali-OUTPUT": [Rule("", jump("cali-fip-dnat"))],
        "cali-POSTROUTING": [Rule("", jump("cali-fip-snat")), Rule("", jump("cali-nat-outgoing")),
                             *post],
        "cali-fip-dnat": [], "cali-fip-snat": [], "cali-nat-outgoing": outgoing}
