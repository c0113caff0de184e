"""Packets that are too long for the uplink or the path, less the outer header (tnl_update_pmtu).

    pod-a -- node-a tunl0 1480, eth0 -- fabric -- ... -- node-b -- pod-b
                                  ^
                      stranger: "fragmentation needed", of which node-a learns (ipip_err)
"""

import contextlib
import socket
import struct

import pytest

IP_MTU_DISCOVER, PROBE, MAY_FRAGMENT = 10, 3, 0
NODE_A, NODE_B = "192.168.57.31", "192.168.57.32"
TO_POD = "10.1.0.1"  # what node-a sends to its own pod from: that of its first device, tunl0


@contextlib.contextmanager
def mtu(lab, name, device, value, normal):
    lab[name].ip(f"link set {device} mtu {value}")
    try:
        yield
    finally:
        lab[name].ip(f"link set {device} mtu {normal}")


@contextlib.contextmanager
def path_of(lab, value):
    """node-a is told, as by a router, that its packets to node-b are too long."""
    quoted = lab.header.write(NODE_A, NODE_B, bytes(1480), protocol=4, fragment=0x4000)[:60]
    message = struct.pack("!BBHHH", 3, 4, 0, 0, value) + quoted
    message = message[:2] + lab.checksum(message).to_bytes(2, "big") + message[4:]
    lab.inject("node-a", lab.header.write("192.168.57.99", NODE_A, message, protocol=1))
    try:
        yield
    finally:
        # It is forgotten with the route.
        lab["node-a"].ip(f"addr del {NODE_A}/24 dev eth0", f"addr add {NODE_A}/24 dev eth0")


def is_answer(frame):
    return frame[23:24] == b"\1" and frame[34:36] == b"\3\4"


def answer(lab, size, *options):
    """What pod-a is told about a datagram to pod-b: MTU, source, quote; None if it arrives."""
    with lab.listen("pod-b", 5021) as listener, lab["pod-a"].capture("eth0") as capture:
        lab.send("pod-a", "10.2.0.2", bytes(size - 28), *options, port=5021)
        listener.settimeout(1)
        with contextlib.suppress(TimeoutError):
            assert listener.recv(10_000) == bytes(size - 28)
            return None
        frame = capture.until(is_answer)[-1][1]
    header = lab.header.read(frame[14:])
    assert header.right_check and lab.checksum(header.payload) == 0
    return struct.unpack_from("!H", header.payload, 6)[0], header.source, header.payload[8:]


DF = (IP_MTU_DISCOVER, PROBE)


def test_a_packet_with_df_that_is_too_long_for_the_uplink_is_answered(lab):
    with mtu(lab, "node-a", "eth0", 1400, 1500):
        told, source, quote = answer(lab, 1381, DF)
        assert (told, source) == (1380, TO_POD)
        quoted = lab.header.read(quote)
        assert (quoted.source, quoted.destination, quoted.length) == ("10.1.0.2", "10.2.0.2", 1381)
        assert quoted.ttl == 63 and quoted.right_check
        lab["pod-a"].ip("route flush cache")
        assert answer(lab, 1380, DF) is None


def test_a_packet_without_df_that_is_too_long_for_the_uplink_goes_out_in_fragments(lab):
    with mtu(lab, "node-a", "eth0", 1400, 1500), lab["node-b"].capture("eth0") as capture:
        assert answer(lab, 1480, (IP_MTU_DISCOVER, MAY_FRAGMENT)) is None
        outer = [header for _, frame in capture.so_far() if frame[12:14] == b"\x08\0"
                 if (header := lab.header.read(frame[14:])).protocol == 4]
    assert [(h.length, h.fragment, h.ttl) for h in outer] == [
        (1396, 0x2000, 63), (124, 1376 // 8, 63)]
    assert all(header.right_check for header in outer)


def test_a_node_learns_the_mtu_of_the_path_from_a_router(lab):
    assert answer(lab, 1480, DF) is None
    with path_of(lab, 1300):
        assert answer(lab, 1281, DF)[:2] == (1280, TO_POD)
        lab["pod-a"].ip("route flush cache")
        assert answer(lab, 1280, DF) is None
        assert answer(lab, 1480, (IP_MTU_DISCOVER, MAY_FRAGMENT)) is None
    assert answer(lab, 1480, DF) is None


def test_the_node_itself_learns_too(lab):
    with path_of(lab, 1300), lab["node-a"].socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, 2)  # DO: DF, as far as is known
        sender.connect(("10.2.0.2", 5022))
        with pytest.raises(OSError, match="too long"):
            for _ in range(50):
                with contextlib.suppress(ConnectionRefusedError):
                    sender.send(bytes(1400))
        assert sender.getsockopt(socket.IPPROTO_IP, 14) == 1280  # IP_MTU


def test_without_forwarding_a_node_encapsulates_what_it_sends_itself(lab):
    lab["node-a"].sysctl("net/ipv4/ip_forward", 0)
    try:
        with lab.listen("pod-b", 5023) as listener:
            lab.send("pod-a", "10.2.0.2", b"forwarded", port=5023)
            listener.settimeout(0.2)
            for _ in range(50):  # until the node has noticed
                lab.send("node-a", "10.2.0.2", b"own", port=5023)
                with contextlib.suppress(TimeoutError):
                    assert listener.recv(100) == b"own"
                    break
            else:
                pytest.fail("node-a does not encapsulate")
    finally:
        lab["node-a"].sysctl("net/ipv4/ip_forward", 1)
