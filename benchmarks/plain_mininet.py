"""The same cluster by plain Mininet, as a Mininet user would write it.

Every namespace is a Mininet ``Host`` (bash on a pty), every cable an ``addLink`` (a veth made
directly in both namespaces), every setting one ``cmd()``. What to configure is worked out by
:mod:`calico_mn.calico` beforehand, so only Mininet's own work is timed.

Three things are left out, and each saves plain Mininet work: tunl0 (so the cluster is in mode
Never), settings that a new device or namespace has anyway, and queue lengths.

To be run in a network namespace of its own, which then is Mininet's "root" namespace.
``Mininet.init`` is skipped, because it raises system-wide limits; we raise our own.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from typing import Any

from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.calico.cluster import Cluster
from calico_mn.emulation.mininet import Host, Link, Mininet
from calico_mn.emulation.plan import host_states
from calico_mn.model import Topology
from calico_mn.state import PROTO_KERNEL, Bridge, Namespace, Sysctl, Tunnel, Veth

_LOOSE = 2


def plan(topology: Topology) -> tuple[list[Namespace], list[Namespace]]:
    """What the namespaces should hold: those of the fabric and nodes, and those of the pods."""
    cluster = Cluster(topology, rp_filter=_LOOSE)
    hosts = host_states(cluster, BuiltInEngine())
    return hosts, [cluster.pod_state(key) for key in cluster.endpoints]


def boot(hosts: Sequence[Namespace], pods: Sequence[Namespace]) -> Mininet:
    """Build and start the cluster. Raises RuntimeError when a command says anything."""
    Mininet.inited = True
    net = Mininet(topo=None, build=False, controller=None, host=Host, link=Link)
    try:
        _boot(net, hosts, pods)
    except BaseException:
        net.stop()
        raise
    return net


def raise_own_limits() -> None:
    """Four descriptors a node: what Mininet.init would do, for this process alone."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _boot(net: Mininet, hosts: Sequence[Namespace], pods: Sequence[Namespace]) -> None:
    for state in (*hosts, *pods):
        # configDefault() gives this address to the host's first interface.
        address = state.addresses[0].address if state.addresses else None
        net.addHost(state.name, ip=address)
    for state in hosts:
        host = net[state.name]
        for item in state.sysctls:
            if not item.device or item.device in ("all", "default"):
                _sysctl(host, item)
        for device in state.devices:
            if isinstance(device, Bridge):
                _cmd(host, f"ip link add {device.name} type bridge mcast_snooping 0")
                _cmd(host, f"ip link set {device.name} up")
            elif isinstance(device, Veth):
                _link(net, device, state)
    net.start()
    for state in hosts:
        _configure(net[state.name], state)
    for state in pods:
        _configure(net[state.name], state)


def _link(net: Mininet, device: Veth, state: Namespace) -> None:
    host, peer = net[state.name], net[device.peer.namespace]
    fixed = {"addr1": device.mac} if device.mac else {}
    net.addLink(host, peer, intfName1=device.name, intfName2=device.peer.name, **fixed)
    if device.master:
        _cmd(host, f"ip link set {device.name} master {device.master}")
    for item in state.sysctls:
        # rp_filter comes from the node's default.
        if item.device == device.name and item.key != "rp_filter":
            _sysctl(host, item)


def _configure(host: Any, state: Namespace) -> None:
    absent = {device.name for device in state.devices if isinstance(device, Tunnel)}
    for address in state.addresses[1:]:
        if address.device not in absent:
            _cmd(host, f"ip address add {address.address} dev {address.device}")
    for route in state.routes:
        if route.protocol != PROTO_KERNEL:
            _cmd(host, f"ip route add {route}")


def _sysctl(host: Any, item: Sysctl) -> None:
    _cmd(host, f"sysctl -qw {item.path}={item.value}")


def _cmd(host: Any, command: str) -> None:
    said = host.cmd(command).strip()
    if said:
        raise RuntimeError(f"{host.name}: {command}: {said}")
