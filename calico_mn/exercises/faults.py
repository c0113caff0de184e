"""What exercises break: a function each, which also says how it is undone.

What a function changes by commands in a place is repaired at the end; for all else it adds to
:attr:`.stage.Stage.undo`.
"""

from __future__ import annotations

from collections.abc import Callable

from calico_mn.exercises.stage import Stage
from calico_mn.packetmatch import PROTOCOL_TCP, Drop


def typed(place: str, command: str) -> Callable[[Stage], None]:
    """A fault that a command in a place makes."""
    return lambda at: at.type(place, command)


def no_proxy_arp(at: Stage) -> None:
    """The gateway of a pod answers no ARP, and the pod has to ask again."""
    at.type("{node}", "sysctl -qw net.ipv4.conf.{cali}.proxy_arp=0")
    at.type(at.pod.key, "ip neigh flush dev eth0")


def small_tunnel(at: Stage) -> None:
    """The tunnel device has an MTU that is too small."""
    at.undo.append(at.forget_path_mtus)
    at.type("{node}", "ip link set {tunnel} mtu 1300")


def silent_router(at: Stage) -> None:
    """A path MTU black hole: a small MTU, and no ICMP message about it."""
    at.undo.append(at.forget_path_mtus)
    at.type("{router}", "ip link set {router_device} mtu 1300")
    at.drop("{router}", Drop.FRAGMENTATION_NEEDED)


def large_is_lost(at: Stage) -> bool:
    """Whether a packet of 1,428 bytes with DF gets no answer."""
    return at.is_lost("{pod}", "{peer_ip}", "-M", "do", "-s", "1400")


def deaf_speaker(at: Stage) -> None:
    """A speaker dies, and afterwards a pod comes with a block that is new."""
    net, node, key = at.net, at.names["node"], "default/newcomer"
    pool = next(pool for pool in net.topology.pools if at.peer.address in pool.cidr)
    claimed = {affinity.cidr for affinity in net.cluster.ipam.affinities()}
    block = next(block for block in pool.cidr.subnets(new_prefix=pool.block_size)
                 if not any(block.overlaps(other) for other in claimed))
    net.kill_speaker(node)
    at.undo.append(lambda: net.restart_speaker(node))
    at.names["newcomer_ip"] = str(block[1])
    net.add_pod(name="newcomer", node=at.peer.node, ip=at.names["newcomer_ip"])

    def leave() -> None:
        if key in net.cluster.endpoints:
            net.delete_pod(key)
        for document in net.resources("BlockAffinity"):
            if document["spec"]["cidr"] == str(block):
                net.delete("BlockAffinity", document["metadata"]["name"])

    at.undo.append(leave)


def no_bgp(at: Stage) -> None:
    """A node drops TCP to the port of BGP."""
    at.drop("{node}", Drop(PROTOCOL_TCP, port=at.net.topology.bgp.listen_port))


def two_views(at: Stage) -> None:
    """One node sends to its rack without a tunnel, and the other one is strict about it."""
    node = at.names["node"]
    before = {pool.name: at.net.cluster.mode(node, pool).mode for pool in at.net.topology.pools}

    def one_view() -> None:
        for pool, mode in before.items():
            at.net.set_mode(mode, node, pool=pool)

    at.undo.append(one_view)
    at.net.set_mode("CrossSubnet", node)
    at.type("{peer_node}", "sysctl -qw net.ipv4.conf.eth0.rp_filter=1")


def denied(at: Stage) -> None:
    """A policy denies what one pod sends to a namespace."""
    at.net.apply({
        "apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
        "metadata": {"name": "tidy", "namespace": at.names["namespace"]},
        "spec": {"selector": "all()", "types": ["Ingress"], "ingress": [
            {"action": "Deny", "source": {"nets": [f"{at.pod.address}/32"]}},
            {"action": "Allow"}]}})
    at.undo.append(lambda: _delete_policy(at))


def _delete_policy(at: Stage) -> None:
    if at.net.resources("networkpolicy", "tidy", at.names["namespace"]):
        at.net.delete("networkpolicy", "tidy", at.names["namespace"])


def no_nat(at: Stage) -> None:
    """The pools have natOutgoing false."""
    pools = [document for document in at.net.resources("IPPool")
             if document["spec"].get("natOutgoing")]
    at.undo.append(lambda: at.net.apply(pools))
    at.net.apply([{**document, "spec": {**document["spec"], "natOutgoing": False}}
                  for document in pools])


def pulled(at: Stage) -> None:
    """A node's link is down."""
    end = f"{at.names['node']}:eth0"
    at.undo.append(lambda: at.net.set_link(end, up=True))
    at.net.set_link(end, up=False)


def wrong_mac(at: Stage) -> None:
    """A permanent neighbour entry has a wrong MAC address for the gateway."""
    at.type("{node}", "ip neigh replace {gateway} lladdr 02:00:00:00:00:66 dev eth0 nud permanent")
    at.undo.append(lambda: at.succeeds("{node}", "ip neigh del {gateway} dev eth0"))
