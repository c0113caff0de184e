"""How this Mininet differs from Mininet's own: lookup of names, pings, and what it never does.

Knows nothing of Calico. Mininet assumes that it has the machine to itself: what would change or
end what belongs to others is left out here.
"""

from __future__ import annotations

import itertools
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from calico_mn.emulation.mininet import CLI, DeviceIntf, DeviceLink, Mininet, numCores
from calico_mn.emulation.node import (
    ExternalHost,
    FabricRouter,
    K8sNode,
    NamespaceNode,
    Pod,
    SubnetSwitch,
)
from calico_mn.emulation.runtime import Runtime
from calico_mn.errors import ClusterError, KernelError
from calico_mn.kernel import read
from calico_mn.kernel.capture import BulkCapture, Capture
from calico_mn.packetmatch import CaptureFilter
from calico_mn.state import Namespace, Route
from calico_mn.text import suggest_place

# Mininet's CLI takes a node's name from the start of the line, up to the first character that
# cannot be in a Python name; pods are called sit/web, nodes often k8s-1.
CLI.identchars += "/-."

#: one of the cluster's nodes, pods, routers or switches, or its name
Place = str | NamespaceNode
Places = Place | Iterable[Place]

Result = TypeVar("Result")


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors of the kernel say in which namespace they arose."""
    try:
        yield
    except KernelError as error:
        raise KernelError(f"{name}: {error}") from error


class LightMininet(Mininet):
    """Mininet's tables for nodes, pods, routers and switches, each list in file order."""

    def __init__(self) -> None:
        # Mininet's first step, Mininet.init(), raises limits of the whole machine by sysctl, and
        # is called by that name, so that it cannot be overridden. The machine is not ours.
        before, Mininet.inited = Mininet.inited, True
        # Mininet would run grep to count processors.
        numCores.ncores = os.cpu_count() or 1
        try:
            super().__init__(topo=None, build=False, controller=None, switch=SubnetSwitch)
        finally:
            Mininet.inited = before
        self.nodes: list[K8sNode] = []
        self.pods: list[Pod] = []
        self.routers: list[FabricRouter] = []
        self.external_hosts: list[ExternalHost] = []

    def addSwitch(self, name: str, *_args: Any, **_options: Any) -> None:
        """Refused: the subnets of the topology's Underlay are the switches."""
        raise ClusterError(f"no switch {name} can be added: write a subnet into the topology's "
                           "Underlay")

    def addHost(self, name: str, *_args: Any, **_options: Any) -> None:
        """Refused: Mininet's would be a host without a cable to the fabric."""
        raise ClusterError(f"no host {name} can be added: write it into the Underlay, which"
                           " net.apply also takes while the cluster runs; net.add_pod adds a pod,"
                           " net.add_node a node")

    def addLink(self, *_args: Any, **_options: Any) -> None:
        """Refused: the switches would not know its end."""
        raise ClusterError("no link can be added: cables follow from the Underlay, of which"
                           " net.apply takes further interfaces of routers, and hosts")

    def addController(self, *_args: Any, **_options: Any) -> None:
        """Refused: there is nothing for it to control."""
        raise ClusterError("no controller can be added: the switches are Linux bridges, which need "
                           "none")

    def addNAT(self, *_args: Any, **_options: Any) -> None:
        """Refused: Mininet's would stand in the machine's own network and change it."""
        raise ClusterError("no NAT can be added: it would change this machine's own network")

    @property
    def fabric(self) -> list[NamespaceNode]:
        """The physical network's devices: the subnets' switches, then the routers."""
        return [*self.switches, *self.routers]

    def stopXterms(self) -> None:
        """End the terminals that were opened here; Mininet would end all on the machine."""
        for term in self.terms:
            term.kill()
        self.terms.clear()

    @property
    @abstractmethod
    def runtime(self) -> Runtime:
        """The run behind the cluster."""

    @property
    def states(self) -> Mapping[str, Namespace]:
        """What each place's namespace should hold, by the place's name."""
        return self.runtime.states

    def inside(self, name: str, job: Callable[..., Result], *args: Any) -> Result:
        """Run ``job(*args)`` in a thread that is inside a place's namespace; what it returns.

        Sockets that it opens belong to the namespace. Raises ClusterError if it is gone.
        """
        return self.runtime.inside(name, job, *args)

    def capture(self, name: str, device: str, wanted: CaptureFilter) -> Capture:
        """Begin to capture a place's packets that match, on one device."""
        with _named(name):
            return self.inside(name, Capture, wanted, device)

    def capture_bulk(self, name: str, device: str, wanted: CaptureFilter) -> BulkCapture:
        """Begin to capture the headers of very many packets that match, on one device."""
        with _named(name):
            capture = self.inside(name, BulkCapture, wanted, device)
        capture.start()
        return capture

    def kernel_routes(self, name: str) -> tuple[Route, ...]:
        """The main routing table of a place as the kernel has it now."""
        return self.inside(name, read.main_table)

    def names_of(self, places: Places) -> list[str]:
        """The names of places. Raises ClusterError for an unknown one."""
        items = [places] if isinstance(places, (str, NamespaceNode)) else places
        try:
            return [self[item].name if isinstance(item, str) else item.name for item in items]
        except KeyError as error:
            raise ClusterError(str(error.args[0])) from None

    def connect(self, end: DeviceIntf, other: DeviceIntf) -> None:
        """Enter the link between two devices."""
        self.links.append(DeviceLink(end, other))

    def detach(self, name: str) -> None:
        """End a node's shell, and take it and its links out of the tables."""
        node = self.nameToNode.pop(name)
        node.terminate()
        self.hosts.remove(node)
        for intf in list(node.intfs.values()):
            if intf.link is not None:
                self.links.remove(intf.link)
                intf.link.detach()
        self.nodes = [other for other in self.nodes if other is not node]
        self.pods = [other for other in self.pods if other is not node]

    def register(self, node: NamespaceNode, table: list[Any]) -> None:
        """Enter a node into one of Mininet's lists, and under its name."""
        table.append(node)
        self.nameToNode[node.name] = node

    def _resolve(self, key: str) -> str | None:
        """A node's name; a pod also goes by its bare name where that is unambiguous."""
        if key in self.nameToNode:
            return key
        matches = [pod.name for pod in self.pods if pod.name.partition("/")[2] == key]
        return matches[0] if len(matches) == 1 else None

    def __contains__(self, item: object) -> bool:
        return isinstance(item, str) and self._resolve(item) is not None

    def __getitem__(self, key: str) -> NamespaceNode:
        name = self._resolve(key)
        if name is None:
            similar = suggest_place(key, self)
            hint = f"; did you mean {similar}?" if similar else ""
            raise KeyError(f"no node, pod, router, host or subnet is called {key!r}{hint}")
        node: NamespaceNode = self.nameToNode[name]
        return node

    def __iter__(self) -> Iterator[str]:
        for node in itertools.chain(self.nodes, self.pods, self.external_hosts, self.routers,
                                    self.switches):
            yield node.name

    def __len__(self) -> int:
        return len(self.nameToNode)

    def getNodeByName(self, *args: str) -> Any:
        """One node for one name, else a list."""
        return self[args[0]] if len(args) == 1 else [self[name] for name in args]

    def ping(self, hosts: list[Any] | None = None, timeout: str | None = None) -> Any:
        """Mininet's ping, between the pods by default; each waits a second for its reply."""
        return super().ping(hosts or self.pods, timeout or "1")

    def pingFull(self, hosts: list[Any] | None = None, timeout: str | None = None
                 ) -> Any:
        """Mininet's pingFull, with the same defaults."""
        return super().pingFull(hosts or self.pods, timeout or "1")

    def iperf(self, *_args: Any, **_options: Any) -> Any:
        """Refused: Mininet's own would kill every iperf on this machine before it starts."""
        raise ClusterError("calico_mn.CalicoNet has iperf, this class has none")
