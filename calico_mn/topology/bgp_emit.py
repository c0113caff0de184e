"""BGP's resources as documents again, as :mod:`calico_mn.topology.bgp_kinds` reads them. Pure.

In goes a model object, out come the fields of its document that
:func:`calico_mn.topology.plain_data.laid_over` lays over the one of the file.
"""

from __future__ import annotations

from typing import Any

from calico_mn import bgp_resources
from calico_mn.topology.plain_data import Document


def configuration(bgp: bgp_resources.BGPConfiguration, mesh: bool, document: Document) -> Document:
    """BGPConfiguration ``default``, with what the document does not say and is no default."""
    given = document.get("spec") or {}
    return {"metadata": {"name": "default"}, "spec": {
        name: value for name, value, default in (
            ("nodeToNodeMeshEnabled", mesh, True), ("asNumber", bgp.as_number, 64512),
            ("listenPort", bgp.listen_port, 179),
            ("programClusterRoutes", bgp.program_cluster_routes, ""),
            ("nodeMeshMaxRestartTime", f"{bgp.restart_time}s", "0s"),
            ("ignoredInterfaces", list(bgp.ignored_interfaces), []))
        if value != default and not given.get(name)}}


def peer(model: bgp_resources.BGPPeer) -> Document:
    """A BGPPeer; its options as far as they are no defaults."""
    port, options = f":{model.peer_port}" if model.peer_port else "", model.options
    return {"metadata": {"name": model.name}, "spec": {
        "node": model.node or None, "nodeSelector": model.node_selector or None,
        "peerIP": f"{model.peer_ip}{port}" if model.peer_ip else None,
        "peerSelector": model.peer_selector or None, "asNumber": model.as_number or None,
        **{name: value for name, value, default in (
            ("filters", list(options.filters), []),
            ("maxRestartTime", f"{options.restart_time}s", "0s"),
            ("keepaliveTime", f"{options.keepalive_time}s", "0s"),
            ("ttlSecurity", options.ttl_security, 0),
            ("nextHopMode", options.next_hop_mode, "Auto"),
            ("keepOriginalNextHop", options.keeps_next_hop, False),
            ("numAllowedLocalASNumbers", options.allowed_local_as, 0),
            ("reversePeering", "Auto" if model.is_reversed else "Manual", "Auto"))
            if value != default}}}


def filter_(model: bgp_resources.BGPFilter, document: Document) -> Document:
    """A BGPFilter; the file's own rules stay as they are written."""
    if "spec" in document:
        return {}
    return {"metadata": {"name": model.name}, "spec": {
        name: list(map(_rule, rules)) for name, rules in (
            ("exportV4", model.exports), ("importV4", model.imports)) if rules}}


def _rule(rule: bgp_resources.BGPFilterRule) -> dict[str, Any]:
    return {"action": "Accept" if rule.accepts else "Reject", **{
        name: value for name, value in (
            ("matchOperator", rule.operator), ("cidr", str(rule.cidr or "")),
            ("prefixLength", dict(zip(("min", "max"), rule.lengths or (), strict=False))),
            ("source", "RemotePeers" if rule.is_remote else ""), ("interface", rule.interface),
            ("peerType", rule.peer_type)) if value}}
