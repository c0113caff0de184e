"""What a node's stack does for the ipip module, and needs to be asked to do for the eBPF tunl0.

In go namespaces; out come descriptors to be held as long as they live. A raw socket of protocol 4
lets the stack learn path MTUs from ICMP errors about outer packets: the program on tunl0 then sees
them in the routes. The same socket gets the outer packets that came in fragments, which are few;
a thread writes what is inside into tunl0. One byte in place of a packet asks the thread to look at
the namespace's rules (:mod:`.seal`). And it keeps net.ipv4.conf.lo.forwarding on, which
``sysctl net.ipv4.ip_forward=0`` sets for all devices: bpf_fib_lookup() answers questions on behalf
of lo only with it, and the stack forwards what the program puts into lo (with accept_local, since
it is the node's own): outer packets that need fragments, and ICMP errors. Nothing else comes from
lo that is not for the node itself.

One socket, in a namespace of its own, hears of that from all others (NETLINK_LISTEN_ALL_NSID):
for each change of a route the kernel goes through all sockets of the machine that listen to
anything of rtnetlink (netlink_broadcast_filtered), so that one a node would make a boot quadratic.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from calico_mn.errors import KernelError
from calico_mn.kernel import devices
from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.ebpf.seal import Seals
from calico_mn.kernel.netlink import LISTEN_ALL_NSID, NLM_F_REQUEST, SOL_NETLINK, Message, u32
from calico_mn.kernel.netns import network_of, new_network

_LO = 1
_ON_LO = devices.link(_LO, conf={"forwarding": 1, "accept_local": 1})
_NETCONF_CHANGES = 1 << 23  # RTNLGRP_IPV4_NETCONF of linux/rtnetlink.h, as a bit
_SO_ATTACH_FILTER, _SO_ATTACH_BPF = 26, 50
_TUN = os.makedev(10, 200)
_MOST, _AT_ONCE = 65_535, 64
# struct sock_filter (linux/filter.h): code, jump if true, jump if false, operand
_filter = struct.Struct("=HBBI")
# After netlink's header and struct netconfmsg comes NETCONFA_IFINDEX, whose value is at 24.
_OF_LO = b"".join((_filter.pack(0x20, 0, 0, 24), _filter.pack(0x15, 0, 1, socket.htonl(_LO)),
                   _filter.pack(0x06, 0, 0, _MOST), _filter.pack(0x06, 0, 0, 0)))


class Attendant:
    """One thread for all namespaces; ``reassembled`` is the program of the raw sockets."""

    def __init__(self, reassembled: int, seals: Seals) -> None:
        self._reassembled = reassembled
        self._seals = seals
        self._poll = select.epoll()
        self._end, self._ending = os.pipe2(os.O_CLOEXEC)
        self._poll.register(self._end, select.EPOLLIN)
        self._thread: threading.Thread | None = None
        # By descriptor: the socket's inode, and what is done when something is there.
        self._tasks: dict[int, tuple[int, Callable[[socket.socket], None]]] = {}
        self._listener: socket.socket | None = None
        self._numbers = itertools.count(1)
        # By the number of a namespace: a socket in it, and the socket's inode.
        self._links: dict[int, tuple[int, int]] = {}

    def attend(self, tunnel: int) -> list[int]:
        """Begin in the namespace of the calling thread, whose tunl0 has the descriptor ``tunnel``.

        It ends with the descriptors that are returned.
        """
        self._seals.forget()
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC,
                            socket.IPPROTO_IPIP)
        raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, self._reassembled)
        link = _rtnetlink()
        _send(link, _ON_LO)
        if self._listener is None:
            self._listener = _listener()
            self._poll.register(self._listener, select.EPOLLIN)
            self._thread = threading.Thread(target=self._run, name="tunl0", daemon=True)
            self._thread.start()
        number, inode = next(self._numbers), os.fstat(link.fileno()).st_ino
        self._links[number] = link.fileno(), inode
        with open("/proc/thread-self/ns/net", "rb") as namespace:
            _send(self._listener, (rt.RTM_NEWNSID, 0, bytes(4) + u32(rt.NETNSA_NSID, number)
                                   + u32(rt.NETNSA_FD, namespace.fileno())))
        return [self._watch(raw, lambda packets: self._take(packets, tunnel)), link.detach()]

    def close(self) -> None:
        """End the thread."""
        os.write(self._ending, b"\0")
        if self._thread is not None:
            self._thread.join()
        if self._listener is not None:
            self._listener.close()
        self._poll.close()
        os.close(self._end)
        os.close(self._ending)

    def _watch(self, sock: socket.socket, task: Callable[[socket.socket], None]) -> int:
        descriptor = sock.detach()
        self._tasks[descriptor] = os.fstat(descriptor).st_ino, task
        self._poll.register(descriptor, select.EPOLLIN)
        return descriptor

    def _run(self) -> None:
        while True:
            for descriptor, _events in self._poll.poll():
                if descriptor == self._end:
                    return
                if self._listener and descriptor == self._listener.fileno():
                    self._forward_on_lo(self._listener)
                    continue
                # Namespaces may end meanwhile, their sockets with them, and others begin.
                with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as ready:
                    inode, task = self._tasks[descriptor]
                    if os.fstat(ready.fileno()).st_ino == inode:
                        task(ready)

    def _take(self, packets: socket.socket, tunnel: int) -> None:
        asks = False
        with suppress(BlockingIOError):
            for _packet in range(_AT_ONCE):
                packet = packets.recv(_MOST, socket.MSG_DONTWAIT)
                if len(packet) > 1:
                    _decapsulate(packet, tunnel)
                asks |= len(packet) == 1
        if asks:
            with suppress(KernelError), network_of(packets):
                self._seals.renew()

    def _forward_on_lo(self, listener: socket.socket) -> None:
        with suppress(OSError):
            _data, notes, _flags, _address = listener.recvmsg(_MOST, 64, socket.MSG_DONTWAIT)
            number = next((struct.unpack("=i", value)[0] for level, kind, value in notes
                           if (level, kind) == (SOL_NETLINK, LISTEN_ALL_NSID)), 0)
            descriptor, inode = self._links.get(number, (-1, 0))
            with socket.socket(fileno=os.dup(descriptor)) as link:
                if os.fstat(link.fileno()).st_ino == inode:
                    _send(link, _ON_LO)


def _decapsulate(packet: bytes, tunnel: int) -> None:
    inner = packet[(packet[0] & 15) * 4:]
    if inner and inner[0] >> 4 == 4 and os.fstat(tunnel).st_rdev == _TUN:
        os.write(tunnel, inner)


def _rtnetlink() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC,
                         socket.NETLINK_ROUTE)


def _listener() -> socket.socket:
    """What hears of changes of lo's settings in all namespaces that get a number from it."""
    code = ctypes.create_string_buffer(_OF_LO, len(_OF_LO))
    with new_network():
        sock = _rtnetlink()
    sock.setsockopt(SOL_NETLINK, LISTEN_ALL_NSID, 1)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack(
        "@HP", len(_OF_LO) // _filter.size, ctypes.addressof(code)))
    sock.bind((0, _NETCONF_CHANGES))
    return sock


def _send(sock: socket.socket, message: Message) -> None:
    kind, flags, body = message
    sock.send(struct.pack("=IHHII", 16 + len(body), kind, flags | NLM_F_REQUEST, 0, 0) + body)
