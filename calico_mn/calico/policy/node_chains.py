"""All of Felix's tables of one node: the static chains, and those of its endpoints. Pure.

In goes what a node's Felix knows (:class:`NodeFirewall`), out come its chains by table, as Felix
v3.25 has them: chains that nothing refers to are left out. Sources: felix
``rules/static.go``, ``rules/nat.go``, ``dataplane/linux/endpoint_mgr.go``; the chains of policies
are in :mod:`~.chains`, those of endpoints in :mod:`~.endpoint_chains`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network

from calico_mn import policy as api
from calico_mn.calico.encapsulation import Encapsulation, format_prefix
from calico_mn.calico.policy.chains import (
    ACCEPT,
    PASS,
    SCRATCH_0,
    SCRATCH_1,
    Chains,
    Rule,
    clear_mark,
    is_clear,
    is_marked,
    jump,
    limited,
    policy_chains,
    profile_chains,
    set_mark,
)
from calico_mn.calico.policy.endpoint_chains import (
    ANY_DEVICE,
    BETWEEN_NODES,
    FAILSAFE_OUT,
    FROM_HOST,
    FROM_HOST_FORWARD,
    FROM_WORKLOAD,
    INTO_EBPF_TUNNEL,
    TO_HOST,
    TO_HOST_FORWARD,
    TO_WORKLOAD,
    dispatch_chains,
    endpoint_rules,
    failsafe_chains,
    host_dispatch,
)

ALL_MARKS = ACCEPT | PASS | SCRATCH_0 | SCRATCH_1
WORKLOADS = "cali+"
ALL_POOLS, MASQUERADED_POOLS = "cali40all-ipam-pools", "cali40masq-ipam-pools"
_MASQUERADE = "--jump MASQUERADE --random-fully"
_HOST_ACCEPTED = Rule(is_marked(ACCEPT), jump("ACCEPT"),
                      ("Host endpoint policy accepted packet.",))
_ACCEPTED = Rule(is_marked(ACCEPT), jump("ACCEPT"))
_FROM_HOST, _TO_HOST = "cali-from-host-endpoint", "cali-to-host-endpoint"
_FROM_HOST_FORWARD, _TO_HOST_FORWARD = "cali-from-hep-forward", "cali-to-hep-forward"
#: how the chains of host endpoints begin -> the chain that finds that of a device
_DISPATCH = {FROM_HOST: _FROM_HOST, TO_HOST: _TO_HOST, FROM_HOST_FORWARD: _FROM_HOST_FORWARD,
             TO_HOST_FORWARD: _TO_HOST_FORWARD}

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
    ingress: tuple[api.Policy, ...] = ()
    egress: tuple[api.Policy, ...] = ()


@dataclass(frozen=True)
class HostRules:
    """A host endpoint in force on a device, or on ANY_DEVICE, and its policies by stage.

    ``ingress`` and ``egress`` lack the stages without any.
    """

    device: str
    profiles: tuple[api.Profile, ...] = ()
    ingress: Mapping[api.Stage, tuple[api.Policy, ...]] = field(default_factory=dict)
    egress: Mapping[api.Stage, tuple[api.Policy, ...]] = field(default_factory=dict)

    def rules(self, way: str, stage: api.Stage, accepted: str = "ACCEPT") -> Chains:
        """Its chain whose name begins with ``way``."""
        is_in = way in (FROM_HOST, FROM_HOST_FORWARD)
        policies = (self.ingress if is_in else self.egress).get(stage, ())
        return {limited(way, self.device): endpoint_rules(
            way, tuple(profile.name for profile in self.profiles),
            tuple(policy.id for policy in policies), stage, accepted)}


@dataclass(frozen=True)
class NodeFirewall:
    """What one node's rules follow from besides its pods; nodes that are alike share it.

    ``enabled`` are the encapsulations whose packets Felix's rules know, ``may_send`` those of which
    pods may send packets of their own, ``tunnels`` the devices with an address of this node,
    ``to_host`` the DefaultEndpointToHostAction in capitals, ``external`` the senders that are
    accepted besides nodes. ``inserts`` False puts Felix's rules behind all others.
    ``has_ebpf_tunnel``: eBPF makes tunl0.
    """

    host_endpoints: tuple[HostRules, ...] = ()
    failsafe_inbound: tuple[api.ProtoPort, ...] = api.FAILSAFE_INBOUND
    failsafe_outbound: tuple[api.ProtoPort, ...] = api.FAILSAFE_OUTBOUND
    enabled: tuple[Encapsulation, ...] = ()
    has_ebpf_tunnel: bool = False
    tunnels: tuple[str, ...] = ()
    to_host: str = "ACCEPT"
    nat_outgoing: bool = False
    hosts: tuple[IPv4Address, ...] = ()
    external: tuple[IPv4Network, ...] = ()
    pools: tuple[IPv4Network, ...] = ()
    masqueraded: tuple[IPv4Network, ...] = ()
    may_send: tuple[Encapsulation, ...] = ()
    inserts: bool = True

    @cached_property
    def static(self) -> dict[str, Chains]:
        """The chains that follow from no pod, by table. They must not be changed."""
        return _static(self)

    @cached_property
    def sets(self) -> dict[str, frozenset[str]]:
        """The members of the IP sets that follow from no policy."""
        # An IP set holds no prefix of length 0, but its halves.
        external = (part for network in self.external for part in (
            (network,) if network.prefixlen else network.subnets()))
        senders = frozenset((*map(str, self.hosts), *map(format_prefix, external)))
        return {ALL_POOLS: frozenset(map(format_prefix, self.pools)),
                MASQUERADED_POOLS: frozenset(map(format_prefix, self.masqueraded)),
                **{BETWEEN_NODES[encapsulation].hosts: senders for encapsulation in self.enabled}}


def tables(node: NodeFirewall, pods: Sequence[PodRules] = ()) -> dict[str, Chains]:
    """Felix's chains of a node with these pods, by table: those that something refers to."""
    # Many pods share their policies.
    applied = {id(policies): policies for policies in (
        *(pod.ingress for pod in pods), *(pod.egress for pod in pods),
        *(policies for host in node.host_endpoints
          for policies in (*host.ingress.values(), *host.egress.values())))}
    ids = {key: tuple([policy.id for policy in policies]) for key, policies in applied.items()}
    shared: Chains = {}
    for name in dict.fromkeys(name for pod in pods for name in pod.profiles):
        if profile := api.builtin_profile(name):
            shared |= profile_chains(profile)
    for host in node.host_endpoints:
        for profile in host.profiles:
            shared |= profile_chains(profile)
    for policy in dict.fromkeys(policy for policies in applied.values() for policy in policies):
        shared |= policy_chains(policy)
    devices = [pod.device for pod in pods]
    of_pods = {
        **dispatch_chains("cali-from-wl-dispatch", FROM_WORKLOAD, devices),
        **dispatch_chains("cali-to-wl-dispatch", TO_WORKLOAD, devices),
        **{limited(way, pod.device): endpoint_rules(
               way, pod.profiles, ids[id(policies)], may_send=node.may_send)
           for pod in pods
           for way, policies in ((TO_WORKLOAD, pod.ingress), (FROM_WORKLOAD, pod.egress))}}
    return {table: _referred({**chains, **(of_pods if table == "filter" else {}), **shared},
                             HOOKS[table]) for table, chains in node.static.items()}


