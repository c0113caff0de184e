"""The stack's say in decapsulation: devices, fragments, forwarding, filters (ip_local_deliver).

    stranger -> [hand-made frame to node-b's MAC] -> node-b: eth0, another device, lo -> tunl0

The eBPF tunl0 takes a short cut only where all of this would change nothing.
"""

import contextlib
import json
import shutil
import socket

import pytest

DESTINATION = "192.168.57.32"


def ipip(lab, payload, destination="10.2.0.1", source="192.168.57.99", port=5000, **fields):
    inner = lab.header.write("10.7.7.7", destination, lab.udp(payload, port))
    return lab.header.write(source, DESTINATION, inner, protocol=4, **fields)


def come_out(lab, send, awaited=b""):
    """The payloads that come out of tunl0 of node-b after ``send``, up to a marker's.

    What the eBPF tunnel leaves to the stack comes out a little later, and the marker may overtake
    it: ``awaited`` is a payload that is waited for as well.
    """
    missing = {b"marker", awaited} - {b""}

    def whole(data):
        if data[9] == socket.IPPROTO_UDP:
            missing.discard(data[28:])
        return not missing

    with lab["node-b"].capture("tunl0") as capture:
        send()
        lab.inject("node-b", ipip(lab, b"marker"))
        seen = capture.until(whole)
    return [data[28:] for direction, data in seen if direction == "in" and data[28:] != b"marker"]


@contextlib.contextmanager
def another_device(lab):
    """A cable that is plugged in later: new1 of the stranger, new0 of node-b."""
    node, stranger = lab["node-b"], lab["stranger"]
    node.ip(f"link add new0 type veth peer name new1 netns {stranger.path}", "link set new0 up")
    stranger.ip("link set new1 up")
    try:
        yield
    finally:
        node.ip("link del new0")


def by(lab, device, packet):
    """Send the stranger's packet by a device of its."""
    shown = lab["node-b"].run("ip", "-o", "link", "show", "new0")
    mac = bytes.fromhex(shown.split("link/ether ")[1].split()[0].replace(":", ""))
    with lab["stranger"].socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind((device, 0))
        raw.send(mac + bytes(6) + b"\x08\x00" + packet)


def itself(lab, name, packet):
    """Send a packet from a namespace's own stack to node-b."""
    with lab[name].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(packet, (DESTINATION, 0))


def test_a_device_that_came_later_brings_packets_of_the_tunnel(lab):
    # Two namespaces away there is no route back to the stranger's address by this device.
    with another_device(lab):
        assert come_out(lab, lambda: by(lab, "new1", ipip(lab, b"new")), b"new") == [b"new"]


def test_a_pods_device_brings_packets_of_the_tunnel(lab):
    packet = ipip(lab, b"from a pod", source="10.2.0.2")
    assert come_out(lab, lambda: itself(lab, "pod-b", packet), b"from a pod") == [
        b"from a pod"]


def test_lo_brings_packets_of_the_tunnel(lab):
    packet = ipip(lab, b"to myself", source=DESTINATION)
    assert come_out(lab, lambda: itself(lab, "node-b", packet), b"to myself") == [b"to myself"]


def test_fragments_of_an_outer_packet_are_put_together_first(lab):
    whole = ipip(lab, bytes(range(200)))
    parts = [lab.header.write("192.168.57.99", DESTINATION, whole[20 + start:20 + start + 120],
                              protocol=4, ident=9, fragment=start // 8 | more)
             for start, more in ((120, 0), (0, 0x2000))]
    payload = bytes(range(200))
    assert come_out(lab, lambda: lab.inject("node-b", *parts), payload) == [payload]


def test_an_outer_header_with_options_is_taken_off_whole(lab):
    packet = ipip(lab, b"options", first=0x46)
    inner = packet[20:]
    packet = lab.header.write("192.168.57.99", DESTINATION, b"\1\1\1\0" + inner, protocol=4,
                              first=0x46, check=0)
    check = lab.checksum(packet[:24])
    packet = packet[:10] + check.to_bytes(2, "big") + packet[12:]
    assert come_out(lab, lambda: lab.inject("node-b", packet), b"options") == [b"options"]


@contextlib.contextmanager
def sysctl(lab, key, value, normal):
    lab["node-b"].sysctl(key, value)
    try:
        yield
    finally:
        lab["node-b"].sysctl(key, normal)


def test_without_forwarding_only_what_is_to_be_forwarded_is_lost(lab):
    with sysctl(lab, "net/ipv4/ip_forward", 0, 1), lab.listen("node-b", 5011) as node, \
            lab.listen("pod-b", 5011) as pod:
        lab.inject("node-b", ipip(lab, b"forward", "10.2.0.2", port=5011),
                   ipip(lab, b"here", port=5011))
        assert node.recv(100) == b"here"
        pod.setblocking(False)
        with pytest.raises(BlockingIOError):
            pod.recv(100)


def test_a_reverse_path_filter_drops_outer_packets_too(lab):
    wrong = ipip(lab, b"wrong way", source="10.1.0.2")
    with sysctl(lab, "net/ipv4/conf/eth0/rp_filter", 1, 0):
        assert come_out(lab, lambda: lab.inject("node-b", wrong)) == []
    assert come_out(lab, lambda: lab.inject("node-b", wrong), b"wrong way") == [b"wrong way"]


def nft(lab, *lines):
    lab["node-b"].run("nft", "; ".join(lines))


# The kernel's own is not asked: User-Mode Linux has no nftables for IPv4.
@pytest.mark.parametrize("hook", ["prerouting", "input"])
def test_a_rule_for_protocol_4_sees_each_packet_once_and_may_drop_it(ebpf_lab, hook):
    if shutil.which("nft") is None:
        pytest.skip("needs nft, from nftables")
    table = f"add table ip host; add chain ip host c {{ type filter hook {hook} priority 0; }}"
    rule = "add rule ip host c ip saddr {} ip protocol 4 counter {}"
    nft(ebpf_lab, table, rule.format("192.168.57.98", "drop"),
        rule.format("192.168.57.99", "accept"))
    try:
        dropped = [ipip(ebpf_lab, b"dropped", source="192.168.57.98")] * 3
        assert come_out(ebpf_lab, lambda: ebpf_lab.inject(
            "node-b", *dropped, ipip(ebpf_lab, b"let in")), b"let in") == [b"let in"]
        rules = json.loads(ebpf_lab["node-b"].run("nft", "-j", "list", "table", "ip", "host"))
        counts = [part["counter"]["packets"] for item in rules["nftables"] if "rule" in item
                  for part in item["rule"]["expr"] if "counter" in part]
        assert counts == [3, 2]  # the marker is the second
    finally:
        nft(ebpf_lab, "delete table ip host")


def test_flushing_all_rules_leaves_the_tunnels(ebpf_lab):
    if shutil.which("nft") is None:
        pytest.skip("needs nft, from nftables")
    nft(ebpf_lab, "flush ruleset")
    packet = ipip(ebpf_lab, b"still", source="10.2.0.2")
    assert come_out(ebpf_lab, lambda: itself(ebpf_lab, "pod-b", packet), b"still") == [b"still"]
