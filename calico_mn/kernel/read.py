"""Reads back what a namespace holds, by rtnetlink dumps and /proc/sys. Changes nothing."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from calico_mn.errors import KernelError
from calico_mn.kernel import decode
from calico_mn.kernel.encode import (
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETQDISC,
    RTM_GETROUTE,
    RTM_GETTFILTER,
)
from calico_mn.kernel.netlink import NetlinkError, NetlinkSocket, u32
from calico_mn.kernel.netns import NamespaceThread, NetworkNamespace
from calico_mn.present import Present, Program, expected_qdiscs, expected_sysctls
from calico_mn.state import VXLAN, Namespace, Sysctl, Tunnel

# IFLA_EXT_MASK with RTEXT_FILTER_SKIP_STATS: counters are half of the answer, and unused.
_LINKS = bytes(16) + u32(29, 1 << 3)
_ADDRESSES = struct.pack("=BBBBI", socket.AF_INET, 0, 0, 0, 0)
_ROUTES = struct.pack("=BBBBBBBBI", socket.AF_INET, *(0,) * 8)
_NEIGHBOURS = struct.pack("=BxxxiHBB", socket.AF_INET, 0, 0, 0, 0)
_FDB = struct.pack("=BxxxiHBB", 7, 0, 0, 0, 0)  # AF_BRIDGE
_PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
_tcmsg = struct.Struct("=BxxxiIII").pack


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
        links, settings = decode.links(netlink.dump(RTM_GETLINK, _LINKS))
        names = {link.index: link.name for link in links}
        # A device that was renamed still has its programs, under its index.
        indexes = {**recorded, **{link.name: link.index for link in links}}
        routes = [decode.route(body, names) for body in netlink.dump(RTM_GETROUTE, _ROUTES)]
        shaped = any(expected_qdiscs(device) for device in wanted.devices)
        qdiscs = [decode.qdisc(body, names)
                  for body in (netlink.dump(RTM_GETQDISC, _tcmsg(0, 0, 0, 0, 0)) if shaped else ())]
        has_vxlan = any(isinstance(d, Tunnel) and d.kind == VXLAN for d in wanted.devices)
        neighbours = netlink.dump(RTM_GETNEIGH, _NEIGHBOURS) if has_vxlan else ()
        fdb = netlink.dump(RTM_GETNEIGH, _FDB) if has_vxlan else ()
        return Present(
            wanted.name, tuple(links), tuple(q for q in qdiscs if q),
            tuple(decode.address(body, names) for body in netlink.dump(RTM_GETADDR, _ADDRESSES)),
            _sysctls(expected_sysctls(wanted), settings), tuple(r for r in routes if r),
            frozenset(found for program in programs if program.device in indexes
                      for found in _programs(netlink, program, indexes, names)),
            tuple(n for body in neighbours if (n := decode.neighbour(body, names))),
            tuple(e for body in fdb if (e := decode.fdb_entry(body, names))))


def _programs(netlink: NetlinkSocket, wanted: Program, indexes: Mapping[str, int],
              names: Mapping[int, str]) -> list[Program]:
    """All programs where ``wanted`` should be; none where there is no clsact qdisc."""
    request = _tcmsg(0, indexes[wanted.device], 0, _PARENTS[wanted.direction], 0)
    try:
        bodies = netlink.dump(RTM_GETTFILTER, request)
    except NetlinkError:
        return []
    return [found for body in bodies if (found := decode.program(body, names))]


def _sysctls(wanted: Iterable[Sysctl], known: dict[str, int]) -> dict[str, int]:
    """The values that were asked for; without those that this kernel does not have."""
    found = {}
    for item in wanted:
        if item.path in known:
            found[item.path] = known[item.path]
            continue
        with suppress(FileNotFoundError), open(f"/proc/sys/{item.path}", encoding="ascii") as file:
            found[item.path] = int(file.read().split()[0])
    return found
