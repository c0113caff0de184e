"""The TUN device that looks like tunl0: created and dressed here, by ioctls on /dev/net/tun.

In go a name, an index and a program that drops packets; out comes the device, down, with the
descriptor that keeps it alive. What rtnetlink can set (MTU, queue length, address, state) is left
to it. Numbers are those of ``include/uapi/linux/if_tun.h``; their effects are in
``drivers/net/tun.c``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from calico_mn.errors import KernelError, UnsupportedError
from calico_mn.kernel import processes

_DEVICE = "/dev/net/tun"

_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_TUNSETLINK = 0x400454CD
_TUNSETOFFLOAD = 0x400454D0
_TUNSETIFINDEX = 0x400454DA
_TUNSETFILTEREBPF = 0x800454E1

_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_IFNAMSIZ = 16
# ip prints link/ipip, captures see bare IP packets, and IPv6 makes no link-local address.
_ARPHRD_TUNNEL = 768
# CSUM, TSO4, TSO6, TSO_ECN: without them the stack would cut super-packets before the program.
_OFFLOADS = 0x01 | 0x02 | 0x04 | 0x08
_USO4, _USO6 = 0x20, 0x40  # the same for UDP, since Linux 6.2


def create_tunl0(name: str, ifindex: int, filter_fd: int) -> int:
    """Make the device in the calling thread's network namespace, down; a descriptor.

    The descriptor must be held open: without it the device has no carrier. ``filter_fd`` is the
    program of :func:`.program.load_drop_filter`. Raises UnsupportedError when the machine has no
    usable /dev/net/tun, and KernelError when ``name`` or ``ifindex`` is taken in the namespace.
    OSError where a limit is reached.
    """
    try:
        descriptor = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if processes.is_limit(error.errno):
            raise
        raise UnsupportedError(
            f"{_DEVICE} cannot be opened: {error.strerror}; the kernel needs CONFIG_TUN, and a"
            f" container needs the device (--device {_DEVICE}, or --privileged)") from error
    step = ""
    try:
        # All of it while the device is down: the index before there is a device at all, and
        # the type must not change later.
        step = f"index {ifindex}"
        fcntl.ioctl(descriptor, _TUNSETIFINDEX, struct.pack("=I", ifindex))
        step = f"create (is {name}, or a device with index {ifindex}, there already?)"
        fcntl.ioctl(descriptor, _TUNSETIFF,
                    struct.pack("=16sH22x", _interface_name(name), _IFF_TUN | _IFF_NO_PI))
        step = "type"
        fcntl.ioctl(descriptor, _TUNSETLINK, _ARPHRD_TUNNEL)
        step = "offloads"
        _set_offloads(descriptor)
        step = "filter"
        fcntl.ioctl(descriptor, _TUNSETFILTEREBPF, struct.pack("=i", filter_fd))
        # So that it ends with its namespace: ending it with the descriptor takes 20 ms each.
        step = "persistence"
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
    except OSError as error:
        os.close(descriptor)
        if error.errno == errno.EPERM:
            raise UnsupportedError(f"making a TUN device is not permitted: {name} needs root"
                                   " (CAP_NET_ADMIN)") from error
        raise KernelError(f"{name}: {step}: {error.strerror}") from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _interface_name(name: str) -> bytes:
    encoded = name.encode()
    # The kernel would silently cut a longer one, and read % as "the next free number".
    if not 0 < len(encoded) < _IFNAMSIZ or "%" in name:
        raise KernelError(f"{name!r} is no name for a device")
    return encoded


def _set_offloads(descriptor: int) -> None:
    try:
        fcntl.ioctl(descriptor, _TUNSETOFFLOAD, _OFFLOADS | _USO4 | _USO6)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fcntl.ioctl(descriptor, _TUNSETOFFLOAD, _OFFLOADS)
