"""Where an exercise takes place: two pods of a running cluster, and what is done to them there.

In go the cluster and a seed; out comes a :class:`Stage`, which knows the names and addresses that
texts of exercises need, carries out changes, and takes them back.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from typing import NamedTuple

from calico_mn.calico.cni import WorkloadEndpoint
from calico_mn.calico.encapsulation import WITH_BACK_END, Encapsulation, of_device
from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import CalicoMnError, ClusterError, KernelError
from calico_mn.kernel.iptables import NO_RULES
from calico_mn.packetmatch import Drop
from calico_mn.state import PROTO_BIRD, Route

#: so many pairs of pods are looked at: of a large cluster a sample
_MOST_PAIRS = 2000


@dataclass
class Stage:
    """A pod, ``pod``, with its node, and a ``peer`` on another node; what was done so far.

    ``undo`` is called in reverse order at the end; ``touched`` are the places in which programs
    changed something.
    """

    net: CalicoNet
    pod: WorkloadEndpoint
    peer: WorkloadEndpoint
    undo: list[Callable[[], object]] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)

    @classmethod
    def choose(cls, net: CalicoNet, needs: frozenset[str], seed: int) -> Stage:
        """Two pods that fit, by chance. Raises ClusterError that says what the cluster lacks."""
        pods = list(net.cluster.endpoints.values())
        random.Random(seed).shuffle(pods)
        pairs = ((pod, peer) for pod in pods for peer in pods if pod.node != peer.node)
        stages = [cls(net, *pair) for pair in islice(pairs, _MOST_PAIRS)]
        stages.sort(key=lambda stage: not stage.crosses_router)
        for stage in stages:
            if all(NEEDS[need].is_met(stage) for need in needs):
                return stage
        lacking = [NEEDS[need].words for need in sorted(needs)
                   if not any(map(NEEDS[need].is_met, stages))]
        raise ClusterError("this exercise needs " + (
            "; ".join(lacking) or "pods on two nodes" if stages else "pods on two nodes"))

    @property
    def crosses_router(self) -> bool:
        """Whether the two nodes are in different subnets."""
        fabric, nodes = self.net.cluster.fabric, self.net.cluster.nodes
        return fabric.subnet_of(nodes[self.pod.node]) != fabric.subnet_of(nodes[self.peer.node])

    @property
    def route(self) -> Route | None:
        """The pod's node's route to the peer's block."""
        return next((route for route in self.net.states[self.pod.node].routes
                     if route.destination == str(self.peer_block)), None)

    @property
    def encapsulation(self) -> Encapsulation | None:
        """What packets by that route are inside of."""
        return of_device(self.route.device) if self.route is not None else None

    @property
    def gateway(self) -> IPv4Address | None:
        """The router that the pod's node sends to, where there is one."""
        fabric = self.net.cluster.fabric
        return fabric.gateway(fabric.subnet_of(self.net.cluster.nodes[self.pod.node]))

    @property
    def way(self) -> tuple[str, str]:
        """That router, and its device to the peer's subnet; empty where there are several."""
        cluster = self.net.cluster
        subnet = cluster.fabric.subnet_of(cluster.nodes[self.peer.node])
        for router in cluster.fabric.routers:
            if any(interface.address == self.gateway for interface in router.interfaces):
                near = [f"eth{position}" for position, interface in enumerate(router.interfaces)
                        if interface.subnet == subnet.name]
                far = [route.device for route in self.net.states[router.name].routes
                       if route.destination == str(subnet.cidr)]
                return router.name, (*near, *far, "")[0]
        return "", ""

    @cached_property
    def peer_block(self) -> IPv4Network:
        """The block that the peer's address is of."""
        return self.net.cluster.ipam.block_of(self.peer.address)

    @cached_property
    def names(self) -> dict[str, str]:
        """What texts call things: nodes, pods, the gateway of the pod's node, addresses."""
        cluster = self.net.cluster
        router, device = self.way
        route = self.route
        return {
            "node": self.pod.node, "peer_node": self.peer.node,
            "pod": self._short(self.pod.key), "peer": self._short(self.peer.key),
            "pod_ip": str(self.pod.address), "peer_ip": str(self.peer.address),
            "peer_node_ip": str(cluster.nodes[self.peer.node].address.ip),
            "cali": self.pod.device, "peer_block": str(self.peer_block),
            "gateway": str(self.gateway or ""), "router": router, "router_device": device,
            "tunnel": route.device if route else "", "route": str(route or ""),
            "namespace": self.peer.key.partition("/")[0],
            "spare": str(next(self._spare(self.peer_block), "")),
            "ghost": str(next(self._spare(cluster.fabric.nic(
                cluster.nodes[self.pod.node]).network, last=True), ""))}

    def _short(self, key: str) -> str:
        name = key.partition("/")[2]
        return name if name in self.net else key

    def _spare(self, network: IPv4Network, *, last: bool = False) -> Iterator[object]:
        """Addresses of a network that nothing has."""
        cluster = self.net.cluster
        taken = {*cluster.fabric.taken, *(node.address.ip for node in cluster.nodes.values()),
                 *(pod.address for pod in cluster.endpoints.values()),
                 *(address for node in cluster.nodes
                   for address in cluster.tunnel_addresses(node).values())}
        order = range(network.num_addresses - 2, 0, -1) if last else range(
            1, network.num_addresses - 1)
        return (network[number] for number in order if network[number] not in taken)

    # --- what is done

    def type(self, place: str, command: str) -> None:
        """Run a command in a place, whose words may be :attr:`names` in braces.

        Raises KernelError where it fails.
        """
        words = command.format(**self.names).split()
        name = self.net[place.format(**self.names)].name
        self.touched.add(name)
        out, err, status = self.net[name].pexec(words)
        if status:
            raise KernelError(f"{name}: {' '.join(words)}: {(err or out).strip()}")

    def forget_path_mtus(self) -> None:
        """Let pods and nodes forget what they learned of the MTU of paths."""
        for key in (*self.net.cluster.endpoints, *self.net.cluster.nodes):
            self.net[key].pexec(["ip", "route", "flush", "cache"])

    def is_lost(self, place: str, address: str, *options: str) -> bool:
        """Whether pings get no answer.

        They wait for longer than the second after which a host that has asked by ARP asks again.
        """
        return not self.succeeds(place, f"ping -c3 -i0.2 -W1 {' '.join(options)} {address}")

    def has_way(self, place: str, address: str) -> bool:
        """Whether a place would send a packet on to an address."""
        return self.succeeds(place, f"ip route get {address}")

    def succeeds(self, place: str, command: str) -> bool:
        """Whether a command in a place exits with 0. Raises ClusterError where the place is gone.
        """
        (name,) = self.net.names_of(place.format(**self.names))
        status: int = self.net[name].pexec(command.format(**self.names).split())[2]
        return status == 0

    def drop(self, place: str, drop: Drop) -> None:
        """Drop packets of a kind in a place."""
        name = place.format(**self.names)
        if drop not in self.net.filters.present.get(name, {}):
            self.undo.append(lambda: self.net.filters.remove(name, drop))
        self.net.filters.add(name, drop)

    def end(self) -> None:
        """Take everything back, and repair the places in which something was changed by hand."""
        first: CalicoMnError | None = None
        while self.undo:
            try:
                self.undo.pop()()
            except CalicoMnError as error:
                first = first or error
        places = [name for name in self.touched if name in self.net]
        if places:
            self.net.repair(places)
        self.net.refresh_sessions()
        if first is not None:
            raise first


