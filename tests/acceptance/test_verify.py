"""Faults made by hand in a running cluster: found line by line, repaired, and all is as before.

     node31 .31    node32 .32               node33 .33
     pod a .1      pod b .1                 pod c .1
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import os
import re
import subprocess
import threading

import pytest
from support.connectivity import expect_connectivity, full_mesh
from support.patience import eventually
from support.routes import link
from support.topologies import TWO_SUBNETS, one_subnet, two_subnets

from calico_mn import Drop
from calico_mn.difference import diff
from calico_mn.ebpf_differences import DIFFERENCES
from calico_mn.errors import ClusterError
from calico_mn.kernel.tunnel import kernel_reason
from calico_mn.model import Link

pytestmark = pytest.mark.root

CALI = "caliacd53aa4120"
VETH = f"link {CALI} type veth mtu 1480 txqueuelen 0 address ee:ee:ee:ee:ee:ee"
POD_ROUTE = f"10.22.31.1 dev {CALI} scope link"
TO_B = "10.22.32.0/26 via 192.168.57.32 dev tunl0 proto bird onlink"
TO_C = "10.22.33.0/26 via 192.168.58.33 dev tunl0 proto bird onlink"
EVERYBODY = full_mesh("a", "b", "c", *TWO_SUBNETS)


def run(net, place, *commands):
    for command in commands:
        out, err, status = net[place].pexec(command.split())
        assert status == 0, f"{command}: {out}{err}"


def lines(found):
    return [text.strip() for text in diff(found)]


def everything(net):
    """What a stranger to our own reader sees in all namespaces: routes, devices, addresses.

    One ip for each, since processes take most of the time, in User-Mode Linux above all.
    """
    found = {}
    for name in net:
        out = net[name].popen(["ip", "-o", "-batch", "-"], text=True, stdin=subprocess.PIPE
                              ).communicate("route\nlink\naddress\n", timeout=60)[0]
        of_routes, of_devices, of_addresses = [], set(), set()
        for line in out.splitlines():
            words = line.split()
            if not re.match(r"\d+: ", line):
                of_routes.append(line.strip())
            elif words[1].endswith(":"):
                of_devices.add(words[1].rstrip(":").partition("@")[0])
            elif words[2] == "inet":
                of_addresses.add(f"{words[1]}: {words[3]}")
        assert of_devices, f"{name}: {out}"
        found[name] = of_routes, of_devices, of_addresses
    return found


FAULTS = [
    pytest.param("node31", ["ip route del 10.22.32.0/26"], ["node31:", f"- {TO_B}"],
                 id="route-deleted"),
    pytest.param("node31", ["ip route replace 10.22.32.0/26 via 192.168.57.32 dev eth0"],
                 ["node31:", f"- {TO_B}", "+ 10.22.32.0/26 via 192.168.57.32 dev eth0"],
                 id="route-changed"),
    pytest.param("node31", ["ip address flush dev tunl0"],
                 ["node31:", "- inet 10.22.31.0/32 dev tunl0", f"- {TO_B}", f"- {TO_C}"],
                 id="tunnel-address-flushed"),
    pytest.param("node31", ["ip -4 address flush dev eth0"],
                 ["node31:", "- inet 192.168.57.31/24 dev eth0",
                  "- default via 192.168.57.1 dev eth0"], id="node-address-flushed"),
    pytest.param("node31", ["ip route del 192.168.57.0/24 proto kernel"],
                 ["node31:",
                  "- 192.168.57.0/24 dev eth0 proto kernel scope link src 192.168.57.31"],
                 id="connected-route-deleted"),
    pytest.param("node31", ["sysctl -qw net.ipv4.ip_forward=0"],
                 ["node31:", *(text for path in (
                     "net/ipv4/ip_forward", f"net/ipv4/conf/{CALI}/forwarding",
                     "net/ipv4/conf/tunl0/forwarding", "net/ipv4/conf/eth0/forwarding")
                     for text in (f"- {path} = 1", f"+ {path} = 0"))], id="forwarding-off"),
    pytest.param("node31", [f"sysctl -qw net/ipv4/conf/{CALI}/proxy_arp=0",
                            f"sysctl -qw net/ipv4/neigh/{CALI}/proxy_delay=80"],
                 ["node31:", f"- net/ipv4/conf/{CALI}/proxy_arp = 1",
                  f"+ net/ipv4/conf/{CALI}/proxy_arp = 0",
                  f"- net/ipv4/neigh/{CALI}/proxy_delay = 0",
                  f"+ net/ipv4/neigh/{CALI}/proxy_delay = 80"], id="proxy-arp-off"),
    pytest.param("node31", ["sysctl -qw net.ipv4.conf.eth0.rp_filter=1"],
                 ["node31:", "- net/ipv4/conf/eth0/rp_filter = 2",
                  "+ net/ipv4/conf/eth0/rp_filter = 1"], id="strict-filter-on-the-uplink"),
    pytest.param("node31", [f"ip link set {CALI} down"],
                 ["node31:", f"- {VETH} up", f"+ {VETH} down", f"- {POD_ROUTE}"], id="cali-down"),
    pytest.param("node31", [f"ip link set {CALI} mtu 1300 txqueuelen 9 address 02:00:00:00:00:01"],
                 ["node31:", f"- {VETH} up", f"+ link {CALI} type veth mtu 1300 txqueuelen 9"
                  " address 02:00:00:00:00:01 up"], id="cali-of-another-size"),
    pytest.param("node31", ["ip link set tunl0 down"],
                 ["node31:", "- link tunl0 type {tunl0} mtu 1480 txqueuelen 1000 up",
                  "+ link tunl0 type {tunl0} mtu 1480 txqueuelen 1000 down",
                  f"- {TO_B}", f"- {TO_C}"], marks=pytest.mark.ipip, id="tunl0-down"),
    pytest.param("node31", ["ip link set tunl0 down", "ip link set tunl0 name tunl7"],
                 ["node31:", "- link tunl0 type {tunl0} mtu 1480 txqueuelen 1000 up",
                  "+ link tunl7 type {tunl0} mtu 1480 txqueuelen 1000 down",
                  f"- {TO_B}", f"- {TO_C}"], marks=pytest.mark.ipip, id="tunl0-renamed"),
    pytest.param("node31", [f"ip link del {CALI}"],
                 ["node31:", f"- {VETH} up", f"- {POD_ROUTE}", "default/a:",
                  "- link eth0 type veth mtu 1480 up", "- inet 10.22.31.1/32 dev eth0",
                  "- 169.254.1.1 dev eth0 scope link", "- default via 169.254.1.1 dev eth0"],
                 id="cali-deleted"),
    pytest.param("node31", [f"ip link set {CALI} down", f"ip link set {CALI} name lost",
                            "ip link set lost up"],
                 ["node31:", f"- {VETH} up", "+ link lost type veth mtu 1480 txqueuelen 0"
                  " address ee:ee:ee:ee:ee:ee up", f"- {POD_ROUTE}"], id="cali-renamed"),
    pytest.param("node31", [f"ip route add 203.0.113.1 dev {CALI}",
                            f"ip route add 10.22.31.1 dev {CALI} metric 1024",
                            "ip route add blackhole 10.22.99.0/26",
                            "ip route add 198.51.100.0/24 via 192.168.57.1 proto bird",
                            "ip address add 10.22.77.7/32 dev tunl0"],
                 ["node31:", "+ inet 10.22.77.7/32 dev tunl0",
                  f"+ 10.22.31.1 dev {CALI} scope link metric 1024", "+ blackhole 10.22.99.0/26",
                  "+ 198.51.100.0/24 via 192.168.57.1 dev eth0 proto bird",
                  f"+ 203.0.113.1 dev {CALI} scope link"], id="strays"),
    pytest.param("node31", ["ip link add calistray type veth peer name calistray2"],
                 ["node31:", "+ link calistray type veth mtu 1500 txqueuelen 1000 address * down",
                  "+ link calistray2 type veth mtu 1500 txqueuelen 1000 address * down"],
                 id="stray-devices"),
    pytest.param("a", ["ip link set eth0 down"],
                 ["default/a:", "- link eth0 type veth mtu 1480 up",
                  "+ link eth0 type veth mtu 1480 down", "- 169.254.1.1 dev eth0 scope link",
                  "- default via 169.254.1.1 dev eth0"], id="pod-down"),
    pytest.param("rack-a", ["ip link del br0"],
                 ["rack-a:", "- link br0 type bridge up", *(text for port in (
                     "node31", "node32", "r1") for text in (
                     f"- link {port} type veth mtu 1500 txqueuelen 1000 master br0 up",
                     f"+ link {port} type veth mtu 1500 txqueuelen 1000 up"))],
                 id="bridge-deleted"),
    pytest.param("r1", ["ip link del eth1"],
                 ["rack-b:", "- link r1 type veth mtu 1500 txqueuelen 1000 master br0 up", "r1:",
                  "- link eth1 type veth mtu 1500 up", "- inet 192.168.58.1/24 dev eth1"],
                 id="routers-foot-deleted"),
]


@pytest.mark.parametrize(("place", "commands", "expected"), FAULTS)
def test_a_fault_is_found_and_repaired(boot, place, commands, expected):
    net = boot(two_subnets("Always"))
    before = everything(net)
    kind = {"ebpf": "tun", "kernel": "ipip"}[net.tunnel]
    run(net, place, *commands)
    found = lines(net.verify())
    # The random MAC of a stray device is not compared.
    masked = [" ".join("*" if word.count(":") == 5 and "calistray" in text else word
                       for word in text.split()) for text in found]
    # The order of a namespace's routes is the kernel's.
    assert sorted(masked) == sorted(text.format(tunl0=kind) for text in expected)
    repaired = net.repair()
    assert lines(repaired.found) == found
    assert (repaired.remaining, repaired.failures) == ((), ())
    assert repaired.done, "it says what it did"
    assert net.verify() == ()
    # The kernel tells of a carrier that came back a little later; routes say linkdown until then.
    assert eventually(lambda: everything(net) == before)
    expect_connectivity(net, EVERYBODY)


def test_a_deleted_tunl0_is_recreated_with_its_addresses_and_routes(boot):
    net = boot(two_subnets("Always"))
    if net.tunnel == "kernel":
        pytest.skip("the ipip module does not let its tunl0 be deleted (ip_tunnel_dellink)")
    before = link(net, "node31", "tunl0")
    run(net, "node31", "ip link del tunl0")
    assert lines(net.verify()) == [
        "node31:", "- link tunl0 type tun mtu 1480 txqueuelen 1000 up",
        "- filter dev tunl0 egress bpf tunl0/egress direct-action",
        "- inet 10.22.31.0/32 dev tunl0", f"- {TO_B}", f"- {TO_C}"]
    net.repair()
    assert net.verify() == ()
    assert link(net, "node31", "tunl0") == before
    expect_connectivity(net, EVERYBODY)
    net.set_ipip_mode("CrossSubnet")
    expect_connectivity(net, EVERYBODY)


def test_lost_programs_of_the_tunnel_are_attached_again(boot):
    net = boot(two_subnets("Always"))
    if net.tunnel == "kernel":
        pytest.skip("the kernel's tunl0 needs no programs")
    run(net, "node31", "tc qdisc del dev tunl0 clsact", "tc filter del dev eth0 ingress")
    assert lines(net.verify()) == [
        "node31:", "- filter dev tunl0 egress bpf tunl0/egress direct-action",
        "- filter dev eth0 ingress bpf underlay/ingress direct-action"]
    net.repair()
    assert net.verify() == ()
    expect_connectivity(net, full_mesh("a", "b", "c"))


def test_a_node_whose_uplink_was_deleted_comes_back_with_shaping(boot):
    net = boot(one_subnet("Always", link=Link(rate=50)))
    run(net, "node31", "ip link del eth0")
    found = lines(net.verify())
    assert found[:4] == [
        "rack-a:", "- link node31 type veth mtu 1500 txqueuelen 1000 master br0 up",
        "- qdisc tbf dev node31 rate 50Mbit", "node31:"]
    assert "- qdisc tbf dev eth0 rate 50Mbit" in found
    net.repair()
    assert net.verify() == ()
    run(net, "node31", "tc qdisc change dev eth0 root tbf rate 7mbit burst 20000 limit 90000")
    assert lines(net.verify()) == [
        "node31:", "- qdisc tbf dev eth0 rate 50Mbit", "+ qdisc tbf dev eth0 rate 7Mbit"]
    net.repair()
    assert net.verify() == ()
    expect_connectivity(net, full_mesh("a", "b", "node31", "node32"))


@pytest.mark.parametrize("mode", ["Always", "CrossSubnet", "Never"])
def test_a_fresh_cluster_is_as_it_should_be(boot, mode):
    assert lines(boot(two_subnets(mode)).verify()) == []


@pytest.mark.ipip
def test_changes_by_the_cluster_itself_are_no_differences(boot):
    net = boot(two_subnets("Never"), rp_filter=1)

    def clean(after):
        assert lines(net.verify()) == [], after

    for mode in ("Always", "CrossSubnet", "Never", "Always"):
        net.set_ipip_mode(mode)
        clean(mode)
    net.set_ipip_mode("CrossSubnet", node="node31")
    clean("one node alone")
    net.add_pod(name="late", node="node32")
    clean("a pod more")
    net.add_node("node34", "192.168.58.34/24")
    clean("a node more")
    net.add_pod(name="later", node="node34")
    net.delete_pod("default/late")
    clean("a pod less")
    net.delete_node("node34")
    clean("a node less")
    net.kill_speaker("node32")
    net.add_pod(name="unheard", node="node33", ip="10.22.40.1")
    net.set_ipip_mode("Never")
    clean("a dead speaker")
    net.restart_speaker("node32")
    net.set_pod_routes(True)
    clean("routers that know the pods")


def test_a_filter_on_purpose_is_no_difference(boot):
    net = boot(one_subnet("Always"))
    with net.dropping(["rack-a", "node31"], Drop(1, 8)):
        assert net.verify() == ()


@pytest.mark.skipif(kernel_reason() is None, reason="the ipip module is loaded")
@pytest.mark.parametrize(("chain", "rule", "told"), [
    ("type filter hook output priority 0;", "ip protocol 4 drop", ["output-rules"]),
    ("type filter hook postrouting priority 0;", "meta l4proto { 4, 6 } accept",
     ["output-rules"]),
    ("type filter hook output priority 0; policy drop;", "ip protocol icmp accept",
     ["output-policy"]),
    ("type filter hook output priority 0;", "jump mine", ["output-rules"]),
    ("type filter hook input priority 0;", "ip protocol 4 drop", []),
    ("type filter hook forward priority 0; policy drop;", "ip protocol 4 accept", []),
])  # fmt: skip
def test_rules_that_see_less_because_of_the_ebpf_tunnel_are_told(boot, chain, rule, told):
    net = boot(one_subnet("Always"))
    assert net.verifier.remarks() == ()
    for line in ("add table ip t", "add chain ip t mine", "add rule ip t mine ip protocol 4 drop",
                 f"add chain ip t c {{ {chain} }}", f"add rule ip t c {rule}"):
        run(net, "node31", f"nft {line}")
    texts = [d.text for d in DIFFERENCES if d.name in told]
    assert list(net.verifier.remarks(["node31", "a"])) == [f"node31: {text}" for text in texts]
    assert net.verifier.remarks(["node32"]) == net.verify() == ()


def test_what_others_added_for_themselves_is_left_alone(boot):
    net = boot(two_subnets("Always"))
    run(net, "node31", "ip route add 203.0.113.0/24 via 192.168.57.1",
        "ip address add 203.0.113.9/32 dev lo", "ip link add mine type veth peer name mine2",
        "ip route add 198.51.100.0/24 via 192.168.57.1 proto static metric 7")
    run(net, "a", "ip route add 203.0.113.0/24 dev eth0")
    run(net, "r1", "ip route add 10.22.31.0/26 via 192.168.57.31")
    before = everything(net)
    assert lines(net.verify()) == []
    run(net, "node31", "ip route del 10.22.32.0/26")
    net.repair()
    assert eventually(lambda: everything(net) == before)


def test_places_are_verified_and_repaired_by_name(boot):
    net = boot(two_subnets("Always"))
    run(net, "node31", "ip route del 10.22.32.0/26")
    run(net, "node32", "ip route del 10.22.31.0/26")
    assert net.verify("node33") == ()
    assert [item.namespace for item in net.verify(["node31", "a"])] == ["node31"]
    assert [done.namespace for done in net.repair("node31").done] == ["node31"]
    assert [item.namespace for item in net.verify()] == ["node32"]
    with pytest.raises(ClusterError, match="node99"):
        net.verify("node99")


def test_what_cannot_be_repaired_is_said_and_the_rest_is_repaired(boot):
    net = boot(two_subnets("Always"))
    namespace = net.runtime.writer.namespaces["default/a"]
    # Held by the test: the kernel ends a namespace in the background, and its veth on node31 goes.
    held, namespace.descriptor = namespace.descriptor, -1
    run(net, "node32", "ip route del 10.22.33.0/26")
    assert lines(net.verify()) == ["node32:", f"- {TO_C}", "default/a:",
                                   "! the namespace is gone"]
    repaired = net.repair()
    assert lines(repaired.remaining) == ["default/a:", "! the namespace is gone"]
    assert [done.namespace for done in repaired.done] == ["node32"]
    os.close(held)


def test_a_repair_that_the_kernel_refuses_is_reported_with_its_command(boot):
    net = boot(two_subnets("Always"))
    # Index 2 is tunl0's, for its programs; another device has taken it.
    if net.tunnel == "kernel":
        pytest.skip("only the ebpf tunnel asks for an index")
    run(net, "node31", "ip link del tunl0", "ip link add mine index 2 type bridge",
        "ip route del default")
    repaired = net.repair()
    assert len(repaired.failures) == 1
    assert "tunl0" in repaired.failures[0]
    assert "index 2" in repaired.failures[0]
    assert "- link tunl0 type tun mtu 1480 txqueuelen 1000 up" in lines(repaired.remaining)
    run(net, "node31", "ip link del mine")
    assert net.repair().remaining == ()
    expect_connectivity(net, full_mesh("a", "b", "c"))


def test_a_renamed_device_is_remembered_while_others_come(boot):
    net = boot(two_subnets("Always"))
    run(net, "node31", f"ip link set {CALI} down", f"ip link set {CALI} name lost")
    net.add_pod(name="late", node="node31")
    assert f"+ link lost {VETH.partition(CALI)[2].strip()} down" in lines(net.verify())
    assert "ip link set lost name " + CALI in net.repair().done[0].commands
    assert net.verify() == ()
    expect_connectivity(net, full_mesh("a", "b", "c", "late"))


def test_what_a_repair_cannot_change_ends_it(boot):
    net = boot(two_subnets("Always"))
    # A route is deleted by its destination and its type of service, which we do not name.
    run(net, "node31", f"ip route add 203.0.113.1 tos 0x10 dev {CALI}")
    repaired = net.repair()
    assert lines(repaired.remaining) == [
        "node31:", f"+ 203.0.113.1 dev {CALI} scope link tos 0x10"]
    assert len(repaired.done) == 1, "tried once"


def test_many_faults_at_once_are_repaired_in_one_go(boot):
    net = boot(two_subnets("CrossSubnet"))
    before = everything(net)
    run(net, "rack-a", "ip link del br0", "ip link del r1", "ip link del node31")
    run(net, "node32", "ip link set tunl0 down", "ip link set eth0 down",
        "ip link set eth0 name uplink")
    run(net, "node33", f"ip link del {net['c'].device}", "sysctl -qw net.ipv4.ip_forward=0")
    assert net.repair().remaining == ()
    assert net.verify() == ()
    assert {name: routes for name, (routes, *_) in everything(net).items()} == {
        name: routes for name, (routes, *_) in before.items()}
    expect_connectivity(net, EVERYBODY)


def test_watching_tells_what_appears_and_what_disappears(boot):
    net = boot(two_subnets("Always"))
    seen = []
    stop = threading.Event()
    with net.watch() as watch:
        assert not watch.look(), "all is well at first"
        thread = threading.Thread(
            target=watch.follow, args=(seen.append, stop.is_set), daemon=True)
        thread.start()
        try:
            run(net, "node31", "ip route del 10.22.32.0/26")
            assert eventually(lambda: len(seen) == 1)
            assert lines(seen[0].appeared) == ["node31:", f"- {TO_B}"]
            net.set_ipip_mode("CrossSubnet")
            net.set_ipip_mode("Always")
            net.repair()
            assert eventually(lambda: len(seen) == 2)
            run(net, "node32", "sysctl -qw net.ipv4.conf.eth0.rp_filter=1")
            assert eventually(lambda: len(seen) == 3)
            assert lines(seen[1].disappeared) == ["node31:", f"- {TO_B}"]
            assert [item.namespace for item in seen[2].appeared] == ["node32"]
        finally:
            stop.set()
            thread.join(5)
    assert not thread.is_alive()


def test_watching_follows_pods_that_come_and_go(boot):
    net = boot(one_subnet("Always"))
    with net.watch() as watch:
        watch.look()
        pod = net.add_pod(name="late", node="node32")
        net.delete_pod("default/a")
        watch._due = 0
        assert not watch.look()
        run(net, "late", "ip route del default")
        assert watch.wait(60)
        assert lines(watch.look().appeared) == ["default/late:",
                                                "- default via 169.254.1.1 dev eth0"]
        net.delete_pod(pod.name)
        watch._due = 0
        assert not watch.look().appeared
