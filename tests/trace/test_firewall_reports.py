"""What people report about firewalls and policies, staged: trace names the true cause.

    (.1) r1 -------+--------------+--------------+------     192.168.57.0/24, IPIP
                node31 .31     node32 .32     outside .99
                shop/web       shop/db
                stranger       dns
                shop/cart

Into shop/db comes what shop/web sends, and nothing else; shop/cart sends to shop/web, and nowhere
else; what pods send to their own node is dropped (defaultEndpointToHostAction). One cluster for all
cases: each is made by commands and undone by others and by a repair. Numbers in comments are issues
of projectcalico/calico.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from policy.clusters import kubernetes
from support.patience import SLOWNESS, eventually

from calico_mn import CalicoNet
from calico_mn.errors import UnsupportedError
from calico_mn.kernel import read
from calico_mn.topology import parse_topology
from calico_mn.trace.path_trace import PathTrace
from calico_mn.trace.probe import trace
from calico_mn.trace.recording import Probe

pytestmark = [pytest.mark.root]

PATIENCE = 0.15 * SLOWNESS
CALICO = {"apiVersion": "projectcalico.org/v3"}
ITEMS: list[dict[str, Any]] = [
    {"apiVersion": "calico-mn/v1", "kind": "Underlay", "metadata": {"name": "lab"}, "spec": {
        "subnets": [{"name": "net-a", "cidr": "192.168.57.0/24"}],
        "routers": [{"name": "r1", "interfaces": [{"subnet": "net-a", "address": "192.168.57.1"}]}],
        "hosts": [{"name": "outside", "address": "192.168.57.99"}]}},
    {**CALICO, "kind": "IPPool", "metadata": {"name": "pool"},
     "spec": {"cidr": "10.22.0.0/16", "ipipMode": "Always", "natOutgoing": True}},
    {**CALICO, "kind": "FelixConfiguration", "metadata": {"name": "default"},
     "spec": {"defaultEndpointToHostAction": "Drop"}},
    *({**CALICO, "kind": "Node", "metadata": {"name": f"node{number}"},
       "spec": {"bgp": {"ipv4Address": f"192.168.57.{number}/24"}}} for number in (31, 32)),
    *({"apiVersion": "v1", "kind": "Pod",
       "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
       "spec": {"nodeName": node}} for namespace, name, node in (
           ("shop", "web", "node31"), ("default", "stranger", "node31"), ("shop", "db", "node32"),
           ("default", "dns", "node32"), ("shop", "cart", "node31"))),
    kubernetes("cart", "shop", podSelector={"matchLabels": {"app": "cart"}}, policyTypes=["Egress"],
               egress=[{"to": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]),
    kubernetes("db", "shop", podSelector={"matchLabels": {"app": "db"}},
               ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}])]
DENIED = "ingress of shop/db, no rule of db allows it"
FIREWALLD = ("add table inet firewalld; add chain inet firewalld filter_INPUT"
             " { type filter hook input priority filter + 10; policy accept; };"
             " add rule inet firewalld filter_INPUT ct state { established, related } accept;"
             " add rule inet firewalld filter_INPUT iifname lo accept;"
             " add rule inet firewalld filter_INPUT tcp dport { 22, 179 } accept;"
             " add rule inet firewalld filter_INPUT reject with icmpx admin-prohibited")


@dataclasses.dataclass(frozen=True)
class Case:
    """``do`` and ``undo`` are commands, each after the place in which it runs.

    ``place`` is where the packet is dropped, by a text that has ``by`` in it, and ``counter`` the
    beginning of the counter that rose, if iptables has one; an empty place means that it is
    answered. ``differs`` is what verify then says of the cluster, if anything.
    """

    do: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    place: str = ""
    by: str = ""
    counter: str = ""
    evidence: str = ""
    differs: str = ""
    leg: str = "forward"
    source: str = "web"
    destination: str = "db"
    probe: Probe = dataclasses.field(default_factory=Probe)
    traced: bool = True


CASES = {
    # Policies: who is let in, and with which address.
    "a policy lets the pod in": Case(),
    "a policy does not name the pod": Case(
        place="node32", by=DENIED, source="stranger", counter="rule 7 of chain CALI-db"),
    "a probe of the pod's own node is never asked (kubelet)": Case(source="node32"),
    "a probe of another node has the tunnel's address": Case(
        place="node32", by=DENIED, source="node31", counter="rule 7 of chain CALI-db"),
    "a client outside the cluster is no pod": Case(
        do=("outside ip route add 10.22.0.0/16 via 192.168.57.32",),
        undo=("outside ip route del 10.22.0.0/16",),
        place="node32", by=DENIED, source="outside", counter="rule 7 of chain CALI-db"),
    "an egress policy forgets the DNS": Case(
        source="cart", destination="dns", probe=Probe("udp", port=53), place="node31",
        by="egress of shop/cart, no rule of cart allows it",
        counter="rule 9 of chain CALI-FROM-cart"),
    # 3440, 6235
    "NAT on the tunnel hides the pod from the policy": Case(
        do=("node31 iptables -t nat -A POSTROUTING -o tunl0 -j MASQUERADE",),
        undo=("node31 iptables -t nat -D POSTROUTING -o tunl0 -j MASQUERADE",),
        place="node32", by=DENIED, counter="rule 7 of chain CALI-db",
        evidence="NAT in node31 changed it"),
    "natOutgoing answers a pod that talks to the outside": Case(destination="outside"),
    # 2.5.2 of the documentation's "Configure hosts to communicate with workloads"
    "a pod may not talk to its own node": Case(
        place="node31", by="cali-wl-to-host", destination="node31", source="web",
        counter="rule 2 of chain cali-wl-to-host"),
    "a pod may talk to another node": Case(destination="node32"),
    # Felix's guards
    "a pod sends with an address that is not its own": Case(
        do=("web ip addr add 10.22.99.99/32 dev eth0",
            "web ip route replace default via 169.254.1.1 dev eth0 src 10.22.99.99"),
        undo=("web ip addr del 10.22.99.99/32 dev eth0",), place="node31",
        differs="default via 169.254.1.1 dev eth0", by="chain cali-PREROUTING, hook prerouting",
        counter="rule 4 of chain cali-PREROUTING, table raw"),
    # 4297, 4456, 3665
    "IPIP from an address that is no node's": Case(
        do=("node31 ip addr add 192.168.57.41/24 dev eth0",
            "node31 ip route add 192.168.57.32/32 dev eth0 src 192.168.57.41"),
        undo=("node31 ip route del 192.168.57.32", "node31 ip addr del 192.168.57.41/24 dev eth0"),
        place="node32",
        by="Drop IPIP packets from non-Calico hosts\" -j DROP (table ip filter, chain cali-INPUT",
        counter="rule 2 of chain cali-INPUT, table filter"),
    "a node is missing from the IP set of another one": Case(
        do=("node32 ipset del cali40all-hosts-net 192.168.57.31",), place="node32",
        by="Drop IPIP packets from non-Calico hosts\" -j DROP (table ip filter, chain cali-INPUT",
        counter="rule 2 of chain cali-INPUT, table filter",
        differs="IP set cali40all-hosts-net of 192.168.57.32"),
    # Other firewalls of the host.
    "Docker's policy of FORWARD stops no pod": Case(
        do=("node31 iptables -P FORWARD DROP", "node32 iptables -P FORWARD DROP"),
        undo=("node31 iptables -P FORWARD ACCEPT", "node32 iptables -P FORWARD ACCEPT")),
    "Docker's policy of FORWARD stops what is no pod's": Case(
        do=("node31 iptables -P FORWARD DROP", "outside ip route add 192.0.2.9 via 192.168.57.31"),
        undo=("node31 iptables -P FORWARD ACCEPT", "outside ip route del 192.0.2.9"),
        source="outside", destination="192.0.2.9", place="node31",
        by="policy drop (table ip filter, chain FORWARD, hook forward)",
        counter="the policy of chain FORWARD, table filter"),
    "a rule before Calico's": Case(
        do=("node32 iptables -I FORWARD -s 10.22.0.0/16 -j REJECT",),
        undo=("node32 iptables -D FORWARD -s 10.22.0.0/16 -j REJECT",), place="node32",
        by="chain FORWARD, hook forward", counter="rule 1 of chain FORWARD, table filter",
        differs="rules of others come before"),
    "a host's own rule drops protocol 4 behind Calico's": Case(
        do=("node32 iptables -A INPUT -p 4 -j DROP",),
        undo=("node32 iptables -D INPUT -p 4 -j DROP",)),
    "a host's own rule drops protocol 4 before Calico's": Case(
        do=("node32 iptables -I INPUT -p 4 -j DROP",),
        undo=("node32 iptables -D INPUT -p 4 -j DROP",), place="node32",
        by="-p ipencap -j DROP (table ip filter, chain INPUT, hook input)",
        counter="rule 1 of chain INPUT, table filter", differs="rules of others come before"),
    "a hardened host drops protocol 4 in raw": Case(
        do=("node32 iptables -t raw -A PREROUTING -p 4 -j DROP",),
        undo=("node32 iptables -t raw -D PREROUTING -p 4 -j DROP",), place="node32",
        by="-p ipencap -j DROP (table ip raw, chain PREROUTING, hook prerouting)",
        counter="rule 2 of chain PREROUTING, table raw"),
    "firewalld has a chain of its own behind Calico's": Case(
        do=(f"node32 nft {FIREWALLD}",), undo=("node32 nft delete table inet firewalld",),
        place="node32", by="(table inet firewalld, chain filter_INPUT, hook input)"),
    "a rule of iptables-legacy, where nobody looks": Case(
        do=("node32 iptables-legacy -A FORWARD -d 10.22.0.0/16 -j DROP",),
        undo=("node32 iptables-legacy -D FORWARD -d 10.22.0.0/16 -j DROP",), place="node32",
        by="-d 10.22.0.0/16 -j DROP (iptables-legacy, table filter, chain FORWARD, hook forward)",
        counter="rule 1 of chain FORWARD, table filter", traced=False),
    "a policy of iptables-legacy, on the way back": Case(
        do=("node31 iptables-legacy -N block", "node31 iptables-legacy -A INPUT -j block",
            "node31 iptables-legacy -A block -p 4 -j DROP"),
        undo=("node31 iptables-legacy -F", "node31 iptables-legacy -X block"), place="node31",
        by="-p ipencap -j DROP (iptables-legacy, table filter, chain block, hook input)",
        counter="rule 1 of chain block, table filter", leg="reply", traced=False),
}


@contextmanager
def booted(iptables: str) -> Iterator[CalicoNet]:
    """The cluster of the drawing, with rules of that back end."""
    topology = parse_topology(json.dumps({"apiVersion": "v1", "kind": "List", "items": ITEMS}))
    with CalicoNet(topology, tunnel=os.environ.get("CALICO_MN_TUNNEL", "auto"),
                   iptables=iptables) as net:
        assert trace(net, "web", "db").answered  # and so all neighbours are known
        yield net


@pytest.fixture(scope="module")
def cluster() -> Iterator[CalicoNet]:
    with booted("nft") as net:
        yield net


def run(net: CalicoNet, line: str) -> None:
    """A command after its place; nft's is one for it as a whole."""
    place, _, command = line.partition(" ")
    words = ["nft", command[4:]] if command.startswith("nft ") else shlex.split(command)
    out, err, status = net[place].pexec(words)
    assert status == 0, f"{line}: {out}{err}"


