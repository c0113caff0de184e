"""The routes that the kernel has, asked for and read back: nobody's bookkeeping."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from calico_mn.kernel.netlink import NetlinkSocket, attributes

_RTM_GETROUTE = 26
_RT_TABLE_MAIN = 254
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_PROTOCOLS = {2: "kernel", 3: "boot", 4: "static", 12: "bird"}
_KINDS = {1: "unicast", 6: "blackhole", 7: "unreachable"}
_header = struct.Struct("=BBBBBBBBI")


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """A route of the main table; ``via`` and ``device`` are empty where it has none.

    ``kind`` and ``protocol`` are in iproute2's words, or numbers where we know none.
    """

    destination: str
    kind: str
    protocol: str
    via: str = ""
    device: str = ""


def main_table(netlink: NetlinkSocket, names: Mapping[int, str]) -> tuple[KernelRoute, ...]:
    """All IPv4 routes of the main table; ``names`` has the devices' by their indexes."""
    found = []
    for body in netlink.dump(_RTM_GETROUTE, _header.pack(socket.AF_INET, *(0,) * 8)):
        _, length, _, _, table, protocol, _, kind, _ = _header.unpack_from(body)
        if table != _RT_TABLE_MAIN:
            continue
        values = attributes(body[_header.size:])
        destination = socket.inet_ntoa(values.get(_RTA_DST, bytes(4)))
        index = struct.unpack("=i", values[_RTA_OIF])[0] if _RTA_OIF in values else 0
        found.append(KernelRoute(
            f"{destination}/{length}", _KINDS.get(kind, str(kind)),
            _PROTOCOLS.get(protocol, str(protocol)),
            socket.inet_ntoa(values[_RTA_GATEWAY]) if _RTA_GATEWAY in values else "",
            names.get(index, "")))
    return tuple(found)
