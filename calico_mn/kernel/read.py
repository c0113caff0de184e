"""Reads back what a namespace holds, by rtnetlink dumps and /proc/sys. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from calico_mn.errors import KernelError
from calico_mn.kernel import decode
from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.netlink import NetlinkError, NetlinkSocket, u32
from calico_mn.kernel.netns import NamespaceThread, NetworkNamespace
from calico_mn.present import Present, Program, expected_qdiscs, expected_sysctls
from calico_mn.state import VXLAN, Namespace, Route, Sysctl, Tunnel

# Counters are half of the answer, and unused.
_LINKS = rt.DUMP_LINKS[1] + u32(rt.IFLA_EXT_MASK, rt.RTEXT_FILTER_SKIP_STATS)


def device_indexes(netlink: NetlinkSocket) -> dict[str, int]:
    """Name -> index of all devices in the socket's namespace."""
    return {name: index
            for index, name in decode.names(netlink.dump(rt.RTM_GETLINK, _LINKS)).items()}


def main_table() -> tuple[Route, ...]:
    """The routes of the main table in the namespace in which this thread is."""
    with NetlinkSocket() as netlink:
        names = decode.names(netlink.dump(rt.RTM_GETLINK, _LINKS))
        return decode.routes(netlink.dump(*rt.DUMP_ROUTES), names)


def present(thread: NamespaceThread, namespace: NetworkNamespace, wanted: Namespace,
            programs: Sequence[Program]) -> Present:
    """What ``namespace`` holds, as far as ``wanted`` speaks of it. Runs in ``thread``.

    A namespace that cannot be entered or read any more is told by ``failure``.
    """
    if namespace.descriptor < 0:
        return Present(wanted.name, failure="the namespace is gone")
    try:
        thread.enter(namespace)
        return _read(wanted, programs, namespace.indexes)
    except KernelError as error:
        return Present(wanted.name, failure=f"the namespace cannot be read: {error}")
    except OSError as error:
        return Present(wanted.name, failure=f"the namespace cannot be read: {error.strerror}")


def _read(wanted: Namespace, programs: Sequence[Program], recorded: Mapping[str, int]
          ) -> Present:
    with NetlinkSocket() as netlink:
        devices = decode.devices(netlink.dump(rt.RTM_GETLINK, _LINKS))
        links = tuple(device.link for device in devices)
        names = {link.index: link.name for link in links}
        # A device that was renamed still has its programs, under its index.
        indexes = {**recorded, **{link.name: link.index for link in links}}
        shaped = any(expected_qdiscs(device) for device in wanted.devices)
        qdiscs = [decode.qdisc(body, names)
                  for body in (netlink.dump(*rt.DUMP_QDISCS) if shaped else ())]
        has_vxlan = any(isinstance(d, Tunnel) and d.kind == VXLAN for d in wanted.devices)
        neighbours = [decode.neighbour(body, names)
                      for body in (netlink.dump(*rt.DUMP_NEIGHBOURS) if has_vxlan else ())]
        fdb = netlink.dump(*rt.DUMP_FDB) if has_vxlan else ()
        settings = {f"net/ipv4/conf/{device.link.name}/{key}": value
                    for device in devices for key, value in device.settings.items()}
        return Present(
            wanted.name, links, tuple(q for q in qdiscs if q),
            tuple(decode.address(body, names) for body in netlink.dump(*rt.DUMP_ADDRESSES)),
            _sysctls(expected_sysctls(wanted), settings),
            decode.routes(netlink.dump(*rt.DUMP_ROUTES), names),
            frozenset(attached for program in programs if program.device in indexes
                      for attached in _programs(netlink, program, indexes, names)),
            tuple(n[0] for n in neighbours if n and n[0].mac and n[1] == "PERMANENT"),
            tuple(e for body in fdb if (e := decode.fdb_entry(body, names))))


def _programs(netlink: NetlinkSocket, wanted: Program, indexes: Mapping[str, int],
              names: Mapping[int, str]) -> list[Program]:
    """All programs where ``wanted`` should be; none where there is no clsact qdisc."""
    request = rt.TC_HEADER.pack(0, indexes[wanted.device], 0, rt.DIRECTIONS[wanted.direction], 0)
    try:
        bodies = netlink.dump(rt.RTM_GETTFILTER, request)
    except NetlinkError:
        return []
    return [attached for body in bodies if (attached := decode.program(body, names))]


def _sysctls(wanted: Iterable[Sysctl], known: dict[str, int]) -> dict[str, int]:
    """The values that were asked for; without those that this kernel does not have."""
    values = {}
    for item in wanted:
        if item.path in known:
            values[item.path] = known[item.path]
            continue
        with suppress(FileNotFoundError), open(f"/proc/sys/{item.path}", encoding="ascii") as file:
            values[item.path] = int(file.read().split()[0])
    return values
