"""One throughput: what it prints, what the wire shows, and that no program outlives it.

     a, d @ node31   b @ node32                c @ node33
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

import re
import socket

import pytest
from support import machine
from support.topologies import two_subnets

from calico_mn import CalicoNet, Drop
from calico_mn.errors import ClusterError, ToolError
from calico_mn.measure.throughput import NONE, PORT, Throughput, throughput

pytestmark = pytest.mark.root

#: where as fast as can be would only keep both processors busy
SLOWLY = {"rate": "20M"}


@pytest.fixture(scope="module")
def net():
    with CalicoNet(two_subnets("CrossSubnet", "a@node31", "d@node31", "b@node32", "c@node33")
                   ) as running:
        yield running


@pytest.fixture(autouse=True)
def no_program_is_left():
    yield
    assert "iperf3" not in machine.processes_of_runs().values()


@pytest.mark.parametrize(("ends", "options", "source", "encapsulation"), [
    (("a", "d"), SLOWLY, "default/a", NONE),
    (("a", "b"), SLOWLY, "default/a", NONE),
    (("a", "c"), {}, "default/a", "IPIP"),
    (("a", "c"), {"reverse": True, **SLOWLY}, "default/c", "IPIP"),
    (("node31", "c"), {"streams": 2, **SLOWLY}, "node31", "IPIP"),
    (("a", "node33"), SLOWLY, "default/a", NONE),
    (("r1", "node31"), SLOWLY, "r1", NONE),
], ids=str)
def test_a_throughput_of_tcp(net, ends, options, source, encapsulation):
    one, other = (net[name] for name in ends)
    measured = throughput(net, one, other, seconds=1, **options)
    assert measured.source == source and measured.encapsulation == encapsulation
    assert measured.mbit_per_s > 1 and measured.retransmits is not None
    assert measured.loss is None and measured.jitter_ms is None


def test_a_pod_that_was_the_server_can_be_the_client_at_once(net):
    address = (net["a"].IP(), PORT)
    listener = net.inside(net["a"].name, socket.create_server, address)
    client = net.inside(net["b"].name, socket.create_connection, address)
    server, _ = listener.accept()
    for end in (server, client, listener):  # who closes first keeps the port for a minute
        end.close()
    assert f"{address[0]}:{PORT}" in net["a"].cmd("ss -Htan state time-wait")
    assert throughput(net, net["a"], net["c"], seconds=1, **SLOWLY).encapsulation == "IPIP"


def test_a_throughput_of_udp(net):
    measured = throughput(net, net["a"], net["c"], seconds=1, use_udp=True, rate="2M")
    assert measured.protocol == "UDP" and 0.2 < measured.mbit_per_s < 3
    assert 0 <= measured.loss < 1 and measured.jitter_ms > 0 and measured.retransmits is None


def test_vxlan_is_named_as_the_wire_shows_it(net):
    net.set_vxlan_mode("Always")
    try:
        measured = throughput(net, net["a"], net["b"], seconds=1, **SLOWLY)
        assert measured.encapsulation == "VXLAN"
    finally:
        net.set_ipip_mode("CrossSubnet")


def test_the_methods_of_the_net_take_names_as_mininets_do(net):
    assert net.iperf(seconds=1).destination == "default/c", "the last pod"
    assert net.iperf([net["a"], net["d"]], seconds=1).destination == "default/d"
    assert net.iperf("a", "d", l4Type="UDP", udpBw="1M", seconds=1).protocol == "UDP"
    assert net.trace("a", "c").answered
    assert net.trace("a", "c", protocol="tcp", port=80).answered
    assert "<svg" in net.graph(mode="never") and net.graph("dot").startswith("graph")


@pytest.mark.parametrize(("ask", "says"), [
    (lambda net: net.iperf("a"), "name both"),
    (lambda net: net.iperf("a", "a"), "two places"),
    (lambda net: net.iperf("a", "nobody"), "'nobody'"),
    (lambda net: net.iperf("a", "rack-a"), "rack-a has no address"),
    (lambda net: net.iperf("a", "b", "SCTP"), "TCP or UDP"),
    (lambda net: net.iperf("a", "b", udpBw="-1"), "a rate is bits/s"),
    (lambda net: net.iperf("a", "b", seconds=0), "1 to 3600 seconds"),
    (lambda net: net.trace("a", "b", size=9, colour=1), "colour"),
    (lambda net: net.graph("gif"), "svg, dot, mermaid"),
    (lambda net: net.graph(mode="Sometimes"), "there is no mode 'Sometimes'"),
], ids=range(10))
def test_what_cannot_be_asked_for_is_refused_in_a_sentence(net, ask, says):
    with pytest.raises(ClusterError, match=re.escape(says)):
        ask(net)


@pytest.mark.parametrize(("ends", "why"), [
    (("a", "c"), "no answer from TCP port 5201 within 2 s"),
    (("r1", "c"), "network is unreachable")], ids=str)
def test_what_is_not_reached_is_named_with_where_to_look(net, ends, why):
    client, server = (net[name].name for name in ends)
    with net.dropping("r1", Drop.IPIP), pytest.raises(ToolError) as caught:
        net.iperf(*ends)
    assert str(caught.value) == (
        f"{client} does not reach {server} (10.22.33.1): {why}; 'calico-mn trace {client} {server}"
        " --protocol tcp --port 5201' shows where packets are lost")


def test_what_the_caller_raises_ends_client_and_server(net):
    def leave(seconds):
        raise ConnectionError

    with pytest.raises(ConnectionError):
        throughput(net, net["a"], net["b"], seconds=60, tick=leave, **SLOWLY)


@pytest.mark.parametrize(("measured", "line"), [
    (("TCP", 5, 1, 9420.1, 3, None, None, "IPIP"), "9.42 Gbit/s, 3 retransmits, inside IPIP"),
    (("TCP", 5, 1, 94.2, 0, None, None, NONE), "94.2 Mbit/s, 0 retransmits, not encapsulated"),
    (("TCP", 5, 1, 0.5, None, None, None, None), "0.500 Mbit/s, encapsulation not seen"),
    (("UDP", 5, 1, 10, None, 0.0123, 0.0221, "VXLAN"),
     "10.0 Mbit/s, 1.2 % lost, jitter 0.022 ms, inside VXLAN"),
], ids=range(4))
def test_the_line(measured, line):
    assert str(Throughput("x", "y", *measured)) == f"x -> y, {measured[0]}: {line}"
