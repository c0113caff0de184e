"""The instruments on a running cluster.

     a, d @ node31   b @ node32                c @ node33
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

import pytest
from support.topologies import two_subnets

from calico_mn import CalicoNet
from calico_mn.measure import iperf, udp

pytestmark = pytest.mark.root

PODS = ("a@node31", "b@node32", "c@node33", "d@node31")


@pytest.fixture(scope="module")
def net():
    with CalicoNet(two_subnets("Always", *PODS)) as running:
        yield running


@pytest.mark.parametrize("direction", iperf.DIRECTIONS)
def test_two_streams_in_each_direction(net, direction):
    found = iperf.transfer(net["a"], net["b"], duration=0.2, rate=500, streams=2,
                           direction=direction)
    assert found.bytes > 0 and found.mbit_per_s > 0 and found.retransmits is not None
    assert found.mss == 1428


@pytest.mark.parametrize("size", [64, 1400])
def test_datagrams_of_a_size(net, size):
    found = udp.datagrams(net["a"], net["b"], size=size, duration=0.1)
    assert found.size == size and 0 <= found.loss < 1
    assert found.received_per_s > 0
    assert found.mbit_per_s == pytest.approx(found.received_per_s * size * 8 / 1e6, rel=1e-3)
