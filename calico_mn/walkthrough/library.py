"""The steps that nobody types into a host: changes of the cluster, and questions about it."""

from __future__ import annotations

from calico_mn.delta import Delta
from calico_mn.emulation.net import CalicoNet
from calico_mn.kernel import iptext
from calico_mn.topology import parse_topology

_NO_POOL = """
apiVersion: calico-mn/v1
kind: Underlay
metadata: {name: one}
spec: {subnets: [{name: hosts, cidr: 192.168.57.0/24}]}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: node31}
spec: {bgp: {ipv4Address: 192.168.57.31/24}}
"""


def _pods(net: CalicoNet, namespace: str) -> str:
    """Name, address and node's address of a namespace's pods."""
    rows = [("NAME", "IP", "NODE")]
    for endpoint in net.cluster.endpoints.values():
        space, _, name = endpoint.key.partition("/")
        if space == namespace:
            rows.append((name, str(endpoint.address),
                         str(net.cluster.nodes[endpoint.node].address.ip)))
    return "\n".join("   ".join(cell.ljust(width) for cell, width in zip(
        row, [max(map(len, column)) for column in zip(*rows, strict=True)], strict=True)).rstrip()
        for row in rows) + "\n"


def _mode(net: CalicoNet, mode: str) -> str:
    """The commands that the change amounted to, node by node."""
    return _told(net.set_ipip_mode(mode))


def _pod_routes(net: CalicoNet, _argument: str) -> str:
    return _told(net.set_pod_routes(True))


def _told(changes: tuple[Delta, ...]) -> str:
    return "".join(f"{change.namespace}: {command}\n" for change in changes
                   for command in iptext.commands(change))


def _default(_net: CalicoNet, value: str) -> str:
    """The mode of the pool that Calico makes when nobody made one."""
    environ = {"CALICO_IPV4POOL_CIDR": "10.22.0.0/16"}
    if value:
        environ["CALICO_IPV4POOL_IPIP"] = value
    pool, = parse_topology(_NO_POOL, environ=environ).pools
    return f"ipipMode: {pool.ipip_mode}\n"


#: name -> what makes the call; it gets the cluster and the step's argument
ACTIONS = {"pods": _pods, "mode": _mode, "pod-routes": _pod_routes, "default": _default}
