"""What Calico's own tests ask of a node's rules: A9 to A12 and A18 (A20: test_nat_outgoing.py).

      outside .99
          |
     -----+--- net-a 192.168.57.0/24 ---+----------------+---- r1
          node31 .31                 node32 .32       node33 .33
          w0  w1                     w2               w3

The sources are Felix's tests: routing_test.go (a node leaves the set), ipip_test.go (an external
client), ingress_egress_test.go, spoof_test.go, and node/tests/k8st (encap_spoofing).
"""

from __future__ import annotations

import os
import re
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

import pytest
from policy.connections import connected
from support.connectivity import answered
from support.patience import PATIENCE_S, eventually
from support.topologies import net_a

from calico_mn import CalicoNet
from calico_mn.calico.policy.endpoint_chains import ALL_HOSTS
from calico_mn.errors import UnsupportedError
from calico_mn.topology import parse_topology

pytestmark = [pytest.mark.root, pytest.mark.rules]

TOPOLOGY = net_a("w0@node31", "w1@node31", "w2@node32", "w3@node33", nodes=3)
FELIX = ("apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\n"
         "metadata: {name: default}\nspec: ")
OUTSIDE, PORT, IPIP, UDP = "192.168.57.99", 5000, 4, 17
PODS = ("w0", "w1", "w2", "w3")
#: the rules that drop, by node's chain and comment
FROM_STRANGERS = "cali-INPUT .*Drop IPIP packets from non-Calico hosts"
IPIP_OF_PODS = "cali-fw-.*Drop IPinIP encapped packets originating in workloads"
VXLAN_OF_PODS = "cali-fw-.*Drop VXLAN encapped packets originating in workloads"
SPOOFED = "cali-PREROUTING .*rpfilter"


@pytest.fixture(scope="module")
def net() -> Iterator[CalicoNet]:
    try:
        with CalicoNet(parse_topology(TOPOLOGY),
                       tunnel=os.environ.get("CALICO_MN_TUNNEL", "auto")) as running:
            yield running
    except UnsupportedError as error:
        pytest.skip(str(error))


def ip(source: str, destination: str, payload: bytes, protocol: int) -> bytes:
    """A packet of IPv4, with its checksum."""
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, 0, 64, protocol, 0,
                         socket.inet_aton(source), socket.inet_aton(destination))
    total = sum(struct.unpack("!10H", header))
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return header[:10] + struct.pack("!H", total) + header[12:] + payload


def udp(source: str, destination: str, payload: bytes, port: int = PORT) -> bytes:
    return ip(source, destination, struct.pack("!4H", port, port, 8 + len(payload), 0) + payload,
              UDP)


def send(net: CalicoNet, place: str, packet: bytes) -> None:
    with net.runtime.inside(place, socket.socket, socket.AF_INET, socket.SOCK_RAW,
                            socket.IPPROTO_RAW) as raw:
        raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))


def receiver(net: CalicoNet, pod: str, protocol: int = UDP, port: int = PORT) -> socket.socket:
    kind = socket.SOCK_DGRAM if protocol == UDP else socket.SOCK_RAW
    sock = net.runtime.inside(f"default/{pod}", socket.socket, socket.AF_INET, kind, protocol)
    if protocol == UDP:
        sock.bind(("", port))
    sock.settimeout(PATIENCE_S)
    return sock


def is_empty(sock: socket.socket) -> bool:
    return not select.select([sock], [], [], 0)[0]


def counted(net: CalicoNet, node: str, rule: str) -> int:
    """How many packets the rules whose line matches have had."""
    saved = net[node].cmd("iptables-save -c")
    return sum(map(int, re.findall(rf"^\[(\d+):\d+\] -A {rule}", saved, re.MULTILINE)))


def is_dropped(net: CalicoNet, place: str, packet: bytes, node: str, rule: str) -> bool:
    """Whether that very rule, and it alone by one, counts the packet."""
    before = counted(net, node, rule)
    send(net, place, packet)
    return eventually(lambda: counted(net, node, rule) > before) and counted(
        net, node, rule) == before + 1


def pings(net: CalicoNet) -> dict[str, set[str]]:
    """Which pods have an answer from which."""
    answers = answered(net, list(permutations(PODS, 2)))
    return {source: {pod for pod in PODS if answers.get((source, pod))} for source in PODS}


EVERY_POD = {source: {*PODS} - {source} for source in PODS}


@pytest.mark.ipip
def test_a9_a_node_that_leaves_one_receivers_set_is_not_heard_there_alone(net: CalicoNet) -> None:
    assert pings(net) == EVERY_POD
    state = net.runtime.states["node32"]
    assert state.firewall is not None
    members = state.firewall.sets[ALL_HOSTS]
    without = replace(
        state, firewall=replace(state.firewall, sets={
            **state.firewall.sets, ALL_HOSTS: members - {"192.168.57.31"}}),
        routes=tuple(route for route in state.routes if route.destination != "192.168.57.31"))
    before = counted(net, "node32", FROM_STRANGERS)
    net.runtime.writer.change([without])
    try:
        # Of each ping between node31 and node32, the request or the answer is lost at node32.
        lost = {"w0": {"w2"}, "w1": {"w2"}, "w2": {"w0", "w1"}, "w3": set()}
        assert pings(net) == {source: EVERY_POD[source] - lost[source] for source in PODS}
        assert counted(net, "node32", FROM_STRANGERS) == before + 4
    finally:
        net.runtime.writer.change([state])
    assert pings(net) == EVERY_POD and net.verify() == ()


