"""The kinds of Calico for hosts, profiles, tiers and staged policies, with the rules inside one.

Field names are those of ``api/pkg/apis/projectcalico/v3``, the rules those of libcalico-go
``lib/validator/v3/validator.go``. Tiers and staged policies are read and checked, and have no
effect: Calico v3.25 enforces neither.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from calico_mn.policy import HostEndpoint, Profile
from calico_mn.text import join
from calico_mn.topology import address_readers as a
from calico_mn.topology import policy_kinds as k
from calico_mn.topology import policy_readers as p
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.calico_kinds import API
from calico_mn.topology.kubernetes_kinds import NAMESPACE
from calico_mn.topology.problems import Report

_PORT_HINT = "a port needs name, protocol (TCP, UDP or SCTP) and port"
_PORTS = s.List({
    "name": s.Field(r.text, "name", _PORT_HINT),
    "protocol": s.Field(p.protocol_with_ports, "protocol", _PORT_HINT),
    "port": s.Field(r.integer(1, 65535, "a port of the host"), "port", _PORT_HINT),
}, s.Unmodelled, name="named")


def _check_host(report: Report, host: s.Resource[HostEndpoint]) -> bool:
    if not {"spec.interfaceName", "spec.expectedIPs"} & host.given.keys():
        report.add("a HostEndpoint needs interfaceName or expectedIPs", host.at("node", "name"),
                   "add interfaceName: eth0, or '*' for all interfaces")
    host.values["ports"] = tuple(
        (port.get("name"), port.get("protocol"), port.get("port"))
        for port in host.values.pop("named", []))
    return True


HOST_ENDPOINT = s.Kind(s.resource_table(
    {**s.NAMED, "labels": s.Field(r.string_map, "labels")}, spec={
        "node": s.Field(r.subdomain, "node", "add the name of the node that it is on"),
        "interfaceName": s.Field(p.device, "interface"),
        "expectedIPs": s.Field(a.ipv4_addresses, "addresses"),
        "profiles": s.Field(p.names, "profiles"),
        "ports": _PORTS,
    }), HostEndpoint, _check_host, api=API, name="HostEndpoint", topology="host_endpoints")

#: the interfaces of nodes that a HostEndpoint can be on
_INTERFACES = ("*", "", "eth0", "lo", "tunl0", "vxlan.calico")


def warn_of_hosts(report: Report, resources: s.Resources, nodes: Collection[str]) -> None:
    """Say which HostEndpoints are on a node or an interface that is not there: Calico takes them.
    """
    for host in resources.of(HOST_ENDPOINT):
        node, interface = host.get("node", ""), host.get("interface", "")
        if node and node not in nodes:
            report.warn(f"HostEndpoint {host.get('name', '')} has no effect: there is no node "
                        f"{node}.")
        elif interface not in _INTERFACES:
            report.warn(f"HostEndpoint {host.get('name', '')} has no effect: nodes have no "
                        f"interface {interface}, but {join(_INTERFACES[2:], 'and')}.")


# Profiles of namespaces and service accounts follow from those; the file does not change them.
PROFILE = s.Kind(s.resource_table(s.NAMED, spec={
    "ingress": k.rules("ingress"), "egress": k.rules("egress"),
    "labelsToApply": s.Field(r.string_map, "labels"),
}), Profile, api=API, name="Profile", topology="profiles")


def _without_effect(kind: str, check: Callable[[Report, Any], bool] | None = None
                    ) -> Callable[[Report, s.Resource[Any]], bool]:
    def ignore(report: Report, item: s.Resource[Any]) -> bool:
        if check:
            check(report, item)
        report.ignore_kind(kind, "Calico v3.25 has the tier default alone" if kind == "Tier" else
                           "Calico v3.25 enforces no staged policy")
        return False

    return ignore


_STAGED = {"stagedAction": s.Field(r.one_of("Set", "Delete", "Learn", "Ignore"), "staged")}
TIER = s.Kind(s.resource_table(s.NAMED, spec={
    "order": s.Field(p.order, "order"),
    "defaultAction": s.Field(r.one_of("Deny", "Pass"), "default"),
}), s.Unmodelled, _without_effect("Tier"), api=API, name="Tier")
STAGED_NETWORK_POLICY = s.Kind(
    s.resource_table({**s.NAMED, **NAMESPACE}, spec={**k.POLICY_SPEC, **_STAGED}), s.Unmodelled,
    _without_effect("StagedNetworkPolicy"), api=API, name="StagedNetworkPolicy")
STAGED_GLOBAL_NETWORK_POLICY = s.Kind(
    s.resource_table(s.NAMED, spec={**k.GLOBAL_POLICY_SPEC, **_STAGED}), s.Unmodelled,
    _without_effect("StagedGlobalNetworkPolicy", k.check_global), api=API,
    name="StagedGlobalNetworkPolicy")
STAGED_KUBERNETES_POLICY = s.Kind(
    s.resource_table({**s.NAMED, **NAMESPACE}, spec={**k.KUBERNETES_SPEC, **_STAGED}),
    s.Unmodelled, _without_effect("StagedKubernetesNetworkPolicy"), api=API,
    name="StagedKubernetesNetworkPolicy")

KINDS = (HOST_ENDPOINT, PROFILE, TIER, STAGED_NETWORK_POLICY, STAGED_GLOBAL_NETWORK_POLICY,
         STAGED_KUBERNETES_POLICY)