def _static(node: NodeFirewall) -> dict[str, Chains]:
    static = {"raw": _raw(node), "mangle": _mangle(node), "nat": _nat(node),
              "filter": _filter(node)}
    if node.host_endpoints:
        for table, chains in static.items():
            chains |= failsafe_chains(table, node.failsafe_inbound, node.failsafe_outbound)
            if node.has_ebpf_tunnel and any(e.has_back_end for e in node.enabled):
                chains[FAILSAFE_OUT] = [*chains[FAILSAFE_OUT], INTO_EBPF_TUNNEL]
    return static


def _referred(chains: Chains, roots: Iterable[str]) -> Chains:
    """The chains that can be reached from those that the kernel's own jump to."""
    reached = dict.fromkeys(f"cali-{root}" for root in roots)
    todo, seen = list(reached), set()
    while todo:
        rules = chains[todo.pop()]
        if id(rules) in seen:  # Many pods share their rules.
            continue
        seen.add(id(rules))
        for rule in rules:
            target = rule.action.rpartition(" ")[2]
            if target in chains and target not in reached:
                reached[target] = None
                todo.append(target)
    return {name: rules for name, rules in chains.items() if name in reached}


def _filter(node: NodeFirewall) -> Chains:
    chains: Chains = {
        "cali-INPUT": [*(rule for e in node.enabled for rule in BETWEEN_NODES[e].input),
                       Rule(f"--in-interface {WORKLOADS}", "--goto cali-wl-to-host"),
                       _ACCEPTED, Rule("", clear_mark(ALL_MARKS)), Rule("", jump(_FROM_HOST)),
                       _HOST_ACCEPTED],
        "cali-wl-to-host": [Rule("", jump("cali-from-wl-dispatch")),
                            Rule("", jump(node.to_host),
                                 ("Configured DefaultEndpointToHostAction",))],
        "cali-FORWARD": [
            Rule("", clear_mark(ALL_MARKS & ~ACCEPT)),
            Rule(is_clear(ACCEPT), jump(_FROM_HOST_FORWARD)),
            Rule(f"--in-interface {WORKLOADS}", jump("cali-from-wl-dispatch")),
            Rule(f"--out-interface {WORKLOADS}", jump("cali-to-wl-dispatch")),
            Rule("", jump(_TO_HOST_FORWARD)),
            Rule("", jump("cali-cidr-block"))],
        "cali-OUTPUT": [_ACCEPTED, Rule(f"--out-interface {WORKLOADS}", jump("RETURN")),
                        *(rule for e in node.enabled for rule in BETWEEN_NODES[e].output),
                        Rule("", clear_mark(ALL_MARKS)),
                        Rule("-m conntrack ! --ctstate DNAT", jump(_TO_HOST)), _HOST_ACCEPTED],
        "cali-cidr-block": [],
        **_dispatch(node.host_endpoints, *_DISPATCH)}
    for host in node.host_endpoints:
        for way, stage in ((TO_HOST, api.Stage.NORMAL), (FROM_HOST, api.Stage.NORMAL),
                           (TO_HOST_FORWARD, api.Stage.FORWARD),
                           (FROM_HOST_FORWARD, api.Stage.FORWARD)):
            chains.update(host.rules(way, stage))
    return chains


