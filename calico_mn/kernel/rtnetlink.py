"""rtnetlink's numbers, names and headers, each once: what is written and what decode reads.

From ``include/uapi/linux/{rtnetlink,if_link,if_addr,neighbour,ip,pkt_sched,pkt_cls}.h`` and
``net_namespace.h``; names are iproute2's.
"""

from __future__ import annotations

import socket
import struct

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_GETRULE = 34
RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER, RTM_GETTFILTER = 44, 46
RTM_SETNEIGHTBL = 67
RTM_NEWNSID = 88

LINK_HEADER = struct.Struct("=BxHiII")  # family, type, index, flags, change
ADDRESS_HEADER = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
ROUTE_HEADER = struct.Struct("=BBBBBBBBI")
# ROUTE_HEADER: family, lengths of dst and src, tos, table, protocol, scope, type, flags
NEXT_HOP_HEADER = struct.Struct("=HBBi")  # length, flags, weight less one, index
NEIGHBOUR_HEADER = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
TC_HEADER = struct.Struct("=BxxxiIII")  # family, index, handle, parent, info

IFF_UP, IFF_NOARP, IFF_MULTICAST, IFF_LOWER_UP = 1, 0x80, 0x1000, 0x10000
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_TXQLEN = 1, 3, 4, 10, 13
IFLA_LINKINFO, IFLA_STATS64, IFLA_AF_SPEC, IFLA_NET_NS_FD, IFLA_EXT_MASK = 18, 23, 26, 28, 29
INFO_KIND, INFO_DATA, VETH_INFO_PEER, INET_CONF = 1, 2, 1, 1
RTEXT_FILTER_SKIP_STATS = 1 << 3
#: sysctl name -> IPV4_DEVCONF_* (include/uapi/linux/ip.h), for those that a link message can set
DEVCONF = {"forwarding": 1, "proxy_arp": 3, "send_redirects": 6, "rp_filter": 8,
          "arp_ignore": 19, "promote_secondaries": 20, "accept_local": 23, "route_localnet": 26}

IFA_ADDRESS, IFA_LOCAL = 1, 2
TCA_KIND, TCA_OPTIONS, TCA_BPF_FD, TCA_BPF_NAME, TCA_BPF_FLAGS = 1, 2, 6, 7, 8
#: TC_H_ROOT, TC_H_CLSACT, and where programs are attached to a device that has clsact
ROOT, CLSACT, CLSACT_HANDLE = 0xFFFFFFFF, 0xFFFFFFF1, 0xFFFF0000
DIRECTIONS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
NDA_DST, NDA_LLADDR = 1, 2
NETNSA_NSID, NETNSA_FD = 1, 3
AF_BRIDGE, NTF_SELF, NUD_PERMANENT = 7, 0x02, 0x80
NEIGHBOUR_STATES = {0x01: "INCOMPLETE", 0x02: "REACHABLE", 0x04: "STALE", 0x08: "DELAY",
                    0x10: "PROBE", 0x20: "FAILED", NUD_PERMANENT: "PERMANENT"}

RTA_DST, RTA_SRC, RTA_IIF, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY = 1, 2, 3, 4, 5, 6
RTA_PREFSRC, RTA_METRICS, RTA_MULTIPATH, RTA_CACHEINFO, RTA_TABLE = 7, 8, 9, 12, 15
RTA_VIA, RTA_ENCAP_TYPE, RTA_NH_ID = 18, 21, 30
RTAX_LOCK, RTAX_MTU = 1, 2
RTNH_F_ONLINK = 4
RTM_F_CLONED, RTM_F_LOOKUP_TABLE, RTM_F_FIB_MATCH = 0x200, 0x1000, 0x2000
#: names as in iproute2's rt_protos; others are numbers there too, and as text here
PROTOCOLS = {"redirect": 1, "kernel": 2, "boot": 3, "static": 4, "ra": 9, "zebra": 11, "bird": 12,
             "dhcp": 16, "bgp": 186}
KINDS = {"unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6,
         "unreachable": 7, "prohibit": 8, "throw": 9}
SCOPES = {"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
TABLES = {"default": 253, "main": 254, "local": 255}

#: type and body of the requests that dump what a namespace has
Dump = tuple[int, bytes]
DUMP_LINKS: Dump = RTM_GETLINK, bytes(LINK_HEADER.size)
DUMP_ADDRESSES: Dump = RTM_GETADDR, ADDRESS_HEADER.pack(socket.AF_INET, 0, 0, 0, 0)
DUMP_ROUTES: Dump = RTM_GETROUTE, ROUTE_HEADER.pack(socket.AF_INET, *(0,) * 8)
DUMP_RULES: Dump = RTM_GETRULE, ROUTE_HEADER.pack(socket.AF_INET, *(0,) * 8)
DUMP_NEIGHBOURS: Dump = RTM_GETNEIGH, NEIGHBOUR_HEADER.pack(socket.AF_INET, 0, 0, 0, 0)
DUMP_FDB: Dump = RTM_GETNEIGH, NEIGHBOUR_HEADER.pack(AF_BRIDGE, 0, 0, 0, 0)
DUMP_QDISCS: Dump = RTM_GETQDISC, TC_HEADER.pack(0, 0, 0, 0, 0)

#: packets that netem may hold; its own default, 1000, would drop at a gigabit and 20 ms
NETEM_LIMIT = 100_000


def bytes_per_second(rate: float) -> int:
    """A rate in Mbit/s as tbf counts it."""
    return round(rate * 125_000)


def bucket(rate: float) -> tuple[int, int]:
    """tbf's burst and limit in bytes for a rate in Mbit/s.

    The bucket holds 10 ms of the rate, at least 16 kB, so that one GSO packet fits a slow link
    as well; the queue holds 50 ms more.
    """
    speed = bytes_per_second(rate)
    burst = max(16_384, speed // 100)
    return burst, min(burst + max(65_536, speed // 20), 0xFFFFFFFF)
