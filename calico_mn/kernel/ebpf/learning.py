"""Two sockets by which a node's stack serves the eBPF tunl0 as it serves the ipip module.

In go namespaces; out come descriptors to be held as long as they live. The first socket lets a
node learn path MTUs from ICMP errors about outer packets, which the program on tunl0 then sees in
the routes. The second keeps net.ipv4.conf.lo.forwarding on, without which bpf_fib_lookup() answers
no question on behalf of lo: on lo it has no other effect, since what comes from there is for the
node itself. ``sysctl net.ipv4.ip_forward=0`` sets it for all devices, lo among them.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import threading
from contextlib import suppress

from calico_mn.kernel import devices
from calico_mn.kernel.netlink import NLM_F_REQUEST

_LO = 1
_NETCONF_CHANGES = 1 << 23  # RTNLGRP_IPV4_NETCONF of linux/rtnetlink.h, as a bit
_SO_ATTACH_FILTER = 26
# struct sock_filter (linux/filter.h): code, jump if true, jump if false, operand
_filter = struct.Struct("=HBBI")
_ACCEPT, _REFUSE = _filter.pack(0x06, 0, 0, 0xFFFF), _filter.pack(0x06, 0, 0, 0)
# After netlink's header and struct netconfmsg comes NETCONFA_IFINDEX, whose value is at 24.
_OF_LO = (_filter.pack(0x20, 0, 0, 24)
          + _filter.pack(0x15, 0, 1, socket.htonl(_LO)) + _ACCEPT + _REFUSE)


def _attach(sock: socket.socket, program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack(
        "@HP", len(program) // _filter.size, ctypes.addressof(code)))


def path_mtus() -> int:
    """A socket of protocol 4 in the namespace of the calling thread, which takes no packets.

    raw_err() in net/ipv4/raw.c has the route to an outer packet's destination take the MTU of a
    "fragmentation needed", as ipip_err() has in net/ipv4/ipip.c.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC,
                       socket.IPPROTO_IPIP) as raw:
        _attach(raw, _REFUSE)
        return raw.detach()


class LoopbackForwarding:
    """Switches forwarding of lo on again in many namespaces, in a thread of its own."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._end, self._ending = os.pipe2(os.O_CLOEXEC)
        self._poll.register(self._end, select.EPOLLIN)
        self._thread: threading.Thread | None = None

    def follow(self) -> int:
        """Begin in the namespace of the calling thread; it ends with the descriptor."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC,
                           socket.NETLINK_ROUTE) as netlink:
            _attach(netlink, _OF_LO)
            netlink.bind((0, _NETCONF_CHANGES))
            self._poll.register(netlink.fileno(), select.EPOLLIN)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="lo-forwarding", daemon=True)
                self._thread.start()
            return netlink.detach()

    def close(self) -> None:
        """End the thread."""
        os.write(self._ending, b"\0")
        if self._thread is not None:
            self._thread.join()
        self._poll.close()
        os.close(self._end)
        os.close(self._ending)

    def _run(self) -> None:
        kind, flags, body = devices.link(_LO, conf={"forwarding": 1})
        request = struct.pack("=IHHII", 16 + len(body), kind, flags | NLM_F_REQUEST, 0, 0) + body
        while True:
            for descriptor, _events in self._poll.poll():
                if descriptor == self._end:
                    return
                # Namespaces may end meanwhile, and their sockets with them.
                with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as netlink:
                    netlink.recv(65536, socket.MSG_DONTWAIT)
                    netlink.send(request)
