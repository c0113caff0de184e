"""BGP's resources: BGPConfiguration ``default``, BGPPeers and BGPFilters, and whether BIRD runs.

In go the resources of a file and calico-node's variables; out come the fields of a
:class:`~calico_mn.model.Topology` that say who peers with whom, and what is announced. The rules
of one resource follow libcalico-go ``lib/validator/v3/validator.go`` (``validateBGPPeerSpec``) and
the CEL rules in ``api/pkg/apis/projectcalico/v3`` (``bgppeer.go``, ``bgpfilter.go``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from ipaddress import IPv4Address
from typing import Any

from calico_mn import bgp_resources
from calico_mn.model import EncapsulationMode
from calico_mn.profile import PROGRAM_CLUSTER_ROUTES
from calico_mn.text import join, quote
from calico_mn.topology import address_readers as a
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.calico_kinds import API, IP_POOL
from calico_mn.topology.calico_node import BACKEND
from calico_mn.topology.default_pool import INSTALLATION
from calico_mn.topology.kubernetes_kinds import as_number
from calico_mn.topology.plain_data import Document, table_fields
from calico_mn.topology.problems import Report
from calico_mn.topology.yaml_tree import Scalar, Tree

_PORT = r.integer(1, 65535, "BGP's own is 179")
_DEVICE = re.compile("[a-zA-Z0-9_.*-]{1,15}")
# Conditions of a rule that need what routes here do not carry.
_NOT_MODELLED = ("asPathPrefix", "communities", "priority")


_EQUALITY = {"Equal": "no route", "NotEqual": "every route"}
# What a field means that has no effect here.
_NO_COMMUNITIES = "routes carry no communities"
_NO_IPV6 = "IPv6 is not emulated yet"
_NO_PASSWORD = ("sessions have none; in a real cluster one comes up only if both ends have the same"
                " password")
_NO_SERVICES = "addresses of Services are not announced"


def _peer_ip(tree: Tree) -> tuple[IPv4Address, int] | None:
    """A peer's address, with a port as in 192.168.57.1:1790 or without; None for IPv6."""
    word = r.text(tree)
    host, colon, port = word.partition(":")
    if word.startswith("[") or ":" in port:
        return None
    if colon and not (re.fullmatch("[1-9][0-9]{0,4}", port) and int(port) <= 65535):
        raise r.InvalidValueError(f"{quote(word)} has no valid port",
                                  "write it as 192.168.57.1:1790, or without a port")
    return a.address(Scalar(host, False, tree.mark)), int(port or 0)


def _device(tree: Tree) -> str:
    """The name of a device, or a pattern of names with ``*`` (ignoredInterfaceRegex)."""
    word = r.text(tree)
    if _DEVICE.fullmatch(word):
        return word
    raise r.InvalidValueError(f"{quote(word)} is not a device or a pattern of devices",
                              "it has letters, digits, '_', '.', '-' and '*', 15 at most")


def _check_peer(report: Report, peer: s.Resource[bgp_resources.BGPPeer]) -> bool:
    for name, other in (("node", "node_selector"), ("peer_ip", "peer_selector"),
                        ("as_number", "peer_selector")):
        if peer.has(name, other):
            report.add(f"{peer.labels[name]} must be empty when {peer.labels[other]} is given",
                       peer.at(name), "keep one of the two")
    if peer.get("keeps_next_hop") and peer.has("next_hop_mode"):
        report.add(f"{peer.labels['keeps_next_hop']} and {peer.labels['next_hop_mode']} cannot both"
                   " be set", peer.at("keeps_next_hop"), "keep nextHopMode: it is the newer one")
    if peer.has("reachable_by") and "spec.peerIP" not in peer.given:
        report.add(f"{peer.labels['reachable_by']} must be empty when spec.peerIP is",
                   peer.at("reachable_by"), "add peerIP: it is the way to that address")
    if not peer.has("peer_ip") and not peer.has("peer_selector"):
        if not peer.wrong:
            why = ("the peerIP is one of IPv6, which is not emulated yet" if "spec.peerIP"
                   in peer.given else "it has no peerIP and no peerSelector")
            report.warn(f"BGPPeer {peer.get('name')} peers with nothing: {why}.")
        return False
    if peer.has("reachable_by"):
        report.warn(f"{peer.labels['reachable_by']} has no effect: a node's own routes lead to the "
                    "peer.")
    if peer.has("peer_ip"):
        address, port = peer.get("peer_ip")
        peer.values |= {"peer_ip": address, "peer_port": port}
    options = {item.name: peer.values[item.name] for item in fields(bgp_resources.SessionOptions)
               if item.name in peer.values}
    peer.values["options"] = bgp_resources.SessionOptions(**options)
    return True


