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
from typing import TYPE_CHECKING

from calico_mn.bgp.engine import RouteEngine
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.cni import WorkloadEndpoint
from calico_mn.calico.encapsulation import UPLINK
from calico_mn.calico.evolution import fork
from calico_mn.calico.snapshot import hosts_file
from calico_mn.calico.underlay import port_name
from calico_mn.delta import Delta
from calico_mn.emulation.base import LightMininet
from calico_mn.emulation.fabric import Impairments
from calico_mn.emulation.filters import Filters
from calico_mn.emulation.mininet import DeviceIntf
from calico_mn.emulation.node import ExternalHost, FabricRouter, K8sNode, Pod, SubnetSwitch
from calico_mn.emulation.runtime import Runtime
from calico_mn.errors import ClusterError, KernelError
from calico_mn.model import Node, Topology, Underlay
from calico_mn.model import Pod as PodModel
from calico_mn.state import Namespace

if TYPE_CHECKING:
    from calico_mn.emulation.bird import Birds


class ClusterMininet(LightMininet):
    """A Mininet with a cluster behind it: what a :class:`Membership` asks of its net."""

    cluster: Cluster
    distributor: RouteEngine
    filters: Filters
    membership: Membership
    birds: Birds | None

    def __init__(self) -> None:
        super().__init__()
        self.impairments = Impairments(self)

    def set_link(self, end: str, **changes: float | bool | None) -> tuple[Delta, ...]:
        """See :meth:`.fabric.Impairments.set`: ``net.set_link("node31:eth0", loss=1)``."""
        return self.impairments.set(end, **changes)

    def configLinkStatus(self, src: str, dst: str, status: str) -> None:
        """Mininet's way to take the link between two places ``down`` and ``up``."""
        self.impairments.set(src, dst, up=status == "up")

    def follow_routes(self) -> None:
        """Let the BIRDs follow what has changed, if they write the routes between nodes."""
        if self.birds is not None:
            self.birds.follow()

    @property
    def topology(self) -> Topology:
        """The topology that the cluster is made of; pods and nodes may have come since."""
        return self.cluster.topology

    @property
    def profile(self) -> str:
        """The releases of Calico that the cluster is like, and who writes routes, in words."""
        return str(self.cluster.routes)

    @abstractmethod
    def concerned(self, names: Iterable[str]) -> list[Namespace]:
        """The states that follow from what these nodes announce now."""

    @abstractmethod
    def become(self, after: Cluster, *, dry_run: bool = False) -> tuple[Delta, ...]:
        """Let the cluster be another one; see :func:`.transition.become`."""

    @abstractmethod
    def reconcile(self, names: Iterable[str]) -> tuple[Delta, ...]:
        """Bring the namespaces concerned to these states."""


