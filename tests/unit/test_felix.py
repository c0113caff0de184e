"""A node's own state: the pods' MTU, sysctls."""

import pytest

from calico_mn.calico import felix


@pytest.mark.parametrize(("uplink", "tunnels", "configured", "mtu"), [
    pytest.param(1500, [1480], 0, 1480, id="IPIP"),
    pytest.param(1500, [1450], 0, 1450, id="VXLAN"),
    pytest.param(1500, [1480, 1450], 0, 1450, id="the-smallest-of-the-tunnels"),
    pytest.param(1500, [], 0, 1500, id="no-tunnel"),
    pytest.param(1400, [1380], 0, 1380, id="smaller-uplink"),
    pytest.param(1400, [], 0, 1400, id="smaller-uplink-no-tunnel"),
    pytest.param(1400, [1480], 0, 1480, id="the-uplink-does-not-bound-what-is-configured"),
    pytest.param(1500, [1480], 1500, 1500, id="configured-as-in-the-article"),
    pytest.param(1500, [1480], 1300, 1300, id="configured-smaller"),
    pytest.param(1500, [], 1440, 1440, id="configured-without-a-tunnel"),
])
def test_a_pods_mtu(uplink, tunnels, configured, mtu):
    assert felix.pod_mtu(uplink, iter(tunnels), configured) == mtu


@pytest.mark.parametrize("rp_filter", [0, 1, 2])
def test_a_node_forwards_and_only_the_default_carries_rp_filter(rp_filter):
    values = {s.path: s.value for s in felix.node_sysctls(rp_filter)}
    assert values["net/ipv4/ip_forward"] == 1
    assert values["net/ipv4/conf/all/rp_filter"] == 0
    assert values["net/ipv4/conf/default/rp_filter"] == rp_filter
