"""Felix's chains for endpoints, those that find the chain of a device, and rules on tunnels. Pure.

In go the devices of pods and host endpoints with the ids of their policies; out come their chains::

    pod            cali-tw-DEVICE to it        cali-fw-DEVICE from it
    host endpoint  cali-th-DEVICE out by it    cali-fh-DEVICE in by it      of the node's processes
                   cali-thfw-DEVICE            cali-fhfw-DEVICE             what the node forwards

For each encapsulation there are the rules by which a node takes its packets from other nodes and
sends them there, and the rule that drops those of pods.
Sources: felix ``rules/endpoints.go``, ``rules/dispatch.go``, ``rules/static.go`` (failsafes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, takewhile

from calico_mn.calico.encapsulation import IPIP, VXLAN, Encapsulation
from calico_mn.calico.policy.chains import (
    ACCEPT,
    INBOUND,
    OUTBOUND,
    PASS,
    PROFILE,
    Chains,
    Rule,
    clear_mark,
    is_clear,
    is_marked,
    jump,
    limited,
    set_mark,
)
from calico_mn.policy import ProtoPort, Stage

TO_WORKLOAD, FROM_WORKLOAD = "cali-tw-", "cali-fw-"
TO_HOST, FROM_HOST, TO_HOST_FORWARD, FROM_HOST_FORWARD = (
    "cali-th-", "cali-fh-", "cali-thfw-", "cali-fhfw-")
FAILSAFE_IN, FAILSAFE_OUT = "cali-failsafe-in", "cali-failsafe-out"
#: what stands for the device of a host endpoint for all of them (linux/endpoint_mgr.go)
ANY_DEVICE = "any-interface-at-all"
_FAILSAFE = {TO_HOST: FAILSAFE_OUT, FROM_HOST: FAILSAFE_IN}
_INWARD = (TO_WORKLOAD, FROM_HOST, FROM_HOST_FORWARD)
_UNKNOWN = (Rule("", jump("DROP"), ("Unknown interface",)),)
_SKIP_PODS = Rule("--out-interface cali+", jump("RETURN"),
                  ("Skip egress WHEP policy for traffic to local workload",))
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


@lru_cache(maxsize=1_000)
def endpoint_rules(way: str, profiles: tuple[str, ...], policies: tuple[str, ...],
                   stage: Stage = Stage.NORMAL, accepted: str = "ACCEPT",
                   may_send: tuple[Encapsulation, ...] = ()) -> tuple[Rule, ...]:
    """The chain of a device; ``way`` is how its name begins.

    ``policies`` are the ids of those of that direction and stage. ``accepted`` is what becomes of
    a packet of an established connection. A pod sends packets of its own inside the
    encapsulations ``may_send`` only.
    """
    prefix = INBOUND if way in _INWARD else OUTBOUND
    lines = []
    if stage is not Stage.UNTRACKED:
        established = "-m conntrack --ctstate RELATED,ESTABLISHED"
        if accepted != "ACCEPT":
            lines.append(Rule(established, set_mark(ACCEPT)))
        lines += [Rule(established, jump(accepted)),
                  Rule("-m conntrack --ctstate INVALID", jump("DROP"))]
    if way in _FAILSAFE:
        lines.append(Rule("", jump(_FAILSAFE[way])))
    lines.append(Rule("", clear_mark(ACCEPT)))
    if way == FROM_WORKLOAD:
        lines += [rule for encapsulation, rule in FROM_PODS.items()
                  if encapsulation not in may_send]
    if policies:
        lines.append(Rule("", clear_mark(PASS), ("Start of policies",)))
        for policy in policies:
            lines.append(Rule(is_clear(PASS), jump(limited(prefix, policy))))
            if stage is Stage.UNTRACKED:
                lines.append(Rule(is_marked(ACCEPT), jump("NOTRACK")))
            lines.append(Rule(is_marked(ACCEPT), jump("RETURN"), ("Return if policy accepted",)))
        if stage in (Stage.NORMAL, Stage.FORWARD):
            lines.append(Rule(is_clear(PASS), jump("DROP"), ("Drop if no policies passed packet",)))
    elif stage is Stage.FORWARD:
        lines += [Rule("", set_mark(ACCEPT), ("Allow forwarded traffic by default",)),
                  Rule("", jump("RETURN"), ("Return for accepted forward traffic",))]
    if stage is Stage.NORMAL:
        for profile in profiles:
            lines += [Rule("", jump(limited(PROFILE[prefix], profile))),
                      Rule(is_marked(ACCEPT), jump("RETURN"), ("Return if profile accepted",))]
        lines.append(Rule("", jump("DROP"), ("Drop if no profiles matched",)))
    return tuple(lines)


def dispatch_chains(root: str, way: str, devices: Iterable[str], last: Sequence[Rule] = _UNKNOWN
                    ) -> Chains:
    """The chains that find a device's chain, by the first letters in which names differ.

    ``last`` is for all other devices.
    """
    is_from = way in (FROM_WORKLOAD, FROM_HOST, FROM_HOST_FORWARD)
    option = "--in-interface" if is_from else "--out-interface"
    names = sorted(set(devices))
    ends = zip(names[0], names[-1], strict=False) if names else ()
    alike = len(list(takewhile(lambda letters: letters[0] == letters[1], ends)))
    lines: list[Rule] = []
    chains: Chains = {}

    def to_device(name: str) -> Rule:
        return Rule(f"{option} {name}", f"--goto {limited(way, name)}")

    for start, group in groupby(names, lambda name: name[:alike + 1]):
        members = list(group)
        if len(members) == 1:
            lines.append(to_device(members[0]))
            continue
        child = f"{root}-{start[alike:]}"
        lines.append(Rule(f"{option} {start}+", f"--goto {child}"))
        chains[child] = [*map(to_device, members), *last]
    chains[root] = [*lines, *last]
    return chains


def host_dispatch(root: str, way: str, devices: Iterable[str], *, skips_pods: bool = False
                  ) -> Chains:
    """As :func:`dispatch_chains`, for host endpoints: one for all devices takes what is left.

    With ``skips_pods`` it does not take what goes to pods.
    """
    named = set(devices)
    last = []
    if ANY_DEVICE in named:
        last = [*([_SKIP_PODS] if skips_pods else []),
                Rule("", f"--goto {limited(way, ANY_DEVICE)}")]
    return dispatch_chains(root, way, named - {ANY_DEVICE}, last)


def failsafe_chains(table: str, inbound: Iterable[ProtoPort], outbound: Iterable[ProtoPort]
                    ) -> Chains:
    """What host endpoints accept before any policy.

    Connections are not tracked yet in raw, so that the answers are accepted there, too.
    """
    def rules(ports: Iterable[ProtoPort], side: str, address: str) -> list[Rule]:
        return [Rule(f"-p {item.protocol} -m multiport --{side}-ports {item.port}"
                     + (f" --{address} {item.net}" if item.net else ""), jump("ACCEPT"))
                for item in ports]

    inbound, outbound, is_raw = tuple(inbound), tuple(outbound), table == "raw"
    return {
        FAILSAFE_IN: [*rules(inbound, "destination", "source"),
                      *(rules(outbound, "source", "source") if is_raw else ())],
        FAILSAFE_OUT: [*rules(outbound, "destination", "destination"),
                       *(rules(inbound, "source", "source") if is_raw else ())]}
