"""What a node's stack does for the ipip module, and needs to be asked to do for the eBPF tunl0.

In go namespaces; out come descriptors to be held as long as they live. A raw socket of protocol 4
lets the stack learn path MTUs from ICMP errors about outer packets: the program on tunl0 then sees
them in the routes. The same socket gets the outer packets that came in fragments, which are few;
a thread writes what is inside into tunl0. And it keeps net.ipv4.conf.lo.forwarding on, without
which bpf_fib_lookup() answers no question on behalf of lo: on lo that has no other effect, since
what comes from there is for the node itself. ``sysctl net.ipv4.ip_forward=0`` sets it for all
devices, lo among them.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from calico_mn.kernel import devices
from calico_mn.kernel.netlink import NLM_F_REQUEST

_LO = 1
_NETCONF_CHANGES = 1 << 23  # RTNLGRP_IPV4_NETCONF of linux/rtnetlink.h, as a bit
_SO_ATTACH_FILTER, _SO_ATTACH_BPF = 26, 50
_TUN = os.makedev(10, 200)
_MOST = 65_535
# struct sock_filter (linux/filter.h): code, jump if true, jump if false, operand
_filter = struct.Struct("=HBBI")
# After netlink's header and struct netconfmsg comes NETCONFA_IFINDEX, whose value is at 24.
_OF_LO = b"".join((_filter.pack(0x20, 0, 0, 24), _filter.pack(0x15, 0, 1, socket.htonl(_LO)),
                   _filter.pack(0x06, 0, 0, _MOST), _filter.pack(0x06, 0, 0, 0)))


class Attendant:
    """One thread for all namespaces; ``reassembled`` is the program of the raw sockets."""

    def __init__(self, reassembled: int) -> None:
        self._reassembled = reassembled
        self._poll = select.epoll()
        self._end, self._ending = os.pipe2(os.O_CLOEXEC)
        self._poll.register(self._end, select.EPOLLIN)
        self._thread: threading.Thread | None = None
        # By descriptor: the socket's inode, and what is done when something is there.
        self._tasks: dict[int, tuple[int, Callable[[socket.socket], None]]] = {}

    def attend(self, tunnel: int) -> list[int]:
        """Begin in the namespace of the calling thread, whose tunl0 has the descriptor ``tunnel``.

        It ends with the descriptors that are returned.
        """
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC,
                            socket.IPPROTO_IPIP)
        raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, self._reassembled)
        changes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC,
                                socket.NETLINK_ROUTE)
        code = ctypes.create_string_buffer(_OF_LO, len(_OF_LO))
        changes.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack(
            "@HP", len(_OF_LO) // _filter.size, ctypes.addressof(code)))
        changes.bind((0, _NETCONF_CHANGES))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tunl0", daemon=True)
            self._thread.start()
        return [self._watch(raw, lambda packets: _decapsulate(packets, tunnel)),
                self._watch(changes, _forward_on_lo)]

    def close(self) -> None:
        """End the thread."""
        os.write(self._ending, b"\0")
        if self._thread is not None:
            self._thread.join()
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
                # Namespaces may end meanwhile, their sockets with them, and others begin.
                with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as ready:
                    inode, task = self._tasks[descriptor]
                    if os.fstat(ready.fileno()).st_ino == inode:
                        task(ready)


def _decapsulate(packets: socket.socket, tunnel: int) -> None:
    packet = packets.recv(_MOST, socket.MSG_DONTWAIT)
    inner = packet[(packet[0] & 15) * 4:]
    if inner and inner[0] >> 4 == 4 and os.fstat(tunnel).st_rdev == _TUN:
        os.write(tunnel, inner)


def _forward_on_lo(changes: socket.socket) -> None:
    changes.recv(_MOST, socket.MSG_DONTWAIT)
    kind, flags, body = devices.link(_LO, conf={"forwarding": 1})
    changes.send(struct.pack("=IHHII", 16 + len(body), kind, flags | NLM_F_REQUEST, 0, 0) + body)
