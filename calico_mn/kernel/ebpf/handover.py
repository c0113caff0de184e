"""The rule at the end of INPUT that hands IPIP packets to the program that decapsulates them.

A kernel without the ipip module has nothing behind INPUT that takes protocol 4. nftables' ``dup``
is the one way back from there to a device: the packet, accepted by every other rule, reassembled
and for one of the node's addresses, goes out through lo, where ``lo/egress`` of ipip.bpf.c waits.
What stays goes to the node's raw socket (:mod:`.attendant`), which takes what lo does not.
``nft list ruleset`` shows::

    table ip calico_mn_tunl0 {
        chain input {
            type filter hook input priority 2147483647; policy accept;
            ip protocol 4 ip protocol set 255 dup to 255.255.255.255 device "lo" ip protocol set 4
        }
    }

The table belongs to a socket, so that ``nft flush ruleset`` leaves it alone. Numbers are those of
``include/uapi/linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from calico_mn.errors import KernelError, UnsupportedError
from calico_mn.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    attribute,
    attributes,
    text,
)

TABLE, _CHAIN = "calico_mn_tunl0", "input"
#: as an IP header has it: HANDED_OVER in ipip.bpf.c
PROTOCOL = 255
_LO = struct.pack("=I", 1)
_NETLINK_NETFILTER, _NFTABLES, _BEGIN, _END = 12, 10, 16, 17
_NEWTABLE, _NEWCHAIN, _GETCHAIN, _NEWRULE, _GETRULE, _DELRULE = 0, 3, 4, 6, 7, 8
_OWNER, _PERSIST = 2, 4
#: NF_INET_LOCAL_OUT and NF_INET_POST_ROUTING, through which outer packets do not go
OUTPUT_HOOKS = {3: "output", 4: "postrouting"}
_LOCAL_IN, _LAST = 1, 0x7FFFFFFF
_NESTED = 0x8000
_REGISTER, _ANOTHER = 1, 2
_header = struct.Struct("=IHHII").pack
_family = struct.Struct("=BBH").pack


def _be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value))


def _nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(parts))


def _expression(name: str, *parts: bytes) -> bytes:
    return _nested(1, text(1, name), _nested(2, *parts))


def _load(register: int, value: bytes) -> bytes:
    return _expression("immediate", _be32(1, register), _nested(2, attribute(1, value)))


_PROTOCOL_FIELD = (_be32(2, 1), _be32(3, 9), _be32(4, 1))  # in the network header: byte 9, one byte


def _set_protocol(number: int) -> tuple[bytes, bytes]:
    return (_load(_REGISTER, bytes([number])),
            _expression("payload", _be32(5, _REGISTER), *_PROTOCOL_FIELD, _be32(6, 1),
                        _be32(7, 10)))


_RULE = (
    _expression("payload", _be32(1, _REGISTER), *_PROTOCOL_FIELD),
    _expression("cmp", _be32(1, _REGISTER), _be32(2, 0),
                _nested(3, attribute(1, bytes([socket.IPPROTO_IPIP])))),
    *_set_protocol(PROTOCOL),
    # To a broadcast address: icmp_send() says nothing of what lo does not take.
    _load(_REGISTER, socket.inet_aton("255.255.255.255")),
    _load(_ANOTHER, _LO),
    _expression("dup", _be32(1, _REGISTER), _be32(2, _ANOTHER)),
    *_set_protocol(socket.IPPROTO_IPIP),
)


def _batch(flags: int) -> bytes:
    """One transaction that makes the table; the last message inside asks for an answer."""
    table, in_table = text(1, TABLE) + (_be32(2, flags) if flags else b""), text(1, TABLE)
    hook = _nested(4, _be32(1, _LOCAL_IN), _be32(2, _LAST))
    messages = (
        (_BEGIN, 0, 0, b""),
        (_NFTABLES << 8 | _NEWTABLE, NLM_F_CREATE, socket.AF_INET, table),
        (_NFTABLES << 8 | _NEWCHAIN, NLM_F_CREATE, socket.AF_INET,
         in_table + text(3, _CHAIN) + hook + text(7, "filter")),
        (_NFTABLES << 8 | _DELRULE, 0, socket.AF_INET, in_table + text(2, _CHAIN)),  # all
        (_NFTABLES << 8 | _NEWRULE, NLM_F_CREATE | NLM_F_ACK, socket.AF_INET,
         in_table + text(2, _CHAIN) + _nested(4, *_RULE)),
        (_END, 0, 0, b""))
    return b"".join(
        _header(20 + len(body), kind, flags | NLM_F_REQUEST, number, 0)
        + _family(family, 0, 0 if family else socket.htons(_NFTABLES)) + body
        for number, (kind, flags, family, body) in enumerate(messages))


# Without a mark that says "stay", the end of the socket would wait for all processors each time.
_OURS, _UNOWNED = _batch(_OWNER | _PERSIST), _batch(0)


def install() -> int:
    """Make the rule in the namespace of the calling thread; the socket whose it is, to be held.

    Raises UnsupportedError where the kernel has no nftables, or no ``dup`` in it.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC,
                       _NETLINK_NETFILTER) as netlink:
        # Linux before 6.9 cannot keep a table that has an owner: there it has none.
        refusal = _refusal(netlink, _OURS) and _refusal(netlink, _UNOWNED)
        if not refusal:
            return netlink.detach()
    if refusal == errno.EPERM:
        raise UnsupportedError("nftables rules need root (CAP_NET_ADMIN)")
    if refusal in (errno.EOPNOTSUPP, errno.ENOENT, errno.EPROTONOSUPPORT):
        raise UnsupportedError("the kernel's nftables lack what tunl0 needs: CONFIG_NF_TABLES_IPV4"
                               " and CONFIG_NFT_DUP_IPV4, built in or as modules")
    raise KernelError(f"nftables: {os.strerror(refusal)}")


