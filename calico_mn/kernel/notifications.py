"""The kernel's notifications of one namespace: that something changed, not what.

A message may get lost when many come at once (ENOBUFS), so that what changed is better read than
listened to. Sysctls are told by RTNLGRP_IPV4_NETCONF as far as the kernel does: forwarding,
rp_filter, proxy_neigh (proxy_arp) and a few more (inet_netconf_notify_devconf).
"""

from __future__ import annotations

import errno
import socket

from calico_mn.errors import KernelError

_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
# RTNLGRP_LINK, _TC, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_NETCONF of linux/rtnetlink.h.
_GROUPS = (1, 4, 5, 7, 24)


class Notifications:
    """A socket in the namespace of the thread that makes it; for poll() by ``fileno()``."""

    __slots__ = ("_socket",)

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            socket.NETLINK_ROUTE)
        try:
            # Without an address of its own it would count as the kernel, and hear nothing.
            self._socket.bind((0, 0))
            for group in _GROUPS:
                self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        except OSError as error:
            self._socket.close()
            raise KernelError(f"no notifications by rtnetlink: {error.strerror}") from error

    def fileno(self) -> int:
        """The descriptor, -1 when closed."""
        return self._socket.fileno()

    def drain(self) -> bool:
        """Take all messages that wait; whether there were any, or some were lost."""
        some = False
        while True:
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                return some
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(f"rtnetlink: {error.strerror}") from error
            some = True

    def close(self) -> None:
        """Close the socket; closing twice does no harm."""
        self._socket.close()