@pytest.mark.ipip
def test_a10_an_external_sender_is_dropped_until_felix_is_told_of_it(net: CalicoNet) -> None:
    pod = net["w2"].ip
    packet = ip(OUTSIDE, "192.168.57.32", udp(OUTSIDE, pod, b"from outside"), IPIP)
    with receiver(net, "w2") as receive:
        assert is_dropped(net, "outside", packet, "node32", FROM_STRANGERS)
        for listed in ([OUTSIDE], ["192.168.57.96/28"], ["10.0.0.1", "192.168.57.0/24"]):
            net.apply(f"{FELIX}{{externalNodesList: {listed}}}")
            send(net, "outside", packet)
            assert receive.recv(1000) == b"from outside"
        net.apply(f"{FELIX}{{externalNodesList: []}}")
        assert is_dropped(net, "outside", packet, "node32", FROM_STRANGERS)
        assert is_empty(receive) and net.verify() == ()


@pytest.mark.ipip
def test_a11_a_pod_sends_no_ipip_unless_it_is_allowed_to(net: CalicoNet) -> None:
    own, other = net["w0"].ip, net["w2"].ip
    packet = ip(own, other, udp(own, other, b"inside"), IPIP)
    with receiver(net, "w2", IPIP) as receive:
        assert is_dropped(net, "default/w0", packet, "node31", IPIP_OF_PODS)
        # The node's address as destination would have node32 decapsulate it.
        spoof = ip(own, "192.168.57.32", udp(own, other, b"inside"), IPIP)
        assert is_dropped(net, "default/w0", spoof, "node31", IPIP_OF_PODS)
        assert is_empty(receive)
        net.apply(f"{FELIX}{{allowIPIPPacketsFromWorkloads: true}}")
        send(net, "default/w0", packet)
        assert receive.recv(1000)[20:] == packet[20:]
        net.apply(f"{FELIX}{{allowIPIPPacketsFromWorkloads: false}}")
        assert is_dropped(net, "default/w0", packet, "node31", IPIP_OF_PODS)


def test_a11_a_pod_sends_no_vxlan_unless_it_is_allowed_to(net: CalicoNet) -> None:
    own, other = net["w0"].ip, net["w2"].ip
    packet = udp(own, other, b"in vxlan", 4789)
    with receiver(net, "w2", port=4789) as receive, receiver(net, "w2", port=4788) as neighbour:
        assert is_dropped(net, "default/w0", packet, "node31", VXLAN_OF_PODS)
        send(net, "default/w0", udp(own, other, b"not vxlan", 4788))
        assert neighbour.recv(1000) == b"not vxlan" and is_empty(receive)
        net.apply(f"{FELIX}{{allowVXLANPacketsFromWorkloads: true}}")
        send(net, "default/w0", packet)
        assert receive.recv(1000) == b"in vxlan"
        net.apply(f"{FELIX}{{allowVXLANPacketsFromWorkloads: false}}")
        assert is_dropped(net, "default/w0", packet, "node31", VXLAN_OF_PODS)


@pytest.mark.parametrize("claimed", ["w1", "w3", "192.168.57.31", "8.8.8.8"])
def test_a12_a_pod_sends_with_its_own_address_only(net: CalicoNet, claimed: str) -> None:
    own, other = net["w0"].ip, net["w2"].ip
    source = net[claimed].ip if claimed in PODS else claimed
    with receiver(net, "w2") as receive:
        assert is_dropped(net, "default/w0", udp(source, other, b"spoofed"), "node31", SPOOFED)
        send(net, "default/w0", udp(own, other, b"own"))
        assert receive.recv(1000) == b"own" and is_empty(receive)


ALLOW_FROM_W1 = "ingress: [{action: Allow, source: {selector: name == 'w1'}}]"
ALLOW_TO_W1 = "egress: [{action: Allow, destination: {selector: name == 'w1'}}]"
DENY_TO_ALL = "egress: [{action: Deny}]"
BOTH = "types: [Ingress, Egress]"
#: the policy of w0 -> who cannot connect to w0, and to whom w0 cannot
TYPES = {
    "no policy": ("", "", ""),
    "ingress only": (ALLOW_FROM_W1, "w2 w3", ""),
    "egress only": (ALLOW_TO_W1, "", "w2 w3"),
    "ingress rules and both types": (f"{ALLOW_FROM_W1}, {BOTH}", "w2 w3", "w1 w2 w3"),
    "an egress deny rule, and type ingress": (
        f"{ALLOW_FROM_W1}, {DENY_TO_ALL}, types: [Ingress]", "w2 w3", ""),
    "an egress deny rule, and both types": (
        f"{ALLOW_FROM_W1}, {DENY_TO_ALL}, {BOTH}", "w2 w3", "w1 w2 w3"),
    "ingress with no rules": ("ingress: []", "w1 w2 w3", ""),
}


@pytest.mark.parametrize("case", TYPES)
def test_a18_the_types_of_a_policy_say_which_way_it_counts(net: CalicoNet, case: str) -> None:
    spec, not_from, not_to = TYPES[case]
    if spec:
        net.apply("apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\n"
                  f"metadata: {{name: policy-1}}\nspec: {{selector: name == 'w0', {spec}}}")
    refused = {*((pod, "w0") for pod in not_from.split()), *(("w0", pod) for pod in not_to.split())}
    pairs = {(f"default/{source}", f"default/{destination}"): (source, destination) not in refused
             for source, destination in permutations(PODS, 2)}
    try:
        assert connected(net, list(pairs), 8055) == pairs
    finally:
        if spec:
            net.delete("NetworkPolicy", "policy-1", "default")
