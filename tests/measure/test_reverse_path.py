import pytest
from support.topologies import two_subnets

from calico_mn import CalicoNet
from calico_mn.calico.encapsulation import IPIP, VXLAN
from calico_mn.errors import ToolError
from calico_mn.kernel import read
from calico_mn.measure import reverse_path
from calico_mn.measure.reverse_path import (
    DIES,
    LIVES,
    ONLY_FROM,
    ONLY_TO,
    drops,
    expected,
)


#    a @ node31 --- plainly ---> b @ node32, whose way back to a is tunl0
@pytest.mark.root
@pytest.mark.ipip
def test_a_node_counts_what_its_filter_drops():
    with CalicoNet(two_subnets("Always"), rp_filter=1) as net:
        net.set_ipip_mode("CrossSubnet", node="node31")
        before = drops(net, "node32")
        net["a"].pexec(["ping", "-n", "-c3", "-i0.01", "-W0.2", net["b"].ip])
        assert drops(net, "node32") - before == 3
        assert drops(net, "node33") == 0


@pytest.mark.root
def test_a_kernel_that_does_not_have_the_counter(monkeypatch):
    with CalicoNet(two_subnets("Never")) as net:
        monkeypatch.setattr(reverse_path, "protocol_counters", lambda: read.parse_counters(
            "IpExt: InNoRoutes\nIpExt: 7\n"))
        with pytest.raises(ToolError, match=r"^node31: /proc/net/netstat shows no"):
            drops(net, "node31")


@pytest.mark.parametrize(("before", "after", "path", "ipip", "vxlan"), [
    ("Always", "CrossSubnet", "same-subnet", (LIVES, DIES, LIVES), (LIVES, DIES, LIVES)),
    ("Always", "CrossSubnet", "cross-subnet", (LIVES, LIVES, LIVES), (LIVES, LIVES, LIVES)),
    ("Always", "Never", "same-subnet", (LIVES, DIES, ONLY_FROM), (LIVES, LIVES, LIVES)),
    ("Never", "Always", "cross-subnet", (LIVES, DIES, ONLY_TO), (LIVES, LIVES, LIVES)),
    ("CrossSubnet", "Never", "same-subnet", (LIVES, LIVES, LIVES), (LIVES, LIVES, LIVES)),
])
def test_what_the_kernel_does_with_a_node_that_changes_alone(before, after, path, ipip, vxlan):
    """rp_filter 0, 1, 2. A node in Never keeps its tunl0, and has no vxlan.calico."""
    for encapsulation, verdicts in ((IPIP, ipip), (VXLAN, vxlan)):
        assert tuple(expected(before, after, number, path, encapsulation)
                     for number in (0, 1, 2)) == verdicts