def _check_rule(report: Report, rule: s.Resource[bgp_resources.BGPFilterRule]) -> bool:
    cidr, operator = "cidr" in rule.given, "matchOperator" in rule.given
    if cidr is not operator:
        report.add("cidr and matchOperator go together", rule.at("cidr", "operator"),
                   "add matchOperator: In" if cidr else "add cidr: 10.22.0.0/16")
    if "prefixLength" in rule.given and not cidr:
        report.add("prefixLength needs a cidr", rule.given["prefixLength"] or rule.mark,
                   "add cidr: and matchOperator:")
    network, least, greatest = rule.get("cidr"), rule.get("min", 0), rule.get("max", 32)
    if network and "prefixLength" in rule.given:
        least = max(least, network.prefixlen)
        if least > greatest and not rule.wrong:
            report.add(f"no prefix in {network} has a length from {least} to {greatest}",
                       rule.at("min", "max"),
                       "Calico takes it, and BIRD then refuses its whole configuration")
        rule.values["lengths"] = least, greatest
        name = rule.get("operator")
        if name in _EQUALITY:
            report.warn(f"A rule of a BGPFilter in {rule.mark.where} fits {_EQUALITY[name]}: "
                        f"matchOperator {name} compares with one prefix, and prefixLength makes "
                        "many of it. In and NotIn go with prefixLength.")
    left_out = [name for name in _NOT_MODELLED if name in rule.given]
    if left_out:
        report.warn(f"A rule of a BGPFilter in {rule.mark.where} is left out: its "
                    f"{join(left_out)} cannot be compared here.")
    return not left_out


_LENGTH = r.integer(0, 32, "it is the length of an IPv4 prefix")


# From libcalico-go validator.go and bgpfilter.go's CEL.
_RULE: s.Table = {
    "action": s.choice("accepts", "Accept", "Reject", missing="add action: Accept or Reject"),
    "matchOperator": s.Field(r.one_of("Equal", "NotEqual", "In", "NotIn"), "operator"),
    "cidr": s.Field(a.ipv4_network, "cidr"),
    "prefixLength": {"min": s.Field(_LENGTH, "min"), "max": s.Field(_LENGTH, "max")},
    "source": s.choice("is_remote", "RemotePeers"),
    "interface": s.Field(_device, "interface"),
    "peerType": s.Field(r.one_of("eBGP", "iBGP"), "peer_type"),
    "operations": s.Ignored(says="a route that passes stays as it is"),
    **{name: s.Field(lambda _: True, name) for name in _NOT_MODELLED},
}


def _in_seconds(value: int) -> str:
    return f"{value}s"


_CONFIGURATION: s.Table = {
    "nodeToNodeMeshEnabled": s.Field(r.boolean, "mesh"),
    "asNumber": s.Field(as_number, "as_number"),
    "listenPort": s.Field(_PORT, "listen_port"),
    "programClusterRoutes": s.Field(r.one_of(*PROGRAM_CLUSTER_ROUTES), "program_cluster_routes"),
    "nodeMeshMaxRestartTime": s.Field(r.seconds, "restart_time", write=_in_seconds),
    "ignoredInterfaces": s.Field(r.list_of(_device, "[eth1, docker0]"), "ignored_interfaces"),
    "bindMode": s.Ignored(("None",), "BIRD listens on all addresses of its node"),
    "nodeMeshPassword": s.Ignored(says=_NO_PASSWORD),
    "communities": s.Ignored(says=_NO_COMMUNITIES),
    "prefixAdvertisements": s.Ignored(says=_NO_COMMUNITIES),
    **dict.fromkeys(("serviceClusterIPs", "serviceExternalIPs", "serviceLoadBalancerIPs"),
                    s.Ignored(says=_NO_SERVICES)),
    **s.bookkeeping("logSeverityScreen serviceLoadBalancerAggregation"),
    s.REST: s.Ignored(),
}
BGP_CONFIGURATION = s.Kind(
    s.resource_table(s.META, spec=_CONFIGURATION), bgp_resources.BGPConfiguration, api=API,
    name="BGPConfiguration", topology="bgp", single="keep one of them", only="default")

_PEER: s.Table = {
    "node": s.Field(r.subdomain, "node"),
    "nodeSelector": s.Field(r.selector, "node_selector"),
    "peerIP": s.Field(_peer_ip, "peer_ip"),
    "peerSelector": s.Field(r.selector, "peer_selector"),
    "asNumber": s.Field(as_number, "as_number"),
    "filters": s.Field(r.list_of(r.subdomain, "[my-filter]"), "filters"),
    "maxRestartTime": s.Field(r.seconds, "restart_time", write=_in_seconds),
    "keepaliveTime": s.Field(r.seconds, "keepalive_time", write=_in_seconds),
    "ttlSecurity": s.Field(r.integer(0, 255, "hops to the peer, 0 for none"), "ttl_security"),
    "keepOriginalNextHop": s.Field(r.boolean, "keeps_next_hop"),
    "nextHopMode": s.Field(r.one_of("Auto", "Self", "Keep"), "next_hop_mode"),
    "numAllowedLocalASNumbers": s.Field(r.integer(0, 2**31 - 1, "0 for none"), "allowed_local_as"),
    "reversePeering": s.choice("is_reversed", "Auto", "Manual"),
    "reachableBy": s.Field(a.address, "reachable_by"),
    "sourceAddress": s.Ignored(("UseNodeIP",), "a session starts from its node's address"),
    "localASNumber": s.Ignored(says="a session has its node's AS number"),
    "password": s.Ignored(says=_NO_PASSWORD),
    "localWorkloadSelector": s.Ignored(says="pods do not speak BGP"),
}
BGP_PEER = s.Kind(s.resource_table(s.NAMED, spec=_PEER), bgp_resources.BGPPeer, _check_peer,
                  api=API, name="BGPPeer")

