"""What the kernel says of changes by itself: that there are some, or which IPv4 routes, and when.

:class:`Notifications` is of one namespace, and a reason to look there. :class:`RouteNotifications`
is of many at once: in go namespaces; out come the changes of their main tables as values of the
state's vocabulary, in the order in which the kernel made them. One socket in a namespace of its own
hears of all the others (NETLINK_LISTEN_ALL_NSID): for each change of a route the kernel goes
through every socket that listens to rtnetlink, so that one in each node would slow down what is to
be measured. One thread reads it and notes CLOCK_MONOTONIC; what a message says is decoded later, by
the caller.

The kernel says nothing of routes that go with their device or its last address (fib_table_flush in
net/ipv4/fib_trie.c), so that a caller has to compare with the table in the end.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from calico_mn.errors import KernelError
from calico_mn.kernel import decode, read
from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.netlink import (
    LISTEN_ALL_NSID,
    NLM_F_REPLACE,
    SOL_NETLINK,
    NetlinkSocket,
    listener,
    messages,
    u32,
)
from calico_mn.kernel.netns import new_network
from calico_mn.state import Route

# RTNLGRP_LINK, _TC, _IPV4_IFADDR, _IPV4_ROUTE and _IPV4_NETCONF of linux/rtnetlink.h.
_CHANGES, _ROUTES = (1, 4, 5, 7, 24), (1, 7)
_SO_RCVBUFFORCE, _BUFFER = 33, 64 << 20
_MOST = 65536


class Notifications:
    """The kernel's notifications of one namespace: that something changed, not what.

    A socket in the namespace of the thread that makes it; for poll() by ``fileno()``. A message
    may get lost when many come at once (ENOBUFS), so that what changed is better read than
    listened to. Of sysctls, RTNLGRP_IPV4_NETCONF reports forwarding, rp_filter, proxy_neigh
    (proxy_arp) and a few more (inet_netconf_notify_devconf).
    """

    __slots__ = ("_socket",)

    def __init__(self) -> None:
        try:
            self._socket = listener(_CHANGES)
        except OSError as error:
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


# --- routes of many namespaces


@dataclass(frozen=True, slots=True)
class RouteChange:
    """A route that came into a main table, or left it; ``when`` is CLOCK_MONOTONIC in ns.

    With ``replaces`` it took the place of the one with the same destination and metric.
    """

    when: int
    route: Route
    is_removed: bool = False
    replaces: bool = False


class RouteNotifications:
    """To be made in a thread that may enter namespaces, and started in another one.

    Threads that one of those starts share its file system, with which it could enter no mount
    namespace any more. Raises KernelError where there can be no such socket.
    """

    def __init__(self) -> None:
        try:
            with new_network():
                self._requests = NetlinkSocket()
                self._socket = listener(_ROUTES)
            self._socket.setsockopt(SOL_NETLINK, LISTEN_ALL_NSID, 1)
            with suppress(PermissionError):  # in a user namespace: what there is will do
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except OSError as error:
            raise KernelError(f"no notifications of routes: {error.strerror}") from error
        #: by the number of a namespace here: its name, and its devices' names by index
        self._names: list[str] = []
        self._devices: list[dict[int, str]] = []
        self._heard: deque[tuple[int, int, bytes]] = deque()
        self._arrived = threading.Event()
        self._is_overrun = False
        self._end, self._ending = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._read, name="routes", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def attend(self, name: str) -> tuple[Route, ...]:
        """Listen in the namespace in which the calling thread is, too; its routes as they are.

        A change that falls between the two is in the answer and is heard of as well.
        """
        number = len(self._names)
        self._names.append(name)
        self._devices.append({})
        with open("/proc/thread-self/ns/net", "rb") as namespace:
            self._requests.request([(rt.RTM_NEWNSID, 0, bytes(4) + u32(
                rt.NETNSA_NSID, number) + u32(rt.NETNSA_FD, namespace.fileno()))])
        with NetlinkSocket() as netlink:
            self._devices[number].update(
                (index, device) for device, index in read.device_indexes(netlink).items())
        return read.main_table()

    def wait(self, seconds: float) -> bool:
        """Wait until something was heard that :meth:`take` did not return; whether it was."""
        return self._arrived.wait(seconds)

    def take(self) -> list[tuple[str, RouteChange]]:
        """What was heard since the last call, with the namespace's name.

        Raises KernelError where more came than the socket's buffer holds.
        """
        self._arrived.clear()
        changes: list[tuple[str, RouteChange]] = []
        while self._heard:
            when, number, data = self._heard.popleft()
            changes += ((self._names[number], change)
                        for change in _changes(when, data, self._devices[number])
                        if change.route.table == "main")
        if self._is_overrun:
            raise KernelError("notifications of routes were lost: more came at once than the"
                              " socket's buffer holds")
        return changes

    def close(self) -> None:
        """Stop listening; to be called once."""
        os.write(self._ending, b"\0")
        if self._thread.ident is not None:
            self._thread.join()
        for descriptor in (self._end, self._ending):
            os.close(descriptor)
        self._socket.close()
        self._requests.close()

    # --- in the thread

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        while not any(descriptor == self._end for descriptor, _events in poll.poll()):
            try:
                data, notes, _flags, _address = self._socket.recvmsg(_MOST, 64)
            except OSError as error:
                self._is_overrun |= error.errno == errno.ENOBUFS
                continue
            when = time.monotonic_ns()
            for level, kind, value in notes:
                if (level, kind) == (SOL_NETLINK, LISTEN_ALL_NSID):
                    self._heard.append((when, struct.unpack("=i", value)[0], data))
                    self._arrived.set()


def _changes(when: int, data: bytes, devices: dict[int, str]) -> Iterator[RouteChange]:
    """The routes in a datagram; devices that came are added to ``devices``."""
    for kind, flags, _sequence, body in messages(data):
        if kind == rt.RTM_NEWLINK:
            devices.update(decode.names([body]))
        elif kind in (rt.RTM_NEWROUTE, rt.RTM_DELROUTE):
            yield RouteChange(when, decode.route(body, devices), kind == rt.RTM_DELROUTE,
                              bool(flags & NLM_F_REPLACE))
