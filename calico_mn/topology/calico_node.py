"""calico-node's environment variables, as a file's DaemonSet gives them.

In go the DaemonSet and the ConfigMaps that it refers to, out come the variables with an effect:
those of the default pool, read as calico-node's start-up reads them
(``node/pkg/lifecycle/startup/startup.go``: names of modes in any case; a bad value is fatal there
and a problem here), and Felix's, which win over FelixConfiguration
(``felix/config/config_params.go``). One that changes routes and has no effect has a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from calico_mn.model import EncapsulationMode
from calico_mn.text import join, quote, suggest
from calico_mn.topology import address_readers as a
from calico_mn.topology import policy_readers as p
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.problems import Report
from calico_mn.topology.yaml_tree import Scalar, Tree

#: of the DaemonSet, and of its container
NAME = "calico-node"
NEVER = EncapsulationMode.NEVER
PREFIX = "CALICO_IPV4POOL_"
_MODES = {
    "off": NEVER,
    "never": NEVER,
    "crosssubnet": EncapsulationMode.CROSS_SUBNET,
    "cross-subnet": EncapsulationMode.CROSS_SUBNET,
    "always": EncapsulationMode.ALWAYS,
}


def _mode(tree: Tree) -> EncapsulationMode:
    word = r.text(tree)
    if word.lower() in _MODES:
        return _MODES[word.lower()]
    known = [mode.value for mode in EncapsulationMode]
    close = suggest(word, known, cutoff=0.7)
    raise r.InvalidValueError(f"is {quote(word)}", f"did you mean {quote(close)}?" if close else
                              f"use {join(known, 'or')}")


def _boolean(tree: Tree) -> bool:
    """``evaluateENVBool``: anything but these words is true."""
    return r.text(tree).lower() not in ("false", "0", "no", "n", "f")


def _block_size(tree: Tree) -> int:
    word = r.text(tree)
    if word in map(str, range(20, 33)):
        return int(word)
    raise r.InvalidValueError(f"is {quote(word)}", "use a number from 20 to 32")


def _network(tree: Tree) -> IPv4Network | None:
    """A range, of which host bits do not count (Go's ParseCIDR); ``none`` is no pool."""
    word = r.text(tree)
    if word == "none":
        return None
    try:
        network: IPv4Network | IPv6Network = ip_network(word, strict=False)
        if "/" not in word or "%" in word:
            raise ValueError
    except ValueError:
        raise r.InvalidValueError(f"{quote(word)} is not an address range",
                                  "write it as 10.22.0.0/16, or none for no pool") from None
    if isinstance(network, IPv6Network):
        raise r.InvalidValueError(f"{a.ipv6_text(network)} is an IPv6 prefix",
                                  "calico-node takes an IPv4 range only, such as 10.22.0.0/16")
    return network


# The variables of the default pool, each with the attribute that it sets; empty ones set nothing.
VARIABLES = {
    PREFIX + "CIDR": s.Field(_network, "cidr"),
    PREFIX + "IPIP": s.Field(_mode, "ipip_mode"),
    PREFIX + "VXLAN": s.Field(_mode, "vxlan_mode"),
    PREFIX + "BLOCK_SIZE": s.Field(_block_size, "block_size"),
    PREFIX + "NAT_OUTGOING": s.Field(_boolean, "nat_outgoing"),
    PREFIX + "NODE_SELECTOR": s.Field(r.selector, "node_selector"),
    PREFIX + "DISABLE_BGP_EXPORT": s.Field(_boolean, "disable_bgp_export"),
    "NO_DEFAULT_POOLS": s.Field(lambda tree: r.text(tree).lower() == "true", "no_default_pools"),
}
# Those of Felix, each with the attribute of FelixConfiguration that it sets.
FELIX_VARIABLES = {
    "FELIX_IPINIPMTU": s.Field(r.mtu_text, "ipip_mtu"),
    "FELIX_VXLANMTU": s.Field(r.mtu_text, "vxlan_mtu"),
    "FELIX_DEFAULTENDPOINTTOHOSTACTION": s.Field(r.to_host, "to_host"),
    "FELIX_CHAININSERTMODE": s.Field(r.in_any_case("Insert", "Append"), "chain_insert_mode"),
    "FELIX_IPTABLESBACKEND": s.Field(r.in_any_case("Auto", "Legacy", "NFT"), "iptables_backend"),
    "FELIX_ALLOWIPIPPACKETSFROMWORKLOADS": s.Field(_boolean, "allow_ipip_from_workloads"),
    "FELIX_ALLOWVXLANPACKETSFROMWORKLOADS": s.Field(_boolean, "allow_vxlan_from_workloads"),
    "FELIX_EXTERNALNODESCIDRLIST": s.Field(a.listed_networks, "external_nodes"),
    "FELIX_FAILSAFEINBOUNDHOSTPORTS": s.Field(p.failsafes, "failsafe_inbound"),
    "FELIX_FAILSAFEOUTBOUNDHOSTPORTS": s.Field(p.failsafes, "failsafe_outbound"),
}
#: ``bird``, or what runs no BIRD: ``vxlan``, ``none``
BACKEND = "CALICO_NETWORKING_BACKEND"
_ON, _OFF = frozenset(("true", "1", "t", "y", "yes")), frozenset(("false", "0", "f", "n", "no"))
# Those that change routes or packets and have no effect: the values that do so, and what happens
# here instead.
_REMARKS = {
    "USE_POD_CIDR": (_ON, "addresses come from Calico's IPAM and not from a node's podCIDR"),
    "FELIX_IPINIPENABLED": (_OFF, "tunl0 is there as the IPPools need it"),
    "FELIX_VXLANENABLED": (_OFF, "vxlan.calico is there as the IPPools need it"),
    "FELIX_BPFENABLED": (_ON, "packets take the kernel's way, as without eBPF"),
    "FELIX_WIREGUARDENABLED": (_ON, "packets between nodes are not encrypted"),
}

#: the variables that are looked at
KNOWN = frozenset((*VARIABLES, *FELIX_VARIABLES, *_REMARKS, BACKEND))

ENV = s.List({
    "name": s.Field(r.text, "name"),
    "value": s.Field(r.text, "value"),
    "valueFrom": {
        "configMapKeyRef": {"name": s.Field(r.text, "map"), "key": s.Field(r.text, "key"),
                            "optional": s.Special.BOOKKEEPING},
        s.REST: s.Special.BOOKKEEPING},
}, s.Unmodelled, name="env")
CONTAINERS = s.List({
    **s.bookkeeping(
        "args command envFrom image imagePullPolicy lifecycle livenessProbe "
        "readinessProbe resizePolicy resources restartPolicy restartPolicyRules securityContext "
        "startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty "
        "volumeDevices volumeMounts workingDir"
    ),
    "name": s.Field(r.text, "name"),
    "ports": s.List({s.REST: s.Special.BOOKKEEPING}, s.Unmodelled, name="ports"),
    "env": ENV,
}, s.Unmodelled, name="containers")


def read_variables(report: Report, daemon_sets: list[s.Resource[Any]],
                   config_maps: Mapping[str, Mapping[str, Scalar]]) -> dict[str, Scalar]:
    """The variables with an effect of the container calico-node."""
    environment: dict[str, Scalar] = {}
    for variable in (variable for daemon_set in daemon_sets if daemon_set.get("name") == NAME
                     for container in daemon_set.entries(CONTAINERS)
                     if container.get("name") == NAME for variable in container.entries(ENV)):
        name, value = variable.get("name", ""), _value(variable, config_maps)
        if name in VARIABLES or name in FELIX_VARIABLES or name == BACKEND:
            if value is not None:
                environment[name] = value
            elif name in VARIABLES:
                report.add(f"{name} has no value here, only a reference", variable.at("name"),
                           "write value: and the text that the reference stands for")
        elif name.startswith(PREFIX):
            report.add(f"unknown variable {quote(name)} in the env of calico-node",
                       variable.at("name"), report.did_you_mean(name, VARIABLES))
        elif value is not None and name in _REMARKS:
            values, instead = _REMARKS[name]
            if value.text.lower() in values:
                report.warn(f"{name} {value.text} in calico-node's env has no effect: {instead}.")
    return environment


def _value(variable: s.Resource[Any], config_maps: Mapping[str, Mapping[str, Scalar]]
           ) -> Scalar | None:
    """A variable's text, also that of a ConfigMap; None where it is not in the file."""
    if "valueFrom" not in variable.given:
        return Scalar(variable.get("value", ""), False, variable.at("value", "name"))
    referred = config_maps.get(variable.get("map", ""), {}).get(variable.get("key", ""))
    return None if referred is None else Scalar(referred.text, False, variable.at("name"))


def felix_overrides(report: Report, environment: Mapping[str, Scalar]) -> dict[str, Any]:
    """What the variables of Felix set; they come before FelixConfiguration."""
    resource: s.Resource[Any] = s.Resource(next(iter(environment.values()), Scalar(
        "", True, report.mark(0, 0))).mark)
    for name, field in FELIX_VARIABLES.items():
        if name in environment and environment[name].text:
            resource.read(report, field, environment[name], name)
    return {name: value for name, value in resource.values.items()
            if value or value is False or value == ()}
