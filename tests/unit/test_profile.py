"""Version profiles: which release has which, and what each writes to the kernel."""

from dataclasses import replace

import pytest

from calico_mn import profile
from calico_mn.bgp.builtin import BuiltInEngine
from calico_mn.bgp_resources import BGPConfiguration
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import VXLAN
from calico_mn.calico.remote_routes import ClusterRoutes, as_of
from calico_mn.emulation.plan import host_states, plan
from calico_mn.errors import ClusterError
from calico_mn.model import ClusterInformation, FelixConfiguration

from .clusters import ALWAYS, CROSS, NEVER, net, pod, pool, topology


@pytest.mark.parametrize(("version", "name", "doubt"), [
    pytest.param("", "v3.25", "", id="unknown"),
    pytest.param("v3.20.6", "v3.25", "", id="old"),
    pytest.param("v2.6.12", "v3.25", "", id="very-old"),
    pytest.param("v3.25.2", "v3.25", "", id="article"),
    pytest.param("v3.26.0", "v3.29", "", id="first-with-a-queue"),
    pytest.param("v3.31.5", "v3.29", "", id="last-without-metric"),
    pytest.param("3.32.1", "v3.32", "", id="no-v"),
    pytest.param("v3.33.0-0.dev-12-g87c15906f2", "v3.33", "", id="development"),
    pytest.param("v3.34.0", "v3.33", "", id="newest-read"),
    pytest.param("v3.35.0", "v3.33", "is newer than v3.34: the cluster is like v3.33", id="newer"),
    pytest.param("master", "v3.25", "is no version of Calico: the cluster is like v3.25",
                 id="no-number"),
])
def test_a_release_has_the_profile_that_is_nearest(version, name, doubt):
    assert (profile.of_version(version).name, profile.doubt(version)) == (name, doubt)


def node31(name, mode=ALWAYS, encapsulation=None, **changes):
    """The lines of node31's table with a pod, in order, less the node's own network."""
    known = replace(topology(mode=mode, pods=[pod("web", "node31")]), **changes)
    cluster = Cluster(as_of(known, name), 0)
    if encapsulation:
        cluster.set_mode(mode, encapsulation=encapsulation)
    states = {state.name: state for state in host_states(cluster, BuiltInEngine())}
    return [str(route) for route in states["node31"].routes if route.destination != "default"]


CALI = "cali68caf03a5f4"
BOTH = {"felix": FelixConfiguration(program_cluster_routes="Enabled"),
        "bgp": BGPConfiguration(program_cluster_routes="Enabled")}
NEITHER = {"felix": FelixConfiguration(program_cluster_routes="Disabled"),
           "bgp": BGPConfiguration(program_cluster_routes="Disabled")}
REVERSED = {"felix": FelixConfiguration(program_cluster_routes="EnabledNoEncapOnly"),
            "bgp": BGPConfiguration(program_cluster_routes="EnabledIPIPOnly")}

