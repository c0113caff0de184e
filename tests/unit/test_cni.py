"""How one pod is wired: names, the node's half, the pod's half."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_mn.calico import cni
from calico_mn.state import Address, Route, Sysctl, VethEnd

from .clusters import ip

ARTICLE = cni.WorkloadEndpoint("sit", "sit-web-backend-58f48df4c9-b2q28", "node32",
                               ip("10.22.151.11"), 1500)
CALI = "cali262cda17a90"


def test_the_articles_pod_has_the_articles_device():
    assert cni.host_device("sit", "sit-web-backend-58f48df4c9-b2q28") == CALI
    assert ARTICLE.device == CALI
    assert ARTICLE.key == "sit/sit-web-backend-58f48df4c9-b2q28"


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_a_device_name_always_fits_linux(namespace, name):
    assert re.fullmatch("cali[0-9a-f]{11}", cni.host_device(namespace, name))
    assert len(cni.host_device(namespace, name)) == 15


def test_the_namespace_is_part_of_the_device_name():
    assert cni.host_device("a", "web") != cni.host_device("b", "web")


def test_the_nodes_half_has_the_well_known_mac_no_address_and_both_mtus():
    side = cni.host_side(ARTICLE, rp_filter=0)
    veth = side.device
    assert (veth.name, veth.mac, veth.mtu) == (CALI, "ee:ee:ee:ee:ee:ee", 1500)
    assert (veth.peer.namespace, veth.peer.name) == (ARTICLE.key, "eth0")
    assert veth.peer.mtu == 1500
    assert veth.peer.mac == "", "the pod's MAC is random"
    assert veth.peer.index == 4, "as in the article: eth0@if8608 is number 4"
    assert veth.txqueuelen == 0, "the article shows no qlen"


def test_the_nodes_route_to_the_pod_is_the_articles():
    assert str(cni.host_side(ARTICLE, 0).route) == f"10.22.151.11 dev {CALI} scope link"


@pytest.mark.parametrize("rp_filter", [0, 1, 2])
def test_the_nodes_half_has_the_sysctls_that_cni_and_felix_write(rp_filter):
    assert {s.path: s.value for s in cni.host_side(ARTICLE, rp_filter).sysctls} == {
        f"net/ipv4/conf/{CALI}/route_localnet": 1,
        f"net/ipv4/neigh/{CALI}/proxy_delay": 0,
        f"net/ipv4/conf/{CALI}/proxy_arp": 1,
        f"net/ipv4/conf/{CALI}/forwarding": 1,
        f"net/ipv4/conf/{CALI}/rp_filter": rp_filter,
    }


def test_the_pods_half_is_a_slash_32_and_a_gateway_that_no_host_has():
    side = cni.pod_side(ARTICLE)
    assert side.name == ARTICLE.key
    assert side.devices == (VethEnd("eth0", 1500),)
    assert side.addresses == (Address("eth0", "10.22.151.11/32"),)
    assert [str(r) for r in side.routes] == ["169.254.1.1 dev eth0 scope link",
                                             "default via 169.254.1.1 dev eth0"]
    assert Sysctl("ip_forward", 0) in side.sysctls


def test_the_gateways_route_comes_before_the_default_route_that_needs_it():
    routes = cni.pod_side(ARTICLE).routes
    assert routes.index(Route("169.254.1.1", device="eth0", scope="link")) < routes.index(
        Route("default", via="169.254.1.1", device="eth0"))
