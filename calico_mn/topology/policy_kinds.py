"""The kinds that say who may talk to whom: policies, sets of networks, and owners of labels.

Field names are those of ``api/pkg/apis/projectcalico/v3`` and of ``k8s.io/api/networking/v1``. A
policy of Kubernetes becomes one of Calico here, as libcalico-go ``lib/backend/k8s/conversion``
makes it. The rules inside one rule follow libcalico-go ``lib/validator/v3/validator.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from calico_mn.policy import Action, EntityRule, Icmp, Labelled, NetworkSet, Policy, Rule
from calico_mn.topology import address_readers as a
from calico_mn.topology import policy_readers as p
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.calico_kinds import API
from calico_mn.topology.kubernetes_kinds import CORE, NAMESPACE, NAMESPACE_KIND, in_default
from calico_mn.topology.problems import Report

NETWORKING = "networking.k8s.io/v1"
_WITH_PORTS = ("tcp", "udp", "sctp", "udplite", "6", "17", "132", "136")
_KUBERNETES_ORDER = 1000.0  # conversion.go, K8sNetworkPolicyToCalico


# --- projectcalico.org/v3

_ENTITY = {"nets": a.ipv4_networks, "notNets": a.ipv4_networks, "selector": p.selector,
           "notSelector": p.selector, "namespaceSelector": p.namespace_selector,
           "ports": p.ports, "notPorts": p.ports}
_ATTRIBUTES = {"notNets": "not_nets", "notSelector": "not_selector", "notPorts": "not_ports",
               "namespaceSelector": "namespace_selector"}


def _entity_table(end: str) -> s.Table:
    return {**{name: s.Field(read, f"{end}.{_ATTRIBUTES.get(name, name)}")
               for name, read in _ENTITY.items()},
            "serviceAccounts": {"names": s.Field(p.names, f"{end}.service_account_names"),
                                "selector": s.Field(r.selector, f"{end}.service_account_selector")},
            "services": {"name": s.Field(r.label, f"{end}.service"),
                         "namespace": s.Field(r.label, f"{end}.service_namespace")},
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
        if f"{end}.services" in rule.given:
            _check_services(report, rule, end, given)
    for name in ("icmp", "not_icmp"):
        if rule.has(f"{name}.type"):
            rule.values[name] = Icmp(rule.get(f"{name}.type"), rule.get(f"{name}.code"))
            if protocol not in ("icmp", "1", "icmpv6", "58") and "protocol" not in rule.wrong:
                report.add("a rule with an ICMP type needs protocol ICMP", rule.at(f"{name}.type"),
                           "add protocol: ICMP beside action:")
        elif rule.has(f"{name}.code"):
            report.add("an ICMP code needs a type", rule.at(f"{name}.code"), "add type:")
    if "http" in rule.given:
        report.warn("http in a rule has no effect: requests are not looked into (that takes "
                    "Calico's Dikastes), and the rule is as without.")
        if rule.get("action", Action.ALLOW) is not Action.ALLOW:
            report.add("http is for rules with action Allow", rule.given["http"] or rule.mark,
                       "leave http: out")
    return bool(rule.get("ip_version") != "6")


# What cannot stand beside services, by the attributes of EntityRule.
_NOT_BESIDE = ("nets", "not_nets", "selector", "not_selector", "namespace_selector",
               "service_account_names", "service_account_selector")


def _check_services(report: Report, rule: s.Resource[Rule], end: str, given: Mapping[str, Any]
                    ) -> None:
    mark = rule.given[f"{end}.services"] or rule.mark
    if f"{end}.services.name" not in rule.given:
        report.add("services needs the name of a Service", mark, "add name: kube-dns")
    for name in (*_NOT_BESIDE, *(("ports", "not_ports") if end == "destination" else ())):
        if given.get(name):
            report.add("services stands alone: it says which addresses and, of a destination, "
                       "which ports", rule.at(f"{end}.{name}"), "make two rules of it")


_PATHS = s.List({"exact": s.Field(r.text, "exact"), "prefix": s.Field(r.text, "prefix")},
                s.Unmodelled, name="paths")


def rules(direction: str) -> s.List[Rule]:
    """The schema of a list of rules, of ``ingress`` or ``egress``."""
    # A Service is the other end of a connection.
    near = "destination" if direction == "ingress" else "source"

    def check(report: Report, rule: s.Resource[Rule]) -> bool:
        if f"{near}.services" in rule.given:
            report.add(f"services cannot be the {near} of an {direction} rule",
                       rule.given[f"{near}.services"] or rule.mark,
                       "it is for the source of ingress rules and the destination of egress rules")
        if direction == "egress" and "http" in rule.given:
            report.add("http is for ingress rules", rule.given["http"] or rule.mark,
                       "leave http: out")
        return _check_rule(report, rule)

    return s.List({
        "action": s.Field(p.action, "action", "add action: Allow, Deny, Log or Pass"),
        "protocol": s.Field(p.protocol, "protocol"),
        "notProtocol": s.Field(p.protocol, "not_protocol"),
        "ipVersion": s.Field(r.one_of("4", "6"), "ip_version"),
        "icmp": _icmp_table("icmp"), "notICMP": _icmp_table("not_icmp"),
        "source": _entity_table("source"), "destination": _entity_table("destination"),
        "http": {"methods": s.Field(p.methods, "methods"), "paths": _PATHS},
        "metadata": s.Special.BOOKKEEPING,
    }, Rule, check, name=direction)


def _check_calico(name: str) -> Callable[[Report, s.Resource[Policy]], bool]:
    def check(report: Report, policy: s.Resource[Policy]) -> bool:
        values = policy.values
        values["kind"] = name
        tier = policy.get("tier", "default")
        if policy.has("name"):
            called = policy.get("name")
            values["storage_name"] = called if called.startswith(f"{tier}.") else f"{tier}.{called}"
        if name == "NetworkPolicy":
            in_default(report, policy)
        else:
            check_global(report, policy)
        # Without types the rules tell them (clientv3 defaultPolicyTypesField).
        if not policy.get("types"):
            egress = "egress" in policy.values
            values["types"] = (("Ingress",) if "ingress" in policy.values or not egress else ()
                               ) + (("Egress",) if egress else ())
        if tier != "default":
            report.warn(f"{name} {policy.get('name', '')} has no effect: Calico v3.25 has the tier "
                        f"default alone, and the policy is in tier {tier}.")
        return bool(tier == "default")

    return check


def check_global(report: Report, policy: s.Resource[Any]) -> bool:
    """The rules of a GlobalNetworkPolicy (``validateGlobalNetworkPolicy``)."""
    track, dnat = policy.get("is_untracked", False), policy.get("is_pre_dnat", False)
    if track and dnat:
        report.add("doNotTrack and preDNAT cannot both be true", policy.at("is_pre_dnat"),
                   "make two policies of it")
    if dnat and "egress" in policy.values:
        report.add("a policy with preDNAT cannot have egress rules", policy.at("egress"),
                   "leave them out: it is asked about packets that come in")
    if dnat and "Egress" in policy.get("types", ()):
        report.add("a policy with preDNAT cannot have the type Egress", policy.at("types"),
                   "write types: [Ingress]")
    if (track or dnat) and not policy.get("applies_on_forward", False):
        attribute = "is_untracked" if track else "is_pre_dnat"
        report.add(f"{'doNotTrack' if track else 'preDNAT'} needs applyOnForward: true",
                   policy.at(attribute), "add applyOnForward: true beside it")
    for direction, end in (("ingress", "source"), ("egress", "destination")):
        for rule in policy.values.get(direction, ()):
            if rule.has(f"{end}.service") and not rule.has(f"{end}.service_namespace"):
                report.add("services of a GlobalNetworkPolicy needs the namespace of the Service",
                           rule.at(f"{end}.service"), "add namespace: beside name:")
    return True


POLICY_SPEC: s.Table = {
    "order": s.Field(p.order, "order"),
    "selector": s.Field(p.selector, "selector"),
    "serviceAccountSelector": s.Field(p.selector, "service_account_selector"),
    "types": s.Field(p.types, "types"),
    "ingress": rules("ingress"), "egress": rules("egress"),
    "tier": s.Field(r.subdomain, "tier"),
    "performanceHints": s.Special.BOOKKEEPING,
}
GLOBAL_POLICY_SPEC: s.Table = {
    **POLICY_SPEC,
    "namespaceSelector": s.Field(p.selector, "namespace_selector"),
    "doNotTrack": s.Field(r.boolean, "is_untracked"),
    "preDNAT": s.Field(r.boolean, "is_pre_dnat"),
    "applyOnForward": s.Field(r.boolean, "applies_on_forward"),
}
NETWORK_POLICY = s.Kind(s.resource_table({**s.NAMED, **NAMESPACE}, spec=POLICY_SPEC), Policy,
                        _check_calico("NetworkPolicy"), api=API, name="NetworkPolicy")
GLOBAL_NETWORK_POLICY = s.Kind(s.resource_table(s.NAMED, spec=GLOBAL_POLICY_SPEC), Policy,
                               _check_calico("GlobalNetworkPolicy"), api=API,
                               name="GlobalNetworkPolicy")

_NETS: s.Table = {
    "nets": s.Field(a.ipv4_networks, "nets"),
    "allowedEgressDomains": s.Ignored(says="Calico Enterprise alone has domain names, so the set "
                                           "is its nets")}
NETWORK_SET = s.Kind(s.resource_table({**s.NAMED, **NAMESPACE, **s.LABELS}, spec=_NETS),
                     NetworkSet, in_default, api=API, name="NetworkSet")
GLOBAL_NETWORK_SET = s.Kind(s.resource_table({**s.NAMED, **s.LABELS}, spec=_NETS), NetworkSet,
                            api=API, name="GlobalNetworkSet")

SERVICE_ACCOUNT = s.Kind(
    s.resource_table({**s.NAMED, **NAMESPACE, **s.LABELS},
                     **s.bookkeeping("secrets imagePullSecrets automountServiceAccountToken")),
    Labelled, in_default, api=CORE, name="ServiceAccount")


# --- networking.k8s.io/v1

_PEERS: s.Table = {
    "podSelector": s.Field(p.label_selector, "pods"),
    "namespaceSelector": s.Field(p.label_selector, "namespaces"),
    "ipBlock": {"cidr": s.Field(a.network, "cidr"),
                "except": s.Field(a.ipv4_networks, "without")},
}
_PORTS = s.List({
    "protocol": s.Field(p.pod_protocol, "protocol"),
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
    in_default(report, policy)
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


KUBERNETES_SPEC: s.Table = {
    "podSelector": s.Field(p.label_selector, "pods"),
    "policyTypes": s.Field(p.types, "types"),
    "ingress": _kubernetes_rules("ingress", "from"),
    "egress": _kubernetes_rules("egress", "to"),
}
KUBERNETES_POLICY = s.Kind(s.resource_table({**s.NAMED, **NAMESPACE}, spec=KUBERNETES_SPEC),
                           Policy, _check_kubernetes, api=NETWORKING, name="NetworkPolicy")

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
