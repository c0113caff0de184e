"""Tables of resources: which columns each kind has, by default and with ``-o wide``. Pure.

In go resources with the facts that a run adds to them, out come lines as kubectl and calicoctl
print them, with only those columns that an emulated cluster can fill truthfully.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from calico_mn.calico.encapsulation import DELETED_WHEN_OFF, ENCAPSULATIONS
from calico_mn.cli.output import columns
from calico_mn.topology.kinds import is_namespaced, kind_of, name_of, namespace_of, reference
from calico_mn.topology.kubernetes_kinds import left_out
from calico_mn.topology.plain_data import at

Facts = Mapping[str, Any]
Item = Mapping[str, Any]


class Column(NamedTuple):
    """``value`` makes a cell of a document and its facts; ``when`` is ``wide``, or ``used`` for
    one that is wide, and shown only where a cell has a value.
    """

    header: str
    value: Callable[[Any, Facts], object]
    when: str = ""


def _at(*path: str) -> Callable[[Any, Facts], object]:
    return lambda document, _facts: at(document, *path)


def _truth(*path: str) -> Callable[[Any, Facts], object]:
    value = _at(*path)
    return lambda document, facts: "true" if value(document, facts) else "false"


def _fact(name: str, inner: str = "") -> Callable[[Any, Facts], object]:
    return lambda _, facts: (facts.get(name) or {}).get(inner) if inner else facts.get(name)


def _usage(_document: Any, facts: Facts) -> str:
    return f"{facts['used']}/{facts['total']}" if facts.get("total") else ""


def _status(pod: Any, facts: Facts) -> object:
    """The phase, or what kubectl shows for it; of a pod that is not emulated the reason."""
    phase = facts.get("status") or at(pod, "status", "phase")
    return (not facts and left_out(at(pod, "spec", "hostNetwork") is True, str(phase),
                                   at(pod, "spec", "nodeName") is not None)) or phase


def _ip(pod: Any, facts: Facts) -> object:
    return at(pod, "status", "podIP") if "mtu" in facts else None


def _ready(workload: Any, _facts: Facts) -> str:
    return (f"{at(workload, 'status', 'readyReplicas') or 0}"
            f"/{at(workload, 'spec', 'replicas') or 0}")


_REPLICAS = (Column("DESIRED", _at("spec", "replicas")), Column("READY", _at(
    "status", "readyReplicas")))
_BLOCK = (Column("CIDR", _at("spec", "cidr")), Column("NODE", _at("spec", "node")),
          Column("IN USE", _usage), Column("POOL", _fact("pool"), "wide"))
_COLUMNS: dict[str, tuple[Column, ...]] = {
    "Node": (
        Column("IPV4", _fact("ipv4")), Column("SUBNET", _fact("subnet")),
        *(Column(item.device.upper(), _fact("tunnels", item.device),
                 "used" if item in DELETED_WHEN_OFF else "wide") for item in ENCAPSULATIONS),
        Column("BLOCKS", _fact("blocks"), "wide"), Column("PODS", _fact("pods"))),
    "Pod": (
        Column("STATUS", _status), Column("IP", _ip), Column("NODE", _at("spec", "nodeName")),
        Column("INTERFACE", _fact("interface"), "wide"), Column("MTU", _fact("mtu"), "wide")),
    "Deployment": (Column("READY", _ready),), "StatefulSet": (Column("READY", _ready),),
    "ReplicaSet": _REPLICAS, "ReplicationController": _REPLICAS,
    "DaemonSet": (Column("DESIRED", _at("status", "desiredNumberScheduled")),
                  Column("READY", _at("status", "numberReady"))),
    "IPPool": (
        Column("CIDR", _at("spec", "cidr")),
        *(Column(item.mode_field.upper(), _at("spec", item.mode_field))
          for item in ENCAPSULATIONS),
        Column("NAT", _truth("spec", "natOutgoing"), "wide"),
        Column("DISABLED", _truth("spec", "disabled"), "wide"),
        Column("SELECTOR", _at("spec", "nodeSelector"), "wide"), Column("IN USE", _usage)),
    "BlockAffinity": _BLOCK, "IPAMBlock": _BLOCK,
    "HostEndpoint": (
        Column("NODE", _at("spec", "node")), Column("INTERFACE", _at("spec", "interfaceName")),
        Column("IPS", _at("spec", "expectedIPs"), "wide"),
        Column("PROFILES", _at("spec", "profiles"), "wide")),
    "Underlay": (
        Column("SUBNETS", lambda underlay, _: [s["name"] for s in underlay["spec"]["subnets"]]),
        Column("ROUTERS", lambda underlay, _: [r["name"] for r in underlay["spec"].get(
            "routers", ())]),
        Column("HOSTS", lambda underlay, _: [h["name"] for h in underlay["spec"].get(
            "hosts", ())], "used")),
}


def tables(items: Iterable[Item], *, wide: bool, has_namespaces: bool) -> list[list[str]]:
    """A table for each kind; with several, names have their kind, as kubectl prints them."""
    groups: dict[str, list[Item]] = {}
    seen = set()
    for item in items:
        document = item["document"]
        title = kind_of(document), namespace_of(document), name_of(document)
        if title not in seen or title[0] != "Node":  # a node may have a document of either API
            groups.setdefault(title[0], []).append(item)
        seen.add(title)
    return [_table(kind, group, wide=wide, is_one=len(groups) == 1,
                   has_namespaces=has_namespaces and is_namespaced(kind))
            for kind, group in groups.items()]


def _table(kind: str, items: Sequence[Item], *, wide: bool, is_one: bool, has_namespaces: bool
           ) -> list[str]:
    shown = [Column("NAME", lambda document, _: name_of(document) if is_one
                    else reference(document)), *_COLUMNS.get(kind, ())]
    if has_namespaces:
        shown.insert(0, Column("NAMESPACE", lambda document, _: namespace_of(document)))
    rows = {column: [column.value(item["document"], item["facts"]) for item in items]
            for column in shown if wide or not column.when}
    rows = {column: cells for column, cells in rows.items() if column.when != "used" or any(cells)}
    return columns([column.header for column in rows], zip(*rows.values(), strict=True))
