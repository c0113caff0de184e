"""rtnetlink messages that attach the programs, and those that only the TUN tunl0 needs.

Pure: each function returns a message for :class:`calico_mn.kernel.netlink.NetlinkSocket`.
Layouts are those of ``include/uapi/linux/{rtnetlink,pkt_sched,pkt_cls,if_link}.h``.
"""

from __future__ import annotations

import socket

from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.netlink import NLM_F_CREATE, NLM_F_EXCL, Message, attribute, text, u32

_IFF_MULTICAST = 0x1000

_TC_H_ROOT, _TC_H_CLSACT = 0xFFFFFFFF, 0xFFFFFFF1
_CLSACT_HANDLE = 0xFFFF0000
_PARENT_INGRESS, _PARENT_EGRESS = 0xFFFFFFF2, 0xFFFFFFF3

_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_FD, _TCA_BPF_NAME, _TCA_BPF_FLAGS = 6, 7, 8
_TCA_BPF_FLAG_ACT_DIRECT = 1

# Fixed, so that a program can be replaced without asking what is attached.
_PRIORITY, _HANDLE = 1, 1
_ETH_P_ALL = 3



def clsact(ifindex: int, *, replace: bool = False) -> Message:
    """``tc qdisc add dev DEVICE clsact``: the place where programs are attached.

    Without ``replace`` it fails if the device has one; with it, that one stays as it is.
    """
    kind, flags, body = _qdisc(ifindex, _TC_H_CLSACT, _CLSACT_HANDLE, "clsact")
    return kind, flags & ~NLM_F_EXCL if replace else flags, body


def clsact_removal(ifindex: int) -> Message:
    """``tc qdisc del dev DEVICE clsact``, with all programs that are attached there."""
    return rt.RTM_DELQDISC, 0, (
        rt.TC_HEADER.pack(socket.AF_UNSPEC, ifindex, _CLSACT_HANDLE, _TC_H_CLSACT, 0))


def noqueue(ifindex: int) -> Message:
    """``tc qdisc add dev DEVICE root noqueue``, as on the kernel's tunl0; TUN has a queue."""
    return _qdisc(ifindex, _TC_H_ROOT, 0, "noqueue")


def without_multicast(ifindex: int) -> Message:
    """``ip link set DEVICE multicast off``: the kernel's tunl0 does not carry that flag."""
    return rt.RTM_NEWLINK, 0, rt.LINK_HEADER.pack(
        socket.AF_UNSPEC, 0, ifindex, 0, _IFF_MULTICAST)


def ingress(ifindex: int, program: int, name: str, *, replace: bool = False) -> Message:
    """Attach ``program`` (a descriptor) where packets come in from the device.

    Needs :func:`clsact` on it. ``name`` is what ``tc filter show`` prints. Without ``replace``
    it fails if something is attached in this place already; with it, the old program, if any,
    hands over to the new one between two packets.
    """
    return _filter(ifindex, _PARENT_INGRESS, program, name, replace)


def egress(ifindex: int, program: int, name: str, *, replace: bool = False) -> Message:
    """Attach ``program`` where packets leave through the device; otherwise as :func:`ingress`."""
    return _filter(ifindex, _PARENT_EGRESS, program, name, replace)


def _qdisc(ifindex: int, parent: int, handle: int, kind: str) -> Message:
    return rt.RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, (
        rt.TC_HEADER.pack(socket.AF_UNSPEC, ifindex, handle, parent, 0) + text(_TCA_KIND, kind))


def _filter(ifindex: int, parent: int, program: int, name: str, replace: bool) -> Message:
    # tcm_info: the priority above, the protocol in network byte order below.
    info = _PRIORITY << 16 | socket.htons(_ETH_P_ALL)
    options = (u32(_TCA_BPF_FD, program) + text(_TCA_BPF_NAME, name)
               + u32(_TCA_BPF_FLAGS, _TCA_BPF_FLAG_ACT_DIRECT))
    return rt.RTM_NEWTFILTER, NLM_F_CREATE | (0 if replace else NLM_F_EXCL), (
        rt.TC_HEADER.pack(socket.AF_UNSPEC, ifindex, _HANDLE, parent, info)
        + text(_TCA_KIND, "bpf") + attribute(_TCA_OPTIONS, options))
