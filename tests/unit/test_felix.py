"""A node's own state: the pods' MTU, sysctls."""

import pytest

from calico_mn.calico import felix

from .clusters import ALWAYS, CROSS, NEVER


@pytest.mark.parametrize(("uplink", "modes", "configured", "mtu"), [
    pytest.param(1500, [ALWAYS], 0, 1480, id="Always"),
    pytest.param(1500, [CROSS], 0, 1480, id="CrossSubnet-counts-as-IPIP"),
    pytest.param(1500, [NEVER], 0, 1500, id="Never"),
    pytest.param(1500, [], 0, 1500, id="no-pool"),
    pytest.param(1500, [NEVER, CROSS], 0, 1480, id="any-pool-with-IPIP"),
    pytest.param(1400, [ALWAYS], 0, 1380, id="smaller-uplink"),
    pytest.param(1400, [NEVER], 0, 1400, id="smaller-uplink-Never"),
    pytest.param(1500, [ALWAYS], 1500, 1500, id="configured-as-in-the-article"),
    pytest.param(1500, [ALWAYS], 1300, 1300, id="configured-smaller"),
    pytest.param(1500, [NEVER], 1440, 1440, id="configured-Never"),
])
def test_a_pods_mtu(uplink, modes, configured, mtu):
    assert felix.pod_mtu(uplink, modes, configured) == mtu


def test_modes_may_come_from_an_iterator():
    assert felix.pod_mtu(1500, iter([NEVER, ALWAYS])) == 1480


@pytest.mark.parametrize("rp_filter", [0, 1, 2])
def test_a_node_forwards_and_only_the_default_carries_rp_filter(rp_filter):
    values = {s.path: s.value for s in felix.node_sysctls(rp_filter)}
    assert values["net/ipv4/ip_forward"] == 1
    assert values["net/ipv4/conf/all/rp_filter"] == 0
    assert values["net/ipv4/conf/default/rp_filter"] == rp_filter
