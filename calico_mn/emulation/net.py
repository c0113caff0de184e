"""CalicoNet: the cluster as a Mininet, in which every change begins.

In go a topology and what is asked of the cluster; out come Mininet's nodes, and the deltas::

    set_mode(), add_pod() ... --> cluster (Calico's books) --announce--> route engine
                                     |                                        |
                                     +---> states of namespaces <---tables----+
                                                   |
                                     runtime.writer.apply() --> kernel

Components: ``membership``, ``filters``, ``impairments``, ``multipath``, ``verifier``, ``bgp``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.bgp.engine import BUILTIN, RouteEngine
from calico_mn.bgp.timers import Timers
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import IPIP, VXLAN, WITH_BACK_END, Encapsulation
from calico_mn.calico.evolution import fork
from calico_mn.calico.policy.firewall import outer_way
from calico_mn.calico.pools import wish
from calico_mn.calico.remote_routes import as_of
from calico_mn.calico.underlay import neighbour_entries
from calico_mn.delta import Delta
from calico_mn.difference import Difference
from calico_mn.emulation import plan, speakers, transition
from calico_mn.emulation.apply import ResourceMininet
from calico_mn.emulation.base import Place, Places
from calico_mn.emulation.bgp import Bgp
from calico_mn.emulation.bird import birds_for
from calico_mn.emulation.fabric import Multipath
from calico_mn.emulation.filters import EVERY_HOOK, Drops, Filters
from calico_mn.emulation.membership import Membership
from calico_mn.emulation.node import K8sNode, Pod
from calico_mn.emulation.runtime import Runtime, no_garbage_collection
from calico_mn.emulation.sessions import Sessions
from calico_mn.emulation.verification import Verifier, Watch
from calico_mn.errors import ClusterError
from calico_mn.kernel import neighbour_quota
from calico_mn.kernel.iptables import AUTO, NO_RULES, choose
from calico_mn.kernel.tunnel import NoTunnel
from calico_mn.model import OUTER_FIELDS, EncapsulationMode, Topology
from calico_mn.packetmatch import Drop, Hook
from calico_mn.repair import Repair
from calico_mn.state import Namespace
from calico_mn.version import VERSION


class CalicoNet(ResourceMininet):
    """An emulated Calico cluster, and a Mininet with all that Mininet offers.

    ``tunnel`` is ``auto``, ``kernel`` or ``ebpf``; ``rp_filter`` the nodes' reverse path filter (0
    off, 1 strict, 2 loose, Debian's default). ``name`` is the run's name on disk, taken from the
    topology's file unless given; ``controlled`` notes there that requests about the cluster are
    served (:mod:`calico_mn.control`). ``raise_neighbour_limit`` lets the run raise the machine's
    neighbour-table limit if this cluster may need it; its end, or the clean-up after a kill,
    restores it. Otherwise :attr:`warnings` has the command. ``engine`` is ``builtin`` or ``bird``,
    a stock BIRD in each node with ``timers`` (:mod:`calico_mn.emulation.bird`); ``route_engine``
    takes the place of the built-in one. ``policies`` False boots nodes without Felix's iptables
    rules, and so without policies, guards and natOutgoing. ``iptables`` writes them: ``auto``,
    ``legacy`` or ``nft``. ``profile`` (:data:`calico_mn.profile.NAMES`) overrides calicoVersion.

    What gets no address does not run, and :attr:`warnings` says so. Nothing is made before
    :meth:`start`. Raises UnsupportedError when the machine cannot run it.
    """

    def __init__(self, topology: Topology, *, tunnel: str = "auto", rp_filter: int = 2,
                 name: str = "", controlled: bool = False, raise_neighbour_limit: bool = False,
                 policies: bool = True, iptables: str = AUTO, engine: str = BUILTIN,
                 timers: Timers | None = None, route_engine: RouteEngine | None = None,
                 profile: str = "") -> None:
        super().__init__()
        self.cluster = Cluster(as_of(topology, profile), rp_filter)
        self.cluster.has_firewall = policies
        #: the BIRDs of engine ``bird``, else None
        self.birds = birds_for(self, engine, timers)
        self.distributor: RouteEngine = route_engine or (
            self.birds.expected if self.birds else BuiltInEngine())
        self._tunnel_wanted, self._iptables_wanted = tunnel, iptables
        self._name_wanted, self._controlled = name, controlled
        self._raise_neighbour_limit = raise_neighbour_limit
        self._runtime: Runtime | None = None
        self.membership = Membership(self)
        self.sessions = Sessions(self)
        self.bgp = Bgp(self)
        self.filters = Filters(self, self.sessions.filters_changed)
        self.multipath = Multipath(self, self._router_states)
        self.verifier = Verifier(self)

    def __enter__(self) -> CalicoNet:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
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
    def iptables(self) -> str:
        """What Felix's rules are written with: ``nft``, ``legacy``, or ``none`` without them."""
        return self.runtime.iptables.name

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about this cluster on this machine; in a run also about its tunnels."""
        entries = neighbour_entries(self.topology)
        limit = None if self._raise_neighbour_limit else neighbour_quota.warning(entries)
        tunnel = self._runtime and self._runtime.tunnel
        lacking = isinstance(tunnel, NoTunnel) and f"IPIP mode Never only, since {tunnel.reason}"
        late = self.birds and self.birds.warning()
        lost = self._runtime and speakers.tunnels_to_routers(self.cluster, self.distributor)
        gone = self.birds and speakers.underlay_announced(self.cluster)
        texts = (limit, lacking, late, lost, gone, *self.cluster.warnings())
        return tuple(text for text in texts if text)

    def build(self) -> None:
        """Mininet's step before start; here start does all."""
        self.built = True

    def start(self, created: Callable[[], object] | None = None) -> None:
        """Boot the cluster; ``created`` is called when its namespaces are there, still empty.

        On any failure nothing is left behind. A stopped one stays stopped.
        """
        if self._runtime and self.runtime.is_open:
            return
        # Without root nothing can be tried, and the run does not begin.
        iptables = NO_RULES if os.geteuid() or not self.cluster.has_firewall else choose(
            self._iptables_wanted, self.topology.felix.iptables_backend)
        self._runtime = Runtime(self._tunnel_wanted, {
            "topology": self.topology.source, "controlled": self._controlled, "version": VERSION,
            "profile": self.cluster.routes.profile.name}, self._name_wanted,
            needs_tunnel=self.cluster.uses(WITH_BACK_END), iptables=iptables, way=outer_way())
        try:
            self.cluster.has_tunnels = not isinstance(self._runtime.tunnel, NoTunnel)
            self.cluster.has_ebpf_tunnel = self.tunnel == "ebpf"
            if self._raise_neighbour_limit:
                neighbour_quota.raise_limit(neighbour_entries(self.topology),
                                            self._runtime.directory.identity)
            with no_garbage_collection():
                self._boot(self._runtime, created)
        except BaseException:
            self.stop()
            raise
        self.built = True

    def _boot(self, runtime: Runtime, created: Callable[[], object] | None) -> None:
        # The kernel is busy with namespaces: the rest is done meanwhile. Nodes need their pods.
        hosts = plan.host_states(self.cluster, self.distributor)
        if self.birds:
            self.birds.attach(runtime.writer)
        runtime.create(hosts)
        pods = plan.pod_states(self.cluster)
        runtime.create([pod for on_node in pods.values() for pod in on_node],
                       {key: e.node for key, e in self.cluster.endpoints.items()})
        self.membership.attach_new()
        if created is not None:
            runtime.writer.write(())  # waits for the namespaces
            created()
        runtime.writer.fill([state for host in hosts for state in (host, *pods.get(host.name, ()))])
        if self.birds:
            self.birds.follow(is_boot=True)

    def stop(self) -> None:
        """End everything: programs, namespaces, the run's directory. Twice does no harm."""
        if self._runtime is None:
            return
        self.stopXterms()
        for node in self.nameToNode.values():
            node.terminate()
        if self._raise_neighbour_limit and self._runtime.is_open:
            neighbour_quota.restore_limit(self._runtime.directory.identity)
        self._runtime.close()

    # --- what runs

    def reconcile(self, names: Iterable[str]) -> tuple[Delta, ...]:
        """Announce what these nodes have now, and bring every node concerned up to date.

        A damaged place stops no other: KernelError is raised when all is done.
        """
        try:
            with no_garbage_collection():
                return self.runtime.writer.apply(self.concerned(names))
        finally:
            self.follow_routes()

    def concerned(self, names: Iterable[str]) -> list[Namespace]:
        """The states after an announcement: of these nodes, of all that hear it, of routers."""
        return [*speakers.announced(self.cluster, self.distributor, names, self.runtime.states),
                *self._router_states()]

    def become(self, after: Cluster, *, dry_run: bool = False) -> tuple[Delta, ...]:
        """Let the cluster be ``after``; see :func:`.transition.become`."""
        with no_garbage_collection():
            return transition.become(self, after, dry_run=dry_run)

    def _router_states(self) -> list[Namespace]:
        return speakers.router_states(self.cluster, self.distributor)

    def set_pod_routes(self, enabled: bool) -> tuple[Delta, ...]:
        """Give every router of the fabric static routes to the pods' blocks; the changes.

        With False it is as the topology says (``podRoutes``). A router with BGP learns them.
        """
        self.cluster.pod_routers = {router.name for router in self.topology.underlay.routers
                                    if router.pod_routes or (enabled and not router.as_number)}
        return self.runtime.writer.apply(self._router_states())

    def set_ipip_mode(self, mode: EncapsulationMode | str, node: str | None = None
                      ) -> tuple[Delta, ...]:
        """Set every pool's ipipMode, and its vxlanMode to Never; see :meth:`set_mode`."""
        return self.set_mode(mode, node, IPIP)

    def set_vxlan_mode(self, mode: EncapsulationMode | str, node: str | None = None
                       ) -> tuple[Delta, ...]:
        """Set every pool's vxlanMode, and its ipipMode to Never; see :meth:`set_mode`."""
        return self.set_mode(mode, node, VXLAN)

    def set_mode(self, mode: EncapsulationMode | str | None, node: str | None = None,
                 encapsulation: Encapsulation | str | None = None, pool: str | None = None
                 ) -> tuple[Delta, ...]:
        """Change the pools' mode while traffic flows; the changes that it took.

        ``pool`` names the one pool that changes, None means all of them. ``encapsulation`` is
        ``IPIP`` or ``VXLAN``. With None each pool keeps its mode, or its encapsulation. With
        ``node`` that node alone follows, as where calico-node is stuck on the others. Before
        :meth:`start` it decides how the cluster boots. Raises ClusterError for an unknown mode,
        encapsulation, node or pool, UnsupportedError for IPIP in a cluster that booted without,
        where no tunl0 can be had; then nothing changes.
        """
        wanted, encapsulation = wish(mode, encapsulation)
        if self._runtime and isinstance(tunnel := self._runtime.tunnel, NoTunnel):
            transition.refuse_tunnel(self.cluster, wanted, encapsulation, pool, tunnel.reason)
        after = fork(self.cluster)
        after.set_mode(wanted, node, encapsulation, pool, at_boot=self._runtime is None)
        self.cluster = after
        if self._runtime is None:
            return ()
        changes = self.reconcile([node] if node else list(self.cluster.nodes))
        return (*changes, *self.membership.retry())

    # --- pods, nodes, speakers

    def add_pod(self, *, namespace: str = "default", name: str, node: str, ip: str | None = None
                ) -> Pod:
        """Run one more pod. Raises IPAMError or ClusterError, and then nothing has changed.

        So too for KernelError that names the pod or its node; where another place is damaged,
        the error names that, and the pod runs all the same.
        """
        return self.membership.add_pod(namespace, name, node, ip)

    def delete_pod(self, key: str) -> None:
        """End a pod and what runs in it. A pod that waited for an address may run then.

        Raises KernelError where its node is damaged; the pod is gone then all the same.
        """
        self.membership.delete_pod(key)

    def add_node(self, name: str, address: str) -> K8sNode:
        """Join one more node; ``address`` with its prefix length. Raises ClusterError."""
        return self.membership.add_node(name, address)

    def delete_node(self, name: str) -> None:
        """Take a node out of the cluster, with its pods.

        Raises KernelError where another node is damaged; this one is gone then all the same.
        """
        self.membership.delete_node(name)

    def kill_speaker(self, node: str) -> None:
        """Let a node's route distributor die: routes stay as they are, there and at its peers."""
        self.sessions.kill(node)

    def restart_speaker(self, node: str) -> tuple[Delta, ...]:
        """Bring a dead distributor back; it catches up with what it missed."""
        return self.sessions.restart(node)

    def refresh_sessions(self) -> tuple[Delta, ...]:
        """Ask which BGP sessions could be up; see :meth:`.sessions.Sessions.refresh`."""
        return self.sessions.refresh()

    def save_logs(self, directory: Path) -> None:
        """Copy the logs of what was wired when, one directory per node."""
        self.runtime.save_logs(directory)

    # --- components, by the names of the Python surface

    def set_filter(self, places: Places, drops: Drops = (), *,
                   hooks: Iterable[Hook | str] = EVERY_HOOK) -> None:
        """See :meth:`.filters.Filters.set`."""
        self.filters.set(places, drops, hooks=hooks)

    def dropping(self, places: Places, *drops: Drop, hooks: Iterable[Hook | str] = EVERY_HOOK
                 ) -> AbstractContextManager[None]:
        """See :meth:`.filters.Filters.dropping`."""
        return self.filters.dropping(places, *drops, hooks=hooks)

    def dropped(self, place: Place) -> dict[Drop, int]:
        """See :meth:`.filters.Filters.dropped`."""
        return self.filters.dropped(place)

    def set_multipath_hash(self, policy: int, fields: int = OUTER_FIELDS,
                           routers: Places | None = None) -> tuple[Delta, ...]:
        """See :meth:`.fabric.Multipath.set_hash`."""
        return self.multipath.set_hash(policy, fields, routers)

    def forgetting_flow_hashes(self, routers: Places | None = None
                               ) -> AbstractContextManager[None]:
        """See :meth:`.fabric.Multipath.without_flow_hashes`."""
        return self.multipath.without_flow_hashes(routers)

    def verify(self, places: Places | None = None) -> tuple[Difference, ...]:
        """See :meth:`.verification.Verifier.verify`."""
        return self.verifier.verify(places)

    def repair(self, places: Places | None = None) -> Repair:
        """See :meth:`.verification.Verifier.repair`."""
        return self.verifier.repair(places)

    def changed_by_hand(self) -> tuple[str, ...]:
        """See :meth:`.verification.Verifier.changed_by_hand`."""
        return self.verifier.changed_by_hand()

    def watch(self) -> Watch:
        """See :meth:`.verification.Verifier.watch`."""
        return self.verifier.watch()
