"""What a route engine offers to the cluster, whoever carries the routes.

An engine learns what each node originates and answers what each node has learned. What a node
makes of a learned prefix (tunnel or not) is :mod:`calico_mn.calico.encapsulation`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol


class RouteEngine(Protocol):
    """Distributes prefixes between the nodes. Nodes are known by their names."""

    @property
    def name(self) -> str:
        """What results and tables call the engine."""

    def add_node(self, node: str, address: IPv4Address) -> None:
        """Start a speaker that peers with all the others."""

    def remove_node(self, node: str) -> frozenset[str]:
        """End a node's speaker in an orderly way; the nodes that lost prefixes by it."""

    def originate(self, node: str, prefixes: Iterable[IPv4Network]) -> frozenset[str]:
        """Make ``prefixes`` what ``node`` announces; the nodes whose learned prefixes changed."""

    def learned(self, node: str) -> Mapping[IPv4Network, IPv4Address]:
        """The node's best next hop for each prefix that others announce."""

    def is_alive(self, node: str) -> bool:
        """Whether the node's speaker runs; a dead one leaves the kernel's routes as they are."""
