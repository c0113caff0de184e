"""Neighbours: clusters at once in random order, a plain Mininet, and other programs' namespaces.

     node31 .31    node32 .32               node33 .33
     pod a         pod b                    pod c
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----     (several times)
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.patience import SLOWNESS, eventually
from support.topologies import one_subnet, two_subnets

from calico_mn import CalicoNet
from calico_mn.kernel import cleanup

from .test_killed import killed_in, nothing_of

pytestmark = [pytest.mark.root, pytest.mark.kills]

EXPECTED = {
    ("one", "Always"): full_mesh("a", "b"), ("one", "CrossSubnet"): full_mesh("a", "b"),
    ("one", "Never"): full_mesh("a", "b"),
    ("two", "Always"): full_mesh("a", "b", "c"), ("two", "CrossSubnet"): full_mesh("a", "b", "c"),
    ("two", "Never"): {"a": {"b"}, "b": {"a"}, "c": set()},
}

#: two hosts on a wire by Mininet alone; it answers each line with how the ping went
MININET = """
import sys
from mininet.net import Mininet
from mininet.node import Host
from mininet.link import Link
Mininet.inited = True  # its init() would change limits of the whole machine
net = Mininet(topo=None, build=False, controller=None, host=Host, link=Link)
one, other = net.addHost("h1", ip="10.0.0.1/8"), net.addHost("h2", ip="10.0.0.2/8")
net.addLink(one, other)
net.start()
print("up", flush=True)
for line in sys.stdin:
    print(" 0% packet loss" in one.cmd("ping -c1 -W2 10.0.0.2"), flush=True)
net.stop()
"""

#: a named namespace with a cable; it answers each line with how the ping went
NAMED = """
mkdir -p /run/netns && ip netns add theirs && ip link add t0 type veth peer name t1 netns theirs \
&& ip address add 10.9.0.1/24 dev t0 && ip link set t0 up \
&& ip -n theirs address add 10.9.0.2/24 dev t1 && ip -n theirs link set t1 up || exit 1
echo up
while read -r line; do ping -c1 -W2 10.9.0.2 >/dev/null && echo True || echo False; done
ip netns list | grep -q theirs
"""


class Foreign:
    """Another program's network, in a network namespace and mounts of its own."""

    def __init__(self, *command: str) -> None:
        # /run is machine-wide, and so are the devices that plain Mininet makes on its way.
        prepare = ("mount -t sysfs sysfs /sys && mount -t tmpfs none /run && ip link set lo up"
                   ' && exec "$@"')
        self.process = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", prepare, "sh", *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        assert self._said() == "up"

    def _said(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def works(self) -> bool:
        assert self.process.stdin
        self.process.stdin.write("ping\n")
        return self._said() == "True"

    def end(self) -> int:
        try:
            self.process.communicate(timeout=60 * SLOWNESS)
        finally:
            self.process.kill()
        return self.process.returncode


def test_clusters_at_once_in_random_order_do_not_disturb_each_other(tunnel):
    chance = random.Random(4)
    live: dict[str, tuple[CalicoNet, str, str]] = {}
    waiting = [("first", "one"), ("second", "one"), ("third", "two"), ("fourth", "two")]
    changes = 4
    try:
        while waiting or live:
            if waiting and (not live or chance.random() < 0.6):
                name, kind = waiting.pop(chance.randrange(len(waiting)))
                make = one_subnet if kind == "one" else two_subnets
                net = CalicoNet(make("Always"), tunnel=tunnel)
                net.start()
                live[name] = (net, kind, "Always")
            elif changes:
                changes -= 1
                name = chance.choice(sorted(live))
                net, kind, _ = live[name]
                mode = chance.choice(["Never", "CrossSubnet"])
                net.set_ipip_mode(mode)
                live[name] = (net, kind, mode)
            else:
                live.pop(chance.choice(sorted(live)))[0].stop()
            for net, kind, mode in live.values():
                expect_connectivity(net, EXPECTED[kind, mode])
    finally:
        for net, _, _ in live.values():
            net.stop()


@pytest.mark.parametrize("command", [
    pytest.param((sys.executable, "-c", MININET), id="plain Mininet"),
    pytest.param(("sh", "-c", NAMED), id="ip netns"),
])
def test_other_peoples_networks_are_not_touched(tunnel, command):
    needed = ("mnexec", "ifconfig") if command[0] == sys.executable else ("ip",)
    if not all(map(shutil.which, needed)):
        pytest.skip(f"needs {' and '.join(needed)}")
    foreign = Foreign(*command)
    try:
        assert foreign.works()
        with CalicoNet(one_subnet("Always"), tunnel=tunnel) as net:
            net["a"].cmd("sleep 1000 &")
            assert foreign.works()
            net.set_ipip_mode("Never")
            cleanup.remove_all()
            assert foreign.works()
            expect_connectivity(net, full_mesh("a", "b"))
        assert foreign.works()
        # A run that was killed leaves programs, and a clean-up ends them.
        killed = killed_in("change", 0)
        cleanup.remove_all()
        assert eventually(lambda: nothing_of(killed))
        assert foreign.works()
    finally:
        status = foreign.end()
    assert status == 0
