"""A machine outside the cluster: a place like others, without Calico, reached as routes allow.

     node31 .31    node32 .32    client .99               node33 .33
     pod a         pod b            |                     pod c
        |             |             |                        |
   -----+-- rack-a ---+-------------+--- (.1) r1 (.1) -------+-- rack-b ----
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from support.connectivity import expect_connectivity
from support.routes import addresses, devices, routes
from support.topologies import two_subnets

from calico_mn.calico.cluster import Cluster
from calico_mn.errors import ClusterError
from calico_mn.model import ExternalHost
from calico_mn.report import drawing
from calico_mn.trace.probe import trace

pytestmark = pytest.mark.root

CLIENT = ExternalHost("client", IPv4Address("192.168.57.99"))


def with_client(pod_routes=False, host=CLIENT):
    topology = two_subnets("Always", pod_routes=pod_routes)
    return replace(topology, underlay=replace(topology.underlay, hosts=(host,)))


def test_it_has_one_address_its_subnets_router_and_nothing_of_calico(boot):
    net = boot(with_client())
    client = net.get("client")
    assert (client.ip, client.IP()) == ("192.168.57.99", "192.168.57.99")
    assert "client" in net and "client" in list(net) and client in net.hosts
    assert addresses(net, "client", "eth0") == ["192.168.57.99/24"]
    assert set(devices(net, "client")) <= {"lo", "eth0", "tunl0"}
    assert routes(net, "client") == [
        "default via 192.168.57.1 dev eth0",
        "192.168.57.0/24 dev eth0 proto kernel scope link src 192.168.57.99"]
    assert net.verify() == ()


# The pods' packets get to it with the pods' addresses: what answers must know their blocks.
@pytest.mark.parametrize(("pod_routes", "answers"), [(False, False), (True, True)])
def test_pods_are_answered_only_where_the_fabric_knows_them(boot, pod_routes, answers):
    net = boot(with_client(pod_routes))
    pods = {"a", "b", "c"}
    expect_connectivity(net, {
        "client": {"node31", "node33", *(pods if answers else ())},
        "node31": {"client", "node33", *pods}, "node33": {"client", "node31", *pods},
        **{pod: {"node31", "node33", *(pods - {pod}), *({"client"} if answers else ())}
           for pod in pods}})


def test_a_trace_ends_and_begins_there(boot):
    net = boot(with_client())
    arrived = trace(net, "a", "client")
    assert arrived.forward.hops[-1].namespace == "client"
    assert arrived.forward.hops[-1].kind == "host"
    assert (arrived.drop.namespace, arrived.drop.leg, arrived.drop.cause) == (
        "r1", "reply", "no-route")
    assert trace(net, "client", "192.168.58.33").answered


def test_a_gateway_of_its_own_and_addresses_that_no_node_can_have(boot):
    gateway = IPv4Address("192.168.57.31")
    net = boot(with_client(host=replace(CLIENT, gateway=gateway)))
    assert routes(net, "client")[0] == "default via 192.168.57.31 dev eth0"
    assert net["client"].pexec(["ping", "-c1", "-W2", net["b"].ip])[2] == 0, "a node as router"
    with pytest.raises(ClusterError, match=r"node34: host client has 192\.168\.57\.99"):
        net.add_node("node34", "192.168.57.99/24")


def test_it_is_drawn_in_its_subnet():
    cluster = Cluster(with_client(), 2)
    assert '"rack-a" -- "client"' in drawing.graph(cluster, "dot")
    assert "192.168.57.99" in drawing.graph(cluster, "mermaid")
    svg = drawing.graph(cluster, "svg")
    assert "outside the cluster" in svg and "Outside the cluster: client." in svg
