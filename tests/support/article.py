"""The article's terminal output as an oracle: its lines, and what may differ from them.

The article is a Chinese walk-through of Calico's IPIP mode on two hosts, 192.168.57.31 and .32
(Calico up to v3.25). Its lines are quoted here as they were printed, but for
blanks at their ends. Each rule below names one
thing that cannot be equal, and nothing else is forgiven:

:func:`any_number`      interface indexes and namespace ids, which depend on what ran before
:func:`any_mac`         the pod's MAC address, which the kernel draws
:func:`any_icmp_id`     ping's identifier
:func:`one_blank`       trailing blanks, and columns of ``route -n``
:func:`banner`          tcpdump's wording before "link-type", and its snapshot length
:func:`newer_iproute2`  ``proto kernel_lo`` and ``kernel_ll``, printed from iproute2 6.3 on
:func:`real_tunl0`      eBPF back end only: how a TUN device dressed as tunl0 prints
:func:`any_pod`         the device of a pod whose name the article doesn't tell
"""

from __future__ import annotations

import re

BACKEND = "sit/sit-web-backend-58f48df4c9-b2q28"
BACKEND_DEVICE = "cali262cda17a90"
BACKEND_IP = "10.22.151.11"

# route -n | grep 10.22.151.11, on 192.168.57.32
ROUTE_N = "10.22.151.11    0.0.0.0         255.255.255.255 UH    0      0        0 cali262cda17a90"

# ip a | grep cali262cda17a90 -A 10, on 192.168.57.32
HOST_SIDE = """\
8608: cali262cda17a90@if4: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP \
group default
    link/ether ee:ee:ee:ee:ee:ee brd ff:ff:ff:ff:ff:ff link-netnsid 82
    inet6 fe80::ecee:eeff:feee:eeee/64 scope link
       valid_lft forever preferred_lft forever
"""

# ip route, on 192.168.57.31 (the article leaves lines out where it prints dots)
IP_ROUTE = """\
default via 192.168.57.1 dev eth0
blackhole 10.22.138.0/26 proto bird
10.22.138.1 dev cali0953d667977 scope link
10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird onlink
"""

# tcpdump -eni tunl0 -nnvv | grep 10.22.151.11, on 192.168.57.32
TCPDUMP_BANNER = "tcpdump: listening on tunl0, link-type RAW (Raw IP), capture size 262144 bytes"
TCPDUMP = """\
    10.22.138.0 > 10.22.151.11: ICMP echo request, id 30387, seq 1, length 64
    10.22.151.11 > 10.22.138.0: ICMP echo reply, id 30387, seq 1, length 64
    10.22.138.0 > 10.22.151.11: ICMP echo request, id 30387, seq 2, length 64
    10.22.151.11 > 10.22.138.0: ICMP echo reply, id 30387, seq 2, length 64
"""

# ip a | grep tunl0, on 192.168.57.31
TUNL0 = """\
2: tunl0@NONE: <NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue state UNKNOWN group default qlen 1000
    inet 10.22.138.0/32 scope global tunl0
"""

# ip a, in the pod; its own tunl0 stands apart, because only the kernel's ipip module makes it
POD_LO = """\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
    inet6 ::1/128 scope host
       valid_lft forever preferred_lft forever
"""
POD_TUNL0 = """\
2: tunl0@NONE: <NOARP> mtu 1480 qdisc noop state DOWN group default qlen 1000
    link/ipip 0.0.0.0 brd 0.0.0.0
"""
POD_ETH0 = """\
4: eth0@if8608: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default
    link/ether f6:7f:37:81:fc:15 brd ff:ff:ff:ff:ff:ff link-netnsid 0
    inet 10.22.151.11/32 scope global eth0
       valid_lft forever preferred_lft forever
    inet6 fe80::f47f:37ff:fe81:fc15/64 scope link
       valid_lft forever preferred_lft forever
"""

# ip route and ip neigh, in the pod
POD_ROUTE = """\
default via 169.254.1.1 dev eth0
169.254.1.1 dev eth0 scope link
"""
POD_NEIGH = "169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee REACHABLE"


def any_number(line: str) -> str:
    """Interface indexes of host devices and namespace ids; a pod's own 4 stays."""
    line = re.sub(r"^\d+: (cali\w+)@", r"N: \1@", line)
    line = re.sub(r"^(\d+: eth0@if)\d+:", r"\1N:", line)
    return re.sub(r"link-netnsid \d+", "link-netnsid N", line)


def any_mac(line: str) -> str:
    """The pod's MAC address and the link-local address made of it; never ee:ee:ee:ee:ee:ee."""
    line = re.sub(r"link/ether (?!ee:ee:ee:ee:ee:ee)[0-9a-f:]{17} ", "link/ether M ", line)
    return re.sub(r"inet6 fe80::(?!ecee:eeff:feee:eeee/)[0-9a-f:]+/64", "inet6 fe80::M/64", line)


def any_icmp_id(line: str) -> str:
    """Ping's identifier."""
    return re.sub(r"\bid \d+, seq", "id N, seq", line)


def one_blank(line: str) -> str:
    """Blanks at the end, and runs of them inside; those in front tell a line's level."""
    text = line.rstrip()
    front = len(text) - len(text.lstrip())
    return " " * front + " ".join(text.split())


def banner(line: str) -> str:
    """tcpdump says "capture size 262144 bytes" or "snapshot length 262144 bytes"."""
    return re.sub(r", (capture size|snapshot length) \d+ bytes", "", line)


def newer_iproute2(line: str) -> str:
    """Who put a loopback or link-local address there is printed by newer versions only."""
    return re.sub(r" proto kernel_l[ol]\b", "", line)


def real_tunl0(line: str) -> str:
    """A TUN device has no @NONE, is POINTOPOINT, and so has a peer instead of a broadcast."""
    line = re.sub(r"^(\d+: tunl0): <POINTOPOINT,", r"\1@NONE: <", line)
    return line.replace("link/ipip 0.0.0.0 peer 0.0.0.0", "link/ipip 0.0.0.0 brd 0.0.0.0")


def any_pod(line: str) -> str:
    """cali0953d667977 belongs to a pod that the article doesn't name."""
    return re.sub(r"dev cali(?!262cda17a90)[0-9a-f]{11} ", "dev caliP ", line)


RULES = (any_number, any_mac, any_icmp_id, one_blank, banner, newer_iproute2, any_pod)


def normal(text: str, *, tunnel: str = "kernel") -> list[str]:
    """The lines of ``text`` by the rules above; ``tunnel`` is the back end that printed it."""
    lines = []
    for line in text.replace("\r", "").splitlines():
        for rule in RULES:
            line = rule(line)
        lines.append(real_tunl0(line) if tunnel == "ebpf" else line)
    return [line for line in lines if line]
