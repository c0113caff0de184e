"""Segments counted from headers, and on the wire of a running cluster.

     a, d @ node31   b @ node32                c @ node33
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

import json
import socket
import struct

import pytest
from support.topologies import two_subnets

from calico_mn import CalicoNet
from calico_mn.errors import ClusterError, KernelError, ToolError
from calico_mn.kernel import capture as capturing
from calico_mn.kernel.capture import OUTGOING, Frame
from calico_mn.kernel.packets import TCP
from calico_mn.measure import iperf, offloads
from calico_mn.measure.paths import endpoints, representative_pairs
from calico_mn.measure.wire import OUTER, Segments, TcpPacket, add_up, tcp_packet, wire_segments
from calico_mn.packetmatch import CaptureFilter, PacketMatch

A, B = "10.22.31.1", "10.22.32.1"
TIMESTAMPS = b"\1\1\x08\x0a" + bytes(8)
ETHERNET = bytes(12) + b"\x08\x00"
FROM_A = CaptureFilter((PacketMatch(TCP),), OUTER, source=A)


def ip(source, destination, protocol, payload, options=b""):
    return bytes([0x40 | 5 + len(options) // 4, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]) + (
        socket.inet_aton(source) + socket.inet_aton(destination) + options + payload)


def tcp(port=40000, options=TIMESTAMPS):
    return struct.pack("!HHIIBBHHH", port, 5201, 0, 0, (5 + len(options) // 4) << 4, 16, 0, 0, 0
                       ) + options


def captured(data, payload, gso_size=0):
    return Frame("eth0", OUTGOING, True, 0, ETHERNET + data, len(ETHERNET + data) + payload,
                 gso_size)


PLAIN = ip(A, B, 6, tcp())
TUNNELLED = ip("192.168.57.31", "192.168.57.32", 4, PLAIN)
CONNECTION = (A, B, 40000, 5201)


@pytest.mark.parametrize(("header", "read", "count", "wire_bytes"), [
    pytest.param(captured(PLAIN, 1428), TcpPacket(CONNECTION, False, 66, 1428, 0), 1, 1494,
                 id="a full segment"),
    pytest.param(captured(TUNNELLED, 1428), TcpPacket(CONNECTION, True, 86, 1428, 0), 1, 1514,
                 id="a full segment inside IPIP"),
    pytest.param(captured(PLAIN, 45 * 1428, 1428), TcpPacket(CONNECTION, False, 66, 64260, 1428),
                 45, 45 * 1494, id="45 segments in one"),
    pytest.param(captured(TUNNELLED, 45 * 1428 + 1, 1428),
                 TcpPacket(CONNECTION, True, 86, 64261, 1428), 46, 45 * 1514 + 87,
                 id="45 and a byte, inside IPIP"),
    pytest.param(captured(TUNNELLED, 100_000, 1428), TcpPacket(CONNECTION, True, 86, 100_000, 1428),
                 71, 100_000 + 71 * 86, id="more than an IPv4 packet can say of its length"),
    pytest.param(captured(ip(A, B, 6, tcp(options=b"")), 0), TcpPacket(CONNECTION, False, 54, 0, 0),
                 1, 54, id="without options and payload"),
    pytest.param(captured(ip(A, B, 6, tcp(), options=b"\1\1\1\0"), 10),
                 TcpPacket(CONNECTION, False, 70, 10, 0), 1, 80, id="IPv4 options"),
])
def test_what_a_packet_is_on_the_wire(header, read, count, wire_bytes):
    found = tcp_packet(header)
    assert found == read
    assert (found.count, found.wire_bytes) == (count, wire_bytes)


@pytest.mark.parametrize("data", [
    pytest.param(ip(A, B, 17, bytes(20)), id="UDP"),
    pytest.param(ip("1.1.1.1", "2.2.2.2", 4, ip(A, B, 1, bytes(20))), id="ICMP inside IPIP"),
    pytest.param(ip("1.1.1.1", "2.2.2.2", 4, b"\x60" + bytes(60)), id="IPv6 inside"),
    pytest.param(PLAIN[:30], id="torn TCP"),
    pytest.param(TUNNELLED[:30], id="torn inside"),
    pytest.param(b"", id="torn"),
])
def test_anything_else_is_not_read(data):
    assert tcp_packet(captured(data, 0)) is None


def test_sums_leave_out_control_connections_and_empty_segments():
    control = captured(ip(A, B, 6, tcp(port=39999)), 1000)
    found = add_up([control, captured(TUNNELLED, 0), captured(TUNNELLED, 99 * 1428, 1428),
                    captured(TUNNELLED, 1000)], dropped=3)
    payload = 99 * 1428 + 1000
    assert found == Segments(payload, payload + 100 * 86, 99 * 1428 + 86, dropped=3)


def test_some_inside_ipip_and_some_not():
    packets = [captured(data, 45 * 1428, 1428) for data in (PLAIN, TUNNELLED)]
    assert add_up(packets) == Segments(90 * 1428, 90 * 1428 + 45 * (66 + 86), 45 * 1428 + 86, 0)


def test_a_transfer_without_captured_packets_is_an_error():
    with pytest.raises(ToolError, match=r"^no TCP transfer of 64 kB or more was seen"):
        add_up([captured(PLAIN, 1428)])


@pytest.fixture(scope="module")
def net():
    with CalicoNet(two_subnets("Always", "a@node31", "b@node32", "c@node33", "d@node31")) as one:
        yield one


#: mode, path -> bytes of headers: 20 more inside IPIP
WIRE = [("Always", "same-node", 66), ("Always", "same-subnet", 86),
        ("Always", "cross-subnet", 86), ("Never", "same-subnet", 66),
        ("CrossSubnet", "cross-subnet", 86)]


@pytest.mark.root
@pytest.mark.parametrize("enabled", [True, False], ids=["offloads", "no offloads"])
@pytest.mark.parametrize(("mode", "path", "headers"), WIRE)
def test_headers_on_the_wire(net, mode, path, headers, enabled):
    net.set_ipip_mode(mode)
    pair = representative_pairs(endpoints(net))[path]
    hosts = [pair.source.name, pair.destination.name, pair.source.node, pair.destination.node]
    # GRO stays as it is, off on a veth: what arrives in pieces is to leave in pieces.
    with offloads.offloads(net, dict.fromkeys(hosts), enabled, switches=("tso", "gso")):
        client, server = net[pair.source.name], net[pair.destination.name]
        found = wire_segments(net, pair, lambda: iperf.answer(
            client, server, iperf.client_argv(server.ip, amount=3_000_000), 60))
    assert found.dropped == 0
    # The headers of whole segments, those of one encapsulation or of none.
    segments, rest = divmod(found.wire_bytes - found.payload_bytes, headers)
    assert (rest, segments >= found.payload_bytes / 1428) == (0, True)
    assert (found.largest_segment > 1514) is enabled


@pytest.mark.root
def test_everything_that_arrives_was_on_the_wire(net):
    net.set_ipip_mode("Always")
    pair = representative_pairs(endpoints(net))["same-subnet"]
    client, server = net[pair.source.name], net[pair.destination.name]
    answers = []
    found = wire_segments(net, pair, lambda: answers.append(iperf.answer(
        client, server, iperf.client_argv(server.ip, amount=3_000_000, more=["-P", "2"]), 20)))
    end = json.loads(answers[0])["end"]
    # iperf3 stops with some of what it wrote still unsent; what is lost is sent again.
    assert end["sum_received"]["bytes"] <= found.payload_bytes <= 1.1 * end["sum_sent"]["bytes"]


@pytest.mark.root
def test_packets_without_room_are_counted(net, monkeypatch):
    net.set_ipip_mode("Always")
    with monkeypatch.context() as patch:
        patch.setattr(capturing, "_BULK_BUFFER_BYTES", 4096)
        patch.setattr(capturing.BulkCapture, "start", lambda _capture: None)
        capture = net.capture_bulk("node31", "eth0", FROM_A)
    iperf.answer(net["a"], net["b"], iperf.client_argv(net["b"].ip, amount=3_000_000), 20)
    capture.start()
    headers, dropped = capture.finish()
    assert dropped > 0 and len(headers) > 0


@pytest.mark.root
def test_nothing_is_left_of_a_capture_whose_transfer_failed(net):
    pair = representative_pairs(endpoints(net))["same-subnet"]
    with pytest.raises(ZeroDivisionError):
        wire_segments(net, pair, lambda: 1 // 0)
    net[pair.source.name].pexec("true")


@pytest.mark.root
@pytest.mark.parametrize(("name", "device", "error", "text"), [
    pytest.param("node31", "tunl0", KernelError, "^node31: tunl0: .* needs an Ethernet device$",
                 id="not Ethernet"),
    pytest.param("node31", "eth9", KernelError, "^node31: eth9: capture: No such device$",
                 id="no such device"),
    pytest.param("node99", "eth0", ClusterError, "^node99 is not running$", id="no such node"),
])
def test_where_no_capture_is_possible(net, name, device, error, text):
    with pytest.raises(error, match=text):
        net.capture_bulk(name, device, FROM_A)


@pytest.mark.root
def test_every_feature_is_put_back_after_an_exception(net):
    names = ["default/a", "node31"]

    def features():
        return {(name, device): net[name].pexec("ethtool", "-k", device)[0]
                for name in names for device in offloads._devices(net, net[name])}

    before = features()
    with (pytest.raises(ZeroDivisionError),
          offloads.offloads(net, names, False) as switched):
        seen = {(one.node, one.device): one.changed for one in switched}
        assert seen.keys() == before.keys()
        assert seen["default/a", "eth0"]["tcp-segmentation-offload"] is False
        assert seen["node31", "tunl0"]["generic-segmentation-offload"] is False
        assert not any(one.refused for one in switched)
        assert features() != before
        raise ZeroDivisionError
    assert features() == before
