"""IP sets by netlink: the lines that ``ipset restore`` takes as messages, without a process.

In go lines of four verbs (create, add, del, destroy); out come messages for a socket of
:data:`NETLINK_NETFILTER`. At a boot the process would take a quarter of the time of a small node's
rules. Layouts are those of ``include/uapi/linux/netfilter/ipset/ip_set.h``. What exists already,
or is gone already, is no error, as with ``ipset -exist``.
"""

from __future__ import annotations

import functools
import socket
import struct
from collections.abc import Iterator, Sequence
from itertools import groupby

from calico_mn.kernel.netlink import Message, NetlinkSocket, attribute, attributes, text

NETLINK_NETFILTER = 12
_SUBSYSTEM, _PROTOCOL = 6 << 8, 6  # NFNL_SUBSYS_IPSET, IPSET_PROTOCOL_MIN
_CREATE, _DESTROY, _ADD, _DEL, _TYPE = 2, 3, 9, 10, 13
_SET_NAME, _TYPE_NAME, _REVISION, _FAMILY, _DATA, _ADT, _LINE = 2, 3, 4, 5, 7, 8, 9
_IP, _CIDR, _PORT, _PROTO, _MAX_ELEM = 1, 3, 4, 7, 19
_NESTED, _NET_BYTE_ORDER = 0x8000, 0x4000
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}
_AT_A_TIME = 500
_HEADER = struct.pack("=BBH", socket.AF_INET, 0, 0) + attribute(1, bytes([_PROTOCOL]))
_INET = attribute(_FAMILY, bytes([socket.AF_INET]))
_LINE_0 = attribute(_LINE | _NET_BYTE_ORDER, bytes(4))


def send(lines: Sequence[str]) -> None:
    """Carry out lines in the namespace in which this thread is.

    Raises KernelError, and ValueError or OSError for a line that it cannot read; what comes before
    that is done.
    """
    with NetlinkSocket(NETLINK_NETFILTER) as netlink:
        revisions = {kind: _revision(netlink, kind) for kind in dict.fromkeys(
            line.split()[2] for line in lines if line.startswith("create "))}
        netlink.request(list(_messages(lines, revisions)))


def _revision(netlink: NetlinkSocket, kind: str) -> bytes:
    """The newest revision of a type of sets that this kernel has."""
    answer = netlink.get(_SUBSYSTEM | _TYPE, _HEADER + text(_TYPE_NAME, kind) + _INET)
    return attributes(answer[4:])[_REVISION]


def _messages(lines: Sequence[str], revisions: dict[str, bytes]) -> Iterator[Message]:
    for (verb, name), group in groupby(lines, lambda line: line.split(maxsplit=2)[:2]):
        body = _HEADER + text(_SET_NAME, name)
        if verb in ("add", "del"):
            members = [_member(line.split()[2]) for line in group]
            for start in range(0, len(members), _AT_A_TIME):
                yield (_SUBSYSTEM | (_ADD if verb == "add" else _DEL), 0, body + _LINE_0
                       + attribute(_ADT | _NESTED, b"".join(members[start:start + _AT_A_TIME])))
        elif verb == "create":
            _, _, kind, family, inet, maxelem, most = next(group).split()
            if (family, inet, maxelem) != ("family", "inet", "maxelem"):
                raise ValueError(f"no line for a set of {kind}")
            data = attribute(_MAX_ELEM | _NET_BYTE_ORDER, struct.pack(">I", int(most)))
            yield (_SUBSYSTEM | _CREATE, 0, body + text(_TYPE_NAME, kind) + attribute(
                _REVISION, revisions[kind]) + _INET + attribute(_DATA | _NESTED, data))
        elif verb == "destroy":
            yield _SUBSYSTEM | _DESTROY, 0, body
        else:
            raise ValueError(f"no verb {verb}")


@functools.lru_cache(maxsize=65536)
def _member(text: str) -> bytes:
    """``10.0.0.1``, ``10.0.0.0/26`` or ``10.0.0.1,tcp:80``; many nodes have the same ones."""
    network, _, port = text.partition(",")
    address, _, prefix = network.partition("/")
    data = attribute(_IP | _NESTED, attribute(1 | _NET_BYTE_ORDER, socket.inet_aton(address)))
    if prefix:
        data += attribute(_CIDR, bytes([int(prefix)]))
    if port:
        protocol, _, number = port.partition(":")
        if protocol not in _PROTOCOLS:
            raise ValueError(f"no protocol {protocol}")
        data += attribute(_PORT | _NET_BYTE_ORDER, struct.pack(">H", int(number)))
        data += attribute(_PROTO, bytes([_PROTOCOLS[protocol]]))
    return attribute(_DATA | _NESTED, data)
