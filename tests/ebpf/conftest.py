"""A network in namespaces of its own, plumbed with ip(8), to look at tunl0 and nothing else.

     pod-a                pod-b                pod-c             stranger
   10.1.0.2             10.2.0.2             10.3.0.2         192.168.57.99
       |                    |                    |                  |
    node-a               node-b               node-c                |
   tunl0 10.1.0.1       tunl0 10.2.0.1       tunl0 10.3.0.1         |
   eth0 192.168.57.31   eth0 .32             eth0 .33               |
       |                    |                    |                  |
       +--------------------+------- fabric -----+------------------+      192.168.57.0/24
                                 (a bridge)

Every node tunnels to the others' 10.N.0.0/24; to 10.3.0.3, node-a tunnels to node-b, and that
one to node-c. No node has a default route, so there are addresses that have no route at all.
The stranger has no tunnel; it sends hand-made frames.

The network exists twice, with the eBPF tunl0 and with the kernel's: what a test with the fixture
``lab`` says is true of both, so the kernel itself confirms what the eBPF programs imitate. Tests
with ``ebpf_lab`` are about the programs alone.
"""

import ctypes
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.patience import PATIENCE_S

from calico_mn.kernel import devices, tunnel
from calico_mn.kernel.ebpf import btf, handover, program
from calico_mn.kernel.ebpf.attendant import Attendant
from calico_mn.kernel.ebpf.seal import Seals
from calico_mn.kernel.ebpf.tun import create_tunl0
from calico_mn.kernel.netlink import NetlinkSocket

ETH_P_ALL = 3
CLONE_NEWNET = 0x40000000
NODES = {"a": 1, "b": 2, "c": 3}

libc = ctypes.CDLL(None, use_errno=True)


def pytest_collection_modifyitems(items):
    for item in items:
        if "needs_namespaces" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.root)


@pytest.fixture(scope="session")
def needs_namespaces():
    """Skip, with the reason, where namespaces cannot be had."""
    if os.geteuid():
        pytest.skip("needs root, to make network namespaces")
    if shutil.which("ip") is None:
        pytest.skip("needs ip(8), from iproute2")


@pytest.fixture(scope="session")
def needs_ebpf(needs_namespaces):
    """Skip, with the reason, where the eBPF tunl0 cannot be had."""
    reason = tunnel.ebpf_reason()
    if reason is not None:
        pytest.skip(reason)


class Netns:
    """A network namespace that lives as long as the one thread that is in it."""

    def __init__(self):
        self._pool = ThreadPoolExecutor(max_workers=1, initializer=self._enter)
        thread = self.call(threading.get_native_id)
        self.path = f"/proc/{os.getpid()}/task/{thread}/ns/net"

    @staticmethod
    def _enter():
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")

    def call(self, function, *arguments):
        return self._pool.submit(function, *arguments).result(timeout=60)

    def run(self, *argv):
        """The output of a program; its failure fails the test."""
        done = self.call(lambda: subprocess.run(
            argv, capture_output=True, text=True, timeout=60, check=False))
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def ip(self, *commands):
        for command in commands:
            self.run("ip", *command.split())

    def sysctl(self, key, value):
        self.call(Path("/proc/sys", key).write_text, str(value))

    def socket(self, *arguments):
        made = self.call(socket.socket, *arguments)
        made.settimeout(PATIENCE_S)
        return made

    def netlink(self, *messages):
        with self.call(NetlinkSocket) as netlink:
            netlink.request(messages)

    def capture(self, device):
        return Capture(self, device)

    def close(self):
        self._pool.shutdown(wait=True)


class Capture:
    """What tcpdump on a device would see: (direction, bytes), from the moment it is made."""

    def __init__(self, netns, device):
        # With a protocol from the beginning it would see all devices until it is bound.
        self._socket = netns.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
        self._socket.bind((device, ETH_P_ALL))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._socket.close()

    def until(self, wanted):
        """The packets seen so far, up to and with the first one that is ``wanted``."""
        seen = []
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                data, address = self._socket.recvfrom(1 << 17)
            except TimeoutError:
                break
            direction = "out" if address[2] == socket.PACKET_OUTGOING else "in"
            seen.append((direction, data))
            if wanted(data):
                return seen
        raise AssertionError(f"not seen within {PATIENCE_S:g} s; only {seen}")

    def so_far(self):
        """The packets seen so far, without waiting for another one."""
        seen = []
        self._socket.settimeout(0)
        while True:
            try:
                data, address = self._socket.recvfrom(1 << 17)
            except BlockingIOError:
                return seen
            seen.append(("out" if address[2] == socket.PACKET_OUTGOING else "in", data))