class Membership:
    """The pods and nodes of the cluster of ``net``."""

    def __init__(self, net: ClusterMininet) -> None:
        self._net = net
        #: the nodes, pods and underlay that the hosts file was written for
        self._named: tuple[dict[str, Node], dict[str, WorkloadEndpoint], Underlay] | None = None

    def attach_new(self) -> None:
        """Mininet's nodes and links for all that has none; addresses as they are now."""
        net, cluster, underlay = self._net, self._net.cluster, self._net.topology.underlay
        for subnet in underlay.subnets:
            if subnet.name not in net.nameToNode:
                net.register(SubnetSwitch(subnet.name, net.runtime.spawn), net.switches)
        for router in underlay.routers:
            if router.name not in net.nameToNode:
                net.routers.append(FabricRouter(router.name, net.runtime.spawn))
                net.register(net.routers[-1], net.hosts)
            place = net.nameToNode[router.name]
            for position, interface in enumerate(router.interfaces):
                if f"eth{position}" not in place.nameToIntf:
                    self._plug_in(DeviceIntf(f"eth{position}", place, str(interface.address)),
                                  interface.subnet)
        for host in underlay.hosts:
            if host.name not in net.nameToNode:
                outside = ExternalHost(host.name, net.runtime.spawn, str(host.address))
                net.external_hosts.append(outside)
                net.register(outside, net.hosts)
                subnet = cluster.fabric.subnet_at(host.address)
                self._plug_in(DeviceIntf(UPLINK, outside, outside.ip, subnet.cidr.prefixlen),
                              subnet.name)
        for name, model in cluster.nodes.items():
            node = net.nameToNode.get(name) or self.attach_node(model)
            node.address = node.ip = node.nameToIntf[UPLINK].ip = str(model.address.ip)
            node.nameToIntf[UPLINK].prefixLen = cluster.fabric.nic(model).network.prefixlen
        for key in cluster.endpoints:
            if key not in net.nameToNode:
                self.attach_pod(key)
        self._write_hosts()

    def _plug_in(self, device: DeviceIntf, subnet: str) -> None:
        """Link a device to the switch of its subnet."""
        port = DeviceIntf(port_name(device.node.name), self._net.nameToNode[subnet])
        self._net.connect(device, port)

    def attach_node(self, model: Node) -> K8sNode:
        """The Mininet node of a Kubernetes node, linked to its switch."""
        net = self._net

        def blocks() -> tuple[str, ...]:
            return tuple(str(block) for block in net.cluster.ipam.blocks(model.name))

        node = K8sNode(model.name, net.runtime.spawn, str(model.address.ip), blocks)
        net.nodes.append(node)
        net.register(node, net.hosts)
        self._plug_in(DeviceIntf(UPLINK, node), net.cluster.fabric.subnet_of(model).name)
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
        self._write_hosts()
        runtime.writer.apply(others)
        net.follow_routes()
        return pod

    def delete_pod(self, key: str) -> None:
        """See :meth:`calico_mn.CalicoNet.delete_pod`."""
        runtime = self._net.runtime
        if self._net.cluster.admission.waiting.pop(key, None):
            return
        endpoint = self._net.cluster.delete_pod(key)
        self._net.detach(key)
        self._write_hosts()
        try:
            self._net.reconcile([endpoint.node])
        finally:
            self._discard(runtime, [key])
        self.retry()

    def retry(self) -> tuple[Delta, ...]:
        """Run what waited for an address and has one now; the changes that this took.

        To be called after a change that may free or add addresses.
        """
        net = self._net
        if not net.cluster.admission.is_waiting:
            return ()
        after = fork(net.cluster)
        return net.become(after) if any(after.retry()) else ()

    def add_node(self, name: str, address: str) -> K8sNode:
        """See :meth:`calico_mn.CalicoNet.add_node`."""
        net = self._net
        if name in net.nameToNode:
            raise ClusterError(f"{name} is in use already")
        try:
            node = Node(name, IPv4Interface(address))
        except (AddressValueError, NetmaskValueError) as wrong:
            raise ClusterError(f"{name}: {wrong}") from None
        after = fork(net.cluster)
        after.add_node(node)
        net.become(after)
        joined: K8sNode = net.nameToNode[name]
        return joined

    def delete_node(self, name: str) -> None:
        """See :meth:`calico_mn.CalicoNet.delete_node`."""
        after = fork(self._net.cluster)
        after.node(name)
        for endpoint in after.pods_on(name):
            after.delete_pod(endpoint.key)
        after.delete_node(name)
        after.retry()
        self._net.become(after)

    def _write_hosts(self) -> None:
        """Let programs know the names as they are now, if any name or address has changed."""
        cluster = self._net.cluster
        named = (dict(cluster.nodes), dict(cluster.endpoints), cluster.topology.underlay)
        if named != self._named:
            self._net.runtime.write_hosts(hosts_file(cluster))
            self._named = named

    def _discard(self, runtime: Runtime, names: list[str]) -> None:
        runtime.discard(names)
        self._net.filters.forget(names)
        self._net.impairments.forget(names)
