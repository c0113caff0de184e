"""What the eBPF tunl0 knows of a namespace's rules, so that it need not ask them for each packet.

In goes what Felix's rules look like to an outer packet (:class:`~calico_mn.rules.OuterWay`); out
come seals, one a namespace, in a map that ``underlay/ingress`` reads. A seal says whether the rules
let IPIP packets from allowed sources in and do nothing else with them. It lists words of the
kernel's memory, at least one of which changes with every change of the rules (:mod:`.rule_words`),
so that the program sees at the next packet that a seal is out of date::

    eth0 --> underlay/ingress --- the seal is current, lets in ------------> tunl0
                 |                                                             ^
                 +--> PREROUTING --> INPUT --> lo (what the rules accept) -----+
                                       |
                                       +--> the seal is out of date: one byte to the raw socket,
                                            and the attendant has :meth:`Seals.renew` look again
"""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress

from calico_mn.errors import CalicoMnError
from calico_mn.kernel import decode
from calico_mn.kernel import rtnetlink as rt
from calico_mn.kernel.ebpf import hooked_rules, program
from calico_mn.kernel.ebpf.rule_words import KernelMemory, RuleWords, Words
from calico_mn.kernel.netlink import NetlinkSocket
from calico_mn.rules import OuterWay, lets_in
from calico_mn.state import ALLOWED_SOURCES

#: SEALED_WORDS in ipip.bpf.c
_MOST_WORDS, _MOST_NAMESPACES = 20, 65_536
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE = 0, 1, 2, 3
_HASH, _NO_PREALLOCATION = 1, 1
_VALUE = 8 + 16 * _MOST_WORDS
_ATTEMPTS = 5
# map_fd, key, value, flags
_element = struct.Struct("=IxxxxQQQ")


class Seals:
    """The seals of all namespaces of a back end. ``descriptor`` is that of the map."""

    def __init__(self, way: OuterWay | None = None) -> None:
        self._way = way or OuterWay({}, {}, "")
        self.descriptor, _ = program.bpf(_MAP_CREATE, struct.pack(
            "=IIIII", _HASH, 8, _VALUE, _MOST_NAMESPACES, _NO_PREALLOCATION))
        try:
            self._memory = KernelMemory()
        except BaseException:
            os.close(self.descriptor)
            raise

    def close(self) -> None:
        """Let go of the map; programs that are attached keep it."""
        self._memory.close()
        os.close(self.descriptor)

    def forget(self) -> None:
        """Know nothing of the namespace of the calling thread: another had its address before."""
        with suppress(OSError):
            self._call(_MAP_DELETE, self._memory.net())

    def renew(self) -> None:
        """Look at the rules of the namespace of the calling thread, unless they are known.

        Rules that change meanwhile, time and again, are left: the next packet asks again.
        """
        with suppress(OSError, struct.error):
            net = self._memory.net()
            for _attempt in range(_ATTEMPTS):
                seen = self._memory.rule_words(net, self._way.sources)
                if self._call(_MAP_LOOKUP, net)[8:] == _packed(seen.words):
                    return
                is_let_in = self._is_let_in(seen)
                if self._memory.rule_words(net, self._way.sources) == seen:
                    self._call(_MAP_UPDATE, net, struct.pack("=Q", is_let_in)
                               + _packed(seen.words))
                    return

    def _is_let_in(self, seen: RuleWords) -> bool:
        """Whether the short cut would be the same, and changes of the rules would be seen."""
        if not seen.nft or not seen.ip_set or len(seen.words) > _MOST_WORDS:
            return False
        try:
            legacy = frozenset(hooked_rules.legacy_tables())
            base, chains = hooked_rules.read(legacy, self._way.chains)
            return (legacy <= seen.tables and lets_in(self._way, base, chains)
                    and hooked_rules.members(self._way.sources) == _allowed())
        except (OSError, CalicoMnError):
            return False

    def _call(self, command: int, key: int, value: bytes = bytes(_VALUE)) -> bytes:
        """Look a namespace up (zeros where there is none), update it, or delete it."""
        at = ctypes.create_string_buffer(struct.pack("=Q", key), 8)
        buffer = ctypes.create_string_buffer(value, _VALUE)
        try:
            program.bpf(command, _element.pack(
                self.descriptor, ctypes.addressof(at), ctypes.addressof(buffer), 0))
        except FileNotFoundError:
            return bytes(_VALUE)
        return buffer.raw


def _packed(words: Words) -> bytes:
    """As ``struct seal`` has them; a seal of which some do not fit lets nothing in."""
    return b"".join(struct.pack("=QQ", *word) for word in words[:_MOST_WORDS]
                    ).ljust(_VALUE - 8, b"\0")


def _allowed() -> frozenset[str]:
    """The sources in the table that the program asks."""
    with NetlinkSocket() as netlink:
        return frozenset(route.destination for route in decode.routes(
            netlink.dump(*rt.DUMP_ROUTES), {}, tables=(ALLOWED_SOURCES,)))
