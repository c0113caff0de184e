"""Causes for which a packet is lost on its way from pod a to pod c, made and undone by commands.

     node31 .31    node32 .32               node33 .33
     pod a .1      pod b .1                 pod c .1
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
        192.168.57.0/24                     192.168.58.0/24

``forward`` is lost on the way there, ``reply`` on the way back. What is the cluster's is undone by
its repair; ``undo`` has the rest.
"""

from __future__ import annotations

import dataclasses

from calico_mn.trace.recording import Probe


@dataclasses.dataclass(frozen=True)
class Case:
    """``do`` and ``undo`` are commands, each after the namespace in which it runs.

    ``by`` and ``reason`` are searched for in the trace's; CALI-a is pod a's device on its node.
    """

    do: tuple[str, ...]
    undo: tuple[str, ...]
    leg: str
    cause: str
    place: str
    by: str = ""
    reason: str = ""
    source: str = "a"
    destination: str = "c"
    probe: Probe = dataclasses.field(default_factory=Probe)
    ipip: bool = False
    note: str = ""
    evidence: str = ""
    deduced: str = ""


def nat(place, hook, rule):
    """A NAT chain with one rule."""
    return ((f"{place} nft add table ip n; add chain ip n c"
             f" {{ type nat hook {hook} priority 0; }}; add rule ip n c {rule}",),
            (f"{place} nft delete table ip n",))


def nft(place, family, hook, rule="", policy="accept", priority=0):
    """A base chain of its own in ``place``, and how to remove it."""
    rules = f" ; {rule}" if rule else ""
    return ((f"{place} nft add table {family} t; add chain {family} t c"
             f" {{ type filter hook {hook} priority {priority}; policy {policy}; }}"
             + (f"; add rule {family} t c {rule}" if rules else ""),),
            (f"{place} nft delete table {family} t",))


BLOCK_A, BLOCK_C = "10.22.31.0/26", "10.22.33.0/26"
BACK = f"{BLOCK_C} via 192.168.58.33 dev tunl0 proto bird onlink"
BIG = Probe(size=1400)

