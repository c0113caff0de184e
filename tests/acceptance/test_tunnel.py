"""What tunl0 does to a packet, whichever back end is at work; A8 and A16.

The reference is the kernel's own device: ip_tunnel_xmit and ip_tunnel_rcv in
net/ipv4/ip_tunnel.c, ipip_rcv in net/ipv4/ipip.c.

     node31 .31    node32 .32
     pod a .1      pod b .1
        |             |
   -----+-- rack-a ---+---- (.1) r1
"""

from __future__ import annotations

import sys
from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.packets import (
    ECHO_REQUEST,
    ICMP,
    IPIP,
    UNREACHABLE,
    captured,
    fragmented,
    icmp_type,
    inner,
    next_hop_mtu,
    ping,
)
from support.routes import link, mtu
from support.topologies import one_subnet, two_subnets

from calico_mn.model import Router, RouterInterface, Subnet, Underlay

pytestmark = [pytest.mark.root, pytest.mark.ipip]


def sources_seen(net, node, device, source, destination) -> set[str]:
    """The source addresses of echo requests that arrive on a device, pinged from a node."""
    with captured(net, node, device, ICMP) as seen:
        answer, status = ping(net, source, net[destination].ip)
        assert status == 0, answer
    return {p.source for p in seen if icmp_type(p) == ECHO_REQUEST}


def test_back_end_is_the_one_asked_for(boot, tunnel):
    net = boot(one_subnet("Always"))
    assert net.tunnel == (tunnel if tunnel != "auto" else net.tunnel)
    kind = net["node31"].pexec(["ip", "-d", "link", "show", "tunl0"])[0]
    assert ("ipip" in kind.split("link/ipip")[1]) == (net.tunnel == "kernel")


@pytest.mark.parametrize("ttl", [2, 33, 64, 255])
def test_outer_ttl_is_the_inner_one(boot, ttl):
    net = boot(one_subnet("Always"))
    with captured(net, "node31", "eth0", IPIP) as outer:
        ping(net, "a", net["b"].ip, "-t", str(ttl))
    packet = next(p for p in outer if p.outgoing)
    # The node has forwarded the pod's packet, which cost it one.
    assert (packet.ttl, inner(packet).ttl) == (ttl - 1, ttl - 1)


def test_a_ttl_that_ends_behind_the_tunnel_is_answered_by_the_far_node(boot):
    net = boot(one_subnet("Always"))
    answer, status = ping(net, "a", net["b"].ip, "-t", "2")
    assert status != 0
    assert "Time to live exceeded" in answer and "From 10.22.32.0" in answer


@pytest.mark.parametrize(("option", "df"), [("do", True), ("dont", False)])
def test_outer_df_is_the_inner_one(boot, option, df):
    net = boot(one_subnet("Always"))
    with captured(net, "node31", "eth0", IPIP) as outer:
        ping(net, "a", net["b"].ip, "-M", option)
    packet = next(p for p in outer if p.outgoing)
    assert (packet.dont_fragment, inner(packet).dont_fragment) == (df, df)


# ip_tunnel_ecn_encap: DSCP stays inside; ECT is copied, and CE becomes ECT(0).
@pytest.mark.parametrize(("tos", "outer_tos"), [(0xB8, 0), (0xBA, 2), (0x01, 1), (0x03, 2)])
def test_outer_dscp_is_zero_and_ecn_is_copied(boot, tos, outer_tos):
    net = boot(one_subnet("Always"))
    with captured(net, "node31", "eth0", IPIP) as outer:
        ping(net, "a", net["b"].ip, "-Q", str(tos))
    packet = next(p for p in outer if p.outgoing)
    assert (packet.data[1], inner(packet).data[1]) == (outer_tos, tos)


def test_outer_addresses_are_those_of_the_nodes_also_across_a_router(boot):
    net = boot(two_subnets("Always"))
    with captured(net, "r1", "eth0", IPIP) as outer:
        ping(net, "a", net["c"].ip)
    assert {(p.source, p.destination) for p in outer} == {
        ("192.168.57.31", "192.168.58.33"), ("192.168.58.33", "192.168.57.31")}


def test_tunl0_shows_the_inner_packets_in_both_directions(boot):
    net = boot(one_subnet("Always"))
    with captured(net, "node32", "tunl0", ICMP) as seen:
        ping(net, "a", net["b"].ip)
    assert [(p.source, p.destination, p.outgoing) for p in seen] == [
        (net["a"].ip, net["b"].ip, False), (net["b"].ip, net["a"].ip, True)]


#    node31 itself ---- rack-a ---- b@node32
def test_a8_a_host_reaches_a_remote_pod_with_its_tunl0_address(boot):
    net = boot(two_subnets("Always"))
    expect_connectivity(net, full_mesh("node31", "node32", "node33", "a", "b", "c"))
    assert sources_seen(net, "node32", "tunl0", "node31", "b") == {"10.22.31.0"}
    assert sources_seen(net, "node33", net["c"].device, "node31", "c") == {"10.22.31.0"}


