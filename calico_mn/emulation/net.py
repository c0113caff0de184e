"""CalicoNet: the cluster as a Mininet.

Holds the bookkeeping (:class:`calico_mn.calico.cluster.Cluster`), the route engine and the
runtime together, and gives each namespace its Mininet node. How routes look and how they are
written is decided elsewhere.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, NetmaskValueError
from pathlib import Path
from types import TracebackType

from calico_mn import __version__
from calico_mn.bgp.engine import RouteEngine
from calico_mn.bgp.full_mesh import FullMesh
from calico_mn.calico import PROFILE
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.cni import WorkloadEndpoint
from calico_mn.calico.encapsulation import IPIP, UPLINK, VXLAN, Encapsulation, named
from calico_mn.calico.underlay import port_name
from calico_mn.delta import Delta
from calico_mn.emulation import plan
from calico_mn.emulation.link import DeviceIntf, DeviceLink
from calico_mn.emulation.node import FabricRouter, K8sNode, Pod, SubnetSwitch
from calico_mn.emulation.runtime import Runtime
from calico_mn.emulation.verification import VerifyingMininet
from calico_mn.errors import ClusterError, KernelError, UnsupportedError
from calico_mn.kernel import neighbour_table
from calico_mn.kernel.tunnel import NoTunnel
from calico_mn.model import EncapsulationMode, Node, Topology
from calico_mn.model import Pod as PodModel
from calico_mn.state import PROTO_BIRD, Namespace


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A boot makes many objects that all stay: looking through them again and again is in vain."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class CalicoNet(VerifyingMininet):
    """An emulated Calico cluster, and a Mininet with all that Mininet offers.

    ``tunnel`` is ``auto``, ``kernel`` or ``ebpf``; ``rp_filter`` the nodes' reverse path filter
    (0 off, 1 strict, 2 loose, as current Debian and Ubuntu set it). ``name`` is the run's name on
    disk, taken from the topology's file unless given; ``controlled`` notes there that somebody
    serves requests about the cluster (:mod:`calico_mn.control`). ``raise_neighbour_limit`` lets
    the run raise the machine's neighbour-table limit if this cluster may need it; the last such
    run gives it back at its stop, or whoever cleans up after a kill. Else :attr:`warnings` tells
    the command. ``route_engine`` hands the prefixes on between nodes, the built-in
    :class:`~calico_mn.bgp.full_mesh.FullMesh` unless given.

    Raises TopologyError when the topology's addresses do not suffice, UnsupportedError when the
    machine cannot run it. Nothing is made before :meth:`start`.
    """

    profile = PROFILE

    def __init__(self, topology: Topology, *, tunnel: str = "auto", rp_filter: int = 2,
                 name: str = "", controlled: bool = False, raise_neighbour_limit: bool = False,
                 route_engine: RouteEngine | None = None) -> None:
        super().__init__()
        self.topology = topology
        self.cluster = Cluster(topology, rp_filter)
        self.distributor: RouteEngine = route_engine or FullMesh()
        self._tunnel_wanted = tunnel
        self._name_wanted = name
        self._controlled = controlled
        self._raise_neighbour_limit = raise_neighbour_limit
        self._runtime: Runtime | None = None

    def __enter__(self) -> CalicoNet:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()

    # --- life

    @property
    def runtime(self) -> Runtime:
        """The run behind the cluster. Raises ClusterError before start() and after stop()."""
        if self._runtime is None:
            raise ClusterError("the cluster is not running: call start() first")
        if not self._runtime.is_open:
            raise ClusterError("the cluster was stopped: make a new CalicoNet")
        return self._runtime

    @property
    def tunnel(self) -> str:
        """The tunnel back end that is at work: ``kernel``, ``ebpf``, or ``none``."""
        return self.runtime.tunnel.name

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the person should know of this cluster on this machine, a sentence each.

        After :meth:`start` also that it has no tunnels, where that is so.
        """
        told = None if self._raise_neighbour_limit else neighbour_table.warning(self.topology)
        runtime = self._runtime
        lacking = (f"IPIP mode Never only, since {runtime.tunnel.reason}"
                   if runtime is not None and isinstance(runtime.tunnel, NoTunnel) else None)
        return tuple(text for text in (told, lacking) if text)

    def build(self) -> None:
        """Mininet's step before start; here start does all."""
        self.built = True

    def start(self) -> None:
        """Boot the cluster. On any failure nothing is left behind. A stopped one stays stopped."""
        if self._runtime is not None and self.runtime.is_open:
            return
        self._runtime = Runtime(self._tunnel_wanted, {
            "topology": self.topology.source, "controlled": self._controlled,
            "version": __version__}, self._name_wanted, needs_tunnel=self.cluster.uses(IPIP))
        self.cluster.has_tunnels = not isinstance(self._runtime.tunnel, NoTunnel)
        try:
            if self._raise_neighbour_limit:
                neighbour_table.raise_limit(self.topology, self._runtime.directory.identity)
            with _no_garbage_collection():
                self._boot(self._runtime)
        except BaseException:
            self.stop()
            raise
        self.built = True

    def _boot(self, runtime: Runtime) -> None:
        cluster = self.cluster
        # Most of the time is the kernel's, making namespaces: the rest is done meanwhile.
        pods = plan.pod_states(cluster)
        runtime.create(pods, {key: e.node for key, e in cluster.endpoints.items()})
        hosts = plan.host_states(cluster, self.distributor)
        runtime.create(hosts)
        self._add_fabric()
        for name in cluster.nodes:
            self._attach_node(name)
        for key in cluster.endpoints:
            self._attach_pod(key)
        runtime.fill([*hosts, *pods])

    def stop(self) -> None:
        """End everything: programs, namespaces, the run's directory. Twice does no harm."""
        if self._runtime is None:
            return
        self.stopXterms()
        for node in self.nameToNode.values():
            node.terminate()
        if self._raise_neighbour_limit and self._runtime.is_open:
            neighbour_table.give_back(self._runtime.directory.identity)
        self._runtime.close()

    # --- what runs

    def _node_state(self, name: str) -> Namespace:
        """A node's wanted state. With its speaker dead, the routes between nodes stay.

        Those over tunl0 go when Felix takes tunl0's address: with a device's last address the
        kernel removes the routes over it (fib_disable_ip in net/ipv4/fib_frontend.c).
        """
        state = self.cluster.node_state(name, self.distributor.table(name))
        before = self._runtime.states.get(name) if self._runtime else None
        if before is None or self.distributor.is_alive(name):
            return state
        has_tunnel = self.cluster.tunnel_address(name) is not None
        routes = (*(r for r in state.routes if r.protocol != PROTO_BIRD),
                  *(r for r in before.routes if r.protocol == PROTO_BIRD
                    and (has_tunnel or IPIP.device not in r.devices)))
        return replace(state, routes=routes)

    def refresh(self, names: Iterable[str]) -> tuple[Delta, ...]:
        """Announce what these nodes have now, and bring every node concerned up to date.

        A place that is damaged holds up no other: KernelError is raised when all is done.
        """
        return self.runtime.follow(self._concerned(names))

    def _concerned(self, names: Iterable[str]) -> list[Namespace]:
        """The states after an announcement: of these nodes, of all that hear it, of routers."""
        announcing = list(names)
        changed = self.distributor.announce(
            {name: self.cluster.originated(name) for name in announcing})
        concerned = dict.fromkeys((*announcing, *sorted(changed)))
        if self.cluster.datastore_changed():
            concerned.update(dict.fromkeys(self.cluster.nodes))
        return [*(self._node_state(name) for name in concerned), *self._router_states()]

    def _router_states(self) -> list[Namespace]:
        return [self.cluster.router_state(router) for router in self.topology.underlay.routers]

    def set_pod_routes(self, enabled: bool) -> tuple[Delta, ...]:
        """Let every router of the fabric know the pods' blocks; the changes that it took.

        With False it is again as the topology says of each router (``podRoutes``).
        """
        self.cluster.pod_routers = {router.name for router in self.topology.underlay.routers
                                    if enabled or router.pod_routes}
        return self.runtime.follow(self._router_states())

    def set_ipip_mode(self, mode: EncapsulationMode | str, node: str | None = None
                      ) -> tuple[Delta, ...]:
        """Set every pool's ipipMode, and its vxlanMode to Never; see :meth:`set_mode`."""
        return self.set_mode(mode, node, IPIP)

    def set_vxlan_mode(self, mode: EncapsulationMode | str, node: str | None = None
                       ) -> tuple[Delta, ...]:
        """Set every pool's vxlanMode, and its ipipMode to Never; see :meth:`set_mode`."""
        return self.set_mode(mode, node, VXLAN)

    def set_mode(self, mode: EncapsulationMode | str, node: str | None = None,
                 encapsulation: Encapsulation | str | None = None) -> tuple[Delta, ...]:
        """Change the pools' mode while traffic flows; the changes that it took.

        ``encapsulation`` is ``IPIP`` or ``VXLAN``; without it each pool keeps its own. With
        ``node`` that node alone follows, as happens where calico-node is stuck on the others.
        Before :meth:`start` it decides how the cluster boots. Raises ClusterError for an unknown
        mode, encapsulation or node, IPAMError when no address is left for a tunnel,
        UnsupportedError for IPIP in a cluster that booted without, where no tunl0 can be had; then
        nothing changes.
        """
        if isinstance(encapsulation, str):
            encapsulation = named(encapsulation)
        try:
            wanted = EncapsulationMode(mode)
        except ValueError:
            known = ", ".join(EncapsulationMode)
            kind = f"{encapsulation} mode" if encapsulation else "mode"
            raise ClusterError(f"there is no {kind} {mode!r}; modes: {known}") from None
        tunnel = self._runtime.tunnel if self._runtime else None
        if (isinstance(tunnel, NoTunnel) and wanted is not EncapsulationMode.NEVER
                and self.cluster.would_use(IPIP, encapsulation)):
            raise UnsupportedError(f"no IPIP mode {wanted} here, since {tunnel.reason}")
        self.cluster.set_mode(wanted, node, encapsulation)
        if self._runtime is None:
            return ()
        return self.refresh([node] if node else list(self.cluster.nodes))

    def add_pod(self, *, namespace: str = "default", name: str, node: str, ip: str | None = None
                ) -> Pod:
        """Run one more pod. Raises IPAMError or ClusterError, and then nothing has changed.

        So too for KernelError that names the pod or its node; where another place is damaged,
        the error names that, and the pod runs all the same.
        """
        runtime = self.runtime
        try:
            address = IPv4Address(ip) if ip else None
        except AddressValueError as wrong:
            raise ClusterError(f"{namespace}/{name}: {wrong}") from None
        endpoint = self.cluster.add_pod(PodModel(namespace, name, node, address))
        state = self.cluster.pod_state(endpoint.key)
        own, *others = self._concerned([node])
        try:
            runtime.create([state], {endpoint.key: node})
            runtime.change([own])
            runtime.fill([state])
        except BaseException:
            self.cluster.delete_pod(endpoint.key)
            with suppress(KernelError):
                self.refresh([node])
            runtime.discard([endpoint.key])
            raise
        pod = self._attach_pod(endpoint.key)
        runtime.follow(others)
        return pod

    def delete_pod(self, key: str) -> None:
        """End a pod and what runs in it.

        Raises KernelError where its node is damaged; the pod is gone then all the same.
        """
        runtime = self.runtime
        endpoint = self._forget_pod(key)
        try:
            self.refresh([endpoint.node])
        finally:
            runtime.discard([key])

    def _forget_pod(self, key: str) -> WorkloadEndpoint:
        endpoint = self.cluster.delete_pod(key)
        self._detach(key)
        self.pods = [pod for pod in self.pods if pod.name != key]
        return endpoint

    def add_node(self, name: str, address: str) -> K8sNode:
        """Join one more node; ``address`` with its prefix length. Raises ClusterError."""
        if name in self.nameToNode:
            raise ClusterError(f"{name} is in use already")
        try:
            node = Node(name, IPv4Interface(address))
        except (AddressValueError, NetmaskValueError) as wrong:
            raise ClusterError(f"{name}: {wrong}") from None
        runtime = self.runtime
        subnet = self.cluster.fabric.subnet_of(node)
        self.cluster.add_node(node)
        self.distributor.add_node(name, node.address.ip)
        try:
            changed = self.distributor.announce({name: self.cluster.originated(name)})
            state = self._node_state(name)
            runtime.create([state])
            runtime.change([self.cluster.subnet_state(subnet)])
            runtime.fill([state])
        except BaseException:
            with suppress(KernelError):
                self._forget_node(node)
            runtime.discard([name])
            raise
        joined = self._attach_node(name)
        self.refresh(sorted(changed - {name}))
        return joined

    def delete_node(self, name: str) -> None:
        """Take a node out of the cluster, with its pods.

        Raises KernelError where another node is damaged; this one is gone then all the same.
        """
        runtime = self.runtime
        node = self.cluster.node(name)
        ended = [self._forget_pod(endpoint.key).key for endpoint in self.cluster.pods_on(name)]
        self._detach(name)
        self.nodes = [other for other in self.nodes if other.name != name]
        try:
            self._forget_node(node)
        finally:
            runtime.discard([*ended, name])

    def _forget_node(self, node: Node) -> None:
        """Take a node out of the bookkeeping, out of the others' routes, and off its switch."""
        changed = self.distributor.remove_node(node.name)
        self.cluster.delete_node(node.name)
        switch = self.cluster.subnet_state(self.cluster.fabric.subnet_of(node))
        self.runtime.follow([*self._concerned(sorted(changed - {node.name})), switch])

    def kill_speaker(self, node: str) -> None:
        """Let a node's route distributor die: routes stay as they are, there and at its peers."""
        self.distributor.kill(node)

    def restart_speaker(self, node: str) -> tuple[Delta, ...]:
        """Bring a dead distributor back; it catches up with what it missed."""
        changed = self.distributor.restart(node)
        return self.refresh([node, *sorted(changed - {node})])

    def save_logs(self, directory: Path) -> None:
        """Copy the logs of what was wired when, one directory per node."""
        self.runtime.save_logs(directory)

    # --- Mininet's tables

    def _link(self, one: DeviceIntf, other: DeviceIntf) -> None:
        self.links.append(DeviceLink(one, other))

    def _add_fabric(self) -> None:
        for subnet in self.topology.underlay.subnets:
            self._register(SubnetSwitch(subnet.name, self.runtime.spawn), self.switches)
        for router in self.topology.underlay.routers:
            node = FabricRouter(router.name, self.runtime.spawn)
            self.routers.append(node)
            self._register(node, self.hosts)
            for position, foot in enumerate(router.interfaces):
                switch = self.nameToNode[foot.subnet]
                self._link(DeviceIntf(f"eth{position}", node, str(foot.address)),
                           DeviceIntf(port_name(router.name), switch))

    def _attach_node(self, name: str) -> K8sNode:
        model = self.cluster.nodes[name]

        def blocks() -> tuple[str, ...]:
            return tuple(str(block) for block in self.cluster.ipam.blocks(name))

        node = K8sNode(name, self.runtime.spawn, str(model.address.ip), blocks)
        self.nodes.append(node)
        self._register(node, self.hosts)
        subnet = self.cluster.fabric.subnet_of(model)
        self._link(DeviceIntf(UPLINK, node, node.address, subnet.cidr.prefixlen),
                   DeviceIntf(port_name(name), self.nameToNode[subnet.name]))
        return node

    def _attach_pod(self, key: str) -> Pod:
        endpoint = self.cluster.endpoints[key]
        pod = Pod(key, self.runtime.spawn, str(endpoint.address), endpoint.node, endpoint.device)
        self.pods.append(pod)
        self._register(pod, self.hosts)
        self._link(DeviceIntf("eth0", pod, pod.ip),
                   DeviceIntf(pod.device, self.nameToNode[pod.node]))
        return pod

    def _detach(self, name: str) -> None:
        node = self.nameToNode.pop(name)
        node.terminate()
        self.hosts.remove(node)
        for intf in list(node.intfs.values()):
            if intf.link is not None:
                self.links.remove(intf.link)
                intf.link.detach()
