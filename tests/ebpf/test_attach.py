"""The device and the attached programs, as ip and tc see them.

One namespace with lo (1), the TUN tunl0 (2), and nothing else.
"""

import os
import socket
import struct

import pytest

from calico_mn.errors import KernelError
from calico_mn.kernel import devices
from calico_mn.kernel.ebpf import program, tun


@pytest.fixture
def tunl0(netns):
    drop = program.load_drop_filter()
    held = netns.call(tun.create_tunl0, "tunl0", program.TUNL0_INDEX, drop)
    os.close(drop)  # the device has taken its own reference
    yield netns
    os.close(held)


@pytest.fixture
def loaded(needs_ebpf):
    descriptors = [program.load(program.EGRESS), program.load(program.LO)]
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def test_the_device_shows_itself_as_ipip_tunnel_and_down(tunl0):
    tunl0.netlink(devices.without_multicast(2, 1000), devices.noqueue(2))
    tunl0.ip("link set tunl0 mtu 1480 txqueuelen 1000")
    lines = tunl0.run("ip", "link", "show", "tunl0").splitlines()
    assert lines[0].startswith("2: tunl0: <POINTOPOINT,NOARP> mtu 1480 qdisc noqueue state DOWN")
    assert lines[0].rstrip().endswith("qlen 1000")
    assert lines[1].split()[:2] == ["link/ipip", "0.0.0.0"]


def test_the_device_has_a_carrier_and_no_ipv6_address_when_up(tunl0):
    tunl0.ip("link set tunl0 up")
    shown = tunl0.run("ip", "address", "show", "tunl0")
    assert "UP,LOWER_UP" in shown
    assert "inet6" not in shown


def test_nothing_queues_in_the_device_for_a_reader_that_does_not_exist(tunl0):
    tunl0.ip("link set tunl0 up", "addr add 10.0.0.1/32 dev tunl0",
             "route add 10.1.0.0/16 dev tunl0")
    with tunl0.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(5):
            sender.sendto(b"x", ("10.1.0.1", 9))
    counters = tunl0.run("ip", "-s", "link", "show", "tunl0").splitlines()
    sent, dropped = (int(counters[-1].split()[i]) for i in (1, 3))
    assert (sent, dropped) == (0, 5)


def test_a_second_device_of_the_name_is_refused_by_name(tunl0):
    drop = program.load_drop_filter()
    with pytest.raises(KernelError, match=r"^tunl0: create .*Device or resource busy"):
        tunl0.call(tun.create_tunl0, "tunl0", 7, drop)
    os.close(drop)


@pytest.mark.parametrize("name", ["", "a-name-of-sixteen", "tun%d"])
def test_a_name_that_the_kernel_would_change_is_refused(needs_ebpf, name):
    with pytest.raises(KernelError, match="is no name for a device"):
        tun.create_tunl0(name, 2, 0)


def test_a_failed_creation_leaves_no_descriptor_open(netns):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KernelError, match="tunl0: filter"):
        netns.call(tun.create_tunl0, "tunl0", 2, 0)
    assert len(os.listdir("/proc/self/fd")) == before


def test_programs_are_attached_once_replaced_in_place_and_shown_by_name(tunl0, loaded):
    tunl0.netlink(devices.clsact(2), devices.program(2, "egress", loaded[0], "one"),
                  devices.program(2, "ingress", loaded[1], "two"))
    with pytest.raises(KernelError):
        tunl0.netlink(devices.program(2, "egress", loaded[1], "three"))
    tunl0.netlink(devices.program(2, "egress", loaded[1], "three", replace=True))
    tunl0.netlink(devices.program(2, "egress", loaded[0], "four", replace=True))

    def attached(where):
        shown = tunl0.run("tc", "filter", "show", "dev", "tunl0", where)
        return [line.split("handle 0x1 ")[1].split(" ")[0] for line in shown.splitlines()
                if "handle 0x1 " in line and "direct-action" in line]

    assert attached("egress") == ["four"]
    assert attached("ingress") == ["two"]


@pytest.mark.parametrize(("message", "kind", "flags"), [
    pytest.param(devices.clsact(5), 36, 0x600, id="clsact"),
    pytest.param(devices.noqueue(5), 36, 0x600, id="noqueue"),
    pytest.param(devices.program(5, "ingress", 9, "x"), 44, 0x600, id="ingress, new"),
    pytest.param(devices.program(5, "egress", 9, "x", replace=True), 44, 0x400,
                 id="egress, replaced"),
])
def test_messages_ask_for_creation_of_the_right_thing(message, kind, flags):
    assert message[:2] == (kind, flags)
    assert struct.unpack_from("=i", message[2], 4) == (5,)
    assert len(message[2]) % 4 == 0
