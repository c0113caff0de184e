import pytest
from support.topologies import two_subnets

from calico_mn import CalicoNet
from calico_mn.errors import ToolError
from calico_mn.kernel import read
from calico_mn.measure import cluster
from calico_mn.measure.cluster import reverse_path_drops


#    a @ node31 --- plainly ---> b @ node32, whose way back to a is tunl0
@pytest.mark.root
@pytest.mark.ipip
def test_a_node_counts_what_its_filter_drops():
    with CalicoNet(two_subnets("Always"), rp_filter=1) as net:
        net.set_ipip_mode("CrossSubnet", node="node31")
        before = reverse_path_drops(net, "node32")
        net["a"].pexec(["ping", "-n", "-c3", "-i0.01", "-W0.2", net["b"].ip])
        assert reverse_path_drops(net, "node32") - before == 3
        assert reverse_path_drops(net, "node33") == 0


@pytest.mark.root
def test_a_kernel_that_does_not_have_the_counter(monkeypatch):
    with CalicoNet(two_subnets("Never")) as net:
        monkeypatch.setattr(cluster, "protocol_counters", lambda: read.parse_counters(
            "IpExt: InNoRoutes\nIpExt: 7\n"))
        with pytest.raises(ToolError, match=r"^node31: /proc/net/netstat shows no"):
            reverse_path_drops(net, "node31")
