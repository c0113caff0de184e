"""A trace's packets as Wireshark and scapy read them."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.utils import PcapNgReader

from calico_mn.trace import analysis
from calico_mn.trace.wire import pcapng

RECORDINGS = ("always", "rp", "never-far", "vxlan", "vxlan-down")


@pytest.fixture
def written(recording, tmp_path):
    """written(name) -> the recording, and the file that is made of it."""

    def write(name):
        original = recording(name)
        path = tmp_path / f"{name}.pcapng"
        path.write_bytes(pcapng(original))
        return original, path

    return write


def read(path):
    with PcapNgReader(str(path)) as reader:
        return list(reader)


def test_each_hop_of_the_probe_is_a_packet_of_its_devices_interface(written):
    original, path = written("always")
    requests = [packet for packet in read(path) if ICMP in packet and packet[ICMP].type == 8]
    # Flooded copies and the bridge itself are captured, too; the path is in this order.
    seen = [(packet.sniffed_on, packet.direction, packet[IP].proto, packet[IP].ttl)
            for packet in requests]
    expected = [(f"{hop.namespace}:{step.device}", 2 if step.direction == "out" else 1,
                 step.header.protocol, step.ttl)
                for hop in analysis.path_trace(original).forward.hops for step in hop.crossings]
    assert ("node31:tunl0", 2, 1, 63) in expected and ("node31:eth0", 2, 4, 63) in expected
    assert [item for item in seen if item in expected] == expected
    assert {packet.sniffed_on for packet in requests if not packet.haslayer("Ether")} == {
        "node31:tunl0", "node33:tunl0"}


@pytest.mark.parametrize("name", RECORDINGS)
def test_frames_and_times_are_those_of_the_recording(written, name):
    original, path = written(name)
    packets = read(path)
    captured = {(f"{namespace}:{frame.device}", frame.time, frame.data)
                for namespace, frame in original.frames}
    times = [int(packet.time * 10**9) for packet in packets]
    assert len(packets) > 10 and times == sorted(times)
    assert {(packet.sniffed_on, time, bytes(packet.original))
            for packet, time in zip(packets, times, strict=True)} <= captured


@pytest.mark.skipif(shutil.which("tshark") is None, reason="no tshark here")
def test_tshark_reads_it(written):
    _, path = written("always")
    done = subprocess.run(
        ["tshark", "-n", "-r", path, "-Y", "icmp.type == 8", "-T", "fields", "-e",
         "frame.interface_name", "-e", "frame.protocols"],
        capture_output=True, text=True, timeout=120, check=True)
    lines = done.stdout.splitlines()
    assert "node31:tunl0\traw:ip:icmp:data" in lines
    assert "node31:eth0\teth:ethertype:ip:ip:icmp:data" in lines
