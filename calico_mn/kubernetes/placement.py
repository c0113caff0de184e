"""What is asked for of a measurement on a real cluster, and which nodes its pods run on. Pure.

    Settings: what a person asks for

    Node resources ──read──▶ Node: its address and subnet, and why no pod of ours can run there
                   ──place──▶ pod's name ──▶ node, on the fewest nodes that show the path classes

Subnets are those that CrossSubnet goes by: the address with its prefix that calico-node has written
into the annotation projectcalico.org/IPv4Address (calico-node's startup, of its autodetection).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Any

from calico_mn.errors import ClusterError
from calico_mn.measure.paths import CROSS_SUBNET, PATHS, SAME_NODE, SAME_SUBNET
from calico_mn.text import join, join_some, one_line

ADDRESS = "projectcalico.org/IPv4Address"
HOST_NAME = "kubernetes.io/hostname"
#: seconds that a mode change gets where no wire is watched
SETTLE_S = 10.0
#: the pod that sends; the others are called by the path class that they are the far end of
CLIENT = "client"

_KEEPS_AWAY = ("NoSchedule", "NoExecute")
_LACKING = {SAME_SUBNET: "no two usable nodes are in one subnet",
            CROSS_SUBNET: "no two usable nodes are in different subnets"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Names of the context, None for the current one, of the namespace, empty for one of its own,
    and of the pods' image; what may be done; ``settle`` as :data:`SETTLE_S`.
    """

    context: str | None = None
    namespace: str = ""
    image: str = ""
    allow_mode_change: bool = False
    allow_host_capture: bool = False
    settle: float = SETTLE_S


@dataclass(frozen=True, slots=True)
class Node:
    """A node. ``host_name`` is its label of that name, by which pods are pinned.

    ``is_given`` tells whether calico-node has told the prefix of ``address``; a node without is
    taken for alone in its subnet. ``unusable`` is why no pod can run there, or empty.
    """

    name: str
    host_name: str
    address: IPv4Interface
    is_given: bool
    unusable: str
    about: Mapping[str, Any]

    @property
    def subnet(self) -> str:
        """``10.0.1.0/24``."""
        return str(self.address.network)


@dataclass(frozen=True, slots=True)
class Placement:
    """Pods' names and their nodes; sentences on what cannot be shown, and on what is assumed."""

    pods: Mapping[str, Node]
    notes: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Each node once, the client's first."""
        return tuple({node.name: node for node in self.pods.values()}.values())


def read(items: Iterable[Mapping[str, Any]]) -> tuple[Node, ...]:
    """Nodes of a NodeList that have an IPv4 address, in its order."""
    return tuple(node for item in items if (node := _node(item)))


def _node(item: Mapping[str, Any]) -> Node | None:
    metadata, spec, status = (item.get(part) or {} for part in ("metadata", "spec", "status"))
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    internal = [str(each.get("address")) for each in status.get("addresses") or ()
                if each.get("type") == "InternalIP" and ":" not in str(each.get("address"))]
    text = str(annotations.get(ADDRESS) or next(iter(internal), ""))
    try:
        address = IPv4Interface(text)
    except ValueError:
        return None
    taints = [taint for taint in spec.get("taints") or () if taint.get("effect") in _KEEPS_AWAY]
    is_ready = any(each.get("type") == "Ready" and each.get("status") == "True"
                   for each in status.get("conditions") or ())
    name, system = str(metadata.get("name")), labels.get("kubernetes.io/os", "linux")
    info, capacity = status.get("nodeInfo") or {}, status.get("capacity") or {}
    return Node(
        name, str(labels.get(HOST_NAME, name)), address, ADDRESS in annotations,
        "it is not Ready" if not is_ready else
        "it is cordoned" if spec.get("unschedulable") else
        f"it has the taint {taints[0].get('key')}" if taints else
        f"it runs {system}" if system != "linux" else "",
        {"kernel": info.get("kernelVersion"), "cpus": _cpus(capacity.get("cpu")),
         "os": info.get("osImage"), "architecture": info.get("architecture"),
         "kubelet": info.get("kubeletVersion"), "runtime": info.get("containerRuntimeVersion")})


def _cpus(quantity: Any) -> int | None:
    text = str(quantity)
    return int(text) if text.isascii() and text.isdigit() else None


def place(nodes: Sequence[Node], wanted: Sequence[str] = PATHS) -> Placement:
    """The client and a pod for each path class of ``wanted`` that the cluster has.

    Raises ClusterError where no node can be used, or the cluster has none of the classes.
    """
    usable = [node for node in nodes if not node.unusable]
    if not usable:
        reasons = [f"{node.name}: {node.unusable}" for node in nodes]
        raise ClusterError("no node of the cluster can run a pod of ours"
                           f" ({one_line(join_some(reasons, 5) or 'it has none with IPv4')})")

    def far_ends(client: Node) -> dict[str, Node]:
        others = [node for node in usable if node is not client]
        ends = {SAME_NODE: client}
        for node in others:
            ends.setdefault(SAME_SUBNET if node.subnet == client.subnet else CROSS_SUBNET, node)
        return {path: ends[path] for path in PATHS if path in ends and path in wanted}

    client = max(usable, key=lambda node: len(far_ends(node)))  # the first of those with the most
    ends = far_ends(client)
    missing = [path for path in wanted if path not in ends]
    if not ends:
        raise ClusterError(f"the cluster has no {join(missing)}:"
                           f" {_LACKING[missing[0]]} (of {len(usable)} that can run pods)")
    return _noted({CLIENT: client, **ends}, wanted)


def placed(nodes: Sequence[Node], before: Mapping[str, str], wanted: Sequence[str] = PATHS
           ) -> Placement:
    """The same placement as that of an interrupted run: pod's name -> node's name.

    Raises ClusterError where one of the nodes is gone or cannot be used.
    """
    by_name = {node.name: node for node in nodes}
    for name in before.values():
        why = by_name[name].unusable if name in by_name else "the cluster has no such node now"
        if why:
            raise ClusterError(f"the run was on node {one_line(name)}, which cannot be used:"
                               f" {why}")
    return _noted({pod: by_name[name] for pod, name in before.items()}, wanted)


def _noted(pods: Mapping[str, Node], wanted: Sequence[str]) -> Placement:
    notes = [f"Not measured: {path}; {_LACKING[path]}." for path in wanted if path not in pods]
    alone = [node.name for node in Placement(pods).nodes if not node.is_given]
    if alone:
        notes = [*notes, f"{join(alone)}: without the annotation {ADDRESS} the subnet is not known,"
                 " so that the path to every other node is taken to cross subnets."]
    return Placement(pods, tuple(notes))
