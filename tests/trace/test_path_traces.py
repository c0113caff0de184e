"""Packets traced through real clusters: the text says what happened, word by word.

     node31 .31    node32 .32               node33 .33
     pod a .1      pod b .1                 pod c .1
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
        192.168.57.0/24                     192.168.58.0/24
"""

from __future__ import annotations

import dataclasses
import re
import time
from ipaddress import IPv4Interface

import pytest
from support.patience import SLOWNESS
from support.recordings import text
from support.topologies import one_subnet, two_subnets

from calico_mn import Drop
from calico_mn.calico import encapsulation
from calico_mn.errors import ClusterError
from calico_mn.model import Node
from calico_mn.trace import analysis
from calico_mn.trace.probe import record, trace
from calico_mn.trace.recording import Probe

pytestmark = [pytest.mark.root, pytest.mark.rules]

PATIENCE = 0.15 * SLOWNESS


@dataclasses.dataclass(frozen=True)
class Case:
    """A path; ``golden`` is the file with its text, ``cause`` why it is dropped."""

    topology: object
    source: str
    destination: str
    cause: str = ""
    place: str = ""
    probe: Probe = dataclasses.field(default_factory=Probe)
    before: object = None
    rp_filter: int = 2


def down(name, device):
    return lambda net: net[name].pexec(["ip", "link", "set", device, "down"])


def forget(name, prefix):
    return lambda net: net[name].pexec(["ip", "route", "del", prefix])


def mode_of_node31(mode):
    return lambda net: net.set_ipip_mode(mode, node="node31")


CASES = {
    "same-node": Case(two_subnets("Always", "a@node31", "a2@node31"), "a", "a2"),
    "always-one-subnet": Case(one_subnet("Always"), "a", "b"),
    "always-two-subnets": Case(two_subnets("Always"), "a", "c"),
    "cross-subnet-near": Case(two_subnets("CrossSubnet"), "a", "b"),
    "cross-subnet-far": Case(two_subnets("CrossSubnet"), "a", "c"),
    "never-near": Case(two_subnets("Never"), "a", "b"),
    "never-far": Case(two_subnets("Never"), "a", "c", "no-route", "r1"),
    "unassigned": Case(two_subnets("Always"), "a", "10.22.33.9", "blackhole", "node33"),
    "too-big-for-tunl0": Case(two_subnets("Always", veth_mtu=1500), "a", "c", "too-big", "node31",
                              Probe(size=1500)),
    "too-big-for-the-pod": Case(two_subnets("Always"), "a", "c", "too-big", "default/a",
                                Probe(size=1500)),
    "fragments": Case(two_subnets("Always", veth_mtu=1500), "a", "c",
                      probe=Probe(size=1500, df=False)),
    "ttl-1": Case(two_subnets("Always"), "a", "c", "ttl", "node31", Probe(ttl=1)),
    "ttl-2-in-the-tunnel": Case(two_subnets("Always"), "a", "c", "ttl", "r1", Probe(ttl=2)),
    "one-sided-rp-filter": Case(one_subnet("Always"), "a", "b", "rp-filter", "node32",
                                before=mode_of_node31("Never"), rp_filter=1),
    "one-sided": Case(one_subnet("Always"), "a", "b", before=mode_of_node31("Never"),
                      rp_filter=0),
    "pod-down": Case(one_subnet("Always"), "a", "b", "device-down", "node32",
                     before=down("b", "eth0")),
    "tunl0-down": Case(one_subnet("Always"), "a", "b", "not-decapsulated", "node32",
                       before=down("node32", "tunl0")),
    "route-deleted": Case(one_subnet("Always"), "a", "b", "no-route", "r1",
                          before=forget("node31", "10.22.32.0/26")),
    "route-back-deleted": Case(one_subnet("Always"), "a", "b", "no-route", "r1",
                               before=forget("node32", "10.22.31.0/26")),
    "filter-in-the-switch": Case(
        two_subnets("Always"), "a", "c", "filter", "rack-b",
        before=lambda net: net.set_filter("rack-b", Drop.IPIP)),
    "node-to-pod": Case(two_subnets("Always"), "node31", "c"),
    "tcp": Case(one_subnet("Always"), "a", "b", probe=Probe("tcp", port=80)),
    "udp": Case(one_subnet("Always"), "a", "b", probe=Probe("udp", port=9)),
}
NODE_OF = {"10.22.31.0": "192.168.57.31", "10.22.32.0": "192.168.57.32",
           "10.22.33.0": "192.168.58.33"}
#: those that show something of the kernel's own ipip, and need no nft there
IN_UML = ("always-two-subnets", "unassigned", "too-big-for-tunl0", "ttl-2-in-the-tunnel",
          "one-sided-rp-filter")


def vxlan(mode, *broken):
    """Change to VXLAN; then run the command ``broken`` in a namespace: its name and the words."""
    def change(net):
        net.set_vxlan_mode(mode)
        if broken:
            name, line = broken
            assert net[name].pexec(line.format(**MACS).split())[2] == 0, line
    return change


MACS = {name: encapsulation.VXLAN.tunnel_mac(Node(name, IPv4Interface("192.168.57.31/24")))
        for name in ("node31", "node32", "node33")}