class Header(SimpleNamespace):
    """An IPv4 header of 20 bytes, read or written, and the payload after it."""

    LAYOUT = struct.Struct("!BBHHHBBH4s4s")

    @classmethod
    def read(cls, data):
        first, tos, length, ident, fragment, ttl, protocol, check, source, destination = (
            cls.LAYOUT.unpack_from(data))
        return cls(version=first >> 4, ihl=first & 15, tos=tos, length=length, ident=ident,
                   fragment=fragment, ttl=ttl, protocol=protocol, check=check,
                   source=socket.inet_ntoa(source), destination=socket.inet_ntoa(destination),
                   right_check=checksum(data[:4 * (first & 15)]) == 0,
                   payload=data[4 * (first & 15):])

    @classmethod
    def write(cls, source, destination, payload, *, protocol=17, tos=0, ttl=64, fragment=0,
              ident=7, first=0x45, check=None, length=None):
        fields = [first, tos, 20 + len(payload) if length is None else length, ident, fragment,
                  ttl, protocol, 0, socket.inet_aton(source), socket.inet_aton(destination)]
        fields[7] = checksum(cls.LAYOUT.pack(*fields)) if check is None else check
        return cls.LAYOUT.pack(*fields) + payload


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def udp(payload, port=5000):
    return struct.pack("!HHHH", port, port, 8 + len(payload), 0) + payload


