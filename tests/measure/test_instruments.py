"""The instruments on a running cluster.

     a, d @ node31   b @ node32                c @ node33
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

import pytest
from support import machine
from support.patience import eventually
from support.topologies import two_subnets

from calico_mn import CalicoNet
from calico_mn.errors import ToolError
from calico_mn.measure import iperf, ping, resources, tcp, udp

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


def no_program_is_left():
    return eventually(lambda: not machine.processes_of_runs())


def test_round_trips(net):
    times = ping.round_trips(net["a"], net["b"].ip, count=50)
    assert len(times) == 50
    assert min(times) - 1 <= ping.median(times) <= ping.p99(times) <= max(times)


def test_round_trips_beside_a_stream_that_ends_with_them(net):
    assert 0 < len(ping.round_trips_under_load(net["a"], net["b"], count=50)) <= 50
    assert no_program_is_left()


def test_a_stream_that_ends_too_early_is_an_error(net, monkeypatch):
    def stream_ends(client, _ip, **_options):
        assert eventually(lambda: not machine.processes_of_runs())
        return (1.0,)

    monkeypatch.setattr(ping, "_STREAM_S", 1)
    monkeypatch.setattr(ping, "round_trips", stream_ends)
    with pytest.raises(ToolError, match=r"^default/a to default/b: the TCP stream ended before"):
        ping.round_trips_under_load(net["a"], net["b"])


def test_more_connections_than_there_are_ports(net):
    # Few ports, so that a connection left in TIME_WAIT would be missed soon.
    net["a"].pexec("sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40019")
    try:
        found = tcp.connections(net["a"], net["b"], duration=0.5)
    finally:
        net["a"].pexec("sysctl", "-qw", "net.ipv4.ip_local_port_range=32768 60999")
    assert (found.count > 20, found.failures) == (True, 0)
    assert found.seconds >= 0.5
    assert found.per_s == pytest.approx(found.count / found.seconds, rel=1e-4)
    assert no_program_is_left()


def test_no_route_to_the_server_is_an_error_and_leaves_nothing(net):
    net["a"].pexec("ip", "route", "add", "unreachable", f"{net['b'].ip}/32")
    try:
        with pytest.raises(ToolError, match=r"default/a to default/b: TCP connections: "
                                            r"10\.22\.32\.1 port \d+: .*(route|unreachable)"):
            tcp.connections(net["a"], net["b"], duration=0.2)
    finally:
        net["a"].pexec("ip", "route", "del", "unreachable", f"{net['b'].ip}/32")
    assert no_program_is_left()


def test_the_cpu_time_of_a_transfer(net):
    with resources.CpuMeter() as meter:
        iperf.transfer(net["a"], net["b"], duration=1, rate=0)
    assert meter.cost.total_s > 0