def _dispatch(hosts: Iterable[HostRules], *ways: str, skips_pods: bool = False) -> Chains:
    """The chains that find those of these host endpoints whose names begin with ``ways``."""
    devices = [host.device for host in hosts]
    return {name: rules for way in ways for name, rules in host_dispatch(
        _DISPATCH[way], way, devices, skips_pods=skips_pods).items()}


def _raw(node: NodeFirewall) -> Chains:
    # One for all devices has none here: Felix refuses it with a warning in its log.
    hosts = [host for host in node.host_endpoints if host.device != ANY_DEVICE
             and (api.Stage.UNTRACKED in host.ingress or api.Stage.UNTRACKED in host.egress)]
    chains: Chains = {}
    for host in hosts:
        chains |= host.rules(TO_HOST, api.Stage.UNTRACKED)
        chains |= host.rules(FROM_HOST, api.Stage.UNTRACKED)
    return {
        "cali-PREROUTING": [
            Rule("", clear_mark(ALL_MARKS)),
            Rule(f"--in-interface {WORKLOADS}", set_mark(SCRATCH_0)),
            Rule(is_marked(SCRATCH_0), jump("cali-rpf-skip")),
            Rule(f"{is_marked(SCRATCH_0)} -m rpfilter --validmark --invert", jump("DROP")),
            Rule(is_clear(SCRATCH_0), jump(_FROM_HOST)), _ACCEPTED],
        "cali-OUTPUT": [Rule("", clear_mark(ALL_MARKS)), Rule("", jump(_TO_HOST)), _ACCEPTED],
        "cali-rpf-skip": [], **_dispatch(hosts, FROM_HOST, TO_HOST), **chains}


def _mangle(node: NodeFirewall) -> Chains:
    # What is for another address after NAT leaves by a device that OUTPUT does not know yet.
    before = [host for host in node.host_endpoints if api.Stage.PRE_DNAT in host.ingress]
    chains: Chains = {}
    for host in before:
        chains |= host.rules(FROM_HOST, api.Stage.PRE_DNAT)
    for host in node.host_endpoints:
        chains |= host.rules(TO_HOST, api.Stage.NORMAL, "RETURN")
    accepted = Rule(is_marked(ACCEPT), jump("RETURN"), _HOST_ACCEPTED.comments)
    return {
        "cali-PREROUTING": [Rule("-m conntrack --ctstate RELATED,ESTABLISHED", jump("ACCEPT")),
                            _ACCEPTED, Rule("", jump(_FROM_HOST)), _HOST_ACCEPTED],
        "cali-POSTROUTING": [Rule(is_marked(ACCEPT), jump("RETURN")),
                             Rule("", clear_mark(ALL_MARKS)),
                             Rule("-m conntrack --ctstate DNAT", jump(_TO_HOST)), accepted],
        **_dispatch(before, FROM_HOST),
        **_dispatch(node.host_endpoints, TO_HOST, skips_pods=True), **chains}


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
