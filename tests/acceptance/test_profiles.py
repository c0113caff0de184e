"""Version profiles in the kernel: ``ip route`` of a whole node, while the release changes.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----

Two clusters, one with each engine, take the same steps: another release, and other values of
programClusterRoutes. Felix's part is written by the program, BIRD's by the engine.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.engines import NEEDS_BIRD
from support.patience import eventually
from support.topologies import one_subnet, two_subnets

from calico_mn import CalicoNet
from calico_mn.kernel import registry
from calico_mn.trace.probe import trace

pytestmark = pytest.mark.root

API = "projectcalico.org/v3"


@pytest.fixture(scope="module", params=[
    "builtin", pytest.param("bird", marks=NEEDS_BIRD)])
def net(request: pytest.FixtureRequest, tunnel: str) -> Iterator[CalicoNet]:
    with CalicoNet(two_subnets("Always"), tunnel=tunnel, engine=request.param) as net:
        yield net


def resource(kind: str, **spec: str) -> dict[str, object]:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": "default"}, "spec": spec}


def release(version: str, felix: str = "", bird: str = "") -> list[dict[str, object]]:
    return [resource("ClusterInformation", calicoVersion=version),
            resource("FelixConfiguration", **({"programClusterRoutes": felix} if felix else {})),
            resource("BGPConfiguration", **({"programClusterRoutes": bird} if bird else {}))]


BY_BIRD = """
default via 192.168.57.1 dev eth0
blackhole OWN proto bird
POD dev CALI scope link
TO32 via 192.168.57.32 dev tunl0 proto bird onlink
TO33 via 192.168.58.33 dev tunl0 proto bird onlink
192.168.57.0/24 dev eth0 proto kernel scope link src 192.168.57.31"""
WITH_METRIC = """
default via 192.168.57.1 dev eth0
blackhole OWN proto bird
POD dev CALI scope link metric 1024
TO32 via 192.168.57.32 dev tunl0 proto bird metric 1024 onlink
TO33 via 192.168.58.33 dev tunl0 proto bird metric 1024 onlink
192.168.57.0/24 dev eth0 proto kernel scope link src 192.168.57.31"""
BY_FELIX = """
default via 192.168.57.1 dev eth0
blackhole OWN proto 80
POD dev CALI scope link metric 1024
TO32 via 192.168.57.32 dev tunl0 proto 80 onlink mtu 1480
TO33 via 192.168.58.33 dev tunl0 proto 80 onlink mtu 1480
192.168.57.0/24 dev eth0 proto kernel scope link src 192.168.57.31"""
BY_BOTH = BY_FELIX + """
TO32 via 192.168.57.32 dev tunl0 proto bird metric 1024 onlink
TO33 via 192.168.58.33 dev tunl0 proto bird metric 1024 onlink"""
BY_NEITHER = """
default via 192.168.57.1 dev eth0
POD dev CALI scope link metric 1024
192.168.57.0/24 dev eth0 proto kernel scope link src 192.168.57.31"""

STEPS = {
    "v3.25": (release("v3.25.2"), BY_BIRD),
    "v3.29": (release("v3.29.7"), BY_BIRD),
    "v3.32": (release("v3.32.1"), WITH_METRIC),
    "v3.33": (release("v3.33.0"), BY_FELIX),
    "v3.33-by-both": (release("v3.33.0", "EnabledIPIPOnly", "Enabled"), BY_BOTH),
    "v3.33-by-neither": (release("v3.33.0", "Disabled", "EnabledNoEncapOnly"), BY_NEITHER),
    "v3.33-by-BIRD": (release("v3.33.0", "Disabled", "Enabled"), WITH_METRIC),
    "v3.33-again": (release("v3.33.0"), BY_FELIX),
    "v3.25-again": (release("v3.25.2"), BY_BIRD),
}


def table(net: CalicoNet) -> list[str]:
    return sorted(line.rstrip() for line in net["node31"].cmd("ip route").splitlines())


def expected(net: CalicoNet, text: str) -> list[str]:
    blocks = {name: str(net.cluster.ipam.blocks(name)[0]) for name in net.cluster.nodes}
    pod = net.cluster.pods_on("node31")[0]
    for word, value in (("OWN", blocks["node31"]), ("TO32", blocks["node32"]),
                        ("TO33", blocks["node33"]), ("POD", str(pod.address)),
                        ("CALI", pod.device)):
        text = text.replace(word, value)
    return sorted(text.strip().splitlines())


def test_each_release_has_its_table_and_a_running_cluster_goes_from_one_to_the_next(net):
    for step, (resources, text) in STEPS.items():
        applied = net.apply(resources)
        if text is BY_BOTH and net.birds:
            # BIRD's next scan finds Felix's routes, and replaces them by its own, without metric.
            assert eventually(lambda: f"{net.cluster.ipam.blocks('node32')[0]} via 192.168.57.32"
                              " dev tunl0 proto bird onlink" in table(net)), step
            assert any("proto 80 onlink mtu 1480 is now" in difference.clause
                       for difference in net.verify(["node31"])), step
        else:
            assert table(net) == expected(net, text), step
            assert net.verify() == (), step
        says = any("programClusterRoutes" in sentence for sentence in net.warnings)
        assert says is bool(applied.warnings) is (text in (BY_BOTH, BY_NEITHER)), step
        # Where both write, BIRD also announces what it learns of Felix's routes.
        assert text is BY_BOTH or eventually(
            lambda wanted=100 if text is BY_BIRD else 2**31 - 1 - 1024: {
                route.local_pref for route in net.bgp.routes("node31") if not route.is_own
                } == {wanted}), step


def test_a_trace_says_that_two_write_the_routes_or_that_none_does(net):
    ends = (" EnabledIPIPOnly and BGPConfiguration spec.programClusterRoutes Enabled both write its"
            " routes, each its own; without the two fields one of them does.")
    net.apply(release("v3.33.0", "EnabledIPIPOnly", "Enabled"))
    assert [note.endswith(ends) for note in trace(net, "a", "b").notes].count(True) == 1
    net.apply(release("v3.33.0", "Disabled", "EnabledNoEncapOnly"))
    path = trace(net, "a", "b")
    assert path.drop and path.drop.reason.endswith(
        "neither Felix nor BIRD writes routes of such a pool: FelixConfiguration"
        " spec.programClusterRoutes is Disabled and BGPConfiguration spec.programClusterRoutes is"
        " EnabledNoEncapOnly; without the two fields one of them does")
    assert not any("programClusterRoutes" in note for note in path.notes)
    net.apply(release("v3.25.2"))


def test_packets_go_as_long_as_one_of_the_two_writes_routes(net):
    net.apply(release("v3.33.0"))
    expect_connectivity(net, full_mesh("a", "b", "c"))
    net.apply(release("v3.33.0", "Disabled"))
    assert net["a"].cmd(f"ping -c 1 -W 1 {net['b'].IP()}").count(" 0 received") == 1
    net.apply(release("v3.25.2"))


def test_what_is_removed_by_hand_comes_back_with_all_that_the_release_gives_it(net):
    net.apply(release("v3.33.0"))
    block = str(net.cluster.ipam.blocks("node32")[0])
    net["node31"].cmd(f"ip route replace {block} via 192.168.57.32 dev tunl0 proto 80 onlink")
    (difference,) = net.verify()
    assert str(difference.wanted) == (
        f"{block} via 192.168.57.32 dev tunl0 proto 80 onlink mtu 1480")
    net.repair()
    assert net.verify() == ()
    net.apply(release("v3.25.2"))


def test_a_pod_keeps_the_queue_that_its_release_gave_it(net):
    net.apply(release("v3.29.7"))
    net.add_pod(name="newer", node="node31")
    try:
        queues = {pod.name: net["node31"].cmd(f"cat /sys/class/net/{pod.device}/tx_queue_len")
                  .strip() for pod in net.cluster.pods_on("node31")}
        assert queues == {"a": "0", "newer": "1000"}
        assert net.verify() == ()
    finally:
        net.delete_pod("default/newer")
        net.apply(release("v3.25.2"))


@pytest.mark.ipip
def test_eth0_of_a_new_pod_comes_after_lo_and_tunl0(boot):
    #  node31 with pod a, as its release makes it
    net = boot(one_subnet("Always"), profile="v3.33")
    pod, node = net["a"], net["node31"]
    assert pod.cmd("cat /sys/class/net/eth0/ifindex").strip() == "3"
    assert "qlen 1000" in pod.cmd("ip link show eth0")
    assert any("proto 80 onlink mtu 1480" in line for line in node.cmd("ip route").splitlines())
    expect_connectivity(net, full_mesh("a", "b"))
    assert net.verify() == ()


def test_the_record_of_a_run_follows_its_release(boot):
    net = boot(one_subnet("Always"), profile="v3.33")
    profiles = []
    for version in ("v3.33.0", "v3.29.1", "v3.25.0"):
        net.apply([resource("ClusterInformation", calicoVersion=version)])
        profiles += [run.record["profile"] for run in registry.runs()
                     if run.path == net.runtime.directory.path]
    assert profiles == ["v3.33", "v3.29", "v3.25"]