CASES = {
    # routes
    "blackhole": Case(("node31 ip route replace blackhole 10.22.33.1",),
                      ("node31 ip route del blackhole 10.22.33.1",),
                      "forward", "blackhole", "node31", "blackhole 10.22.33.1"),
    "blackhole-back": Case(("node33 ip route replace blackhole 10.22.31.1",),
                           ("node33 ip route del blackhole 10.22.31.1",),
                           "reply", "blackhole", "node33", "blackhole 10.22.31.1"),
    "prohibit": Case(("r1 ip route add prohibit 192.168.58.33",),
                     ("r1 ip route del prohibit 192.168.58.33",),
                     "forward", "prohibit", "r1", "prohibit 192.168.58.33"),
    "unreachable-back": Case(("r1 ip route add unreachable 192.168.57.31",),
                             ("r1 ip route del unreachable 192.168.57.31",),
                             "reply", "unreachable", "r1", "unreachable 192.168.57.31"),
    "rule-blackhole": Case(("node31 ip rule add from 10.22.31.1 pref 100 blackhole",),
                           ("node31 ip rule del pref 100",),
                           "forward", "blackhole", "node31", "100: from 10.22.31.1 blackhole",
                           "policy rule"),
    "rule-prohibit-back": Case(("node33 ip rule add to 10.22.31.0/26 pref 90 prohibit",),
                               ("node33 ip rule del pref 90",), "reply", "prohibit", "node33",
                               "90: from all to 10.22.31.0/26 prohibit"),
    "rule-table": Case(("node31 ip rule add from 10.22.31.0/26 pref 100 lookup 77",
                        "node31 ip route add unreachable default table 77"),
                       ("node31 ip rule del pref 100", "node31 ip route flush table 77"),
                       "forward", "unreachable", "node31", "100: from 10.22.31.0/26 lookup 77",
                       "'unreachable default table 77'"),
    "rule-other-way": Case(("node31 ip rule add from 10.22.31.0/26 pref 100 lookup 77",
                            "node31 ip route add default via 192.168.57.1 table 77"),
                           ("node31 ip rule del pref 100", "node31 ip route flush table 77"),
                           "forward", "no-route", "r1", "no route"),
    "rule-mark": Case((*nft("node31", "ip", "prerouting", "icmp type echo-request mark set 7",
                           priority=-150)[0],
                       "node31 ip rule add fwmark 7 pref 50 blackhole"),
                      ("node31 nft delete table ip t", "node31 ip rule del pref 50"), "forward",
                      "blackhole", "node31", "50: from all fwmark 0x7/0xffffffff blackhole",
                      deduced="the rule decides"),
    "rule-mark-table": Case(
        (*nft("node31", "ip", "prerouting", "icmp type echo-request mark set 7",
                           priority=-150)[0],
         "node31 ip rule add fwmark 7 pref 50 lookup 77",
         "node31 ip route add default via 192.168.57.1 table 77"),
        ("node31 nft delete table ip t", "node31 ip rule del pref 50",
         "node31 ip route flush table 77"), "forward", "no-route", "r1",
        evidence="node31 sent it by eth0 and not by tunl0: its policy rule '50: from all fwmark"),
    "no-route": Case((f"node31 ip route del {BLOCK_C}", "node31 ip route del default"),
                     (), "forward", "no-route", "node31", "no route", "10.22.33.1"),
    "no-route-back": Case((f"node33 ip route del {BLOCK_A}",), (), "reply", "no-route", "r1"),
    "no-route-of-the-pod": Case(("a ip route flush dev eth0",), (), "forward", "no-route",
                                "default/a"),
    "no-route-back-of-the-pod": Case(("c ip route flush dev eth0",), (), "reply", "no-route",
                                     "default/c"),
    "no-route-of-the-outer": Case(("r1 ip route del 192.168.58.0/24",), (), "forward", "no-route",
                                  "r1", "no route", "outer header's destination, 192.168.58.33"),
    "loop": Case(("node31 ip route replace 10.22.33.0/26 via 192.168.57.1",
                  "r1 ip route add 10.22.33.0/26 via 192.168.57.31"),
                 ("r1 ip route del 10.22.33.0/26",), "forward", "ttl", "r1", "TTL 1",
                 "loop: r1 > node31 > r1"),
    # the source
    "rp-filter": Case(("node33 sysctl -qw net.ipv4.conf.tunl0.rp_filter=1",
                       f"node33 ip route replace {BLOCK_A} via 192.168.58.1"),
                      ("node33 sysctl -qw net.ipv4.conf.tunl0.rp_filter=0",),
                      "forward", "rp-filter", "node33", "rp_filter=1 on tunl0",
                      "would send by eth0"),
    "rp-filter-back": Case(("node31 sysctl -qw net.ipv4.conf.tunl0.rp_filter=1",
                            "node31 ip rule add from 10.22.31.1 to 10.22.32.1 pref 9 lookup 77",
                            "node31 ip route add 10.22.32.1 via 192.168.57.32 table 77"),
                           ("node31 ip rule del pref 9", "node31 ip route flush table 77",
                            "node31 sysctl -qw net.ipv4.conf.tunl0.rp_filter=0"),
                           "reply", "rp-filter", "node31", "rp_filter=1 on tunl0",
                           "by rule '9: from 10.22.31.1 to 10.22.32.1 lookup 77'",
                           destination="b"),
    "rp-filter-loose": Case(("node33 sysctl -qw net.ipv4.conf.tunl0.rp_filter=2",
                             f"node33 ip route replace blackhole {BLOCK_A}"),
                            (f"node33 ip route del blackhole {BLOCK_A}",
                             "node33 sysctl -qw net.ipv4.conf.tunl0.rp_filter=0"),
                            "forward", "rp-filter", "node33", "rp_filter=2 on tunl0"),
    "martian": Case(("node33 ip addr add 10.22.31.1/32 dev lo",),
                    ("node33 ip addr del 10.22.31.1/32 dev lo",), "forward", "martian", "node33",
                    "10.22.31.1 dev lo", "10.22.31.1 is node33's own as well"),
    "duplicate-on-the-way": Case(("node31 ip addr add 10.22.33.1/32 dev lo",),
                         ("node31 ip addr del 10.22.33.1/32 dev lo",), "forward", "wrong-host",
                         "node31"),
    "martian-at-the-pod": Case(("c ip addr add 10.22.31.1/32 dev lo",),
                               ("c ip addr del 10.22.31.1/32 dev lo",), "forward", "martian",
                               "default/c", "10.22.31.1 dev lo"),
    "martian-outer": Case(("node33 ip addr add 192.168.57.31/32 dev lo",),
                          ("node33 ip addr del 192.168.57.31/32 dev lo",), "forward", "martian",
                          "node33", "192.168.57.31 dev lo", ipip=True),
    # forwarding, TTL
    "not-forwarding": Case(("r1 sysctl -qw net.ipv4.conf.eth0.forwarding=0",), (), "forward",
                           "not-forwarding", "r1", "net.ipv4.conf.eth0.forwarding=0"),
    "not-forwarding-back": Case(("r1 sysctl -qw net.ipv4.conf.eth1.forwarding=0",), (), "reply",
                                "not-forwarding", "r1", "net.ipv4.conf.eth1.forwarding=0"),
    "not-forwarding-into-the-tunnel": Case(
        ("node31 sysctl -qw net.ipv4.conf.CALI-a.forwarding=0",), (), "forward", "not-forwarding",
        "node31", "net.ipv4.conf.CALI-a.forwarding=0", ipip=True),
    "not-forwarding-at-the-end": Case(
        ("node33 sysctl -qw net.ipv4.conf.tunl0.forwarding=0",), (), "forward", "not-forwarding",
        "node33", "net.ipv4.conf.tunl0.forwarding=0"),
    "no-forwarding-at-all": Case(
        ("node33 sysctl -qw net.ipv4.ip_forward=0",), (), "forward", "not-forwarding",
        "node33", "net.ipv4.ip_forward=0"),
    "ttl": Case((), (), "forward", "ttl", "r1", "TTL 1", probe=Probe(ttl=2)),
    "ttl-at-the-end": Case((), (), "forward", "ttl", "node31", "TTL 1", probe=Probe(ttl=1)),
    # MTU
    "mtu-of-the-pod": Case(("a ip link set eth0 mtu 1300",), (), "forward", "too-big", "default/a",
                           "MTU 1300 of eth0", probe=BIG),
    "mtu-of-tunl0": Case(("node31 ip link set tunl0 mtu 1300",), (), "forward", "too-big",
                         "node31", "MTU 1300 of tunl0", probe=BIG, ipip=True),
    "mtu-of-the-uplink": Case(("node31 ip link set eth0 mtu 1400",), (), "forward", "too-big",
                              "node31", "MTU 1400 of eth0", "1420 bytes", probe=BIG, ipip=True),
    "mtu-of-the-port": Case(("rack-a ip link set node31 mtu 1400",), (), "forward", "too-big",
                            "node31", "MTU 1400 of node31 of rack-a", "to receive it",
                            probe=BIG),
    "mtu-of-the-next-port": Case(("rack-a ip link set r1 mtu 1400",), (), "forward", "too-big",
                                 "rack-a", "MTU 1400 of r1 of rack-a", "to send it on",
                                 probe=BIG),
    "mtu-of-the-router": Case(("r1 ip link set eth1 mtu 1400",), (), "forward", "too-big", "r1",
                              "MTU 1400 of eth1", probe=BIG),
    "mtu-at-reception": Case(("node33 ip link set eth0 mtu 1400",), (), "forward", "too-big",
                             "rack-b", "MTU 1400 of eth0 of node33", "to receive it",
                             probe=BIG),
    "mtu-of-the-last-port": Case(("rack-b ip link set node33 mtu 1400",), (), "forward", "too-big",
                                  "rack-b", "MTU 1400 of node33 of rack-b", probe=BIG),
    "mtu-of-the-receiving-pod": Case(("c ip link set eth0 mtu 1300",), (), "forward", "too-big",
                                     "node33", "MTU 1300 of eth0 of default/c", probe=BIG),
    "mtu-of-the-cali-device": Case(("node33 ip link set CALI-c mtu 1300",), (), "forward",
                                   "too-big", "node33", "MTU 1300 of CALI-c", probe=BIG),
    "mtu-of-the-sending-cali-device": Case(
        ("node31 ip link set CALI-a mtu 1300",), (), "forward", "too-big", "default/a",
        "MTU 1300 of CALI-a of node31", probe=BIG),
    # devices, neighbours
    "pod-down": Case(("c ip link set eth0 down",), (), "forward", "device-down", "node33",
                     reason="eth0 of default/c is down"),
    "cali-down": Case(("node33 ip link set CALI-c down",), (), "forward", "blackhole", "node33",
                      "blackhole 10.22.33.0/26"),
    "port-down": Case(("rack-b ip link set node33 down",), (), "forward", "device-down", "rack-b",
                      "node33 of rack-b"),
    "own-port-down": Case(("rack-a ip link set node31 down",), (), "forward", "device-down",
                          "node31", reason="node31 of rack-a is down"),
    "no-neighbour": Case((), (), "forward", "no-neighbour", "node31",
                         reason="no host has this address", source="node31",
                         destination="192.168.57.99"),
    "arp-off": Case(("node33 ip link set eth0 arp off", "r1 ip neigh flush dev eth1"),
                    ("node33 ip link set eth0 arp on", "r1 ip neigh flush dev eth1"), "forward",
                    "no-neighbour", "r1", "arp off on eth0 of node33"),
    "arp-ignore": Case(("node33 sysctl -qw net.ipv4.conf.eth0.arp_ignore=8",
                        "r1 ip neigh flush dev eth1"),
                       ("node33 sysctl -qw net.ipv4.conf.eth0.arp_ignore=0",),
                       "forward", "no-neighbour", "r1", "arp_ignore=8 on eth0"),
    "proxy-arp-off": Case(("node31 sysctl -qw net.ipv4.conf.CALI-a.proxy_arp=0",
                           "a ip neigh flush dev eth0"), (), "forward", "no-neighbour",
                          "default/a", "net.ipv4.conf.CALI-a.proxy_arp=0"),
    "proxy-arp-off-back": Case(("node33 sysctl -qw net.ipv4.conf.CALI-c.proxy_arp=0",
                                "c ip neigh flush dev eth0"), (), "reply", "no-neighbour",
                               "default/c", "net.ipv4.conf.CALI-c.proxy_arp=0"),
    "forwarding-off-at-cali": Case(("node31 sysctl -qw net.ipv4.conf.CALI-a.forwarding=0",
                                    "a ip neigh flush dev eth0"), (), "forward", "no-neighbour",
                                   "default/a", "net.ipv4.conf.CALI-a.forwarding=0"),
    "forwarding-off-in-the-node": Case(("node31 sysctl -qw net.ipv4.ip_forward=0",
                                        "a ip neigh flush dev eth0"), (), "forward",
                                       "no-neighbour", "default/a", "net.ipv4.ip_forward=0"),
    "wrong-mac": Case(("node31 ip neigh replace 192.168.57.1 dev eth0 lladdr 02:00:00:00:00:99",),
                      ("node31 ip neigh del 192.168.57.1 dev eth0",), "forward", "wrong-mac",
                      "node31", "192.168.57.1 dev eth0 lladdr 02:00:00:00:00:99 PERMANENT",
                      "no device has this MAC address, and eth0 of r1 has"),
    "wrong-mac-at-the-end": Case(("node33 ip neigh replace 10.22.33.1 dev CALI-c"
                            " lladdr 02:00:00:00:00:99",),
                           ("node33 ip neigh del 10.22.33.1 dev CALI-c",), "forward", "wrong-mac",
                           "node33", "10.22.33.1 dev CALI-c lladdr 02:00:00:00:00:99",
                           "eth0 of default/c has"),
    "wrong-mac-of-the-reply": Case(
        ("c ip neigh replace 169.254.1.1 dev eth0 lladdr 02:00:00:00:00:99",),
        ("c ip neigh del 169.254.1.1 dev eth0",), "reply", "wrong-mac", "default/c",
        "169.254.1.1 dev eth0 lladdr 02:00:00:00:00:99"),
    # the tunnel
    "tunl0-down": Case(("node33 ip link set tunl0 down",), (), "forward", "not-decapsulated",
                       "node33", "tunl0", "its tunl0 is down", ipip=True,
                       note="While tunl0 is down"),
    "tunl0-down-at-the-source": Case(("node31 ip link set tunl0 down",), (), "forward", "no-route",
                                     "r1"),
    "tunnel-into-itself": Case(("node31 ip route add 192.168.58.33/32 dev tunl0",),
                               ("node31 ip route del 192.168.58.33/32 dev tunl0",), "forward",
                               "not-encapsulated", "node31", "192.168.58.33 dev tunl0",
                               "leads to tunl0", ipip=True),
    # packet filters and NAT
    "filter-of-the-outer-back": Case(
        *nft("node31", "ip", "input", "ip protocol 4 drop"), "reply", "filter", "node31",
        "ip protocol ipencap drop (table ip t, chain c, hook input)"),
    "filter-counted": Case(*nft("r1", "ip", "forward", "ip protocol 4 counter drop"), "forward",
                           "filter", "r1", "ip protocol ipencap drop (table ip t, chain c, hook"
                           " forward)"),
    "filter-without-counter": Case(*nft("node33", "inet", "forward", "ip saddr 10.22.31.1 drop"),
                                   "forward", "filter", "node33",
                                   "ip saddr 10.22.31.1 drop (table inet t, chain c, hook"),
    "filter-back": Case(*nft("node31", "ip", "forward", "ip saddr 10.22.33.1 drop"), "reply",
                        "filter", "node31", "ip saddr 10.22.33.1 drop"),
    "policy-drop": Case(*nft("node31", "ip", "forward", policy="drop"), "forward", "filter",
                        "node31", "policy drop (table ip t, chain c, hook forward)"),
    "filter-prerouting": Case(*nft("node33", "ip", "prerouting", "icmp type echo-request drop"),
                              "forward", "filter", "node33", "icmp type echo-request drop (table"
                              " ip t, chain c, hook prerouting)"),
    "filter-at-the-pod": Case(*nft("c", "ip", "input", policy="drop"), "forward", "filter",
                              "default/c", "policy drop (table ip t, chain c, hook input)"),
    "filter-of-the-reply": Case(*nft("c", "ip", "output", "icmp type echo-reply drop"), "reply",
                                "filter", "default/c", "icmp type echo-reply drop"),
    "filter-of-the-source": Case(*nft("a", "ip", "output", policy="drop"), "forward", "filter",
                                 "default/a", "policy drop (table ip t, chain c, hook output)"),
    "filter-postrouting": Case(*nft("r1", "ip", "postrouting", policy="drop"), "forward", "filter",
                               "r1", "policy drop (table ip t, chain c, hook postrouting)"),
    "filter-of-the-switch": Case(*nft("rack-a", "bridge", "forward", policy="drop"), "forward",
                                 "filter", "rack-a", "policy drop (table bridge t, chain c, hook"),
    "filter-udp": Case(*nft("node33", "ip", "forward", "udp dport 9 drop"), "forward", "filter",
                       "node33", "udp dport 9 drop", probe=Probe("udp", port=9)),
    "filter-syn-ack": Case(*nft("node31", "ip", "forward", "tcp sport 80 drop"), "reply", "filter",
                           "node31", "tcp sport 80 drop", probe=Probe("tcp", port=80)),
    # the source of the request is r1's now, but r1 has no connection any more for the answer
    "snat": Case(*nat("r1", "postrouting", "ip protocol icmp snat to 192.168.58.99"), "reply",
                 "no-neighbour", "node33", reason="next hop 192.168.58.99", source="node31",
                 destination="node33"),
    "dnat": Case(*nat("r1", "prerouting", "ip daddr 192.168.58.33 dnat to 192.168.58.99"),
                 "forward", "no-neighbour", "r1", reason="next hop 192.168.58.99",
                 source="node31", destination="node33"),
    "duplicate-pod": Case(
        ("b ip addr add 10.22.33.1/32 dev eth0", "node32 ip route add 10.22.33.1 dev CALI-b",
         "node31 ip route add 10.22.33.1/32 via 192.168.57.32 dev tunl0 onlink"),
        ("b ip addr del 10.22.33.1/32 dev eth0", "node32 ip route del 10.22.33.1 dev CALI-b",
         "node31 ip route del 10.22.33.1/32"), "forward", "wrong-host", "node32",
        "10.22.33.1 dev CALI-b", "node32 sent it to default/b"),
    "echo-ignored": Case(("c sysctl -qw net.ipv4.icmp_echo_ignore_all=1",),
                         ("c sysctl -qw net.ipv4.icmp_echo_ignore_all=0",), "reply", "no-reply",
                         "default/c", "net.ipv4.icmp_echo_ignore_all=1"),
}
