"""A cluster's namespaces, from their birth to their end: what is theirs before any device arrives.

In go wanted states and the log directories; out come empty namespaces that have their sysctls,
since those must be there before the devices. What else a state says is
:mod:`calico_mn.kernel.write`'s business.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from calico_mn.errors import KernelError, UnsupportedError
from calico_mn.kernel import devices, iptext, processes, read
from calico_mn.kernel.netlink import NetlinkError, NetlinkSocket
from calico_mn.kernel.netns import NamespaceThread, NetworkNamespace
from calico_mn.state import Namespace, Shaping, Sysctl, Veth, VethEnd

# Namespaces that are made in one go; those that need one of them wait for all.
_CHUNK = 16


class Namespaces:
    """Makes namespaces in the background, and lets go of them. ``by_name`` has those there are.

    ``run`` is the run's directory, of which programs in them see some files elsewhere.

    They are made in a thread of their own, because the kernel does half of that without the lock
    that devices, addresses and routes need (RTNL): meanwhile those made first are filled.
    """

    def __init__(self, thread: NamespaceThread, run: Path | None = None) -> None:
        self._thread, self._run = thread, run
        self._maker = NamespaceThread()
        self._inherited: dict[str, int | None] = {}
        self._fresh: NetworkNamespace | None = None
        self._ipv6 = Path("/proc/sys/net/ipv6").exists()
        self._making: dict[str, Future[None]] = {}
        self.by_name: dict[str, NetworkNamespace] = {}

    def create(self, states: Sequence[Namespace], logs: Mapping[str, Path]) -> None:
        """Begin to make the namespaces of ``states``: with their sysctls only.

        ``logs`` holds for each the directory that its programs see as the CNI plug-in's log
        directory. Returns at once.
        """
        self._allow_descriptors(len(self.by_name) + len(self._making) + len(states))
        for first in range(0, len(states), _CHUNK):
            chunk = states[first:first + _CHUNK]
            making = self._maker.submit(self._create, chunk, logs)
            self._making.update((state.name, making) for state in chunk)

    def settle(self, *names: str) -> None:
        """Wait for namespaces, or for all that are being made. Raises what went wrong."""
        for name in names or list(self._making):
            if making := self._making.pop(name, None):
                making.result()

    def awaited(self, name: str) -> Callable[[], NetworkNamespace]:
        """What waits, in any thread, for a namespace that is being made, and returns it."""
        making = self._making[name]

        def wait() -> NetworkNamespace:
            making.result()
            return self.by_name[name]

        return wait

    def abandon(self) -> None:
        """Make no more namespaces of those that were asked for."""
        for making in self._making.values():
            if not making.cancel():
                making.exception()
        self._making.clear()

    def discard(self, names: Iterable[str]) -> None:
        """Let go of namespaces; what is in them ends with them."""
        self.abandon()
        if namespaces := [self.by_name.pop(name) for name in names if name in self.by_name]:
            self._thread.call(self._discard, namespaces)

    def close(self) -> None:
        """Let go of all namespaces."""
        self.abandon()
        self.discard(list(self.by_name))
        if self._fresh is not None:
            self._thread.call(self._discard, [self._fresh])
            self._fresh = None
        self._maker.close()

    @staticmethod
    def _allow_descriptors(namespaces: int) -> None:
        """A namespace is a descriptor, a shell two more, tunl0 four: raise our own soft limit.

        The table of descriptors grows now: later, with two threads, each doubling of it would wait
        for an RCU grace period (expand_fdtable in fs/file.c).
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 8 * namespaces + 512
        if soft < wanted:
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
        with suppress(ValueError, OSError), open(os.devnull, "rb") as file:
            os.close(fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 3 * namespaces + 64))

    # What follows runs in a thread that may enter namespaces.

    def write_sysctls(self, items: Iterable[Sysctl], namespace: NetworkNamespace, *,
                      fresh: bool = False) -> None:
        """Those that no link message can set; in a fresh namespace only where it matters.

        On a kernel without IPv6 its settings are left out. Raises KernelError.
        """
        for item in items:
            if item.is_of_device or (item.family == "ipv6" and not self._ipv6):
                continue
            if not (fresh and self._inherited_value(item, namespace) == item.value):
                _write_sysctl(item, namespace)

    def _discard(self, namespaces: Sequence[NetworkNamespace]) -> None:
        # What ends tunl0 takes RTNL, which the kernel holds long while it ends namespaces: so that
        # comes first everywhere.
        for namespace in namespaces:
            self._thread.release(namespace)
        for namespace in namespaces:
            self._thread.discard(namespace)

    def _create(self, states: Sequence[Namespace], logs: Mapping[str, Path]) -> None:
        if self._fresh is None:
            self._fresh = self._maker.create("fresh")
            with NetlinkSocket() as netlink:
                self._fresh.indexes = read.device_indexes(netlink)
        self._refuse_unknown_shaping(states)
        for state in states:
            namespace = self._maker.create(state.name)
            namespace.indexes.update(self._fresh.indexes)
            namespace.logs, namespace.run = logs[state.name], self._run
            self.by_name[state.name] = namespace
            # Before any device arrives: devices copy their settings from "default".
            self.write_sysctls(state.sysctls, namespace, fresh=True)
        # A namespace does not end while a thread is in it.
        self._maker.enter(self._fresh)

    def _refuse_unknown_shaping(self, states: Sequence[Namespace]) -> None:
        """Try a delay on the loopback device of a namespace that is used for nothing else."""
        assert self._fresh is not None
        delays = (device.name for state in states for device in state.devices
                  if isinstance(device, (Veth, VethEnd)) and device.shaping
                  and device.shaping.has_netem)
        if next(delays, None) is None:
            return
        self._maker.enter(self._fresh)
        if reason := lacks_netem():
            raise UnsupportedError(
                "this kernel has no netem, which delay and loss of links need (module"
                f" sch_netem): {reason}; take them out of the topology, or use a kernel that"
                " has it")

    def _inherited_value(self, item: Sysctl, namespace: NetworkNamespace) -> int | None:
        """What a new namespace has: IPv4 settings are copied from the machine's own one.

        None for a setting that this kernel does not have: the attempt to write it will say so.
        """
        if item.path not in self._inherited:
            assert self._fresh is not None
            self._maker.enter(self._fresh)
            self._inherited[item.path] = None
            with suppress(FileNotFoundError), open(f"/proc/sys/{item.path}",
                                                   encoding="ascii") as file:
                self._inherited[item.path] = int(file.read())
            self._maker.enter(namespace)
        return self._inherited[item.path]


def lacks_netem() -> str:
    """Why a device of the thread's namespace can have no netem, tried on lo; empty if it can."""
    with NetlinkSocket() as netlink:
        try:
            netlink.request(devices.shaping(Shaping(delay=1), 1))
        except NetlinkError as error:
            return "" if error.errno == errno.EEXIST else error.reason
        netlink.request([devices.qdisc_removal(1)])
    return ""


def _write_sysctl(item: Sysctl, namespace: NetworkNamespace) -> None:
    try:
        with open(f"/proc/sys/{item.path}", "w", encoding="ascii") as file:
            file.write(str(item.value))
    except OSError as error:
        raise KernelError(f"{namespace.name}: {iptext.sysctl(item)}:"
                          f" {processes.explain(error.errno)}") from error
