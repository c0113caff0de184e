"""The kinds that say who may talk to whom: policies, sets of networks, and owners of labels.

Field names are those of ``api/pkg/apis/projectcalico/v3`` and of ``k8s.io/api/networking/v1``. A
policy of Kubernetes becomes one of Calico here, as libcalico-go ``lib/backend/k8s/conversion``
makes it. The rules inside one rule follow libcalico-go ``lib/validator/v3/validator.go``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from calico_mn.policy import EntityRule, Icmp, Labelled, NetworkSet, Policy, Rule
from calico_mn.topology import address_readers as a
from calico_mn.topology import policy_readers as p
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.calico_kinds import API
from calico_mn.topology.kubernetes_kinds import CORE, NAMESPACE, NAMESPACE_KIND
from calico_mn.topology.problems import Report

NETWORKING = "networking.k8s.io/v1"
_LABELS: s.Table = {"labels": s.Field(r.string_map, "labels")}
_WITH_PORTS = ("tcp", "udp", "sctp", "udplite", "6", "17", "132", "136")
_KUBERNETES_ORDER = 1000.0  # conversion.go, K8sNetworkPolicyToCalico


# --- projectcalico.org/v3

_ENTITY = {"nets": a.ipv4_networks, "notNets": a.ipv4_networks, "selector": r.selector,
           "notSelector": r.selector, "namespaceSelector": r.selector,
           "ports": p.ports, "notPorts": p.ports}
_ATTRIBUTES = {"notNets": "not_nets", "notSelector": "not_selector", "notPorts": "not_ports",
               "namespaceSelector": "namespace_selector"}


def _entity_table(end: str) -> s.Table:
    return {**{name: s.Field(read, f"{end}.{_ATTRIBUTES.get(name, name)}")
               for name, read in _ENTITY.items()},
            "serviceAccounts": {"names": s.Field(p.names, f"{end}.service_account_names"),
                                "selector": s.Field(r.selector, f"{end}.service_account_selector")},
            "services": s.Ignored(says="Services are not emulated yet, so the rule is as without"),
            "domains": s.Ignored(says="Calico Enterprise alone has domain names, so the rule is as "
                                      "without")}


def _icmp_table(name: str) -> s.Table:
    byte = r.integer(0, 255, "it is one byte of the ICMP header")
    return {"type": s.Field(byte, f"{name}.type"), "code": s.Field(byte, f"{name}.code")}


def _check_rule(report: Report, rule: s.Resource[Rule]) -> bool:
    protocol = rule.get("protocol", "")
    for end in ("source", "destination"):
        prefix = f"{end}."
        given = {name[len(prefix):]: value for name, value in rule.values.items()
                 if name.startswith(prefix)}
        rule.values[end] = EntityRule(**given)
        for ports in ("ports", "not_ports"):
            if given.get(ports) and protocol not in _WITH_PORTS and "protocol" not in rule.wrong:
                report.add("a rule with ports needs protocol TCP, UDP, SCTP or UDPLite",
                           rule.at(prefix + ports), "add protocol: TCP beside action:")
    for name in ("icmp", "not_icmp"):
        if rule.has(f"{name}.type"):
            rule.values[name] = Icmp(rule.get(f"{name}.type"), rule.get(f"{name}.code"))
            if protocol not in ("icmp", "1", "icmpv6", "58") and "protocol" not in rule.wrong:
                report.add("a rule with an ICMP type needs protocol ICMP", rule.at(f"{name}.type"),
                           "add protocol: ICMP beside action:")
        elif rule.has(f"{name}.code"):
            report.add("an ICMP code needs a type", rule.at(f"{name}.code"), "add type:")
    return bool(rule.get("ip_version") != "6")


def _rules(direction: str) -> s.List[Rule]:
    return s.List({
        "action": s.Field(p.action, "action", "add action: Allow, Deny, Log or Pass"),
        "protocol": s.Field(p.protocol, "protocol"),
        "notProtocol": s.Field(p.protocol, "not_protocol"),
        "ipVersion": s.Field(r.one_of("4", "6"), "ip_version"),
        "icmp": _icmp_table("icmp"), "notICMP": _icmp_table("not_icmp"),
        "source": _entity_table("source"), "destination": _entity_table("destination"),
        "http": s.Ignored(says="requests are not looked into; the rule is as without"),
        "metadata": s.Special.BOOKKEEPING,
    }, Rule, _check_rule, name=direction)


def _check_calico(name: str) -> Callable[[Report, s.Resource[Policy]], bool]:
    def check(report: Report, policy: s.Resource[Policy]) -> bool:
        values = policy.values
        values["kind"] = name
        tier = policy.get("tier", "default")
        if policy.has("name"):
            called = policy.get("name")
            values["storage_name"] = called if called.startswith(f"{tier}.") else f"{tier}.{called}"
        if name == "NetworkPolicy":
            values.setdefault("namespace", "default")
        # Without types the rules tell them (clientv3 defaultPolicyTypesField).
        if not policy.get("types"):
            egress = "egress" in policy.values
            values["types"] = (("Ingress",) if "ingress" in policy.values or not egress else ()
                               ) + (("Egress",) if egress else ())
        return True

    return check


_POLICY_SPEC: s.Table = {
    "order": s.Field(p.order, "order"),
    "selector": s.Field(r.selector, "selector"),
    "serviceAccountSelector": s.Field(r.selector, "service_account_selector"),
    "types": s.Field(p.types, "types"),
    "ingress": _rules("ingress"), "egress": _rules("egress"),
    "tier": s.Field(p.only_default_tier, "tier"),
    "performanceHints": s.Special.BOOKKEEPING,
}
NETWORK_POLICY = s.Kind(s.resource_table({**s.NAMED, **NAMESPACE}, spec=_POLICY_SPEC), Policy,
                        _check_calico("NetworkPolicy"), api=API, name="NetworkPolicy")
GLOBAL_NETWORK_POLICY = s.Kind(s.resource_table(s.NAMED, spec={
    **_POLICY_SPEC,
    "namespaceSelector": s.Field(r.selector, "namespace_selector"),
    "doNotTrack": s.Field(r.boolean, "is_untracked"),
    "preDNAT": s.Field(r.boolean, "is_pre_dnat"),
    "applyOnForward": s.Special.BOOKKEEPING,
}), Policy, _check_calico("GlobalNetworkPolicy"), api=API, name="GlobalNetworkPolicy")

_NETS: s.Table = {
    "nets": s.Field(a.ipv4_networks, "nets"),
    "allowedEgressDomains": s.Ignored(says="Calico Enterprise alone has domain names, so the set "
                                           "is its nets")}
NETWORK_SET = s.Kind(s.resource_table({**s.NAMED, **NAMESPACE, **_LABELS}, spec=_NETS),
                     NetworkSet, lambda _, item: bool(
        item.values.setdefault("namespace", "default")), api=API, name="NetworkSet")
GLOBAL_NETWORK_SET = s.Kind(s.resource_table({**s.NAMED, **_LABELS}, spec=_NETS), NetworkSet,
                            api=API, name="GlobalNetworkSet")

SERVICE_ACCOUNT = s.Kind(
    s.resource_table({**s.NAMED, **NAMESPACE, **_LABELS},
                     **s.bookkeeping("secrets imagePullSecrets automountServiceAccountToken")),
    Labelled, lambda _, item: bool(item.values.setdefault("namespace", "default")),
    api=CORE, name="ServiceAccount")


# --- networking.k8s.io/v1

_PEERS: s.Table = {
    "podSelector": s.Field(p.label_selector, "pods"),
    "namespaceSelector": s.Field(p.label_selector, "namespaces"),
    "ipBlock": {"cidr": s.Field(a.network, "cidr"),
                "except": s.Field(a.ipv4_networks, "without")},
}
_PORTS = s.List({
    "protocol": s.Field(p.protocol, "protocol"),
    "port": s.Field(p.port, "port"),
    "endPort": s.Field(r.integer(1, 65535, "the last port of a range"), "last"),
}, s.Unmodelled, name="ports")


def _check_peer(report: Report, peer: s.Resource[Any]) -> bool:
    if peer.has("cidr") and (peer.has("pods") or peer.has("namespaces")):
        report.add("ipBlock cannot stand beside podSelector or namespaceSelector",
                   peer.at("cidr"), "make two entries of the list of it")
    if "ipBlock" in peer.given and "ipBlock.cidr" not in peer.given:
        report.add("ipBlock needs cidr", peer.mark, "add the range: cidr: 10.0.0.0/8")
    return True


def _kubernetes_rules(direction: str, peers: str) -> s.List[Any]:
    table = s.List(_PEERS, s.Unmodelled, _check_peer, name="peers")
    return s.List({peers: table, "ports": _PORTS}, s.Unmodelled, name=direction)


def _check_kubernetes(report: Report, policy: s.Resource[Policy]) -> bool:
    values = policy.values
    values.setdefault("namespace", "default")
    values["kind"], values["order"] = "NetworkPolicy", _KUBERNETES_ORDER
    if policy.has("name"):
        values["storage_name"] = f"knp.default.{policy.get('name')}"
    values["selector"] = p.pod_selector(policy.get("pods", ""))
    types = policy.get("types") or ("Ingress",)
    if not policy.get("types") and "egress" in values:
        types = ("Ingress", "Egress")
    values["types"] = types
    for direction in ("ingress", "egress"):
        rules = values.pop(direction, [])
        values[direction] = tuple(rule for item in rules
                                  for rule in p.kubernetes_rules(report, item, direction))
    return True


KUBERNETES_POLICY = s.Kind(s.resource_table({**s.NAMED, **NAMESPACE}, spec={
    "podSelector": s.Field(p.label_selector, "pods"),
    "policyTypes": s.Field(p.types, "types"),
    "ingress": _kubernetes_rules("ingress", "from"),
    "egress": _kubernetes_rules("egress", "to"),
}), Policy, _check_kubernetes, api=NETWORKING, name="NetworkPolicy")

KINDS = (NETWORK_POLICY, GLOBAL_NETWORK_POLICY, NETWORK_SET, GLOBAL_NETWORK_SET, SERVICE_ACCOUNT,
         KUBERNETES_POLICY)
_POLICIES = (NETWORK_POLICY, GLOBAL_NETWORK_POLICY, KUBERNETES_POLICY)


def read_policies(report: Report, resources: s.Resources) -> dict[str, Any]:
    """The attributes of a Topology that the kinds of this module give; names must differ."""
    first: dict[tuple[str, str], s.Resource[Policy]] = {}
    for policy in resources.of(*_POLICIES):
        earlier = first.setdefault((policy.model.id, policy.model.kind), policy)
        if earlier is not policy and policy.has("name"):
            report.add(f"duplicate {policy.model.kind} {policy.model.id}", policy.at("name"),
                       f"{earlier.mark.where} has it already")
    return {attribute: tuple(resource.model for resource in resources.of(*kinds))
            for attribute, kinds in (
                ("policies", _POLICIES), ("network_sets", (NETWORK_SET, GLOBAL_NETWORK_SET)),
                ("namespaces", (NAMESPACE_KIND,)), ("service_accounts", (SERVICE_ACCOUNT,)))}