class Lab:
    """The namespaces of the drawing, by name, and what tests do with them."""

    header = Header
    udp = staticmethod(udp)
    checksum = staticmethod(checksum)

    def __init__(self, backend, install=handover.install):
        self.backend = backend
        self.install = install
        self.namespaces = {}
        self.descriptors = {}
        self.held = []
        if backend == "ebpf":
            self.seals = Seals()
            self.descriptors = {
                name: program.load(name, self.seals.descriptor)
                for name in (program.EGRESS, program.LO, program.INGRESS,
                             program.REASSEMBLED)}
            self.drop = program.load_drop_filter()
            self.attendant = Attendant(self.descriptors[program.REASSEMBLED], self.seals)
            self.held.append(self.drop)
        fabric = self.namespaces["fabric"] = Netns()
        fabric.ip("link add br0 type bridge", "link set br0 up")
        for letter, number in NODES.items():
            self._add_node(letter, number)
        for letter, number in NODES.items():
            self._add_routes(letter, number)
        stranger = self.namespaces["stranger"] = Netns()
        self._plug(stranger, "to-stranger")
        stranger.ip("addr add 192.168.57.99/24 dev eth0")

    def __getitem__(self, name):
        return self.namespaces[name]

    def _plug(self, netns, port):
        self["fabric"].ip(
            f"link add {port} type veth peer name eth0 netns {netns.path}",
            f"link set {port} master br0", f"link set {port} up")
        netns.ip("link set lo up", "link set eth0 up")

    def _add_node(self, letter, number):
        node = self.namespaces[f"node-{letter}"] = Netns()
        pod = self.namespaces[f"pod-{letter}"] = Netns()
        if self.backend == "ebpf":
            # The first device in the namespace, because the programs know it by its index.
            self.held += (node.call(create_tunl0, "tunl0", program.TUNL0_INDEX, self.drop),
                          node.call(self.install))
            self.held += node.call(self.attendant.attend, self.held[-2])
        elif "tunl0" not in node.run("ip", "link"):
            node.ip("link add tunl0 type ipip")
        self._plug(node, f"to-node-{letter}")
        node.sysctl("net/ipv4/ip_forward", 1)
        node.ip(
            f"addr add 192.168.57.{30 + number}/24 dev eth0",
            "link set tunl0 mtu 1480 txqueuelen 1000",
            f"addr add 10.{number}.0.1/32 dev tunl0",
            f"link add pod type veth peer name eth0 netns {pod.path}",
            "link set pod mtu 1480 up", f"route add 10.{number}.0.2 dev pod")
        pod.ip("link set lo up", "link set eth0 mtu 1480 up", f"addr add 10.{number}.0.2 dev eth0",
               f"route add 192.168.57.{30 + number} dev eth0",
               f"route add default via 192.168.57.{30 + number}")
        if self.backend == "ebpf":
            self._attach(node)
        node.ip("link set tunl0 up")

    def _attach(self, node):
        tunl0, uplink = program.TUNL0_INDEX, node.call(socket.if_nametoindex, "eth0")
        node.netlink(
            devices.without_multicast(tunl0, 1000), devices.noqueue(tunl0), devices.clsact(tunl0),
            devices.program(tunl0, "egress", self.descriptors[program.EGRESS], program.EGRESS),
            devices.clsact(1),
            devices.program(1, "egress", self.descriptors[program.LO], program.LO),
            devices.clsact(uplink),
            devices.program(uplink, "ingress", self.descriptors[program.INGRESS], program.INGRESS))

    def _add_routes(self, letter, number):
        node = self[f"node-{letter}"]
        for other in set(NODES.values()) - {number}:
            node.ip(f"route add 10.{other}.0.0/24 via 192.168.57.{30 + other} dev tunl0 onlink")
        node.ip(f"route add blackhole 10.{number}.0.0/24")
        if letter == "a":
            node.ip("route add 10.3.0.3 via 192.168.57.32 dev tunl0 onlink")
        if letter == "c":
            node.ip("route add 10.3.0.3 dev pod")
            self["pod-c"].ip("addr add 10.3.0.3 dev eth0")

    def hardware_address(self, name):
        """The MAC address of eth0, asked of the namespace's own kernel tables."""
        shown = self[name].run("ip", "-o", "link", "show", "eth0")
        return bytes.fromhex(shown.split("link/ether ")[1].split()[0].replace(":", ""))

    def inject(self, receiver, *packets):
        """Send hand-made IPv4 packets from the stranger to the receiver's MAC address."""
        frame = self.hardware_address(receiver) + self.hardware_address("stranger") + b"\x08\x00"
        with self["stranger"].socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
            raw.bind(("eth0", 0))
            for packet in packets:
                raw.send(frame + packet)

    def send(self, name, destination, payload, *options, port=5000):
        """Send one UDP datagram, with (IP option, value) pairs set on the socket."""
        with self[name].socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for option, value in options:
                sender.setsockopt(socket.IPPROTO_IP, option, value)
            sender.sendto(payload, (destination, port))

    def listen(self, name, port=5000):
        """A UDP socket in the namespace."""
        listener = self[name].socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("", port))
        return listener

    def close(self):
        for netns in self.namespaces.values():
            netns.close()
        for descriptor in (*self.held, *self.descriptors.values()):
            os.close(descriptor)
        if self.backend == "ebpf":
            self.attendant.close()
            self.seals.close()


@pytest.fixture(scope="session")
def ebpf_lab(needs_ebpf):
    made = Lab("ebpf")
    yield made
    made.close()


@pytest.fixture(scope="session")
def kernel_lab(needs_namespaces):
    if tunnel.kernel_reason() is not None:
        pytest.skip("no ipip module is loaded; tests/uml runs this inside User-Mode Linux")
    made = Lab("kernel")
    yield made
    made.close()


@pytest.fixture
def without_btf(needs_ebpf, monkeypatch):
    """A network of its own, whose programs know no offsets in the kernel's structures."""
    monkeypatch.setattr(btf, "offset", lambda *path: None)
    made = Lab("ebpf")
    yield made
    made.close()


@pytest.fixture
def without_nftables(needs_ebpf):
    """A network of its own, as on a kernel without nftables."""
    made = Lab("ebpf", install=lambda: os.open(os.devnull, os.O_RDONLY))
    yield made
    made.close()


@pytest.fixture(params=[
    pytest.param("ebpf_lab", id="ebpf", marks=pytest.mark.root),
    pytest.param("kernel_lab", id="kernel", marks=[pytest.mark.root, pytest.mark.ipip]),
])
def lab(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def netns(needs_ebpf):
    """One empty namespace."""
    made = Netns()
    yield made
    made.close()
