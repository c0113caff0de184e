"""Topology files -> :class:`Topology`: all steps of reading, in their order.

In go the texts of one or several files, which together are one topology; out comes a checked
:class:`calico_mn.model.Topology`, or :class:`calico_mn.errors.TopologyError` with all problems.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from calico_mn.model import FelixConfiguration, Topology
from calico_mn.topology.address_rules import check_addresses, take_witnesses
from calico_mn.topology.bgp_kinds import read_bgp
from calico_mn.topology.calico_kinds import IP_RESERVATION
from calico_mn.topology.calico_node import felix_overrides, read_variables
from calico_mn.topology.change import Change
from calico_mn.topology.default_pool import INSTALLATION, add_default_pools
from calico_mn.topology.documents import Item, add_resource, open_documents
from calico_mn.topology.endpoint_kinds import read_services, warn_of_hosts
from calico_mn.topology.kinds import KINDS
from calico_mn.topology.kubernetes_kinds import CONFIG_MAP, DAEMON_SET
from calico_mn.topology.placement import place_pods, select_workloads
from calico_mn.topology.plain_data import Document, tree_of
from calico_mn.topology.policy_kinds import read_policies
from calico_mn.topology.problems import Report, TooManyProblemsError
from calico_mn.topology.readers import mtu_text
from calico_mn.topology.rules import check_all
from calico_mn.topology.schema import Field, Resources
from calico_mn.topology.underlay import (
    HOSTS,
    ROUTERS,
    SUBNETS,
    UNDERLAY,
    assume_underlay,
    settle_nodes,
)
from calico_mn.topology.yaml_tree import MAX_BYTES, Scalar, read_documents

#: texts or documents, by the name that they have in messages
Sources = Mapping[str, str | Sequence[Document]]

# Each is a namespace, and each node has a route to each other node's blocks.
MAX_HOSTS = 2_000
SPLIT_HINT = "a topology is a few kB of text; is this another kind of file?"


def parse_topology(
    text: str, file: str = "<string>", environ: Mapping[str, str] | None = None
) -> Topology:
    """Read and check a topology from ``text``; ``file`` is its name in messages.

    Pure: None for ``environ`` means no variables. Raises
    :class:`calico_mn.errors.TopologyError` with all problems.
    """
    return parse_topologies({file: text}, environ)


def parse_topologies(
    sources: Mapping[str, str], environ: Mapping[str, str] | None = None
) -> Topology:
    """As :func:`parse_topology` of several texts by their names: they make one topology."""
    report, items = _read(sources)
    return build_topology(report, items, environ or {})


def build_topology(report: Report, items: Iterable[Item], environ: Mapping[str, str]) -> Topology:
    """The topology of resources, which are read one by one. Raises TopologyError."""
    resources = Resources()
    try:
        for item in items:
            add_resource(report, resources, item)
        report.source = ""
        return _build(report, resources, environ)
    except TooManyProblemsError:
        raise report.error() from None


def parse_change(running: Topology, documents: Iterable[Document],
                 sources: Sources) -> tuple[Topology, list[Document]]:
    """The topology that a running cluster is to have, and the resources of ``sources``.

    ``running`` is its :func:`~calico_mn.calico.snapshot.snapshot`, ``documents`` those of its
    resources that stay, on which ``sources`` are laid.
    Raises :class:`calico_mn.errors.TopologyError` with all problems.
    """
    report, items = _read(sources)
    try:
        change = Change(running, documents)
        resources = change.overlay(report, items)
        report.source = ""
        topology = _build(report, resources, {}, change)
    except TooManyProblemsError:
        raise report.error() from None
    fresh = (text for text in topology.warnings if text not in running.warnings)
    return replace(topology, source=running.source,
                   warnings=(*running.warnings, *fresh)), change.given


def parse_documents(sources: Sources) -> list[Document]:
    """The resources of texts, of which only YAML and kinds are looked at. Raises TopologyError."""
    report, items = _read(sources)
    documents = [document for _, document in items]
    if report.failed:
        raise report.error()
    return documents


def _read(sources: Sources) -> tuple[Report, Iterator[Item]]:
    """The resources of texts or documents, which are read one by one."""
    texts = {file: source.removeprefix("\ufeff") for file, source in sources.items()
             if isinstance(source, str)}
    report = Report(", ".join(sources), next(iter(texts.values()), ""))
    if sum(map(len, texts.values())) > MAX_BYTES:
        report.add_for_file(f"the text is larger than {MAX_BYTES // 1_000_000} MB", SPLIT_HINT)
        raise report.error()

    def items() -> Iterator[Item]:
        for file, source in sources.items():
            text = texts.get(file, "")
            if len(sources) > 1:
                report.begin(file, text)
            trees = (read_documents(text, report) if isinstance(source, str)
                     else list(map(tree_of, source)))
            if not trees:
                report.add_for_file("there is nothing in it",
                                    "topologies/article.yaml is an example to start from")
                raise report.error()
            yield from open_documents(report, trees)

    return report, items()


def _build(report: Report, resources: Resources, environ: Mapping[str, str],
           change: Change | None = None) -> Topology:
    """Check everything; raises :class:`TopologyError` with all problems."""
    underlay = resources.single(UNDERLAY)
    nodes = settle_nodes(report, resources, underlay)
    config_maps = {item.get("name"): item.get("data", {}) for item in resources.of(CONFIG_MAP)}
    environment = read_variables(report, resources.of(DAEMON_SET), config_maps)
    if change is None:
        add_default_pools(report, resources, nodes, environment, environ)
    mtus = _mtus(report, resources, environment)
    if not nodes and not report.failed:
        report.add_for_file(
            "there is no Node",
            "add at least one; kubectl get nodes -o yaml and calicoctl get node -o yaml print them",
        )
    hosts = len(nodes)
    if underlay:
        hosts += (len(underlay.entries(SUBNETS)) + len(underlay.entries(ROUTERS))
                  + len(underlay.entries(HOSTS)))
    if hosts > MAX_HOSTS:
        report.add_for_file(f"{hosts} nodes, subnets, routers and hosts are more than the"
                            f" {MAX_HOSTS} that one machine can hold", "use fewer of them")
        raise report.error()
    underlay = underlay or assume_underlay(report, nodes)
    take_witnesses(report, resources)
    if change is None:
        workloads = select_workloads(report, resources)
        placed = place_pods(report, workloads, nodes)
    else:
        change.refuse(report, resources, underlay)
        workloads, placed = change.place(report, resources, nodes)
    policies = read_policies(report, resources)
    warn_of_hosts(report, resources, {node.get("name", "") for node in nodes})
    services = read_services(report, resources, policies["policies"])
    check_all(report, resources, underlay)
    check_addresses(report, resources, workloads)
    if report.failed:
        raise report.error()
    attributes: dict[str, Any] = {}
    for kind in KINDS.values():
        models = tuple(resource.model for resource in resources.of(kind))
        if kind.topology and not kind.single:
            attributes[kind.topology] = models
        elif kind.topology and models:
            attributes[kind.topology] = models[0]
    felix = attributes.pop("felix", FelixConfiguration())
    return Topology(
        underlay=underlay.model, pods=tuple(pod for pod, _ in placed),
        reservations=tuple(network for item in resources.of(IP_RESERVATION)
                           for network in item.get("networks", ())),
        veth_mtu=mtus.pop("veth_mtu", 0), felix=replace(felix, **mtus),
        **read_bgp(report, resources, environment),
        warnings=report.warnings(), source=report.file, documents=tuple(resources.documents),
        lines={name: mark.where for name, mark in (
            *((node.model.name, node.at("ipip_address", "vxlan_address", "name"))
              for node in nodes),
            *((pod.key, item.at("ip", "pools", "name")) for pod, item in placed)) if mark.line},
        services=services, **policies, **attributes)


def _mtus(report: Report, resources: Resources, environment: Mapping[str, Scalar]
          ) -> dict[str, int]:
    """The MTUs that other resources than FelixConfiguration give, by the model's names.

    The operator gives its one MTU to pods and tunnels alike (tigera/operator pkg/render/node.go).
    """
    mtus: dict[str, int] = {}
    installation = resources.single(INSTALLATION)
    if installation and installation.get("mtu"):
        mtus = dict.fromkeys(("veth_mtu", "ipip_mtu", "vxlan_mtu"), installation.get("mtu"))
    named = [item for item in resources.of(CONFIG_MAP) if item.get("name") == "calico-config"
             and "veth_mtu" in item.get("data", {})]
    for config in named[:1]:
        config.read(report, Field(mtu_text, "veth_mtu"), config.get("data")["veth_mtu"],
                    "ConfigMap data.veth_mtu")
        mtus["veth_mtu"] = config.get("veth_mtu", 0)
    for config in named[1:]:
        report.add("a second ConfigMap calico-config", config.mark,
                   f"the first is in {named[0].mark.where}; keep one of them")
    return {**mtus, **felix_overrides(report, environment)}
