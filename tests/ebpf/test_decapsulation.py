"""What a node does with IPIP packets that arrive on its uplink (ipip_rcv, ip_tunnel_rcv).

    stranger -> [hand-made frame to node-b's MAC] -> node-b eth0 -> tunl0 -> node-b -> pod-b
"""

import pytest

ECN = {"not-ECT": 0, "ECT(1)": 1, "ECT(0)": 2, "CE": 3}
DROPPED = None


def ipip(lab, inner, source="192.168.57.99", destination="192.168.57.32", **fields):
    return lab.header.write(source, destination, inner, protocol=4, **fields)


def inner(lab, payload, destination="10.2.0.2", **fields):
    return lab.header.write("10.7.7.7", destination, lab.udp(payload), **fields)


def decapsulated(lab, *packets):
    """The packets that come in from tunl0 after the stranger has sent ``packets`` to node-b."""
    with lab["node-b"].capture("tunl0") as capture:
        lab.inject("node-b", *packets, ipip(lab, inner(lab, b"marker")))
        seen = capture.until(lambda data: b"marker" in data and data[9] == 17)
    return [data for direction, data in seen[:-1] if direction == "in"]


def test_the_inner_packet_comes_out_of_tunl0_unchanged(lab):
    packet = inner(lab, b"payload", tos=0xB8, ttl=9, ident=1234)
    assert decapsulated(lab, ipip(lab, packet)) == [packet]


def test_the_inner_packet_is_delivered_to_the_pod(lab):
    with lab.listen("pod-b") as listener:
        lab.inject("node-b", ipip(lab, inner(lab, b"to the pod")))
        # On a slow machine the packet of the test before may come first.
        payload, sender = listener.recvfrom(100)
        if payload == b"payload":
            payload, sender = listener.recvfrom(100)
    assert (payload, sender) == (b"to the pod", ("10.7.7.7", 5000))


def test_an_inner_packet_for_the_node_itself_is_delivered(lab):
    with lab.listen("node-b") as listener:
        lab.inject("node-b", ipip(lab, inner(lab, b"to the node", destination="10.2.0.1")))
        assert listener.recv(100) == b"to the node"


# Columns of RFC 6040, figure 4, with the kernel's choices (INET_ECN_decapsulate).
@pytest.mark.parametrize(("inner_ecn", "outer_ecn", "result"), [
    ("not-ECT", "not-ECT", "not-ECT"),
    ("not-ECT", "ECT(0)", "not-ECT"),
    ("not-ECT", "ECT(1)", "not-ECT"),
    ("not-ECT", "CE", DROPPED),
    ("ECT(0)", "not-ECT", "ECT(0)"),
    ("ECT(0)", "ECT(0)", "ECT(0)"),
    ("ECT(0)", "ECT(1)", "ECT(1)"),
    ("ECT(0)", "CE", "CE"),
    ("ECT(1)", "not-ECT", "ECT(1)"),
    ("ECT(1)", "ECT(0)", "ECT(1)"),
    ("ECT(1)", "ECT(1)", "ECT(1)"),
    ("ECT(1)", "CE", "CE"),
    ("CE", "not-ECT", "CE"),
    ("CE", "ECT(0)", "CE"),
    ("CE", "ECT(1)", "CE"),
    ("CE", "CE", "CE"),
])
def test_ecn_is_merged(lab, inner_ecn, outer_ecn, result):
    dscp = 0x28
    packet = ipip(lab, inner(lab, b"ecn", tos=dscp | ECN[inner_ecn]), tos=dscp | ECN[outer_ecn])
    found = [lab.header.read(data) for data in decapsulated(lab, packet)]
    assert [header.tos for header in found] == (
        [] if result is DROPPED else [dscp | ECN[result]])
    assert all(header.right_check for header in found)


