"""Network policies in the kernel: what the verdict says is what happens to packets.

               r1
                | net-a 192.168.57.0/24
           +----+----+
         node31    node32
        web  admin   db  stranger
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from policy.clusters import BASE, kubernetes
from policy.connections import assert_as_said, connected
from support.streams import established

from calico_mn import CalicoNet, load_topology
from calico_mn.calico.evolution import evolved
from calico_mn.calico.snapshot import snapshot
from calico_mn.emulation.transition import become
from calico_mn.errors import UnsupportedError
from calico_mn.kernel import processes
from calico_mn.topology import parse_topology
from calico_mn.trace.probe import trace
from calico_mn.trace.recording import Probe

pytestmark = [pytest.mark.root]

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "topologies" / "policies.yaml"
FLOWS = (("tcp", 80), ("tcp", 5432), ("udp", 53))


@pytest.fixture
def shop(boot: Any) -> CalicoNet:
    return boot(load_topology(SHOP))


def rules(net: CalicoNet, node: str, table: str = "filter") -> list[str]:
    return net[node].cmd(f"iptables-save -t {table}").splitlines()


def test_the_kernel_does_what_the_verdict_says(shop: CalicoNet) -> None:
    assert_as_said(shop, FLOWS)
    assert shop.verify() == ()


def test_a_nodes_rules_look_like_home(shop: CalicoNet) -> None:
    shown = rules(shop, "node31")
    for digest in ("PajejrV4aFdkZojI", "_wjq-Yrma8Ly1Svo", "Cz_u1IQiXIMmKD4c", "S93hcgKJrXEqnTfs"):
        assert any(f'"cali:{digest}"' in line for line in shown), digest
    wanted = shop.runtime.states["node31"].firewall
    for (table, chain), lines in wanted.chains.items():
        present = [line for line in rules(shop, "node31", table) if line.startswith(f"-A {chain} ")]
        digests = [re.search('"(cali:.{16})"', line)[1] for line in lines]
        assert [re.search('"(cali:.{16})"', line)[1] for line in present] == digests, chain
    sets = shop["node31"].cmd("ipset list -n").split()
    assert set(sets) == set(wanted.sets)
    assert "10.22.0.0/16" in shop["node31"].cmd("ipset list cali40all-ipam-pools")
    assert shop.verifier.remarks() == ()


def test_tunnel_packets_pass_the_rule_for_calicos_hosts(shop: CalicoNet) -> None:
    shop["web"].cmd(f"ping -c 2 -W 2 {shop['stranger'].ip}")
    counted = shop["node32"].cmd("iptables-save -c -t filter")
    (accepted,) = re.findall(r'\[(\d+):\d+\] -A cali-INPUT .*"cali:PajejrV4aFdkZojI"', counted)
    # The eBPF tunnel looks at the rules when a packet has passed them, and then need not ask.
    assert int(accepted) == 2 if shop.tunnel == "kernel" else 1 <= int(accepted) <= 2


@pytest.mark.parametrize(("damage", "found"), [
    ("iptables -F cali-FORWARD", "chain cali-FORWARD of table filter with 0 rules"),
    ("iptables -D FORWARD 1", "chain FORWARD of table filter with 2 rules"),
    ("iptables -A cali-INPUT -j ACCEPT", "chain cali-INPUT of table filter with 7 rules"),
    ("iptables -t nat -N cali-stray", "chain cali-stray of table nat with 0 rules"),
    ("iptables -F; iptables -X; iptables -t raw -F", "chain cali-PREROUTING of table raw"),
    ("iptables -I INPUT -p 4 -j DROP", "chain INPUT of table filter with 1 rule, the last"
     " cali:Cz_u1IQiXIMmKD4c; rules of others come before"),
    ("iptables -A FORWARD -p 99 -j DROP", "chain FORWARD of table filter with 3 rules, the last"
     " cali:mp77cMpurHhyjLrM; rules of others come behind"),
    ("ipset del cali40all-hosts-net 192.168.57.31", "IP set cali40all-hosts-net of 192.168.57.32"),
    ("ipset add cali40all-hosts-net 10.9.9.9", "of 10.9.9.9, 192.168.57.31, 192.168.57.32"),
], ids=["flushed", "unhooked", "a rule added", "a chain added", "everything", "behind a rule",
        "before a rule", "a member removed",
        "a member added"])
def test_what_is_damaged_by_hand_is_seen_and_mended(shop: CalicoNet, damage: str, found: str
                                                    ) -> None:
    shop["node32"].cmd(damage)
    lines = [line for item in shop.verify() for line in item.lines]
    assert any(found in line for line in lines), lines
    repair = shop.repair()
    assert (repair.remaining, repair.failures) == ((), ())
    assert shop.verify() == ()
    assert_as_said(shop, [("tcp", 5432)])


def test_a_pods_packets_to_its_own_node_are_dropped_where_felix_is_told_so(boot: Any) -> None:
    shop = load_topology(SHOP)
    net = boot(replace(shop, felix=replace(shop.felix, to_host="DROP")))
    answers = {(pod, node): " 0% packet loss" in net[pod].cmd(
        f"ping -c 1 -W 1 {net[node].address}") for pod in ("web", "stranger")
        for node in ("node31", "node32")}
    assert answers == {("web", "node31"): False, ("web", "node32"): True,
                       ("stranger", "node31"): True, ("stranger", "node32"): False}


def test_rules_of_others_stay_with_their_counters(shop: CalicoNet) -> None:
    node = shop["node31"]
    node.cmd("iptables -N KUBE-FORWARD; iptables -A FORWARD -j KUBE-FORWARD;"
             " iptables -A KUBE-FORWARD -p icmp -j RETURN; ipset create mine hash:ip")
    shop["web"].cmd(f"ping -c 3 -W 2 {shop['stranger'].ip}")
    before = [line for line in node.cmd("iptables-save -c").splitlines() if "KUBE" in line]
    late = shop.add_pod(namespace="shop", name="late", node="node31")
    shop.set_ipip_mode("Never")
    shop.delete_pod(late.name)
    after = [line for line in node.cmd("iptables-save -c").splitlines() if "KUBE" in line]
    assert before == after
    assert "mine" in node.cmd("ipset list -n").split()


def test_a_pod_that_comes_is_in_the_sets_and_one_that_goes_is_not(shop: CalicoNet) -> None:
    late = shop.add_pod(namespace="shop", name="late", node="node31")
    assert_as_said(shop, FLOWS)
    assert late.device in "".join(rules(shop, "node31"))
    address = late.ip
    shop.delete_pod(late.name)
    for node in ("node31", "node32"):
        assert address not in shop[node].cmd("ipset list")
        assert late.device not in "".join(rules(shop, node))
    assert shop.verify() == ()


def test_a_pod_cannot_send_with_anothers_address_nor_tunnel_packets(shop: CalicoNet) -> None:
    web, stranger = shop["web"], shop["stranger"]
    # The gateway's MAC address is asked for with the pod's own address.
    web.cmd(f"ping -c 1 -W 2 {stranger.ip}")
    spoof = f"ip address add 10.22.99.99/32 dev eth0; ping -I 10.22.99.99 -c 2 -W 1 {stranger.ip}"
    assert " 0 received" in web.cmd(spoof)
    counted = shop["node31"].cmd("iptables-save -c -t raw")
    (dropped,) = re.findall(r"\[(\d+):\d+\] -A cali-PREROUTING .*rpfilter.* -j DROP", counted)
    assert int(dropped) >= 2
    send = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 4);"
            " s.sendto(bytes(40), ('192.168.57.32', 0))")
    assert web.popen([sys.executable, "-c", send]).wait() == 0
    (denied,) = re.findall(r'\[(\d+):\d+\] -A cali-fw-\S+ .*"Drop IPinIP encapped',
                           "\n".join(line for line in shop["node31"].cmd(
                               "iptables-save -c -t filter").splitlines() if web.device in line))
    assert int(denied) == 1


@pytest.mark.parametrize(("source", "destination", "reason"), [
    ("stranger", "web", "ingress of shop/web, NetworkPolicy web, ingress rule 1, denies it"),
    ("web", "db", "ingress of shop/db, no rule of db-from-web or default-deny allows it"),
])
def test_trace_names_the_policy_that_drops_a_packet(shop: CalicoNet, source: str,
                                                    destination: str, reason: str) -> None:
    path = trace(shop, source, destination, Probe("tcp", port=80))
    assert path.drop is not None
    assert path.drop.cause == "filter"
    assert reason in path.drop.by


def test_an_established_connection_goes_on_when_a_policy_comes(boot: Any) -> None:
    """Felix accepts RELATED and ESTABLISHED before it asks a policy."""
    net = boot(parse_topology(_text(BASE, [kubernetes("all", ingress=[{}])])))
    with established(net, "y/b", "x/a") as stream:
        _become(net, [kubernetes("none", policyTypes=["Ingress"])])
        assert not any(connected(net, [("y/b", "x/a"), ("x/b", "x/a")], 80).values())
        assert stream.goes_on(echoes=20)


def test_without_policies_again_the_guards_stay(shop: CalicoNet) -> None:
    _become(shop, [])
    for node in ("node31", "node32"):
        saved = shop[node].cmd("iptables-save")
        assert ":cali-fw-" in saved and not re.search(r":cali-p[io]-|cali40s:", saved)
        assert shop[node].cmd("ipset list -n").split() == [
            "cali40all-ipam-pools", "cali40masq-ipam-pools", "cali40all-hosts-net"]
    assert shop.verify() == ()
    assert all(connected(shop, [("default/stranger", "shop/web"), ("shop/db", "shop/admin")],
                         80).values())


def _text(*items: list[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List",
                       "items": [item for group in items for item in group]})


def _become(net: CalicoNet, policies: list[dict[str, Any]]) -> None:
    wanted = parse_topology(_text(BASE, policies)).policies
    become(net, evolved(net.cluster, replace(snapshot(net.cluster), policies=wanted)))


def test_no_policies_where_they_are_not_wanted(boot: Any) -> None:
    net = boot(load_topology(SHOP), policies=False)
    assert "cali" not in net["node31"].cmd("iptables-save")
    assert connected(net, [("default/stranger", "shop/db")], 80) == {
        ("default/stranger", "shop/db"): True}


def test_a_missing_program_is_named_before_anything_boots(
        boot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "program", lambda name: None)
    with pytest.raises(UnsupportedError,
                       match=r"iptables-nft-save and ipset are not installed.*--no-policy"):
        CalicoNet(load_topology(SHOP)).start()
