import pytest
from support.topologies import two_subnets

from calico_mn import CalicoNet
from calico_mn.measure.rpfilter import parse, reverse_path_drops

GROUPS = """\
TcpExt: SyncookiesSent IPReversePathFilter TCPTimeWaitOverflow
TcpExt: 1 23 456
IpExt: InNoRoutes InOctets
IpExt: 7 8
"""


@pytest.mark.parametrize(("netstat", "count"), [
    pytest.param(GROUPS, 23, id="its number is in the place of its name"),
    pytest.param("IpExt: InNoRoutes\nIpExt: 7\n", None, id="a kernel that does not have it"),
    pytest.param("TcpExt: IPReversePathFilter\n", None, id="a line is missing"),
    pytest.param("", None, id="nothing"),
])
def test_parse(netstat, count):
    assert parse(netstat) == count


#    a @ node31 --- plainly ---> b @ node32, whose way back to a is tunl0
@pytest.mark.root
@pytest.mark.ipip
def test_a_node_counts_what_its_filter_drops():
    with CalicoNet(two_subnets("Always"), rp_filter=1) as net:
        net.set_ipip_mode("CrossSubnet", node="node31")
        before = reverse_path_drops(net["node32"])
        net["a"].pexec(["ping", "-n", "-c3", "-i0.01", "-W0.2", net["b"].ip])
        assert reverse_path_drops(net["node32"]) - before == 3
        assert reverse_path_drops(net["node33"]) == 0