@pytest.mark.parametrize("destination", [
    pytest.param("192.168.57.32", id="the uplink's primary address"),
    pytest.param("192.168.57.132", id="a second address of the uplink"),
    pytest.param("10.2.0.1", id="the address of tunl0"),
])
def test_packets_for_any_address_of_the_host_are_decapsulated(lab, destination):
    lab["node-b"].ip("addr add 192.168.57.132/24 dev eth0")
    try:
        packet = inner(lab, b"mine")
        assert decapsulated(lab, ipip(lab, packet, destination=destination)) == [packet]
    finally:
        lab["node-b"].ip("addr del 192.168.57.132/24 dev eth0")


@pytest.mark.parametrize("source", [
    pytest.param("192.168.57.99", id="a neighbour"),
    pytest.param("198.51.100.1", id="a sender to whom there is no route back"),
])
def test_anybody_may_send(lab, source):
    packet = inner(lab, b"anybody")
    assert decapsulated(lab, ipip(lab, packet, source=source)) == [packet]


@pytest.mark.parametrize("fields", [
    pytest.param({"destination": "192.168.57.34"}, id="for another host of the subnet"),
    pytest.param({"destination": "10.2.0.2"}, id="for a pod"),
    pytest.param({"destination": "10.3.0.2"}, id="for another node's pod"),
    pytest.param({"destination": "203.0.113.9"}, id="for an address without any route"),
    pytest.param({"destination": "203.0.113.9", "source": "198.51.100.1"},
                 id="no route in either direction"),
    pytest.param({"fragment": 0x2000}, id="first fragment"),
    pytest.param({"fragment": 0x0010}, id="last fragment"),
    pytest.param({"check": 0x1234}, id="wrong outer checksum"),
    pytest.param({"first": 0x46}, id="outer header with options"),
    pytest.param({"first": 0x65}, id="outer header not IPv4"),
])
def test_what_is_not_a_whole_packet_for_this_host_is_left_to_the_stack(lab, fields):
    assert decapsulated(lab, ipip(lab, inner(lab, b"not mine"), **fields)) == []


def test_another_protocol_is_none_of_the_tunnels_business(lab):
    packet = lab.header.write("192.168.57.99", "192.168.57.32", lab.udp(b"plain", 5003))
    with lab.listen("node-b", 5003) as listener:
        assert decapsulated(lab, packet) == []
        assert listener.recv(100) == b"plain"


@pytest.mark.parametrize("content", [
    pytest.param(b"", id="nothing inside"),
    pytest.param(b"\x45" + bytes(18), id="shorter than a header"),
    pytest.param(b"\x65" + bytes(60), id="IPv6 inside"),
    pytest.param(b"\x44" + bytes(60), id="inner header length below the least"),
    pytest.param(bytes(60), id="zeros"),
])
def test_a_malformed_inner_packet_is_dropped_before_tunl0(ebpf_lab, content):
    # The kernel's own drops it just after: there, a capture on tunl0 still sees it.
    assert decapsulated(ebpf_lab, ipip(ebpf_lab, content)) == []


def test_while_tunl0_is_down_packets_are_dropped_and_counted(ebpf_lab):
    def dropped():
        lines = ebpf_lab["node-b"].run("ip", "-s", "link", "show", "tunl0").splitlines()
        return int(lines[3].split()[3])

    ebpf_lab["node-b"].ip("link set tunl0 down")
    try:
        before = dropped()
        ebpf_lab.inject("node-b", *[ipip(ebpf_lab, inner(ebpf_lab, b"down"))] * 3)
        ebpf_lab["stranger"].run("ping", "-c1", "-W2", "192.168.57.32")  # comes after them
        assert dropped() == before + 3
    finally:
        ebpf_lab["node-b"].ip("link set tunl0 up")
        for network, gateway in (("10.1.0.0/24", 31), ("10.3.0.0/24", 33)):
            ebpf_lab["node-b"].ip(f"route add {network} via 192.168.57.{gateway} dev tunl0 onlink")
