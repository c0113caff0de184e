"""Links that change while the cluster runs: rate, delay and loss, down and up again.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import re

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.packets import ping
from support.patience import eventually
from support.topologies import two_subnets

from calico_mn import CalicoNet
from calico_mn.errors import ClusterError, UnsupportedError
from calico_mn.model import Link

from .test_underlay import kernel_has_netem

pytestmark = pytest.mark.root

ALL = full_mesh("a", "b", "c")


@pytest.fixture(scope="module")
def net(tunnel):
    with CalicoNet(two_subnets("CrossSubnet"), tunnel=tunnel) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def as_before(request):
    """Each test leaves the links as the topology has them."""
    yield
    if "net" in request.fixturenames:
        net = request.getfixturevalue("net")
        net.impairments.reset()
        net.refresh_sessions()
        assert net.verify() == () and net.impairments.present == {}


def qdiscs(net, place, device):
    return net[place].pexec(["tc", "qdisc", "show", "dev", device])[0]


def routes(net, place):
    return net[place].pexec(["ip", "route"])[0]


@pytest.mark.parametrize(("end", "near", "far"), [
    ("node31:eth0", ("node31", "eth0"), ("rack-a", "node31")),
    ("rack-a:node31", ("node31", "eth0"), ("rack-a", "node31")),
    ("node31", ("node31", "eth0"), ("rack-a", "node31")),
    ("r1:eth1", ("r1", "eth1"), ("rack-b", "r1")),
    ("a", ("default/a", "eth0"), ("node31", "cali")),
    ("default/a:eth0", ("default/a", "eth0"), ("node31", "cali"))])
def test_a_rate_is_set_at_both_ends_and_taken_away_again(net, end, near, far):
    (port,) = [device for device in net[far[0]].nameToIntf if device.startswith(far[1])] if (
        far[1] == "cali") else [far[1]]
    net.set_link(end, rate=40)
    for place, device in (near, (far[0], port)):
        assert "rate 40Mbit" in qdiscs(net, place, device)
    assert net.verify() == ()
    expect_connectivity(net, ALL)
    net.impairments.reset(end)
    for place, device in (near, (far[0], port)):
        assert "tbf" not in qdiscs(net, place, device)


def test_what_is_set_stays_where_something_else_changes(net):
    net.set_link("node31:eth0", rate=40)
    net.set_link("node31:eth0", loss=1)
    net.set_mode("Always")
    assert net.impairments.present == {("node31", "eth0"): Link(rate=40, loss=1)}
    assert "rate 40Mbit" in qdiscs(net, "node31", "eth0")
    assert net.set_mode("CrossSubnet")


def test_of_a_link_that_is_down_the_own_end_has_no_carrier_and_keeps_its_routes(net):
    before = routes(net, "node31")
    net.set_link("node31:eth0", up=False)
    assert "NO-CARRIER" in net["node31"].pexec(["ip", "link", "show", "eth0"])[0]
    assert routes(net, "node31").replace("linkdown ", "") == before
    net.refresh_sessions()
    assert net.verify() == ()
    assert net.repair().done == ()
    expect_connectivity(net, {"a": set(), "b": {"c"}, "c": {"b"}})
    net.set_link("node31:eth0", up=True)
    net.refresh_sessions()
    expect_connectivity(net, ALL)
    assert routes(net, "node31") == before


def test_of_a_pods_link_that_is_down_the_node_has_no_route_until_it_is_up_again(net):
    before = routes(net, "node31")
    net.configLinkStatus("node31", "a", "down")
    assert f"{net['a'].ip} dev" not in routes(net, "node31")
    net.set_mode("Always")
    net.set_mode("CrossSubnet")
    assert net.verify() == ()
    net.configLinkStatus("a", "node31", "up")
    assert sorted(routes(net, "node31").split("\n")) == sorted(before.split("\n"))
    expect_connectivity(net, ALL)


def test_a_loss_is_both_directions_and_all_at_100_percent(net):
    net.set_link("node31:eth0", loss=100)
    assert net.verify() == ()
    assert ping(net, "node32", "192.168.57.31", "-W1")[1] != 0
    net.set_link("node31:eth0", loss=50)
    out = net["node32"].pexec(["ping", "-c", "100", "-i", "0.01", "-W1", "192.168.57.31"])[0]
    answered = int(re.search(r"(\d+) received", out).group(1))
    assert 5 <= answered <= 50, f"25 of 100 on average, and it was {answered}"


def test_what_is_set_holds_for_a_device_that_a_repair_made_again(net):
    net.set_link("node31:eth0", rate=40, loss=100)
    assert net["rack-a"].pexec(["ip", "link", "del", "node31"])[2] == 0
    assert net.verify() != () and net.repair().remaining == ()
    assert "rate 40Mbit" in qdiscs(net, "rack-a", "node31")
    assert ping(net, "node32", "192.168.57.31", "-W1")[1] != 0
    net.set_link("node31:eth0", loss=None)
    # node32 would use the old device's MAC address for half a minute yet.
    assert net["node32"].pexec(["ip", "neigh", "flush", "dev", "eth0"])[2] == 0
    assert eventually(lambda: ping(net, "node32", "192.168.57.31", "-W1")[1] == 0)


# Where the kernel has netem: each packet crosses the cable there and back.
#    node31 --10 ms-- rack-a -- node32
@pytest.mark.ipip
def test_a_delay_is_netems_or_refused_with_what_works(tunnel):
    with CalicoNet(two_subnets("CrossSubnet"), tunnel=tunnel) as net:
        if not kernel_has_netem():
            with pytest.raises(UnsupportedError, match=r"no delay and no jitter here, .* netem"):
                net.set_link("node31:eth0", rate=40, delay=10, jitter=1)
            assert net.impairments.present == {} and "tbf" not in qdiscs(net, "node31", "eth0")
            return
        net.set_link("node31:eth0", delay=10, jitter=1, loss=0.5, reorder=5)
        assert re.search(r"delay 10ms\s+1ms loss 0\.5% reorder 5%.* gap 1",
                         qdiscs(net, "node31", "eth0"))
        assert net.verify() == ()
        net.set_link("node31:eth0", jitter=None, loss=None, reorder=None)
        assert ping(net, "node32", "192.168.57.31", "-W5")[1] == 0  # ARP is delayed as well
        out = net["node32"].pexec(["ping", "-c", "3", "192.168.57.31"])[0]
        assert float(re.search(r"mdev = ([\d.]+)/", out).group(1)) >= 20
        net.impairments.reset()
        assert "netem" not in qdiscs(net, "node31", "eth0")


@pytest.mark.parametrize(("end", "other", "changes", "text"), [
    ("nod31:eth0", "", {}, "'nod31'"),
    ("node31:eth5", "", {}, "node31 has no link eth5: did you mean node31:eth0?"),
    ("node31:tunl0", "", {}, "node31 has no link tunl0"),
    ("r1", "", {}, "r1 has 2 links: say which of r1:eth0, r1:eth1"),
    ("rack-a", "", {}, "rack-a has no link of its own: it has rack-a:r1, rack-a:node31"),
    ("node31", "node33", {}, "there is no link between node31 and node33"),
    ("node31", "", {"rate": 0}, "node31:eth0: rate 0 is not between 0.001 and 1e+06"),
    ("node31", "", {"loss": 101}, "node31:eth0: loss 101 is not between 0 and 100"),
], ids=str)
def test_what_is_no_link_or_no_setting_is_refused_in_words(net, end, other, changes, text):
    with pytest.raises(ClusterError) as refused:
        net.impairments.set(end, other, **changes)
    assert text in str(refused.value)


def test_a_pod_that_comes_again_has_a_link_as_any_other(tunnel):
    with CalicoNet(two_subnets("CrossSubnet"), tunnel=tunnel) as net:
        net.set_link("a", rate=40)
        net.delete_pod("default/a")
        net.add_pod(name="a", node="node31")
        assert net.impairments.present == {} and "tbf" not in qdiscs(net, "a", "eth0")
        expect_connectivity(net, ALL)
