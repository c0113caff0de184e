"""Services and their endpoints, as far as policies name them (``services`` of a rule).

A Service with a selector has the pods that it selects, as Kubernetes' controllers keep its
EndpointSlices; one without has what EndpointSlices or Endpoints of the file say. Nothing else of
them has an effect: there is no kube-proxy.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any

from calico_mn.policy import Policy, Service, ServicePort
from calico_mn.topology import address_readers as a
from calico_mn.topology import policy_readers as p
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.kubernetes_kinds import CORE, NAMESPACE
from calico_mn.topology.problems import Report

DISCOVERY = "discovery.k8s.io/v1"
_REST: s.Table = {s.REST: s.Special.BOOKKEEPING}
_META = {**s.META, **NAMESPACE}


def _ports(target: s.Table) -> s.List[Any]:
    return s.List({"protocol": s.Field(p.protocol, "protocol"),
                   "port": s.Field(r.integer(1, 65535, "a port"), "port"), **target, **_REST},
                  s.Unmodelled, name="listed")


def _check(_report: Report, item: s.Resource[Any]) -> bool:
    item.values.setdefault("namespace", "default")
    return True


def _check_service(report: Report, item: s.Resource[Service]) -> bool:
    item.values["ports"] = tuple(
        ServicePort(port.get("protocol", "tcp"), port.get("target", port.get("port")))
        for port in item.values.get("listed", ()) if port.get("port"))
    return _check(report, item)


SERVICE = s.Kind(s.resource_table(_META, spec={
    "selector": s.Field(r.string_map, "selector"),
    "ports": _ports({"targetPort": s.Field(p.target_port, "target")}), **_REST,
}), Service, _check_service, api=CORE, name="Service")
ENDPOINT_SLICE = s.Kind(s.resource_table(
    {**_META, "labels": {"kubernetes.io/service-name": s.Field(r.text, "service"), **_REST}},
    endpoints=s.List({"addresses": s.Field(a.ipv4_addresses, "addresses"), **_REST},
                     s.Unmodelled, name="endpoints"),
    ports=_ports({}), addressType=s.Special.BOOKKEEPING,
), s.Unmodelled, _check, api=DISCOVERY, name="EndpointSlice")
_ADDRESSES = {"ip": s.Field(a.address_or_none, "ip"), **_REST}
ENDPOINTS = s.Kind(s.resource_table(_META, subsets=s.List({
    "addresses": s.List(_ADDRESSES, s.Unmodelled, name="ready"),
    "ports": _ports({}), **_REST,
}, s.Unmodelled, name="subsets")), s.Unmodelled, _check, api=CORE, name="Endpoints")
KINDS = (SERVICE, ENDPOINT_SLICE, ENDPOINTS)

_Listed = list[tuple[IPv4Address, tuple[tuple[str, int], ...]]]


def read_services(report: Report, resources: s.Resources, policies: Iterable[Policy]
                  ) -> tuple[Service, ...]:
    """The Services of the files, each with its endpoints; of those that no rule names, a warning.
    """
    named = {(entity.service_namespace or policy.namespace, entity.service)
             for policy in policies for rule in (*policy.ingress, *policy.egress)
             for entity in (rule.source, rule.destination) if entity.service}
    kinds: tuple[s.Kind[Any], ...] = KINDS
    if any((item.get("namespace"), item.get("service" if kind is ENDPOINT_SLICE else "name"))
           not in named for kind in kinds for item in resources.of(kind)):
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
