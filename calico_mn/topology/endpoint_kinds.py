"""What policies are about beside pods: host endpoints, Services, profiles; tiers, staged policies.

Field names are those of ``api/pkg/apis/projectcalico/v3``, the rules those of libcalico-go
``lib/validator/v3/validator.go``. Tiers and staged policies are read and checked, and have no
effect: Calico v3.25 enforces neither.

Of Services counts what policies name (``services`` of a rule). One with a selector has the pods
that it selects, as Kubernetes' controllers keep its EndpointSlices; one without has what
EndpointSlices or Endpoints of the file say. There is no kube-proxy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from ipaddress import IPv4Address
from typing import Any

from calico_mn.policy import HostEndpoint, Policy, Profile, Service, ServicePort
from calico_mn.text import join
from calico_mn.topology import address_readers as a
from calico_mn.topology import policy_kinds as k
from calico_mn.topology import policy_readers as p
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.calico_kinds import API
from calico_mn.topology.kubernetes_kinds import CORE, NAMESPACE, in_default
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
    {**s.NAMED, **s.LABELS}, spec={
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


# --- Services and their endpoints

DISCOVERY = "discovery.k8s.io/v1"
_REST: s.Table = {s.REST: s.Special.BOOKKEEPING}
_META = {**s.META, **NAMESPACE}


def _ports(target: s.Table) -> s.List[Any]:
    return s.List({"protocol": s.Field(p.protocol, "protocol"),
                   "port": s.Field(r.integer(1, 65535, "a port"), "port"), **target, **_REST},
                  s.Unmodelled, name="listed")


def _check_service(report: Report, item: s.Resource[Service]) -> bool:
    item.values["ports"] = tuple(
        ServicePort(port.get("protocol", "tcp"), port.get("target", port.get("port")))
        for port in item.values.get("listed", ()) if port.get("port"))
    return in_default(report, item)


SERVICE = s.Kind(s.resource_table(_META, spec={
    "selector": s.Field(r.string_map, "selector"),
    "ports": _ports({"targetPort": s.Field(p.target_port, "target")}), **_REST,
}), Service, _check_service, api=CORE, name="Service")
ENDPOINT_SLICE = s.Kind(s.resource_table(
    {**_META, "labels": {"kubernetes.io/service-name": s.Field(r.text, "service"), **_REST}},
    endpoints=s.List({"addresses": s.Field(a.ipv4_addresses, "addresses"), **_REST},
                     s.Unmodelled, name="endpoints"),
    ports=_ports({}), addressType=s.Special.BOOKKEEPING,
), s.Unmodelled, in_default, api=DISCOVERY, name="EndpointSlice")
_ADDRESSES = {"ip": s.Field(a.address_or_none, "ip"), **_REST}
ENDPOINTS = s.Kind(s.resource_table(_META, subsets=s.List({
    "addresses": s.List(_ADDRESSES, s.Unmodelled, name="ready"),
    "ports": _ports({}), **_REST,
}, s.Unmodelled, name="subsets")), s.Unmodelled, in_default, api=CORE, name="Endpoints")
_SERVICES: tuple[s.Kind[Any], ...] = (SERVICE, ENDPOINT_SLICE, ENDPOINTS)
KINDS: tuple[s.Kind[Any], ...] = (
    HOST_ENDPOINT, PROFILE, TIER, STAGED_NETWORK_POLICY, STAGED_GLOBAL_NETWORK_POLICY,
    STAGED_KUBERNETES_POLICY, *_SERVICES)

_Listed = list[tuple[IPv4Address, tuple[tuple[str, int], ...]]]


def read_services(report: Report, resources: s.Resources, policies: Iterable[Policy]
                  ) -> tuple[Service, ...]:
    """The Services of the files, each with its endpoints; of those that no rule names, a warning.
    """
    named = {(entity.service_namespace or policy.namespace, entity.service)
             for policy in policies for rule in (*policy.ingress, *policy.egress)
             for entity in (rule.source, rule.destination) if entity.service}
    if any((item.get("namespace"), item.get("service" if kind is ENDPOINT_SLICE else "name"))
           not in named for kind in _SERVICES for item in resources.of(kind)):
        report.warn("Services have no addresses here: pods reach each other by their own, and"
                    " routes, modes and policies are the same without Services.")
    services = {(item.model.namespace, item.model.name): item.model
                for item in resources.of(SERVICE) if item.has("name")}
    listed: dict[tuple[str, str], _Listed] = {}
    for item in resources.of(ENDPOINT_SLICE):
        addresses = [address for endpoint in item.values.get("endpoints", ())
                     for address in endpoint.get("addresses", ())]
        _add(listed.setdefault((item.get("namespace"), item.get("service", "")), []),
             addresses, item)
    for item in resources.of(ENDPOINTS):
        # Its EndpointSlices say the same, and Calico reads those.
        key = item.get("namespace"), item.get("name", "")
        if key not in listed:
            mirrored: _Listed = []
            for subset in item.values.get("subsets", ()):
                _add(mirrored, [entry.get("ip") for entry in subset.values.get("ready", ())
                                if entry.get("ip")], subset)
            listed[key] = mirrored
    made = [Service(item.name, item.namespace, item.selector, item.ports,
                    () if item.selector else tuple(listed.get(key, ())))
            for key, item in services.items()]
    return (*made, *(Service(name, namespace, addresses=tuple(addresses))
                     for (namespace, name), addresses in listed.items()
                     if name and (namespace, name) not in services))


def _add(listed: _Listed, addresses: list[IPv4Address], item: s.Resource[Any]) -> None:
    ports = tuple((port.get("protocol", "tcp"), port.get("port"))
                  for port in item.values.get("listed", ()) if port.get("port"))
    listed += ((address, ports) for address in addresses)
