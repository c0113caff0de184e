"""What the article shows on its two hosts, typed into the emulated ones: L1 to L17.

The commands are the article's own; its lines, and the few rules by which they are compared, are
in :mod:`calico_mn.walkthrough`.

   192.168.57.1 (gateway)
        |
   -----+-------- hosts 192.168.57.0/24 ----+-----
        |                                   |
     node31 .31                          node32 .32
     10.22.138.0/26                      10.22.151.0/26
     a front end, 10.22.138.1            sit/sit-web-backend-58f48df4c9-b2q28, 10.22.151.11
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from support.article import normal
from support.packets import ping
from support.patience import SLOWNESS, eventually
from support.topologies import two_subnets

from calico_mn import CalicoNet, load_topology
from calico_mn.calico.cni import host_device
from calico_mn.topology import parse_topology
from calico_mn.walkthrough.article import BACKEND, BACKEND_IP, LINES

#: as the article prints it
BACKEND_DEVICE = "cali262cda17a90"
TOPOLOGIES = Path(__file__).resolve().parents[2] / "topologies"

pytestmark = [pytest.mark.root, pytest.mark.ipip]


@pytest.fixture(scope="module")
def net(tunnel):
    """One cluster for all lines: nothing here changes it."""
    with CalicoNet(load_topology(TOPOLOGIES / "article.yaml"), tunnel=tunnel) as running:
        yield running


def block(text: str, head: str) -> str:
    """The lines of ``ip a`` about one device: its first line starts with ``N: HEAD``."""
    found: list[str] = []
    for line in text.splitlines():
        if re.match(r"\d+: ", line):
            inside = re.match(rf"\d+: {re.escape(head)}[@:]", line)
        if inside:
            found.append(line)
    return "\n".join(found)


def test_l1_the_pods_device_is_named_after_the_sha1_of_namespace_and_name(net):
    assert host_device(*BACKEND.split("/")) == BACKEND_DEVICE
    assert f"{BACKEND_DEVICE}@" in net["node32"].cmd("ip a")


@pytest.mark.skipif(not shutil.which("route"), reason="no route(8): Debian package net-tools")
def test_l2_route_n_shows_the_pods_host_route_without_a_metric(net):
    line = net["node32"].cmd('route -n|grep "10.22.151.11"')
    assert normal(line) == normal(LINES["route_n"])


def test_l3_l4_host_side_has_the_well_known_mac_no_inet_and_no_qlen(net):
    shown = net["node32"].cmd(f"ip a|grep {BACKEND_DEVICE} -A 10")
    assert normal(block(shown, BACKEND_DEVICE)) == normal(LINES["host_side"])


def test_l5_iflink_pairs_the_two_ends_in_both_directions(net):
    iflink = net[BACKEND].cmd("cat /sys/class/net/eth0/iflink").strip()
    host_line = net["node32"].cmd(f"ip a|grep {BACKEND_DEVICE}")
    index, peer = re.match(rf"(\d+): {BACKEND_DEVICE}@if(\d+):", host_line).groups()
    assert iflink == index
    assert net[BACKEND].cmd("cat /sys/class/net/eth0/ifindex").strip() == peer == "4"


def test_l6_to_l9_ip_route_prints_the_articles_lines_in_its_order(net):
    lines = normal(net["node31"].cmd("ip route"))
    # The article's "..." hides further pods; the connected subnet is cut off below.
    connected = "192.168.57.0/24 dev eth0 proto kernel scope link src 192.168.57.31"
    assert lines == [*normal(LINES["ip_route"]), connected]


def test_l8_the_first_pod_of_a_node_has_the_address_after_its_tunnels(net):
    pod = next(p for p in net.pods if p.node == "node31")
    assert f"10.22.138.1 dev {pod.device} scope link" in net["node31"].cmd("ip route")


def test_l10_tcpdump_on_tunl0_sees_the_inner_packets_of_a_ping_from_the_host(net):
    dump = net["node32"].popen(
        "tcpdump -eni tunl0  -nnvv -c 4 | grep 10.22.151.11", shell=True, text=True)
    heard = dump.stderr.readline()
    assert normal(heard) == normal(LINES["tcpdump_banner"])
    assert "2 received" in net["node31"].cmd("ping -c 2 -i 0.2 10.22.151.11")
    out, _ = dump.communicate(timeout=60 * SLOWNESS)
    # The article's ping was typed on the host, as its prompt and its source address say.
    assert normal(out) == normal(LINES["tcpdump"])


def test_l10_a_pods_own_ping_is_seen_with_the_pods_address(net):
    pod = next(p for p in net.pods if p.node == "node31")
    dump = net["node32"].popen(
        "tcpdump --immediate-mode -eni tunl0 -nnvv -c 2", shell=True, text=True)
    dump.stderr.readline()
    ping(net, pod.name, BACKEND_IP)
    out, _ = dump.communicate(timeout=60 * SLOWNESS)
    assert f"{pod.ip} > {BACKEND_IP}: ICMP echo request" in out


def test_l11_tunl0_has_the_first_address_of_the_nodes_block_and_mtu_1480(net):
    shown = net["node31"].cmd("ip a|grep tunl0")
    assert normal(shown, tunnel=net.tunnel) == normal(LINES["tunl0"])


def test_l12_ip_a_in_the_pod(net):
    # Duplicate address detection takes the pod's link-local address a second or two.
    assert eventually(lambda: "tentative" not in net[BACKEND].cmd("ip a"))
    shown = net[BACKEND].cmd("ip a")
    pod_tunl0 = block(shown, "tunl0")
    if net.tunnel == "kernel":
        # The module gives every new namespace a tunl0, down and unused.
        assert normal(pod_tunl0) == normal(LINES["pod_tunl0"])
    else:
        # Without the module there is none: asserted, so that this test says so.
        assert pod_tunl0 == ""
    assert normal(block(shown, "lo")) == normal(LINES["pod_lo"])
    assert normal(block(shown, "eth0")) == normal(LINES["pod_eth0"])


def test_l13_ip_route_in_the_pod(net):
    assert normal(net[BACKEND].cmd("ip route")) == normal(LINES["pod_route"])


def test_l14_ip_neigh_in_the_pod_shows_the_gateway_that_no_host_has(boot):
    # A cluster of its own: where the node asks for the pod first, as it does for traffic from
    # outside, the pod also learns the node's address, from that request.
    net = boot(load_topology(TOPOLOGIES / "article.yaml"))
    assert ping(net, BACKEND, "192.168.57.31")[1] == 0
    assert normal(net[BACKEND].cmd("ip neigh")) == normal(LINES["pod_neigh"])


def test_l15_proxy_arp_is_on(net):
    file = f"/proc/sys/net/ipv4/conf/{BACKEND_DEVICE}/proxy_arp"
    assert net["node32"].cmd(f"cat {file}").strip() == "1"


def test_l16_the_uplink_carries_ipip_with_the_inner_ttl_and_df(net):
    dump = net["node32"].popen(
        "tcpdump --immediate-mode -nn -v -c 2 -i eth0 ip proto 4", shell=True, text=True)
    dump.stderr.readline()
    assert ping(net, "node31", BACKEND_IP, "-t", "33")[1] == 0
    out, _ = dump.communicate(timeout=60 * SLOWNESS)
    outer, inner = out.splitlines()[:2]
    assert "192.168.57.31 > 192.168.57.32: " in out, out
    assert "10.22.138.0 > 10.22.151.11: ICMP echo request" in out, out
    assert "ttl 33" in outer and "flags [DF], proto IPIP (4)" in outer, out
    assert "ttl 33" in inner and "flags [DF], proto ICMP (1)" in inner, out


UNDERLAY_AND_NODES = """
apiVersion: calico-mn/v1
kind: Underlay
metadata: {name: env}
spec:
  subnets: [{name: hosts, cidr: 192.168.57.0/24}]
  routers: [{name: r1, interfaces: [{subnet: hosts, address: 192.168.57.1}]}]