# Block 151 is node32's, in the same subnet, block 200 node33's behind the router; calico-facts'
# table of profiles, whose order of words is iproute2's.
TABLES = {
    "v3.25-Always": ("v3.25", ALWAYS, {}, """
        blackhole 10.22.138.0/26 proto bird
        10.22.138.1 dev CALI scope link
        10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird onlink
        10.22.200.0/26 via 192.168.58.33 dev tunl0 proto bird onlink"""),
    "v3.29-Always": ("v3.29", ALWAYS, {}, """
        blackhole 10.22.138.0/26 proto bird
        10.22.138.1 dev CALI scope link
        10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird onlink
        10.22.200.0/26 via 192.168.58.33 dev tunl0 proto bird onlink"""),
    "v3.32-Always": ("v3.32", ALWAYS, {}, """
        blackhole 10.22.138.0/26 proto bird
        10.22.138.1 dev CALI scope link metric 1024
        10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird metric 1024 onlink
        10.22.200.0/26 via 192.168.58.33 dev tunl0 proto bird metric 1024 onlink"""),
    "v3.32-CrossSubnet": ("v3.32", CROSS, {}, """
        blackhole 10.22.138.0/26 proto bird
        10.22.138.1 dev CALI scope link metric 1024
        10.22.151.0/26 via 192.168.57.32 dev eth0 proto bird metric 1024
        10.22.200.0/26 via 192.168.58.33 dev tunl0 proto bird metric 1024 onlink"""),
    "v3.32-by-Felix": ("v3.32", ALWAYS, {
        "felix": BOTH["felix"], "bgp": NEITHER["bgp"]}, """
        blackhole 10.22.138.0/26 proto 80
        10.22.138.1 dev CALI scope link metric 1024
        10.22.151.0/26 via 192.168.57.32 dev tunl0 proto 80 onlink mtu 1480
        10.22.200.0/26 via 192.168.58.33 dev tunl0 proto 80 onlink mtu 1480"""),
    "v3.33-Always": ("v3.33", ALWAYS, {}, """
        blackhole 10.22.138.0/26 proto 80
        10.22.138.1 dev CALI scope link metric 1024
        10.22.151.0/26 via 192.168.57.32 dev tunl0 proto 80 onlink mtu 1480
        10.22.200.0/26 via 192.168.58.33 dev tunl0 proto 80 onlink mtu 1480"""),
    "v3.33-CrossSubnet": ("v3.33", CROSS, {}, """
        blackhole 10.22.138.0/26 proto 80
        10.22.138.1 dev CALI scope link metric 1024
        10.22.151.0/26 via 192.168.57.32 dev eth0 proto 80 onlink
        10.22.200.0/26 via 192.168.58.33 dev tunl0 proto 80 onlink mtu 1480"""),
    "v3.33-Never": ("v3.33", NEVER, {}, """
        blackhole 10.22.138.0/26 proto bird
        10.22.138.0 dev CALI scope link metric 1024
        10.22.151.0/26 via 192.168.57.32 dev eth0 proto bird metric 1024
        10.22.200.0/26 via 192.168.57.1 dev eth0 proto bird metric 1024"""),
    # noencap_mgr.go has no route to a node in another subnet.
    "v3.33-reversed-Never": ("v3.33", NEVER, REVERSED, """
        blackhole 10.22.138.0/26 proto 80
        10.22.138.0 dev CALI scope link metric 1024
        10.22.151.0/26 via 192.168.57.32 dev eth0 proto 80 onlink"""),
    "v3.33-reversed-Always": ("v3.33", ALWAYS, REVERSED, """
        blackhole 10.22.138.0/26 proto bird
        10.22.138.1 dev CALI scope link metric 1024
        10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird metric 1024 onlink
        10.22.200.0/26 via 192.168.58.33 dev tunl0 proto bird metric 1024 onlink"""),
    "v3.33-both": ("v3.33", ALWAYS, BOTH, """
        blackhole 10.22.138.0/26 proto 80
        10.22.138.1 dev CALI scope link metric 1024
        10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird metric 1024 onlink
        10.22.200.0/26 via 192.168.58.33 dev tunl0 proto bird metric 1024 onlink
        10.22.151.0/26 via 192.168.57.32 dev tunl0 proto 80 onlink mtu 1480
        10.22.200.0/26 via 192.168.58.33 dev tunl0 proto 80 onlink mtu 1480"""),
    "v3.33-neither": ("v3.33", ALWAYS, NEITHER, "10.22.138.1 dev CALI scope link metric 1024"),
    # Felix v3.25 does not know the field.
    "v3.25-both": ("v3.25", ALWAYS, BOTH, """
        blackhole 10.22.138.0/26 proto bird
        10.22.138.1 dev CALI scope link
        10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird onlink
        10.22.200.0/26 via 192.168.58.33 dev tunl0 proto bird onlink"""),
}


@pytest.mark.parametrize(("name", "mode", "changes", "table"), TABLES.values(), ids=TABLES)
def test_each_profile_has_a_table_of_its_own(name, mode, changes, table):
    expected = [line.strip().replace("CALI", CALI) for line in table.strip().splitlines()]
    assert node31(name, mode, **changes) == expected


@pytest.mark.parametrize(("name", "mtu"), [
    pytest.param("v3.29", "", id="v3.29"), pytest.param("v3.32", " mtu 1450", id="v3.32")])
def test_routes_over_vxlan_have_an_mtu_from_v3_32_on(name, mtu):
    assert node31(name, encapsulation=VXLAN)[2:] == [
        f"10.22.151.0/26 via 10.22.151.1 dev vxlan.calico onlink{mtu}",
        f"10.22.200.0/26 via 10.22.200.1 dev vxlan.calico onlink{mtu}"]


def test_felixs_routes_have_the_configured_mtu_and_a_borrowed_address_a_route_of_its_own():
    borrowed = pod("guest", "node32", "10.22.200.9")
    cluster = Cluster(as_of(topology(pods=[borrowed], ipip_mtu=1300), "v3.33"), 0)
    states = {state.name: state for state in host_states(cluster, BuiltInEngine())}
    for name in ("node31", "node33"):
        assert ("10.22.200.9 via 192.168.57.32 dev tunl0 proto 80 onlink mtu 1300"
                in map(str, states[name].routes)), name


