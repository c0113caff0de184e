"""The eBPF tunl0's short cut past INPUT: taken only where the node's rules would let packets in.

         net-a 192.168.57.0/24
     --------+---------------+------
          node31          node32   <- rules are typed here
          a               b
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.patience import eventually

from calico_mn import CalicoNet
from calico_mn.errors import UnsupportedError
from calico_mn.topology import parse_topology

pytestmark = [pytest.mark.root]

TOPOLOGY = """
apiVersion: projectcalico.org/v3
kind: NodeList
items:
  - {metadata: {name: node31}, spec: {bgp: {ipv4Address: 192.168.57.31/24}}}
  - {metadata: {name: node32}, spec: {bgp: {ipv4Address: 192.168.57.32/24}}}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.22.0.0/16, ipipMode: Always}
---
apiVersion: v1
kind: PodList
items:
  - {metadata: {name: a}, spec: {nodeName: node31}}
  - {metadata: {name: b}, spec: {nodeName: node32}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: all}
spec:
  {selector: all(), types: [Ingress, Egress], ingress: [{action: Allow}], egress: [{action: Allow}]}
"""
USERS = "add table ip user; add chain ip user c {{ type filter hook {} priority {}; }}; "
COUNT = "add rule ip user c ip protocol 4 counter"
DROP = "add rule ip user c ip protocol 4 drop"
END = "nft delete table ip user"


@pytest.fixture(scope="module", params=["nft", "legacy"])
def net(request: pytest.FixtureRequest) -> Iterator[CalicoNet]:
    try:
        with CalicoNet(parse_topology(TOPOLOGY), tunnel="ebpf", iptables=request.param) as running:
            yield running
    except UnsupportedError as error:
        pytest.skip(str(error))


def accepted(net: CalicoNet) -> int:
    """How many outer packets node32's cali-INPUT has accepted."""
    lines = net["node32"].cmd("iptables -vxnL cali-INPUT").splitlines()
    return int(next(line for line in lines if "cali:PajejrV4aFdkZojI" in line).split()[0])


def arrives(net: CalicoNet) -> bool:
    address = net.cluster.endpoint("default/b").address
    return ", 0% packet loss" in net["a"].cmd(f"ping -c 1 -W 1 {address}")


def takes_short_cut(net: CalicoNet) -> bool:
    before = accepted(net)
    return arrives(net) and accepted(net) == before


def test_a_set_and_a_table_that_differ_are_verified_and_repaired(net: CalicoNet) -> None:
    node = net["node32"]
    node.cmd("ipset del cali40all-hosts-net 192.168.57.31;"
             " ip route del blackhole 192.168.57.31 table 4040;"
             " ip route add blackhole 192.168.57.99 table 4040")
    assert not arrives(net)
    lines = [line for item in net.verify(["node32"]) for line in item.lines]
    assert lines == [
        "- blackhole 192.168.57.31 table 4040", "+ blackhole 192.168.57.99 table 4040",
        "- IP set cali40all-hosts-net of 192.168.57.31, 192.168.57.32",
        "+ IP set cali40all-hosts-net of 192.168.57.32"]
    assert not net.repair(["node32"]).remaining
    assert net.verify() == () and eventually(lambda: takes_short_cut(net))


def test_the_table_follows_nodes_and_modes(net: CalicoNet) -> None:
    def table() -> list[str]:
        return [line.strip() for line in
                net["node32"].cmd("ip route show table 4040").splitlines()]

    both = ["blackhole 192.168.57.31", "blackhole 192.168.57.32"]
    assert table() == both
    net.add_node("node33", "192.168.57.33/24")
    assert table() == [*both, "blackhole 192.168.57.33"]
    net.delete_node("node33")
    net.set_ipip_mode("Never")
    assert table() == [] and net.verify() == ()
    net.set_ipip_mode("Always")
    assert table() == both and net.verify() == ()
    assert eventually(lambda: takes_short_cut(net))


