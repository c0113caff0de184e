"""Two equal cables between the routers, and what a router chooses one of them by.

    node31                         left                         node33
    web-0 ----- rack-a ----- r1 <        > r2 ----- rack-b ----- web-2
                                   right

The kernel's side is fib_multipath_hash in net/ipv4/route.c.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.flows import send, sent, taker

from calico_mn import load_topology
from calico_mn.errors import ClusterError
from calico_mn.model import INNER_FLOW, OUTER_FIELDS

pytestmark = pytest.mark.root

TOPOLOGY = load_topology(Path(__file__).parents[2] / "topologies" / "two-paths.yaml")
FLOWS = 100
#: ARP and its like, which are no flow's
STRAY = 5


@pytest.fixture
def net(boot):
    return boot(TOPOLOGY)


def ways(net, kind: str) -> list[int]:
    """How many packets of FLOWS flows from web-0 to web-2 left r1 by each cable."""
    with taker(net, "web-2"):
        before = sent(net["r1"], ("eth1", "eth2"))
        send(net, "web-0", net["web-2"].ip, kind, FLOWS)
        return [after - first for after, first in
                zip(sent(net["r1"], ("eth1", "eth2")), before, strict=True)]


def spread(packets: list[int]) -> bool:
    """Whether both cables carry flows; anything between none and a fair share is a surprise."""
    assert sum(packets) >= FLOWS
    assert min(packets) <= STRAY or min(packets) >= sum(packets) / 5, packets
    return min(packets) > STRAY


def test_both_next_hops_are_in_the_routers_tables(net):
    assert net["r1"].pexec(["ip", "route", "show", "192.168.58.0/24"])[0].split("\n") == [
        "192.168.58.0/24 proto static ",
        "\tnexthop via 10.0.0.1 dev eth1 weight 1 ",
        "\tnexthop via 10.0.0.3 dev eth2 weight 1 ", ""]
    assert "via 10.0.0.2 dev eth2" in net["r2"].pexec(["ip", "route"])[0]
    expect_connectivity(net, full_mesh("web-0", "web-1", "web-2", "web-3"))


def test_pods_blocks_have_both_next_hops_too_and_lose_them_again(net):
    before = net["r1"].pexec(["ip", "route"])[0]
    net.set_ipip_mode("Never")
    net.set_pod_routes(True)
    expect_connectivity(net, full_mesh("web-0", "web-2"))
    assert net["r1"].pexec(["ip", "route"])[0].count("nexthop via 10.0.0.1 ") > 1
    net.set_pod_routes(False)
    assert net["r1"].pexec(["ip", "route"])[0] == before


# Whether flows between two pods spread over both cables, the socket's hash kept or forgotten. The
# outer header of IPIP is the same for all of them; only the kept hash makes policy 1 spread them.
@pytest.mark.ipip
@pytest.mark.parametrize(("policy", "fields", "kept", "forgotten"), [
    pytest.param(0, OUTER_FIELDS, False, False, id="0 outer addresses"),
    pytest.param(1, OUTER_FIELDS, True, False, id="1 outer ports"),
    pytest.param(2, OUTER_FIELDS, False, False, id="2 inner addresses"),
    pytest.param(3, OUTER_FIELDS, False, False, id="3 outer fields"),
    pytest.param(3, INNER_FLOW, True, True, id="3 inner flow"),
])
def test_where_tunnelled_flows_go(net, policy, fields, kept, forgotten):
    net.set_multipath_hash(policy, fields)
    assert spread(ways(net, "udp")) is kept
    with net.forgetting_flow_hashes():
        assert spread(ways(net, "udp")) is forgotten
        assert spread(ways(net, "tcp")) is forgotten


@pytest.mark.parametrize("forget", [False, True])
def test_ports_on_the_wire_spread_flows_with_and_without_flow_hashes(net, forget):
    net.set_ipip_mode("Never")
    net.set_pod_routes(True)
    net.set_multipath_hash(1)
    with net.forgetting_flow_hashes() if forget else nullcontext():
        assert spread(ways(net, "udp"))


def sysctls(net, router: str) -> list[str]:
    return net[router].pexec(["sysctl", "-n", "net.ipv4.fib_multipath_hash_policy",
                              "net.ipv4.fib_multipath_hash_fields"])[0].split()


def test_a_policy_is_changed_live_on_all_routers_or_on_one(net):
    assert sysctls(net, "r1") == sysctls(net, "r2") == ["0", "7"]
    assert len(net.set_multipath_hash(3, INNER_FLOW)) == 2
    assert sysctls(net, "r1") == sysctls(net, "r2") == ["3", str(INNER_FLOW)]
    net.set_multipath_hash(0, routers="r2")
    assert sysctls(net, "r1")[0] == "3" and sysctls(net, "r2")[0] == "0"
    net.set_pod_routes(True)
    assert sysctls(net, "r1")[0] == "3", "what was chosen stays when routes change"


@pytest.mark.parametrize(("arguments", "words"), [
    ((4,), "no multipath hash policy 4"), ((3, 0), "0x0000"), ((0, 7, "node31"), "no router"),
    ((0, 7, "r9"), "called 'r9'")])
def test_a_policy_that_there_is_not_is_refused(net, arguments, words):
    with pytest.raises(ClusterError, match=words):
        net.set_multipath_hash(*arguments)
    assert sysctls(net, "r1") == ["0", "7"]


def test_forgetting_is_visible_can_be_nested_and_ends(net):
    def programs(router):
        return net[router].pexec(["tc", "filter", "show", "dev", "eth0", "ingress"])[0]

    with net.forgetting_flow_hashes("r1"):
        assert "forget/flow_hash" in programs("r1") and programs("r2") == ""
        with net.forgetting_flow_hashes():
            assert "forget/flow_hash" in programs("r2")
        assert "forget/flow_hash" in programs("r1") and programs("r2") == ""
    assert programs("r1") == ""
    assert "clsact" not in net["r1"].pexec(["tc", "qdisc"])[0]
    with pytest.raises(ClusterError, match="node31 is no router"), \
            net.forgetting_flow_hashes("node31"):
        pass


def test_where_programs_cannot_be_attached_nothing_stays(net):
    net["r1"].pexec(["tc", "qdisc", "add", "dev", "eth2", "clsact"])
    with pytest.raises(Exception, match="flow hashes cannot be erased"), \
            net.forgetting_flow_hashes():
        pass
    assert "forget" not in net["r1"].pexec(["tc", "filter", "show", "dev", "eth0", "ingress"])[0]
    assert [line.split()[4] for line in net["r1"].pexec(["tc", "qdisc"])[0].splitlines()
            if "clsact" in line] == ["eth2"], "what others attached is left alone"