@pytest.mark.parametrize(("name", "queue", "index"), [
    pytest.param("v3.25", 0, 4, id="v3.25"), pytest.param("v3.29", 1000, 3, id="v3.29"),
    pytest.param("v3.32", 1000, 3, id="v3.32"), pytest.param("v3.33", 1000, 3, id="v3.33")])
def test_a_pods_veth_is_what_the_plug_in_of_the_release_makes(name, queue, index):
    cluster = Cluster(as_of(topology(pods=[pod("web", "node31")]), name), 0)
    endpoint = cluster.endpoint("default/web")
    assert (endpoint.queue, endpoint.index) == (queue, index)


WHO = {
    "v3.25": ({}, "Calico <= v3.25 (BIRD programs routes between nodes)"),
    "v3.29": ({}, "Calico v3.26 to v3.31 (BIRD programs routes between nodes)"),
    "v3.32": ({}, "Calico v3.32 (BIRD programs routes between nodes)"),
    "v3.33": ({}, "Calico >= v3.33 (Felix programs routes of IPIP pools,"
                  " BIRD those without encapsulation)"),
    "v3.33 ": (BOTH, "Calico >= v3.33 (Felix and BIRD programs routes between nodes)"),
    " v3.33": (NEITHER, "Calico >= v3.33 (neither Felix nor BIRD programs routes between nodes)"),
}


@pytest.mark.parametrize("name", WHO)
def test_outputs_say_the_release_and_who_writes_routes(name):
    changes, text = WHO[name]
    assert str(ClusterRoutes.of(as_of(replace(topology(), **changes), name.strip()))) == text


FELIX, BIRD = "FelixConfiguration spec.programClusterRoutes", (
    "BGPConfiguration spec.programClusterRoutes")
REMEDY = "without the two fields one of them does"


@pytest.mark.parametrize(("name", "changes", "warnings"), [
    pytest.param("v3.33", {}, [], id="default"),
    pytest.param("v3.33", REVERSED, [], id="reversed"),
    pytest.param("v3.33", BOTH, [
        f"IPPool ipip, plain: with {FELIX} Enabled and {BIRD} Enabled both write its routes,"
        f" each its own; {REMEDY}."], id="both"),
    pytest.param("v3.33", {"bgp": NEITHER["bgp"]}, [
        f"IPPool plain: with {FELIX} EnabledIPIPOnly and {BIRD} Disabled neither writes its"
        f" routes, so that pods reach none on other nodes; {REMEDY}."], id="one-without"),
    pytest.param("v3.25", BOTH, [
        f"{name} Enabled has no effect: Calico <= v3.25 does not know it."
        for name in (FELIX, BIRD)], id="unknown-to-v3.25"),
    pytest.param("v3.32", REVERSED, [
        f"{FELIX} EnabledNoEncapOnly has no effect: Calico v3.32 does not know it.",
        f"{BIRD} EnabledIPIPOnly has no effect: Calico v3.32 does not know it."],
        id="values-unknown-to-v3.32"),
])
def test_two_writers_and_none_are_said(name, changes, warnings):
    pools = (pool("10.22.0.0/16", name="ipip"), pool("10.23.0.0/16", mode=NEVER, name="plain"))
    cluster = Cluster(as_of(replace(topology(pools=pools), **changes), name), 0)
    assert list(cluster.warnings()) == warnings


def test_bird_writes_what_lies_outside_of_all_pools():
    #  block 200 is in no pool any more
    lines = node31("v3.33", NEVER, pools=(pool("10.22.128.0/18", mode=ALWAYS),))
    assert "10.22.200.0/26 via 192.168.57.1 dev eth0 proto bird metric 1024" in lines
    assert net("10.22.200.0/26").subnet_of(net("10.22.0.0/16"))


def test_a_profile_that_is_none_is_refused():
    with pytest.raises(ClusterError, match=r"no version profile .v4.; profiles: v3\.25, v3\.29"):
        plan(topology(), profile="v4")


def test_the_topologys_version_counts_and_an_option_comes_first():
    known = replace(topology(), information=ClusterInformation("v3.32.1"))
    assert known.profile.name == "v3.32"
    assert as_of(known, "") is known
    assert as_of(known, "v3.33").profile.name == "v3.33"
