"""The vocabulary of packet filters and captures: kinds of packets, and where they are looked for.

Values only. A filter loses the packets that match, a capture takes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from calico_mn.errors import ClusterError


class Hook(str, Enum):
    """Where a packet filter looks, as netfilter calls it: at what enters, crosses or leaves.

    A subnet's switch has only ``forward``: it takes and sends no packets of its own.
    """

    INPUT = "input"
    FORWARD = "forward"
    OUTPUT = "output"

    def __str__(self) -> str:
        return self.value


PROTOCOL_ICMP, PROTOCOL_IPIP, PROTOCOL_TCP, PROTOCOL_UDP = 1, 4, 6, 17
_PORTED = {PROTOCOL_TCP: "TCP", PROTOCOL_UDP: "UDP"}


@dataclass(frozen=True, slots=True)
class PacketMatch:
    """Packets of one kind: those of an IP protocol, ICMP messages, or UDP or TCP to a port.

    A filter loses the packets that match (its public name there is ``Drop``), a capture takes
    them. ``icmp_code`` None means every code of the type; ``port`` is the destination port, in
    both directions the same for VXLAN (RFC 7348). ``Drop.IPIP``, ``Drop.VXLAN`` and
    ``Drop.FRAGMENTATION_NEEDED`` (RFC 792: type 3, code 4) are ready-made. Raises ClusterError for
    what no packet can have.
    """

    protocol: int
    icmp_type: int | None = None
    icmp_code: int | None = None
    port: int | None = None

    IPIP: ClassVar[PacketMatch]
    VXLAN: ClassVar[PacketMatch]
    FRAGMENTATION_NEEDED: ClassVar[PacketMatch]

    def __post_init__(self) -> None:
        for number in (self.protocol, self.icmp_type, self.icmp_code):
            if number is not None and not (type(number) is int and 0 <= number <= 255):
                raise ClusterError(f"{self!r}: protocol, type and code are numbers from 0 to 255")
        if self.icmp_type is not None and self.protocol != PROTOCOL_ICMP:
            raise ClusterError(f"{self!r}: only ICMP (protocol {PROTOCOL_ICMP}) has types")
        if self.icmp_code is not None and self.icmp_type is None:
            raise ClusterError(f"{self!r}: a code means something only with a type")
        if self.port is None:
            return
        if not (type(self.port) is int and 0 <= self.port <= 65535):
            raise ClusterError(f"{self!r}: a port is a number from 0 to 65535")
        if self.protocol not in _PORTED:
            raise ClusterError(f"{self!r}: only UDP (protocol {PROTOCOL_UDP}) and TCP"
                               f" ({PROTOCOL_TCP}) are matched by port")

    def __str__(self) -> str:
        """In words: ``IP protocol 4``, ``ICMP type 3 code 4``, ``UDP port 4789``."""
        if self.port is not None:
            return f"{_PORTED[self.protocol]} port {self.port}"
        if self.icmp_type is None:
            return f"IP protocol {self.protocol}"
        code = "" if self.icmp_code is None else f" code {self.icmp_code}"
        return f"ICMP type {self.icmp_type}{code}"


PacketMatch.IPIP = PacketMatch(PROTOCOL_IPIP)
PacketMatch.VXLAN = PacketMatch(PROTOCOL_UDP, port=4789)
PacketMatch.FRAGMENTATION_NEEDED = PacketMatch(PROTOCOL_ICMP, 3, 4)


#: kinds of packets that have a name
NAMED = {"ipip": PacketMatch.IPIP, "vxlan": PacketMatch.VXLAN,
         "frag-needed": PacketMatch.FRAGMENTATION_NEEDED,
         "fragmentation-needed": PacketMatch.FRAGMENTATION_NEEDED,
         "icmp": PacketMatch(PROTOCOL_ICMP), "bgp": PacketMatch(PROTOCOL_TCP, port=179)}


def parse(text: str) -> PacketMatch:
    """A kind of packets as people write it: ``ipip``, ``protocol/4``, ``tcp/179``, ``icmp/3/4``.

    Blanks do as well as slashes, and so does what ``str()`` prints. Raises ClusterError.
    """
    words = [word for word in re.split(r"[\s/]+", text.lower())
             if word not in ("", "ip", "port", "type", "code")]
    kind, *rest = words if words[1:] and words[1] not in NAMED else words[-1:] or [""]
    numbers = [int(word) for word in rest if re.fullmatch("[0-9]{1,5}", word)]
    if kind in NAMED and not rest:
        return NAMED[kind]
    if len(numbers) == len(rest) and max(numbers, default=0) <= (
            65535 if kind in ("tcp", "udp") else 255):
        if kind in ("tcp", "udp") and len(numbers) == 1:
            return PacketMatch(PROTOCOL_TCP if kind == "tcp" else PROTOCOL_UDP, port=numbers[0])
        if kind == "protocol" and len(numbers) == 1:
            return PacketMatch(numbers[0])
        if kind == "icmp" and len(numbers) in (1, 2):
            return PacketMatch(PROTOCOL_ICMP, *numbers)
    raise ClusterError(f"no kind of packets is called {text!r}: say {', '.join(NAMED)}, tcp/PORT,"
                       " udp/PORT, protocol/NUMBER or icmp/TYPE/CODE")


@dataclass(frozen=True, slots=True)
class CaptureFilter:
    """Which frames a capture takes: IPv4 packets that match, as they are or encapsulated.

    ``inside`` are the encapsulations in which ``matches`` are looked for as well, by the match of
    their outer packets; an outer header has no options. ``source`` narrows it to packets of
    one sender, the inner one of encapsulated packets. With ``arp`` all of ARP is taken, too.
    """

    matches: tuple[PacketMatch, ...]
    inside: tuple[PacketMatch, ...] = ()
    source: str = ""
    arp: bool = False

#: what a filter loses: the name of the Python surface
Drop = PacketMatch

#: what is filtered in one namespace: each drop with the hooks at which it is lost
Filter = Mapping[Drop, frozenset[Hook]]
