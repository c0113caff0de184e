"""The hosts file of a cluster: who is called what."""

from dataclasses import replace

import pytest

from calico_mn.calico.snapshot import hosts_file
from calico_mn.model import ExternalHost
from unit.clusters import cluster, ip, pod, pool


def lines(*pods, hosts=()):
    """The lines after the first, of a cluster with these pods and hosts of the underlay."""
    made = cluster(pools=(pool("10.22.0.0/16"),), pods=pods)
    made.topology = replace(made.topology, underlay=replace(
        made.topology.underlay, hosts=hosts))
    first, *rest = hosts_file(made).splitlines()
    assert first == "127.0.0.1 localhost"
    return rest


def test_nodes_routers_and_hosts_are_called_by_their_names():
    assert lines(hosts=(ExternalHost("client", ip("192.168.57.99")),)) == [
        "192.168.57.31 node31", "192.168.57.32 node32", "192.168.58.33 node33",
        "192.168.57.1 r1", "192.168.58.1 r1", "192.168.57.99 client"]


@pytest.mark.parametrize(("pods", "names"), [
    pytest.param((pod("web", "node31"), pod("db", "node31")),
                 ["web web.default default.web", "db db.default default.db"], id="short names"),
    pytest.param((pod("web", "node31"), replace(pod("web", "node31"), namespace="sit")),
                 ["web.default default.web", "web.sit sit.web"], id="one name in two namespaces"),
    pytest.param((pod("node32", "node31"),), ["node32.default default.node32"],
                 id="a pod that is called like a node"),
])
def test_a_pod_has_its_short_name_where_it_is_the_only_one(pods, names):
    assert [line.partition(" ")[2] for line in lines(*pods)[-len(pods):]] == names
