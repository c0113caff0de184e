"""Pods and nodes that come and go, with their Mininet nodes and links.

Each change goes through three books: Calico's (:class:`~calico_mn.calico.cluster.Cluster`), the
kernel's namespaces (:class:`~.runtime.Runtime`) and Mininet's tables. Where the kernel refuses what
a newcomer needs, all three are as before. The net has one :class:`Membership` as
``net.membership``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, NetmaskValueError

from calico_mn.bgp.engine import RouteEngine
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.cni import WorkloadEndpoint
from calico_mn.calico.encapsulation import UPLINK
from calico_mn.calico.underlay import port_name
from calico_mn.delta import Delta
from calico_mn.emulation import plan
from calico_mn.emulation.base import LightMininet
from calico_mn.emulation.filters import Filters
from calico_mn.emulation.link import DeviceIntf
from calico_mn.emulation.node import FabricRouter, K8sNode, Pod, SubnetSwitch
from calico_mn.emulation.runtime import Runtime
from calico_mn.errors import ClusterError, KernelError
from calico_mn.model import Node, Topology
from calico_mn.model import Pod as PodModel
from calico_mn.state import Namespace


class ClusterMininet(LightMininet):
    """A Mininet with a cluster behind it: what a :class:`Membership` asks of its net."""

    topology: Topology
    cluster: Cluster
    distributor: RouteEngine
    filters: Filters

    @abstractmethod
    def concerned(self, names: Iterable[str]) -> list[Namespace]:
        """The states that follow from what these nodes announce now."""

    @abstractmethod
    def reconcile(self, names: Iterable[str]) -> tuple[Delta, ...]:
        """Bring the namespaces concerned to these states."""


class Membership:
    """The pods and nodes of the cluster of ``net``."""

    def __init__(self, net: ClusterMininet) -> None:
        self._net = net

    def attach_all(self) -> None:
        """Mininet's nodes and links for everything that a boot makes."""
        net = self._net
        for subnet in net.topology.underlay.subnets:
            net.register(SubnetSwitch(subnet.name, net.runtime.spawn), net.switches)
        for router in net.topology.underlay.routers:
            node = FabricRouter(router.name, net.runtime.spawn)
            net.routers.append(node)
            net.register(node, net.hosts)
            for position, interface in enumerate(router.interfaces):
                net.connect(DeviceIntf(f"eth{position}", node, str(interface.address)),
                            DeviceIntf(port_name(router.name), net.nameToNode[interface.subnet]))
        for name in net.cluster.nodes:
            self.attach_node(name)
        for key in net.cluster.endpoints:
            self.attach_pod(key)

    def attach_node(self, name: str) -> K8sNode:
        """The Mininet node of a Kubernetes node, linked to its switch."""
        net, cluster = self._net, self._net.cluster
        model = cluster.nodes[name]

        def blocks() -> tuple[str, ...]:
            return tuple(str(block) for block in cluster.ipam.blocks(name))

        node = K8sNode(name, net.runtime.spawn, str(model.address.ip), blocks)
        net.nodes.append(node)
        net.register(node, net.hosts)
        subnet = cluster.fabric.subnet_of(model)
        prefix = cluster.fabric.nic(model).network.prefixlen
        net.connect(DeviceIntf(UPLINK, node, node.address, prefix),
                    DeviceIntf(port_name(name), net.nameToNode[subnet.name]))
        return node

    def attach_pod(self, key: str) -> Pod:
        """The Mininet node of a pod, linked to its Kubernetes node."""
        net = self._net
        endpoint = net.cluster.endpoints[key]
        pod = Pod(key, net.runtime.spawn, str(endpoint.address), endpoint.node, endpoint.device)
        net.pods.append(pod)
        net.register(pod, net.hosts)
        net.connect(DeviceIntf("eth0", pod, pod.ip),
                    DeviceIntf(pod.device, net.nameToNode[pod.node]))
        return pod

    def add_pod(self, namespace: str, name: str, node: str, ip: str | None) -> Pod:
        """See :meth:`calico_mn.CalicoNet.add_pod`."""
        net, runtime = self._net, self._net.runtime
        try:
            address = IPv4Address(ip) if ip else None
        except AddressValueError as wrong:
            raise ClusterError(f"{namespace}/{name}: {wrong}") from None
        endpoint = net.cluster.add_pod(PodModel(namespace, name, node, address))
        state = net.cluster.pod_state(endpoint.key)
        host, *others = net.concerned([node])
        try:
            runtime.create([state], {endpoint.key: node})
            runtime.writer.change([host])
            runtime.writer.fill([state])
        except BaseException:
            net.cluster.delete_pod(endpoint.key)
            with suppress(KernelError):
                net.reconcile([node])
            self._discard(runtime, [endpoint.key])
            raise
        pod = self.attach_pod(endpoint.key)
        runtime.writer.apply(others)
        return pod

    def delete_pod(self, key: str) -> None:
        """See :meth:`calico_mn.CalicoNet.delete_pod`."""
        runtime = self._net.runtime
        endpoint = self._forget_pod(key)
        try:
            self._net.reconcile([endpoint.node])
        finally:
            self._discard(runtime, [key])

    def add_node(self, name: str, address: str) -> K8sNode:
        """See :meth:`calico_mn.CalicoNet.add_node`."""
        net, runtime = self._net, self._net.runtime
        if name in net.nameToNode:
            raise ClusterError(f"{name} is in use already")
        try:
            node = Node(name, IPv4Interface(address))
        except (AddressValueError, NetmaskValueError) as wrong:
            raise ClusterError(f"{name}: {wrong}") from None
        subnet = net.cluster.fabric.subnet_of(node)
        net.cluster.add_node(node)
        net.distributor.add_node(name, node.address.ip)
        try:
            changed = net.distributor.announce({name: net.cluster.originated(name)})
            state = plan.node_state(net.cluster, net.distributor, name, None)
            runtime.create([state])
            runtime.writer.change([net.cluster.subnet_state(subnet)])
            runtime.writer.fill([state])
        except BaseException:
            with suppress(KernelError):
                self._forget_node(node)
            self._discard(runtime, [name])
            raise
        joined = self.attach_node(name)
        net.reconcile(sorted(changed - {name}))
        return joined

    def delete_node(self, name: str) -> None:
        """See :meth:`calico_mn.CalicoNet.delete_node`."""
        net, runtime = self._net, self._net.runtime
        node = net.cluster.node(name)
        ended = [self._forget_pod(endpoint.key).key for endpoint in net.cluster.pods_on(name)]
        net.detach(name)
        try:
            self._forget_node(node)
        finally:
            self._discard(runtime, [*ended, name])

    def _forget_pod(self, key: str) -> WorkloadEndpoint:
        endpoint = self._net.cluster.delete_pod(key)
        self._net.detach(key)
        return endpoint

    def _forget_node(self, node: Node) -> None:
        """Take a node out of the bookkeeping, out of the others' routes, and off its switch."""
        net = self._net
        changed = net.distributor.remove_node(node.name)
        net.cluster.delete_node(node.name)
        switch = net.cluster.subnet_state(net.cluster.fabric.subnet_of(node))
        net.runtime.writer.apply([*net.concerned(sorted(changed - {node.name})), switch])

    def _discard(self, runtime: Runtime, names: list[str]) -> None:
        runtime.discard(names)
        self._net.filters.forget(names)
