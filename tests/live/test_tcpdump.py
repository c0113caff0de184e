"""tcpdump's filter and its output, for a capture on a real node: the program itself is asked."""

import shutil
import subprocess

import pytest

from calico_mn.calico.encapsulation import ENCAPSULATIONS
from calico_mn.kernel.packets import ECHO_REQUEST, ICMP, TCP
from calico_mn.kubernetes.tcpdump import expression, frames
from calico_mn.measure.wire import echo_request
from calico_mn.packetmatch import CaptureFilter, PacketMatch

INSIDE = tuple(encapsulation.match for encapsulation in ENCAPSULATIONS)
ECHO = CaptureFilter((PacketMatch(ICMP, ECHO_REQUEST),), INSIDE)


@pytest.fixture(scope="module")
def scapy():
    """Loaded for these tests only: it takes a second."""
    return pytest.importorskip("scapy.all", reason="./install.sh develop installs it")


@pytest.fixture(scope="module")
def packets(scapy):
    """Frames by what is in them."""
    def frame(*layers):
        packet = scapy.Ether()
        for layer in layers:
            packet /= layer
        return packet

    ping = scapy.IP(src="10.1.0.1", dst="10.1.1.1") / scapy.ICMP(type=8)
    pong = scapy.IP(src="10.1.1.1", dst="10.1.0.1") / scapy.ICMP(type=0)
    nodes = scapy.IP(src="192.168.0.1", dst="192.168.0.2")
    vxlan = (scapy.UDP(sport=5555, dport=4789), scapy.VXLAN(vni=4096), scapy.Ether())
    return {
        "plain": frame(ping), "in IPIP": frame(nodes, ping), "in VXLAN": frame(nodes, *vxlan, ping),
        "reply": frame(pong), "reply in IPIP": frame(nodes, pong),
        "reply in VXLAN": frame(nodes, *vxlan, pong),
        "TCP in IPIP": frame(nodes, scapy.IP() / scapy.TCP(dport=80)),
        "another UDP": frame(nodes, scapy.UDP(dport=53), ping)}


@pytest.fixture
def passed(tmp_path, scapy, packets):
    """passed(WANTED) -> what tcpdump lets through of the packets, as frames."""
    def through(wanted):
        scapy.wrpcap(str(tmp_path / "all.pcap"), list(packets.values()))
        done = subprocess.run(["tcpdump", "-r", str(tmp_path / "all.pcap"), "-w", "-",
                               expression(wanted)], capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        data = bytearray(done.stdout[24:])
        found = list(frames(data, "<", "eth0"))
        assert not data
        return found

    return through


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_echo_requests_are_taken_plain_and_inside_each_encapsulation(passed):
    assert [echo_request(each) for each in passed(ECHO)] == [
        ("10.1.0.1", "10.1.1.1", False), ("10.1.0.1", "10.1.1.1", True),
        ("10.1.0.1", "10.1.1.1", True)]


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_a_port_is_looked_for_inside_as_well(passed):
    (only,) = passed(CaptureFilter((PacketMatch(TCP, port=80),), INSIDE))
    assert only.packet.transport.destination_port == 80


def test_a_record_that_has_not_come_whole_is_left(tmp_path, scapy, packets):
    scapy.wrpcap(str(tmp_path / "one.pcap"), [packets["plain"]])
    record = (tmp_path / "one.pcap").read_bytes()[24:]
    data = bytearray(record + record[:20])
    (first,) = frames(data, "<", "eth0")
    assert first.length == len(packets["plain"]) and bytes(data) == record[:20]
    data += record[20:]
    assert len(list(frames(data, "<", "eth0"))) == 1 and not data
