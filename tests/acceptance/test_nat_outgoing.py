"""A20, whose address the other side sees: masquerading by Felix's chains.

                       outside .99
                          |
     ---------------------+---- net-a 192.168.57.0/24 ----+---- r1
          node31 .31            node32 .32
          a  c                  b
"""

from __future__ import annotations

import socket
from typing import Any

import pytest
from support.topologies import net_a

from calico_mn import CalicoNet
from calico_mn.topology import parse_topology

pytestmark = [pytest.mark.root, pytest.mark.rules]

TOPOLOGY = net_a("a@node31", "c@node31", "b@node32")
PORT = 7000


def seen_by(net: CalicoNet, source: str, destination: str, address: str, bound: str = "") -> str:
    """The address that ``destination`` sees of a connection, or why there is none."""
    def listen() -> socket.socket:
        return socket.create_server(("", PORT))

    def connect() -> socket.socket:
        return socket.create_connection((address, PORT), timeout=5,
                                        source_address=(bound, 0) if bound else None)

    with net.runtime.inside(destination, listen) as server:
        server.settimeout(5)
        try:
            with net.runtime.inside(source, connect):
                connection, (seen, _port) = server.accept()
                connection.close()
        except OSError as error:
            return f"{error.strerror or error}"
    return str(seen)


@pytest.fixture
def net(boot: Any) -> CalicoNet:
    return boot(parse_topology(TOPOLOGY))


def names_of(net: CalicoNet) -> dict[str, str]:
    cluster = net.cluster
    return {
        **{pod.address.compressed: key.partition("/")[2]
           for key, pod in cluster.endpoints.items()},
        **{str(node.address.ip): name for name, node in cluster.nodes.items()},
        **{str(cluster.tunnel_address(name)): f"tunl0 of {name}" for name in cluster.nodes}}


@pytest.mark.ipip
def test_who_is_seen(net: CalicoNet) -> None:
    names = names_of(net)
    address = {name: number for number, name in names.items()}
    asked = {
        "pod to a machine outside": ("default/a", "outside", "192.168.57.99"),
        "pod to another node": ("default/a", "node32", "192.168.57.32"),
        "pod to its own node": ("default/a", "node31", "192.168.57.31"),
        "pod to a pod of its node": ("default/a", "default/c", address["c"]),
        "pod to a pod of another node": ("default/a", "default/b", address["b"]),
        "node to a pod of another node": ("node31", "default/b", address["b"]),
        "node to its own pod": ("node31", "default/a", address["a"]),
        "node's address to a pod of another node":
            ("node31", "default/b", address["b"], "192.168.57.31"),
    }
    seen = {what: seen_by(net, *words) for what, words in asked.items()}
    # The ipip module makes tunl0 with the namespace, before eth0, and the first device's address is
    # the source (inet_select_addr in net/ipv4/devinet.c). On a real node eth0 is the first.
    own = "tunl0 of node31" if net.tunnel == "kernel" else "node31"
    assert {what: names.get(number, number) for what, number in seen.items()} == {
        "pod to a machine outside": "node31",
        "pod to another node": "node31",
        "pod to its own node": "a",
        "pod to a pod of its node": "a",
        "pod to a pod of another node": "a",
        "node to a pod of another node": "tunl0 of node31",
        "node to its own pod": own,
        "node's address to a pod of another node": "tunl0 of node31",
    }


def test_without_nat_outgoing_the_pods_address_is_seen_and_never_answered(net: CalicoNet) -> None:
    net.apply("apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: pool}\n"
              "spec: {cidr: 10.22.0.0/16, ipipMode: Always, natOutgoing: false}\n")
    assert seen_by(net, "default/a", "outside", "192.168.57.99") == "timed out"
    assert names_of(net)[seen_by(net, "default/a", "node31", "192.168.57.31")] == "a"
    assert net.verify() == ()