CASES |= {
    "vxlan-one-subnet": Case(one_subnet("Never"), "a", "b", before=vxlan("Always")),
    "vxlan-two-subnets": Case(two_subnets("Never"), "a", "c", before=vxlan("Always")),
    "vxlan-cross-subnet-near": Case(two_subnets("Never"), "a", "b", before=vxlan("CrossSubnet")),
    "vxlan-cross-subnet-far": Case(two_subnets("Never"), "a", "c", before=vxlan("CrossSubnet")),
    "vxlan-without-fdb": Case(
        two_subnets("Never"), "a", "c", "not-encapsulated", "node31", before=vxlan(
            "Always", "node31",
            "bridge fdb del {node33} dev vxlan.calico dst 192.168.58.33 self")),
    "vxlan-down": Case(
        two_subnets("Never"), "a", "c", "not-decapsulated", "node33", before=vxlan(
            "Always", "node33", "ip link set vxlan.calico down")),
    "vxlan-router-down": Case(
        two_subnets("Never"), "a", "c", "no-neighbour", "node31", before=vxlan(
            "Always", "r1", "ip link set eth0 down")),
}


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.ipip) if name in IN_UML else name for name in CASES])
def test_the_text_of_a_path(boot, golden, settled, name):
    case = CASES[name]
    net = boot(case.topology, rp_filter=case.rp_filter)
    if case.before:
        case.before(net)
    recording = record(net, case.source, case.destination, case.probe, cold=True, patience=PATIENCE)
    path = analysis.path_trace(recording)
    drop = path.drop
    assert ((drop.cause, drop.namespace) if drop else ("", "")) == (case.cause, case.place)
    assert path.answered == (not case.cause)
    told = settled(text(path), recording)
    if net.tunnel == "kernel":
        # Its tunl0 comes before eth0, and says so where it shows.
        told = re.sub(r"NOTE  .* with tunl0's address.*\n", "", told)
        told = re.sub(r"(tell |sent by |MTU 1480, )(10\.22\.3\d\.0)\b",
                      lambda match: match[1] + NODE_OF[match[2]], told)
    golden(f"{name}.txt", told)


#    a@node31 ---- rack-a ---- b@node32
def test_the_first_packet_asks_by_arp_and_the_second_one_does_not(boot):
    net = boot(one_subnet("Always"))
    first, second = (text(trace(net, "a", "b")) for _ in range(2))
    assert "who has 169.254.1.1? tell 10.22.31.1" in first
    assert "proxy ARP: 169.254.1.1 is not node31's own" in first
    assert "who has" not in second
    assert "169.254.1.1 known: ee:ee:ee:ee:ee:ee" in second
    assert "who has 169.254.1.1?" in text(trace(net, "a", "b", cold=True))


#    a@node31 ---- rack-a ---- b@node32, and no router: no node has a route to 169.254.1.1
def test_without_a_default_route_proxy_arp_is_silent_and_the_reason_is_given(boot):
    net = boot(one_subnet("Always", gateway=False))
    drop = trace(net, "a", "b", patience=PATIENCE).drop
    assert (drop.cause, drop.namespace) == ("no-neighbour", "default/a")
    assert "node31 has a route, and it has none to 169.254.1.1" in drop.reason
    assert any("asked 3 times" in line for line in drop.evidence)


def test_a_learned_path_mtu_is_told_by_the_second_packet(boot):
    net = boot(two_subnets("Always", veth_mtu=1500))
    first, second = (trace(net, "a", "c", Probe(size=1500), patience=PATIENCE) for _ in range(2))
    assert [error.text for error in first.errors] == ["ICMP fragmentation needed, MTU 1480"]
    assert (second.drop.namespace, second.drop.cause) == ("default/a", "too-big")
    assert second.drop.by == "path MTU 1480, learned from an ICMP error"


def test_the_outer_packet_has_to_fit_the_uplink(boot):
    net = boot(two_subnets("Always", veth_mtu=1500))
    net["node31"].pexec(["ip", "link", "set", "tunl0", "mtu", "1500"])
    drop = trace(net, "a", "c", Probe(size=1490), patience=PATIENCE).drop
    assert (drop.cause, drop.namespace) == ("too-big", "node31")
    assert drop.by.startswith("MTU 1500 of ") and drop.reason.startswith("1510 bytes ")


def test_a_trace_of_a_small_cluster_is_quick(boot):
    net = boot(two_subnets("Always"))
    trace(net, "a", "c")
    durations = []
    for _ in range(3):  # a busy machine may stop it at any time
        begun = time.monotonic()
        assert trace(net, "a", "c").answered
        durations.append(time.monotonic() - begun)
    assert min(durations) < 1 * SLOWNESS


@pytest.mark.parametrize("arguments, words", [
    (("a", "nowhere"), "there is no pod, node or router 'nowhere'"),
    (("rack-a", "a"), "rack-a is a switch and has no address"),
    (("10.9.9.9", "a"), "no host in this cluster has the address 10.9.9.9"),
    (("a", "b", Probe(size=10)), "28 to 65535 bytes, not 10"),
    (("a", "b", Probe("udp")), "needs a port"),
    (("a", "b", Probe("sctp")), "not 'sctp'"),
    (("a", "b", Probe(ttl=0)), "TTL is 1 to 255"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_cannot_be_traced_is_said(boot, arguments, words):
    net = boot(one_subnet("Always"))
    with pytest.raises(ClusterError, match=words):
        trace(net, *arguments)