def hooks() -> frozenset[int]:
    """The hooks of IPv4 where the namespace of the calling thread has chains of nftables."""
    return frozenset(hook for family, _, _, hook, _ in chains()
                     if hook >= 0 and family in (1, socket.AF_INET))


def chains() -> Iterator[tuple[int, str, str, int, int]]:
    """All chains of nftables: family, table, name, hook or -1, what they do with the rest or -1.

    Families 1 and 2 (NFPROTO_INET and NFPROTO_IPV4) see packets of IPv4.
    """
    for family, inside in dump(_NFTABLES, _GETCHAIN, socket.AF_UNSPEC):
        hook = attributes(inside.get(4, b"")).get(1)
        yield (family, _name(inside[1]), _name(inside[3]),
               -1 if hook is None else int.from_bytes(hook, "big"),
               int.from_bytes(inside[5], "big") if 5 in inside else -1)


def rules(family: int, table: str, chain: str) -> Iterator[bytes]:
    """The rules of a chain as netlink has them, in order."""
    for _, inside in dump(_NFTABLES, _GETRULE, family, text(1, table) + text(2, chain)):
        yield inside.get(4, b"") + inside.get(7, b"")  # expressions, user data


def dump(subsystem: int, kind: int, family: int, asked: bytes = b""
         ) -> Iterator[tuple[int, dict[int, bytes]]]:
    """All that a part of netfilter answers to a question: family and attributes of each message."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC,
                       _NETLINK_NETFILTER) as netlink:
        netlink.send(_header(20 + len(asked), subsystem << 8 | kind, NLM_F_REQUEST | NLM_F_DUMP,
                             0, 0) + _family(family, 0, 0) + asked)
        while True:
            answer = netlink.recv(65536)
            while len(answer) >= 20:
                length, answered = struct.unpack_from("=IH", answer)
                if answered >> 8 != subsystem:
                    return
                yield answer[16], attributes(answer[20:length])
                answer = answer[(length + 3) & ~3:]


def _name(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")


def _refusal(netlink: socket.socket, batch: bytes) -> int:
    """The errno with which the kernel refuses a batch, 0 if it does not; all within send()."""
    netlink.send(batch)
    refusal = 0
    while True:
        try:
            answer = netlink.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return refusal
        while len(answer) >= 20:
            length, _kind, _flags, _number, _port, status = struct.unpack_from("=IHHIIi", answer)
            refusal = refusal or -status
            answer = answer[(length + 3) & ~3:]