class Need(NamedTuple):
    """What an exercise can need: in words, and whether it is there between two pods."""

    words: str
    is_met: Callable[[Stage], bool]


NEEDS = {
    "tunnel": Need("packets between the two nodes inside a tunnel: calico-mn mode Always",
                   lambda at: at.encapsulation is not None),
    "ip-protocol": Need(
        f"packets between the two nodes inside {WITH_BACK_END}: calico-mn mode Always"
        f" --encapsulation {WITH_BACK_END.name.lower()}",
        lambda at: at.encapsulation is WITH_BACK_END),
    "bgp": Need("routes between the two nodes that BGP brings: not in VXLAN, nor with profile"
                " v3.33",
                lambda at: at.route is not None and at.route.protocol == PROTO_BIRD),
    "router": Need("pods in two subnets with a router between them",
                   lambda at: at.crosses_router and at.gateway is not None),
    "way": Need("pods in two subnets with a single way between them",
                lambda at: at.crosses_router and bool(at.way[1])),
    "rack": Need("mode Always, and pods on two nodes of one subnet",
                 lambda at: not at.crosses_router and at.encapsulation is not None),
    "builtin": Need("the built-in route engine: with BIRD the fault mends itself or takes minutes",
                    lambda at: at.net.birds is None),
    "policy": Need("Felix's rules: calico-mn up without --no-policy",
                   lambda at: at.net.iptables != NO_RULES.name),
    "nat": Need("an IPPool with natOutgoing: true", lambda at: at.crosses_router and any(
        pool.nat_outgoing and at.pod.address in pool.cidr for pool in at.net.topology.pools)),
}