---
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: node31},
 spec: {bgp: {ipv4Address: 192.168.57.31/24}}}
---
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: node32},
 spec: {bgp: {ipv4Address: 192.168.57.32/24}}}
---
{apiVersion: projectcalico.org/v3, kind: BlockAffinity, metadata: {name: b},
 spec: {node: node32, cidr: 10.22.151.0/26, state: confirmed}}
"""


@pytest.mark.parametrize(("value", "route"), [
    ("Always", "10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird onlink"),
    ("CrossSubnet", "10.22.151.0/26 via 192.168.57.32 dev eth0 proto bird"),
    ("Never", "10.22.151.0/26 via 192.168.57.32 dev eth0 proto bird"),
    ("off", "10.22.151.0/26 via 192.168.57.32 dev eth0 proto bird"),
    (None, "10.22.151.0/26 via 192.168.57.32 dev eth0 proto bird"),
])  # fmt: skip
def test_l17_calico_ipv4pool_ipip_decides_the_route_and_unset_means_never(boot, value, route):
    environ = {"CALICO_IPV4POOL_CIDR": "10.22.0.0/16"}
    if value is not None:
        environ["CALICO_IPV4POOL_IPIP"] = value
    net = boot(parse_topology(UNDERLAY_AND_NODES, environ=environ))
    assert route in normal(net["node31"].cmd("ip route"))
    has_tunnel_address = "inet " in net["node31"].cmd("ip a show tunl0")
    assert has_tunnel_address == (value in ("Always", "CrossSubnet"))


def test_l17_cross_subnet_tunnels_only_across_the_router(boot):
    lines = normal(boot(two_subnets("CrossSubnet"))["node31"].cmd("ip route"))
    assert "10.22.32.0/26 via 192.168.57.32 dev eth0 proto bird" in lines
    assert "10.22.33.0/26 via 192.168.58.33 dev tunl0 proto bird onlink" in lines