def undone(net: CalicoNet, lines: tuple[str, ...] = ()) -> None:
    """All as it was."""
    for line in lines:
        run(net, line)
    net.repair()
    for place in net.states:
        net.inside(place, read.forget_neighbours)
    assert net.verify() == ()
    assert trace(net, "web", "db").answered


def with_chains(net: CalicoNet, text: str) -> str:
    """``text`` with the names of the chains of pods' devices."""
    return re.sub("CALI-(FROM-)?(\\w+)", lambda match: f"cali-{'fw' if match[1] else 'tw'}-"
                  + net.cluster.endpoints[f"shop/{match[2]}"].device, text)


@pytest.mark.parametrize("name", CASES)
def test_a_report_is_explained(cluster: CalicoNet, name: str) -> None:
    net, case = cluster, CASES[name]
    for line in case.do:
        run(net, line)
    try:
        path = trace(net, case.source, case.destination, case.probe, patience=PATIENCE)
        differences = [line for item in net.verify() for line in item.lines]
    finally:
        undone(net, case.undo)
    _check(net, path, case)
    assert case.differs in " ".join(differences)
    assert bool(differences) == bool(case.differs), differences


def _check(net: CalicoNet, path: PathTrace, case: Case) -> None:
    drop = path.drop
    if not case.place:
        assert path.answered, drop
        return
    assert drop is not None, "nothing was dropped"
    said = f"{drop.by} | {drop.reason} | {drop.evidence} | {drop.deduced}"
    assert (drop.leg, drop.cause, drop.namespace) == (case.leg, "filter", case.place), said
    assert case.by in drop.by, said
    assert case.evidence in " ".join(drop.evidence), said
    counters = [text for text in drop.evidence if text.startswith("counter of ")]
    assert bool(counters) == bool(case.counter), said
    if counters:
        (counter,) = counters
        assert counter.startswith(f"counter of {with_chains(net, case.counter)}"), said
        before, after = map(int, re.findall(r"packets (\d+) -> (\d+)", counter)[0])
        assert after == before + 1, said
    assert bool(drop.deduced) == (not case.traced), said
    assert any(text.startswith("nftables, of a second") for text in drop.evidence) == case.traced


