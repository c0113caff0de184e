"""States and deltas as commands; whole namespaces against golden files (``pytest --record``)."""

import pytest

from calico_mn.calico.cluster import Cluster
from calico_mn.delta import creation, delta
from calico_mn.kernel import iptext
from calico_mn.model import Link
from calico_mn.state import Address, Bridge, Namespace, NextHop, Route, Sysctl, Tunnel, VethEnd

from .clusters import CROSS, NEVER, pod, topology, two_racks

PODS = (pod("sit-web-backend-58f48df4c9-b2q28", "node32", "10.22.151.11", "sit"),
        pod("client", "node31"))
LEARNED_BY = {"node31": ("node32", "node33"), "node32": ("node31", "node33"),
              "node33": ("node31", "node32")}


def made(**changes):
    cluster = Cluster(topology(pods=PODS, veth_mtu=1500, **changes), 2)
    cluster.has_firewall = False
    return cluster


def state(cluster, name):
    learned = {prefix: (cluster.nodes[peer].address.ip,) for peer in LEARNED_BY[name]
               for prefix in cluster.originated(peer)}
    return cluster.node_state(name, learned)


def written(change):
    return "".join(f"{command}\n" for command in iptext.commands(change))


@pytest.mark.parametrize("name", ["node31", "node32", "node33"])
def test_a_nodes_namespace(golden, name):
    golden(f"{name}-Always", written(creation(state(made(), name))))


def test_a_pods_namespace(golden):
    key = f"sit/{PODS[0].name}"
    golden("pod", written(creation(made().pod_state(key))))


def test_a_switch_with_shaped_links(golden):
    cluster = made(underlay=two_racks(link=Link(100.0, 2.0)))
    golden("switch-shaped", written(creation(
        cluster.subnet_state(cluster.topology.underlay.subnets[0]))))


def test_a_router_that_knows_the_pods(golden):
    cluster = made(underlay=two_racks(pod_routes=True))
    golden("router-pod-routes", written(creation(
        cluster.router_state(cluster.topology.underlay.routers[0]))))


@pytest.mark.parametrize("mode", [CROSS, NEVER], ids=str)
def test_a_change_of_the_mode_is_the_difference_only(golden, mode):
    cluster = made()
    before = state(cluster, "node31")
    cluster.set_mode(mode)
    golden(f"node31-Always-to-{mode}", written(delta(before, state(cluster, "node31"))))


def test_a_pod_that_goes_takes_its_route_along(golden):
    cluster = made()
    before = state(cluster, "node31")
    cluster.delete_pod("default/client")
    golden("node31-pod-deleted", written(delta(before, state(cluster, "node31"))))


@pytest.mark.parametrize(("item", "commands"), [
    pytest.param(Bridge("br0", 1400), ["ip link add br0 mtu 1400 type bridge mcast_snooping 0",
                                       "ip link set br0 up"], id="bridge"),
    pytest.param(VethEnd("eth0", 1500), ["ip link set eth0 up"], id="other-end"),
    pytest.param(Tunnel("tunl0", 1480, "eth0", up=False),
                 ["ip link add tunl0 type ipip",
                  "ip link set tunl0 mtu 1480 txqueuelen 1000 down"], id="tunnel-down"),
])
def test_a_device(item, commands):
    assert iptext.device_added(item) == commands


@pytest.mark.parametrize(("text", "expected"), [
    pytest.param(iptext.sysctl(Sysctl("ip_forward", 1)), "sysctl -w net/ipv4/ip_forward=1",
                 id="sysctl"),
    pytest.param(iptext.sysctl(Sysctl("proxy_arp", 1, "conf", "a.b")),
                 "sysctl -w net/ipv4/conf/a.b/proxy_arp=1", id="sysctl-of-a-device-with-a-dot"),
    pytest.param(iptext.address(Address("tunl0", "10.22.138.0/32")),
                 "ip address add 10.22.138.0/32 dev tunl0", id="address"),
    pytest.param(iptext.address(Address("tunl0", "10.22.138.0/32"), remove=True),
                 "ip address del 10.22.138.0/32 dev tunl0", id="address-del"),
    pytest.param(iptext.route(Route("10.22.138.0/26", kind="blackhole", protocol="bird")),
                 "ip route replace blackhole 10.22.138.0/26 proto bird", id="blackhole"),
    pytest.param(iptext.route(Route("10.0.0.0/8", protocol="static", mtu=1400, next_hops=(
        NextHop("10.1.0.2", "eth1"), NextHop("10.2.0.2", "eth2")))),
                 "ip route replace 10.0.0.0/8 proto static mtu 1400 nexthop via 10.1.0.2 dev eth1"
                 " weight 1 nexthop via 10.2.0.2 dev eth2 weight 1", id="two next hops"),
    pytest.param(iptext.route(Route("default", via="192.168.57.1", device="eth0"), remove=True),
                 "ip route del default via 192.168.57.1 dev eth0", id="route-del"),
])
def test_one_line(text, expected):
    assert text == expected


def test_a_devices_sysctls_follow_the_device_and_the_namespaces_own_come_first():
    change = creation(Namespace(
        "n", devices=(VethEnd("eth0", 1500), Bridge("br0", 1500)),
        sysctls=(Sysctl("proxy_arp", 1, "conf", "eth0"), Sysctl("ip_forward", 1),
                 Sysctl("rp_filter", 0, "conf", "all"))))
    assert iptext.commands(change)[:4] == [
        "sysctl -w net/ipv4/ip_forward=1", "sysctl -w net/ipv4/conf/all/rp_filter=0",
        "ip link set eth0 up", "sysctl -w net/ipv4/conf/eth0/proxy_arp=1"]


def test_nothing_to_do_is_no_command():
    one = state(made(), "node31")
    assert iptext.commands(delta(one, one)) == []