BGP_FILTER = s.Kind(s.resource_table(s.NAMED, spec={
    "exportV4": s.List(_RULE, bgp_resources.BGPFilterRule, _check_rule, name="exports"),
    "importV4": s.List(_RULE, bgp_resources.BGPFilterRule, _check_rule, name="imports"),
    "exportV6": s.Ignored(says=_NO_IPV6),
    "importV6": s.Ignored(says=_NO_IPV6),
}), bgp_resources.BGPFilter, api=API, name="BGPFilter", topology="bgp_filters")

KINDS = (BGP_CONFIGURATION, BGP_PEER, BGP_FILTER)


def read_bgp(report: Report, resources: s.Resources, environment: Mapping[str, Scalar]
             ) -> dict[str, Any]:
    """``mesh`` and ``bgp_peers`` of the topology; without BIRD there is neither."""
    _name_missing_filters(report, resources)
    peers = [peer.model for peer in resources.of(BGP_PEER)]
    installation, bgp = resources.single(INSTALLATION), resources.single(BGP_CONFIGURATION)
    backend = environment[BACKEND].text if BACKEND in environment else ""
    if backend.lower() in ("none", "vxlan"):
        without, peers = f"{BACKEND} {backend} in calico-node's env", []
    elif installation and installation.get("bgp") == "Disabled":
        without, peers = "Installation spec.calicoNetwork.bgp Disabled", []
    elif bgp and not bgp.get("mesh", True):
        without = "BGPConfiguration spec.nodeToNodeMeshEnabled false"
    else:
        return {"mesh": True, "bgp_peers": tuple(peers)}
    if not peers and any(pool.model.vxlan_mode is EncapsulationMode.NEVER
                         for pool in resources.of(IP_POOL)):
        report.warn(f"{without}: nodes announce nothing to each other, so that pods of a pool "
                    "without VXLAN reach none on other nodes.")
    return {"mesh": False, "bgp_peers": tuple(peers)}


def _name_missing_filters(report: Report, resources: s.Resources) -> None:
    """confd asks for each filter by its name, and goes on without those that are not there."""
    known = {item.model.name for item in resources.of(BGP_FILTER)}
    for peer in resources.of(BGP_PEER):
        missing = [name for name in peer.model.options.filters if name not in known]
        if missing:
            report.warn(f"BGPPeer {peer.model.name} names the BGPFilter {join(missing)}, which is"
                        " not there: routes pass as if the name was left out, as in Calico.")


# --- as documents again: the fields that are laid over those of the file

def configuration_fields(bgp: bgp_resources.BGPConfiguration, mesh: bool, document: Document
                         ) -> Document:
    """Of BGPConfiguration ``default``, what the document does not say and is no default."""
    given = document.get("spec") or {}
    spec = {"nodeToNodeMeshEnabled": None if mesh else False,
            **table_fields(_CONFIGURATION, None, bgp)}
    return {"metadata": {"name": "default"}, "spec": {
        name: value for name, value in spec.items() if value is not None and not given.get(name)}}


def peer_fields(model: bgp_resources.BGPPeer, document: Document) -> Document:
    """A BGPPeer; its options as far as they are no defaults."""
    spec = table_fields(_PEER, document.get("spec"), model)
    if model.peer_port:
        spec["peerIP"] = f"{model.peer_ip}:{model.peer_port}"
    return {"metadata": {"name": model.name}, "spec": spec}


def filter_fields(model: bgp_resources.BGPFilter, document: Document) -> Document:
    """A BGPFilter; the file's own rules stay as they are written."""
    if "spec" in document:
        return {}
    return {"metadata": {"name": model.name}, "spec": {
        name: list(map(_rule_fields, rules)) for name, rules in (
            ("exportV4", model.exports), ("importV4", model.imports)) if rules}}


def _rule_fields(rule: bgp_resources.BGPFilterRule) -> Document:
    lengths = dict(zip(("min", "max"), rule.lengths or (), strict=False))
    return {**table_fields(_RULE, None, rule), **({"prefixLength": lengths} if lengths else {})}