def test_felix_by_iptables_legacy_is_explained_by_counters_alone() -> None:
    names = ("a policy does not name the pod", "IPIP from an address that is no node's",
             "a pod may not talk to its own node")
    try:
        with booted("legacy") as net:
            for case in (CASES[name] for name in names):
                for line in case.do:
                    run(net, line)
                path = trace(net, case.source, case.destination, patience=PATIENCE)
                undone(net, case.undo)
                by = case.by.replace("(table ip", "(iptables-legacy, table")
                _check(net, path, dataclasses.replace(case, traced=False, by=by))
    except UnsupportedError as error:
        pytest.skip(str(error))


UFW = """*filter
:INPUT DROP
:FORWARD DROP
:ufw-before-input -
:ufw-after-input -
:ufw-user-input -
:ufw-not-local -
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp --icmp-type echo-request -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN
-A ufw-not-local -j DROP
-A ufw-user-input -p tcp --dport 22 -j ACCEPT
COMMIT
"""
NO_UFW = """*filter
:INPUT ACCEPT
:FORWARD ACCEPT
:ufw-before-input -
:ufw-after-input -
:ufw-user-input -
:ufw-not-local -
-D INPUT -j ufw-before-input
-D INPUT -j ufw-after-input
-X ufw-before-input
-X ufw-after-input
-X ufw-user-input
-X ufw-not-local
COMMIT
"""


def test_ufw_stops_bgp_and_not_the_tunnel(cluster: CalicoNet) -> None:
    """ufw's chains come after Calico's, which accept IPIP from nodes; port 179 they do not know.

    Of two nodes the one with the higher address connects: node31's ufw sees a new connection.
    """
    net, restore = cluster, ("iptables-nft-restore", "--noflush")
    net.filters.run("node31", restore, UFW)
    try:
        assert trace(net, "web", "db", patience=PATIENCE).answered
        net.refresh_sessions()
        dead = trace(net, "web", "db", patience=PATIENCE)
        run(net, "node31 iptables -A ufw-user-input -p tcp --dport 179 -j ACCEPT")
        assert eventually(lambda: net.refresh_sessions() is not None and trace(
            net, "web", "db", patience=PATIENCE).answered)
    finally:
        net.filters.run("node31", restore, NO_UFW)
        net.refresh_sessions()
        undone(net)
    assert dead.drop is not None
    assert dead.drop.reason.endswith(
        "node31 did not learn 10.22.43.192/26 from node32: the BGP session of node31 and node32 is"
        " down: TCP port 179 is dropped at node31"), dead.drop.reason