#: what is typed, what takes it back, and then: arrives, by the short cut. {other}: iptables of the
#: back end that Felix's rules are not written with; "then": a packet is sent in between.
CASES = {
    "a rule before Felix's": (
        "iptables -I INPUT -p 4 -j DROP", "iptables -D INPUT -p 4 -j DROP", False, False),
    "a rule behind Felix's, which has accepted": (
        "iptables -A INPUT -p 4 -j DROP", "iptables -D INPUT -p 4 -j DROP", True, True),
    "a rule that only counts, in raw": (
        "iptables -t raw -A PREROUTING -p 4", "iptables -t raw -D PREROUTING -p 4", True, False),
    "another chain of mangle's INPUT": (
        "iptables -t mangle -A INPUT -p 4 -j DROP", "iptables -t mangle -D INPUT -p 4 -j DROP",
        False, False),
    "a rule of nat": (
        "iptables -t nat -A PREROUTING -p udp -j ACCEPT",
        "iptables -t nat -D PREROUTING -p udp -j ACCEPT", True, False),
    "a policy of drop": (
        "iptables -t raw -P PREROUTING DROP", "iptables -t raw -P PREROUTING ACCEPT", False, False),
    "one rule in place of another": (
        "iptables -I INPUT -p udp -j DROP; then iptables -R INPUT 1 -p 4 -j DROP",
        "iptables -D INPUT 1", False, False),
    "a rule in Felix's chain": (
        "iptables -I cali-INPUT -p 4 -j DROP", "iptables -D cali-INPUT 1", False, False),
    "a policy for untracked packets of host endpoints": (
        "iptables -t raw -A cali-from-host-endpoint -p 4",
        "iptables -t raw -D cali-from-host-endpoint -p 4", True, False),
    "Felix's rule is gone": (
        "iptables -D cali-INPUT 1", "", False, False),
    "a rule where only inner packets pass": (
        "iptables -I FORWARD -p udp", "iptables -D FORWARD -p udp", True, True),
    "a chain of nftables in PREROUTING": (
        f"nft '{USERS.format('prerouting', -350)}{DROP}'", END, False, False),
    "a chain of nftables behind INPUT's": (
        f"nft '{USERS.format('input', 10)}{DROP}'", END, False, False),
    "a chain of nftables that only counts": (
        f"nft '{USERS.format('input', 10)}{COUNT}'", END, True, False),
    "a chain of nftables without rules": (f"nft '{USERS.format('input', 10)}'", END, True, True),
    "a rule of the other iptables": (
        "{other} -A INPUT -p 4 -j DROP", "{other} -D INPUT -p 4 -j DROP", False, False),
    "a rule of the other's nat": (
        "{other} -t nat -A PREROUTING -p udp -j ACCEPT",
        "{other} -t nat -D PREROUTING -p udp -j ACCEPT", True, False),
    "a member of the set is gone": (
        "ipset del cali40all-hosts-net 192.168.57.31",
        "ipset add cali40all-hosts-net 192.168.57.31", False, False),
    "one more member of the set": (
        "ipset add cali40all-hosts-net 10.0.0.0/8", "ipset del cali40all-hosts-net 10.0.0.0/8",
        True, False),
    "another set under the name": (
        "ipset create other hash:net; ipset swap other cali40all-hosts-net",
        "ipset swap other cali40all-hosts-net; ipset destroy other", False, False),
    "a source that is not allowed": (
        "ip route del blackhole 192.168.57.31 table 4040",
        "ip route add blackhole 192.168.57.31 table 4040", True, False),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_typed_counts_at_the_next_packet(net: CalicoNet, case: str) -> None:
    typed, back, is_let_in, is_short = CASES[case]
    other = f"iptables-{'legacy' if net.iptables == 'nft' else 'nft'}"
    assert eventually(lambda: takes_short_cut(net))
    try:
        for command in typed.split("; then "):
            arrives(net)
            said = net["node32"].cmd(command.replace("{other}", other))
            assert "rror" not in said and "nvalid" not in said, said
        # The rules are looked at again when they let a packet in: the short cut comes later.
        assert arrives(net) is is_let_in
        if is_short:
            assert eventually(lambda: takes_short_cut(net))
        elif is_let_in:
            before = accepted(net)
            assert [arrives(net) for _ in range(3)] == [True] * 3 and accepted(net) == before + 3
    finally:
        net["node32"].cmd(back.replace("{other}", other))
        if not back:
            assert not net.repair(["node32"]).remaining
    assert eventually(lambda: takes_short_cut(net))
