"""Where is measured: a cluster, its pods, and the pairs of them that stand for classes of path.

A :class:`Net` is what the instruments ask of a cluster: places, modes and the wire. CalicoNet is
one, and a :class:`calico_mn.kubernetes.cluster.RealCluster` is another, so that one method measures
both. What a mode does to a packet depends on where the two pods are: on one node, on two nodes of
one subnet, or across subnets.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, Protocol, cast

from calico_mn.errors import ClusterError
from calico_mn.measure.readings import Value
from calico_mn.text import join, suggest

if TYPE_CHECKING:
    from types import TracebackType

    from calico_mn.calico.encapsulation import Encapsulation
    from calico_mn.emulation.net import CalicoNet
    from calico_mn.kernel.capture import Frame
    from calico_mn.packetmatch import CaptureFilter


class Frames(Protocol):
    """A capture, open as a context manager.

    A frame can be read ``lag_s`` seconds after it was on the wire, or earlier.
    """

    @property
    def lag_s(self) -> float:
        """0 for a capture of this machine."""

    def read(self) -> list[Frame]:
        """The frames since the last call, without waiting."""

    def __enter__(self) -> Any:
        """The capture."""

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Stop capturing."""


class Net(Protocol):
    """A running cluster."""

    @property
    def tunnel(self) -> str:
        """What makes the tunnel devices: a back end's name."""

    def __getitem__(self, name: str) -> Any:
        """The node or pod of that name, in which programs run; a pod has an ``ip``."""

    def set_mode(self, mode: str, *, encapsulation: Encapsulation | None = None) -> object:
        """Set the pools' mode, and return when it is in effect."""

    def set_pod_routes(self, enabled: bool) -> object:
        """Give the routers between nodes routes to the pods' blocks."""

    def capture(self, node: str, device: str, wanted: CaptureFilter) -> Frames | None:
        """Frames that match on a node's device; None where that is not permitted."""


# --- pods and pairs

SAME_NODE = "same-node"
SAME_SUBNET = "same-subnet"
CROSS_SUBNET = "cross-subnet"

#: every path class, nearest first
PATHS = (SAME_NODE, SAME_SUBNET, CROSS_SUBNET)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A pod as measurements see it; ``name`` is ``namespace/name``, ``subnet`` its node's."""

    name: str
    ip: str
    node: str
    subnet: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two different pods, in the direction of the traffic."""

    source: Endpoint
    destination: Endpoint

    def __str__(self) -> str:
        return " to ".join(f"{end.name} on {end.node}" for end in (self.source, self.destination))

    @property
    def path(self) -> str:
        """The path class: one of :data:`PATHS`."""
        if self.source.node == self.destination.node:
            return SAME_NODE
        return SAME_SUBNET if self.source.subnet == self.destination.subnet else CROSS_SUBNET

    @property
    def names(self) -> list[str]:
        """The two pods' names."""
        return [self.source.name, self.destination.name]

    @property
    def factors(self) -> dict[str, Value]:
        """The pair as factors of a setting."""
        return {"path": self.path, "source": self.source.name,
                "destination": self.destination.name}


def endpoints(net: Net) -> tuple[Endpoint, ...]:
    """A cluster's pods, in file order. Raises ClusterError for fewer than two."""
    if own := getattr(net, "endpoints", None):  # a real cluster's are the run's own
        return cast("tuple[Endpoint, ...]", own)
    net = cast("CalicoNet", net)
    subnet_of = {}
    for node in net.nodes:
        subnet = net.topology.subnet_of(IPv4Address(node.address))
        subnet_of[node.name] = subnet.name if subnet else ""
    pods = tuple(Endpoint(pod.name, pod.ip, pod.node, subnet_of[pod.node]) for pod in net.pods)
    if len(pods) < 2:
        raise ClusterError(f"{net.topology.source or 'the topology'} has too few pods: "
                           "a measurement needs two of them, better two on each node")
    return pods


def ordered_pairs(pods: Sequence[Endpoint]) -> tuple[Pair, ...]:
    """Every pod to every other."""
    return tuple(Pair(source, destination)
                 for source, destination in itertools.permutations(pods, 2))


def named_pairs(pods: Sequence[Endpoint], names: Sequence[tuple[str, str]]) -> dict[str, Pair]:
    """The pairs of these names (``web-0``, ``default/web-0``), by path class.

    Pairs that share a class are called by their pods (``default/a to default/b``) instead. Raises
    ClusterError for a name that no pod has, or several have, and for a pod paired with itself.
    """
    def pod(name: str) -> Endpoint:
        namesakes = [pod for pod in pods if name in (pod.name, pod.name.rpartition("/")[2])]
        if len(namesakes) != 1:
            all_names = [pod.name for pod in pods]
            close = suggest(name, all_names) or suggest(f"default/{name}", all_names)
            raise ClusterError(
                f"--pairs: {join([pod.name for pod in namesakes])} are both called {name}"
                if namesakes
                else f"--pairs: there is no pod {name!r}"
                + (f"; did you mean {close}?" if close else ""))
        return namesakes[0]

    pairs = list(dict.fromkeys(Pair(pod(source), pod(destination))
                               for source, destination in names))
    for pair in pairs:
        if pair.source == pair.destination:
            raise ClusterError(f"--pairs: {pair.source.name} is paired with itself")
    classes = [pair.path for pair in pairs]
    return {pair.path if classes.count(pair.path) == 1
            else f"{pair.source.name} to {pair.destination.name}": pair
            for pair in sorted(pairs, key=lambda pair: PATHS.index(pair.path))}


def chosen(pods: Sequence[Endpoint], names: Sequence[tuple[str, str]], classes: Sequence[str],
           source: str) -> tuple[tuple[Endpoint, ...], dict[str, Pair]]:
    """The pods that take part, and the pairs to measure between, by path class or by their names.

    The pairs are those of ``names``, else one for each path class; of ``classes`` alone, unless it
    is empty. Raises ClusterError when none is left, which names the topology's ``source``, and as
    :func:`named_pairs`.
    """
    pairs = named_pairs(pods, names) if names else representative_pairs(pods)
    if names:
        pods = tuple(dict.fromkeys(end for pair in pairs.values()
                                   for end in (pair.source, pair.destination)))
    pairs = {key: pair for key, pair in pairs.items() if pair.path in (classes or PATHS)}
    if not pairs:
        raise ClusterError(f"no two pods of {source} are on a path of --paths {','.join(classes)}")
    return tuple(pods), pairs


def representative_pairs(pods: Sequence[Endpoint]) -> dict[str, Pair]:
    """A pair for each path class that the cluster has, in the order of :data:`PATHS`.

    The pairs share their source where one pod has a partner in every class, so that the classes
    differ in the path alone. Otherwise a class gets its first pair in file order.
    """
    best: dict[str, Pair] = {}
    every: dict[str, Pair] = {}
    for source in pods:
        mine: dict[str, Pair] = {}
        for destination in pods:
            if source is not destination:
                pair = Pair(source, destination)
                mine.setdefault(pair.path, pair)
                every.setdefault(pair.path, pair)
        if len(mine) > len(best):
            best = mine
    return {path: best.get(path, every[path]) for path in PATHS if path in every}


def one_pair(net: CalicoNet, *classes: str, needed: str) -> Pair:
    """The pair that stands for the first of these path classes that the cluster has.

    Raises ClusterError, which says what is ``needed``, where it has none of them.
    """
    pairs = representative_pairs(endpoints(net))
    for path in classes:
        if path in pairs:
            return pairs[path]
    raise ClusterError(f"{net.topology.source or 'the topology'}: {needed}")
