"""BIRD beside the built-in engine: the same cluster with each, and the routes they brought."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from calico_mn import CalicoNet
from calico_mn.bgp.engine import BIRD, ENGINES, BgpRoute
from calico_mn.bgp.timers import CALICO, Timers
from calico_mn.model import Topology

NEEDS_BIRD = pytest.mark.skipif(shutil.which("bird") is None, reason="no BIRD is installed")


@contextmanager
def with_each_engine(topology: Topology, tunnel: str, timers: Timers = CALICO, **options: Any
                     ) -> Iterator[dict[str, CalicoNet]]:
    """A running cluster with each engine, by the engine's name; ``timers`` are BIRD's."""
    with ExitStack() as stack:
        yield {engine: stack.enter_context(CalicoNet(
            topology, tunnel=tunnel, engine=engine, timers=timers if engine == BIRD else None,
            **options)) for engine in ENGINES}


def resource(kind: str, name: str, labels: dict[str, str] | None = None, **spec: Any
             ) -> dict[str, Any]:
    """A resource of Calico's, as plain data for ``net.apply``."""
    return {"apiVersion": "projectcalico.org/v3", "kind": kind,
            "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def learned(net: CalicoNet) -> dict[str, set[str]]:
    """Whose blocks each node has routes to, by the kernel's routes of protocol bird."""
    owners = {str(block): node for node in net.cluster.nodes
              for block in net.cluster.ipam.blocks(node)}
    return {node: {owners[route.destination] for route in net.kernel_routes(node)
                   if route.protocol == "bird" and owners.get(route.destination, node) != node}
            for node in net.cluster.nodes}


def routes_of_bird(net: CalicoNet) -> dict[str, list[str]]:
    """The routes of protocol bird as text, on each node and each router that speaks BGP."""
    return {place: sorted(str(route) for route in net.kernel_routes(place)
                          if route.protocol == "bird")
            for place in (*net.cluster.nodes, *net.cluster.fabric.speaking)}


def attributes(net: CalicoNet) -> dict[str, set[BgpRoute]]:
    """What each speaker knows, with BGP's attributes, without what only BIRD has."""
    return {session.node: {replace(route, protocol="", since="")
                           for route in net.bgp.routes(session.node)}
            for session in net.bgp.sessions()}


def bounce_tunnel(net: CalicoNet, node: str = "node31") -> None:
    """Set tunl0 down and up, which costs its routes, and let them come back."""
    for state in ("down", "up"):
        net[node].pexec(["ip", "link", "set", "tunl0", state])
    net.repair()