def test_a8_without_encapsulation_a_host_uses_its_own_address(boot):
    net = boot(two_subnets("CrossSubnet"))
    assert sources_seen(net, "node32", net["b"].device, "node31", "b") == {"192.168.57.31"}
    assert sources_seen(net, "node33", net["c"].device, "node31", "c") == {"10.22.31.0"}


#    node31 --> a@node31: the route has no source address, and the pod's device no address
@pytest.mark.parametrize(("encapsulation", "mode"), [
    ("IPIP", "Always"), ("IPIP", "CrossSubnet"), ("IPIP", "Never"),
    ("VXLAN", "Always"), ("VXLAN", "CrossSubnet"),
])  # fmt: skip
def test_a8_to_its_own_pod_a_host_uses_its_own_address_in_every_mode(boot, encapsulation, mode):
    net = boot(two_subnets("Always", veth_mtu=1500))
    net.set_mode(mode, encapsulation=encapsulation)
    pod = net["a"]
    # The kernel's tunl0 is born with the namespace, before any NIC.
    is_tunl0 = net.tunnel == "kernel" and encapsulation == "IPIP" and mode != "Never"
    wanted = "10.22.31.0" if is_tunl0 else "192.168.57.31"
    assert f" src {wanted} " in net["node31"].pexec(["ip", "route", "get", pod.ip])[0]
    assert sources_seen(net, "node31", pod.device, "node31", "a") == {wanted}
    # An ICMP error is sent as any packet to the pod is.
    answer, _ = ping(net, "a", net["c"].ip, "-t1")
    assert f"From {wanted}" in answer and "Time to live exceeded" in answer


def test_a8_pod_to_pod_keeps_the_pods_address(boot):
    net = boot(one_subnet("Always"))
    assert sources_seen(net, "node32", net["b"].device, "a", "b") == {net["a"].ip}


@pytest.mark.parametrize(("uplink", "configured", "tunl0", "pod"), [
    (1500, 0, 1480, 1480),
    (1400, 0, 1380, 1380),
    (9000, 0, 8980, 8980),
    (1500, 1500, 1480, 1500),
    (1500, 1300, 1480, 1300),
])  # fmt: skip
def test_a16_mtus_follow_the_uplink_unless_configured(boot, uplink, configured, tunl0, pod):
    net = boot(one_subnet("Always", mtu=uplink, veth_mtu=configured))
    assert mtu(net, "node31", "eth0") == uplink
    assert mtu(net, "node31", "tunl0") == tunl0
    # ip(8) would have set one end only; the CNI plug-in's netlink library sets both.
    assert mtu(net, "a", "eth0") == mtu(net, "node31", net["a"].device) == pod


@pytest.mark.parametrize(("mode", "pod"), [("CrossSubnet", 1480), ("Never", 1500)])
def test_a16_any_ipip_pool_makes_room_for_the_outer_header(boot, mode, pod):
    net = boot(one_subnet(mode))
    assert mtu(net, "a", "eth0") == pod


def test_a16_existing_pods_keep_their_mtu_when_the_mode_changes(boot):
    net = boot(one_subnet("Never"))
    net.set_ipip_mode("Always")
    assert mtu(net, "a", "eth0") == 1500
    assert mtu(net, "late", "eth0") == 1480 if net.add_pod(name="late", node="node31") else False


#    a (mtu 1500) -- node31 (tunl0 1480) ---- node32 -- b
def test_a16_a_df_packet_too_large_for_tunl0_is_answered_with_mtu_1480(boot):
    net = boot(one_subnet("Always", veth_mtu=1500))
    with captured(net, "a", "eth0", ICMP) as seen:
        answer, status = ping(net, "a", net["b"].ip, "-M", "do", "-s", "1472")
    assert status != 0 and "mtu = 1480" in answer, answer
    told = [p for p in seen if icmp_type(p) == UNREACHABLE]
    assert [next_hop_mtu(p) for p in told] == [1480]
    # 1452 + 8 + 20 = 1480: now it fits.
    assert ping(net, "a", net["b"].ip, "-M", "do", "-s", "1452")[1] == 0


def test_a16_the_sender_remembers_the_path_mtu(boot):
    net = boot(one_subnet("Always", veth_mtu=1500))
    ping(net, "a", net["b"].ip, "-M", "do", "-s", "1472")
    learned = net["a"].pexec(["ip", "route", "get", net["b"].ip])[0]
    assert "mtu 1480" in learned, learned


def test_a16_without_df_the_inner_packet_is_fragmented(boot):
    net = boot(one_subnet("Always", veth_mtu=1500))
    with captured(net, "node31", "eth0", IPIP) as outer:
        answer, status = ping(net, "a", net["b"].ip, "-M", "dont", "-s", "1472")
    assert status == 0, answer
    sent = [p for p in outer if p.outgoing]
    assert len(sent) == 2
    assert all(fragmented(inner(p)) and not fragmented(p) for p in sent)


