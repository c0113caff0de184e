"""BGP's resources: BGPConfiguration ``default`` and BGPPeers, and whether BIRD runs at all.

In go the resources of a file and calico-node's variables; out come the fields of a
:class:`~calico_mn.model.Topology` that say who peers with whom. The rules of one BGPPeer follow
libcalico-go ``lib/validator/v3/validator.go`` (``validateBGPPeerSpec``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

from calico_mn.model import BGPConfiguration, BGPPeer, EncapsulationMode
from calico_mn.text import quote
from calico_mn.topology import address_readers as a
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.calico_kinds import API, IP_POOL
from calico_mn.topology.calico_node import BACKEND
from calico_mn.topology.kubernetes_kinds import as_number
from calico_mn.topology.operator_kinds import INSTALLATION
from calico_mn.topology.problems import Report
from calico_mn.topology.yaml_tree import Scalar, Tree

_PORT = r.integer(1, 65535, "BGP's own is 179")
_NO_FILTERS = "every prefix passes"


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


def _check_peer(report: Report, peer: s.Resource[BGPPeer]) -> bool:
    for name, other in (("node", "node_selector"), ("peer_ip", "peer_selector"),
                        ("as_number", "peer_selector")):
        if peer.has(name, other):
            report.add(f"{peer.labels[name]} must be empty when {peer.labels[other]} is given",
                       peer.at(name), "keep one of the two")
    if not peer.has("peer_ip") and not peer.has("peer_selector"):
        if not peer.wrong and "spec.peerIP" not in peer.given:
            report.warn(f"BGPPeer {peer.get('name')} has no peerIP and no peerSelector: it peers"
                        " with nothing.")
        return False
    if peer.has("peer_ip"):
        address, port = peer.get("peer_ip")
        peer.values |= {"peer_ip": address, "peer_port": port}
    return True


BGP_CONFIGURATION = s.Kind(s.resource_table(s.META, spec={
    "nodeToNodeMeshEnabled": s.Field(r.boolean, "mesh"),
    "asNumber": s.Field(as_number, "as_number"),
    "listenPort": s.Field(_PORT, "listen_port"),
    s.REST: s.Special.BOOKKEEPING,
}), BGPConfiguration, api=API, name="BGPConfiguration", topology="bgp",
    single="keep one of them", only="default")

BGP_PEER = s.Kind(s.resource_table(s.NAMED, spec={
    "node": s.Field(r.subdomain, "node"),
    "nodeSelector": s.Field(r.selector, "node_selector"),
    "peerIP": s.Field(_peer_ip, "peer_ip"),
    "peerSelector": s.Field(r.selector, "peer_selector"),
    "asNumber": s.Field(as_number, "as_number"),
    "filters": s.Ignored(says=_NO_FILTERS),
    "localWorkloadSelector": s.Ignored(says="pods do not speak BGP"),
    **s.ignored("keepOriginalNextHop nextHopMode localASNumber maxRestartTime keepaliveTime "
                "numAllowedLocalASNumbers password reachableBy reversePeering sourceAddress "
                "ttlSecurity"),
}), BGPPeer, _check_peer, api=API, name="BGPPeer")

KINDS = (BGP_CONFIGURATION, BGP_PEER)


def read_bgp(report: Report, resources: s.Resources, environment: Mapping[str, Scalar]
             ) -> dict[str, Any]:
    """``mesh`` and ``bgp_peers`` of the topology; without BIRD there is neither."""
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
