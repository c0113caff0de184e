"""What a capture takes of frames that cross a veth, on one device and on all of them.

    v0 ═══ v1    (and w0 ═══ w1, for what a capture must not see)
"""

import ctypes
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from calico_mn.errors import KernelError
from calico_mn.kernel.capture import OUTGOING, BulkCapture, Capture
from calico_mn.kernel.packets import ICMP, IPIP, TCP, UDP
from calico_mn.packetmatch import CaptureFilter, PacketMatch

from .test_packets import ECHO, OUTER, PING, VXLAN_PING, A, B, ethernet, ip, tcp, udp

pytestmark = pytest.mark.root

VXLAN = PacketMatch(UDP, port=4789)
TUNNELS = (PacketMatch.IPIP, VXLAN)
CLONE_NEWNET = 0x40000000
REPLY = ip(B, A, ICMP, bytes(8))
ERROR = ip(B, A, ICMP, b"\3\4" + bytes(6))


def vxlan(packet):
    return ip(*OUTER, UDP, udp(4789, b"\x08" + bytes(7) + ethernet(0x0800, packet)))


FRAMES = {
    "ping": PING, "reply": REPLY, "error": ERROR,
    "ping, options": ip(A, B, ICMP, ECHO, options=b"\1\1\1\0"),
    "ping, later fragment": ip(A, B, ICMP, ECHO, fragment=100),
    "tcp": ip(A, B, TCP, tcp()), "tcp back": ip(B, A, TCP, tcp()),
    "udp 53": ip(A, B, UDP, udp(53, b"x" * 60)),
    "udp 4789, later fragment": ip(A, B, UDP, udp(4789, b"x" * 60), fragment=100),
    "ipip ping": ip(*OUTER, IPIP, PING), "ipip tcp": ip(*OUTER, IPIP, ip(A, B, TCP, tcp())),
    "ipip tcp back": ip(*OUTER, IPIP, ip(B, A, TCP, tcp())),
    "ipip error": ip(*OUTER, IPIP, ERROR),
    "vxlan ping": VXLAN_PING[14:], "vxlan tcp": vxlan(ip(A, B, TCP, tcp())),
    "vxlan error": vxlan(ERROR),
}
ARP = ethernet(0x0806, bytes.fromhex(
    "0001 0800 06 04 0001 020000000001 0a161f01 000000000000 0a162001"))


def match(protocol, *icmp, port=None):
    return PacketMatch(protocol, *icmp, port=port)


@pytest.fixture(scope="module")
def inside():
    """Runs a job in a thread that is in a network namespace of its own."""
    def enter():
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            pytest.skip("no network namespace can be made")
        for names in ("v0 v1", "w0 w1"):
            first, second = names.split()
            for command in (f"link add {first} type veth peer {second}",
                            f"link set {first} addrgenmode none up",
                            f"link set {second} addrgenmode none up"):
                subprocess.run(["ip", *command.split()], check=True, timeout=60)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(enter).result()
        yield lambda job, *args, **options: pool.submit(job, *args, **options).result()


def send(device):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind((device, 0))
        for frame in (*(ethernet(0x0800, packet) for packet in FRAMES.values()), ARP):
            wire.send(frame)


def names_of(frames):
    known = {ethernet(0x0800, packet): name for name, packet in FRAMES.items()} | {ARP: "arp"}
    return [known[frame.data] for frame in frames]


@pytest.mark.parametrize(("wanted", "names"), [
    pytest.param(CaptureFilter((match(ICMP),)), {
        "ping", "reply", "error", "ping, options", "ping, later fragment"}, id="a protocol"),
    pytest.param(CaptureFilter((match(ICMP, 8),), TUNNELS), {
        "ping", "ping, options", "ipip ping", "vxlan ping"}, id="an ICMP type, also encapsulated"),
    pytest.param(CaptureFilter((match(ICMP, 3, 4),), (PacketMatch.IPIP,)), {
        "error", "ipip error"}, id="an ICMP code, also inside IPIP"),
    pytest.param(CaptureFilter((PacketMatch.IPIP,)), {
        "ipip ping", "ipip tcp", "ipip tcp back", "ipip error"}, id="IPIP"),
    pytest.param(CaptureFilter((VXLAN,)), {"vxlan ping", "vxlan tcp", "vxlan error"}, id="VXLAN"),
    pytest.param(CaptureFilter((match(UDP, port=53), VXLAN)), {
        "udp 53", "vxlan ping", "vxlan tcp", "vxlan error"}, id="two ports"),
    pytest.param(CaptureFilter((match(TCP),), TUNNELS, source=A), {
        "tcp", "ipip tcp", "vxlan tcp"}, id="one sender"),
    pytest.param(CaptureFilter((match(TCP),), arp=True), {"tcp", "tcp back", "arp"}, id="ARP"),
])
@pytest.mark.parametrize("device", ["v0", ""], ids=["one device", "all devices"])
def test_a_capture_takes_what_matches_and_nothing_else(inside, device, wanted, names):
    with inside(Capture, wanted, device) as capture:
        inside(send, "v0")
        frames = capture.read()
    leaving = [frame for frame in frames if frame.kind == OUTGOING]
    assert {frame.device for frame in leaving} == {"v0"}
    assert set(names_of(leaving)) == names
    assert len(leaving) == len(names)
    # On all devices each is seen a second time where it arrives.
    arriving = names_of(frame for frame in frames if not frame.outgoing)
    assert sorted(arriving) == ([] if device else sorted(names))


def test_a_capture_of_one_device_sees_nothing_of_another(inside):
    with inside(Capture, CaptureFilter((match(ICMP),)), "w0") as capture:
        inside(send, "v0")
        assert capture.read() == []


def test_frames_are_stamped_when_asked(inside):
    for stamped in (True, False):
        with inside(Capture, CaptureFilter((match(TCP),)), "v0", stamped=stamped) as capture:
            inside(send, "v0")
            times = [frame.time for frame in capture.read()]
        assert times == sorted(times)
        assert all(time > 0 for time in times) is stamped


def test_a_bulk_capture_keeps_headers_and_lengths(inside):
    large = ip(A, B, TCP, tcp() + bytes(1400))

    def send_large():
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
            wire.bind(("v0", 0))
            wire.send(ethernet(0x0800, large))

    capture = inside(BulkCapture, CaptureFilter((match(TCP),), TUNNELS, source=A), "v0")
    capture.start()
    inside(send, "v0")
    inside(send_large)
    frames, lost = capture.finish()
    assert (len(frames), lost) == (4, 0)
    assert frames[-1].length == 14 + len(large) > len(frames[-1].data)
    assert frames[-1].packet.header_bytes == 14 + 40
    assert capture.finish() == ([], 0)


def test_a_device_that_is_not_there_is_named(inside):
    with pytest.raises(KernelError, match=r"^eth9: capture: No such device$"):
        inside(Capture, CaptureFilter((match(TCP),)), "eth9")