def test_a16_in_cross_subnet_only_the_tunnelled_path_has_the_smaller_mtu(boot):
    net = boot(two_subnets("CrossSubnet", veth_mtu=1500))
    assert ping(net, "a", net["b"].ip, "-M", "do", "-s", "1472")[1] == 0
    answer, status = ping(net, "a", net["c"].ip, "-M", "do", "-s", "1472")
    assert status != 0 and "mtu = 1480" in answer, answer


@pytest.mark.parametrize("mode", ["Always", "CrossSubnet", "Never"])
def test_packets_larger_than_any_mtu_arrive_in_fragments(boot, mode):
    net = boot(one_subnet(mode))
    answer, status = ping(net, "a", net["b"].ip, "-M", "dont", "-s", "8000")
    assert status == 0, answer


#    a (mtu 1500) -- node31 (tunl0 1480) ---- node32 -- b
def test_a16_tcp_between_pods_of_mtu_1500_finds_the_path_mtu(boot):
    net = boot(one_subnet("Always", veth_mtu=1500))
    with captured(net, "a", "eth0", ICMP) as told:
        received = transferred(net, "a", "b", 3_000_000)
    assert received == 3_000_000
    assert {next_hop_mtu(p) for p in told if icmp_type(p) == UNREACHABLE} <= {1480}


#    a@node31 -- rack-a 1500 -- r1 -- 1400 -- r2 -- rack-b 1500 -- c@node33
def narrow_middle():
    wide, narrow = two_subnets("Always"), IPv4Network("192.168.59.0/30")
    rack_a, rack_b = wide.underlay.subnets
    return replace(wide, underlay=Underlay(
        (rack_a, rack_b, Subnet("middle", narrow, 1400)),
        (Router("r1", (RouterInterface("rack-a", rack_a.cidr[1]),
                       RouterInterface("middle", narrow[1]))),
         Router("r2", (RouterInterface("rack-b", rack_b.cidr[1]),
                       RouterInterface("middle", narrow[2]))))))


def test_tcp_recovers_across_a_path_that_is_narrower_than_both_ends(boot):
    net = boot(narrow_middle())
    with captured(net, "a", "eth0", ICMP) as told:
        assert transferred(net, "a", "c", 1_000_000) == 1_000_000
    assert {next_hop_mtu(p) for p in told if icmp_type(p) == UNREACHABLE} == {1380}


def test_the_second_packet_too_long_for_the_path_is_answered_by_the_node(boot):
    net = boot(narrow_middle())
    answer, _ = ping(net, "a", net["c"].ip, "-M", "do", "-s", "1400", "-c", "2", "-i", "0.2")
    assert "mtu = 1380" in answer, answer
    assert ping(net, "a", net["c"].ip, "-M", "do", "-s", "1352")[1] == 0
    assert ping(net, "node31", net["c"].ip, "-M", "do", "-s", "1352")[1] == 0


def test_without_df_routers_send_outer_packets_in_fragments_and_they_arrive(boot):
    net = boot(narrow_middle())
    for _ in range(2):  # before and after node31 has learned of the path
        answer, status = ping(net, "a", net["c"].ip, "-M", "dont", "-s", "1450")
        assert status == 0, answer
        ping(net, "a", net["c"].ip, "-M", "do", "-s", "1450")


@pytest.mark.parametrize("mode", ["Always", "CrossSubnet"])
def test_bulk_tcp_arrives_whole(boot, mode):
    net = boot(two_subnets(mode))
    assert transferred(net, "a", "c", 10_000_000) == 10_000_000


RECEIVE = """
import socket, sys
with socket.create_server((sys.argv[1], 7778)) as listener:
    print("ready", flush=True)
    connection, _ = listener.accept()
    count = 0
    while data := connection.recv(65536):
        assert not data.strip(b"x")
        count += len(data)
print(count)
"""
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 7778), timeout=60) as connection:
    connection.sendall(b"x" * int(sys.argv[2]))
"""


def transferred(net, client, server, size) -> int:
    """How many bytes of a TCP transfer from pod to pod arrived."""
    address = net[server].ip
    receiving = net[server].popen([sys.executable, "-c", RECEIVE, address], text=True)
    assert receiving.stdout.readline() == "ready\n"
    _, err, status = net[client].pexec([sys.executable, "-c", SEND, address, str(size)])
    assert status == 0, err
    return int(receiving.communicate(timeout=60)[0])


def test_a_downed_tunl0_passes_nothing_and_works_again_when_up(boot):
    net = boot(one_subnet("Always"))
    net["node32"].pexec(["ip", "link", "set", "tunl0", "down"])
    assert ",UP" not in link(net, "node32", "tunl0").replace("LOWER_UP", "")
    expect_connectivity(net, {"a": set(), "b": set()})
    net["node32"].pexec(["ip", "link", "set", "tunl0", "up"])
    # The kernel has dropped the routes through it; the distributor's do not come back by
    # themselves, as Felix's and BIRD's would on their next scan.
    back = "10.22.31.0/26 via 192.168.57.31 dev tunl0 proto bird onlink"
    net["node32"].pexec(["ip", "route", "replace", *back.split()])
    expect_connectivity(net, full_mesh("a", "b"))
