"""Neighbours, FDB entries and VXLAN devices of a state: made, read back, changed, repaired."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from calico_mn.kernel.firewall import FirewallWriter
from calico_mn.kernel.iptables import NO_RULES
from calico_mn.kernel.netns import NamespaceThread
from calico_mn.kernel.reconcile import Reconciler
from calico_mn.kernel.tunnel import NoTunnel
from calico_mn.kernel.write import KernelWriter
from calico_mn.present import Owned
from calico_mn.state import (
    VXLAN,
    Address,
    FdbEntry,
    Namespace,
    Neighbour,
    Route,
    Tunnel,
    Veth,
    VethEnd,
    VethPeer,
)

MAC, OTHER_MAC = "66:00:00:00:00:01", "66:00:00:00:00:02"
OWNED = {"here": Owned(devices=frozenset({"vxlan.calico"}))}
DEVICE = Tunnel("vxlan.calico", 1450, "eth0", kind=VXLAN, vni=4096, port=4789,
                local="192.168.57.1", mac="66:00:00:00:00:10")
NEIGHBOUR = Neighbour("vxlan.calico", "10.22.5.0", MAC)
FDB = FdbEntry("vxlan.calico", MAC, "192.168.57.2")
FAR = Namespace("far", (Veth("eth0", 1500, VethPeer("here", "eth0", 1500, 3)),))
HERE = Namespace(
    "here", (VethEnd("eth0", 1500), DEVICE),
    (Address("eth0", "192.168.57.1/24"), Address("vxlan.calico", "10.22.4.0/32")),
    (Route("10.22.5.0/26", "10.22.5.0", "vxlan.calico", "bird", onlink=True),),
    neighbours=(NEIGHBOUR,), fdb=(FDB,))


class NoJournal:
    """Tells nothing to anyone."""

    def note(self, name: str, commands: Sequence[str]) -> None:
        pass

    def flush(self) -> None:
        pass


@dataclass
class Pair:
    """Two namespaces with a cable between them."""

    thread: NamespaceThread
    writer: KernelWriter
    reconciler: Reconciler

    def bring_to(self, wanted: Namespace) -> None:
        self.writer.change([wanted])

    def differences(self) -> list[str]:
        return [line for item in self.reconciler.differences(list(self.writer.states), OWNED)
                for line in item.lines]

    def run(self, *command: str) -> str:
        process = self.thread.call(self.thread.spawn, self.writer.namespaces["here"], command, "/",
                                   stdout=-1, text=True)
        return process.communicate(timeout=60)[0]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    thread, tunnel = NamespaceThread(), NoTunnel("there is none in this test")
    writer = KernelWriter(thread, tunnel, NoJournal(), FirewallWriter(NO_RULES, tmp_path))
    try:
        writer.create([FAR, HERE], {"far": tmp_path, "here": tmp_path})
        writer.fill([FAR, HERE])
        yield Pair(thread, writer, Reconciler(thread, writer, tunnel))
    finally:
        writer.close()
        thread.close()


def test_all_is_made_and_read_back_as_iproute2_shows_it(pair):
    assert pair.differences() == []
    details = pair.run("ip", "-d", "link", "show", "vxlan.calico")
    assert "vxlan id 4096 local 192.168.57.1 dev eth0" in details
    assert "dstport 4789 nolearning" in details
    assert "mtu 1450" in details
    assert DEVICE.mac in details
    assert f"10.22.5.0 lladdr {MAC} PERMANENT" in pair.run(
        "ip", "neigh", "show", "dev", "vxlan.calico")
    assert f"{MAC} dst 192.168.57.2 self permanent" in pair.run(
        "bridge", "fdb", "show", "dev", "vxlan.calico")


def test_entries_are_replaced_and_removed_with_the_state(pair):
    pair.bring_to(replace(HERE, neighbours=(replace(NEIGHBOUR, mac=OTHER_MAC),),
                          fdb=(FdbEntry("vxlan.calico", OTHER_MAC, "192.168.57.9"),)))
    assert pair.differences() == []
    pair.bring_to(replace(HERE, neighbours=(), fdb=()))
    assert pair.differences() == []
    assert pair.run("ip", "neigh", "show", "nud", "permanent") == ""
    assert "dst" not in pair.run("bridge", "fdb", "show", "dev", "vxlan.calico")


@pytest.mark.parametrize("change", [
    pytest.param({"vni": 4097}, id="vni"),
    pytest.param({"port": 8472}, id="port"),
    pytest.param({"local": "192.168.57.77"}, id="local"),
    pytest.param({"mac": "66:00:00:00:00:11"}, id="mac"),
    pytest.param({"mtu": 1400}, id="mtu"),
    pytest.param({"up": False}, id="down"),
])
def test_a_device_that_differs_is_changed_or_made_again_with_its_entries(pair, change):
    wanted = replace(HERE, devices=(HERE.devices[0], replace(DEVICE, **change)))
    if change == {"up": False}:
        wanted = replace(wanted, routes=(), neighbours=(), fdb=())
    pair.bring_to(wanted)
    assert pair.differences() == []


def test_without_the_device_nothing_of_it_is_left(pair):
    pair.bring_to(Namespace("here", HERE.devices[:1], HERE.addresses[:1]))
    assert pair.differences() == []
    assert "vxlan" not in pair.run("ip", "link")


@pytest.mark.parametrize(("command", "difference"), [
    pytest.param(("ip", "neigh", "del", "10.22.5.0", "dev", "vxlan.calico"),
                 [f"- {NEIGHBOUR}"], id="neighbour-gone"),
    pytest.param(("ip", "neigh", "add", "10.22.6.0", "lladdr", OTHER_MAC, "dev", "vxlan.calico"),
                 [f"+ 10.22.6.0 dev vxlan.calico lladdr {OTHER_MAC} PERMANENT"],
                 id="stray-neighbour"),
    pytest.param(("ip", "neigh", "change", "10.22.5.0", "lladdr", OTHER_MAC, "dev",
                  "vxlan.calico"),
                 [f"- {NEIGHBOUR}", f"+ {replace(NEIGHBOUR, mac=OTHER_MAC)}"],
                 id="neighbour-changed"),
    pytest.param(("bridge", "fdb", "del", MAC, "dev", "vxlan.calico", "dst", "192.168.57.2"),
                 [f"- {FDB}"], id="fdb-entry-gone"),
    pytest.param(("bridge", "fdb", "replace", MAC, "dev", "vxlan.calico", "dst", "192.168.57.3"),
                 [f"- {FDB}", f"+ {replace(FDB, destination='192.168.57.3')}"],
                 id="fdb-entry-changed"),
    pytest.param(("bridge", "fdb", "add", OTHER_MAC, "dev", "vxlan.calico", "dst",
                  "192.168.57.3"),
                 [f"+ {OTHER_MAC} dev vxlan.calico dst 192.168.57.3 self permanent"],
                 id="stray-fdb-entry"),
    pytest.param(("ip", "link", "del", "vxlan.calico"), None, id="device-gone"),
])
def test_what_was_changed_by_hand_is_seen_and_repaired(pair, command, difference):
    pair.run(*command)
    if difference is not None:
        assert pair.differences() == difference
    repaired = pair.reconciler.repair(list(pair.writer.states), OWNED)
    assert repaired.found
    assert repaired.remaining == ()
    assert repaired.failures == ()
    assert pair.differences() == []


def test_a_vxlan_device_with_another_vni_is_made_again(pair):
    pair.run("ip", "link", "del", "vxlan.calico")
    pair.run("ip", "link", "add", "vxlan.calico", "address", DEVICE.mac, "mtu", "1450", "up",
             "type", "vxlan", "id", "1", "dstport", "4789", "local", "192.168.57.1", "dev", "eth0",
             "nolearning")
    assert pair.differences()[:2] == [
        "- link vxlan.calico type vxlan id 4096 local 192.168.57.1 dev eth0 dstport 4789"
        f" nolearning mtu 1450 txqueuelen 1000 address {DEVICE.mac} up",
        "+ link vxlan.calico type vxlan id 1 local 192.168.57.1 dev eth0 dstport 4789"
        f" nolearning mtu 1450 txqueuelen 1000 address {DEVICE.mac} up"]
    assert pair.reconciler.repair(["here"], OWNED).remaining == ()
    assert pair.differences() == []
