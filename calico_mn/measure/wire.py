"""What the wire shows: were these packets inside IPIP when they left the node?

Nothing is deduced from the mode or from a routing table. AF_PACKET captures on the nodes'
uplinks hold the ICMP echo requests themselves: with protocol 4 outside (RFC 2003) the pods'
addresses are in the inner header, and without it they are in the only one.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from calico_mn.kernel.capture import Capture, CapturedPacket
from calico_mn.measure.paths import SAME_NODE, Pair

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

UPLINK = "eth0"
ICMP = 1
IPIP = 4

_ECHO_REQUEST = 8
_SHORTEST_HEADER = 20


@dataclass(frozen=True, slots=True)
class Sighting:
    """An echo request on a wire: from one pod to another, inside IPIP or as it is."""

    source: str
    destination: str
    encapsulated: bool


def sighting(packet: CapturedPacket) -> Sighting | None:
    """What a packet tells; None for anything but a whole echo request, plain or inside IPIP."""
    if len(packet.data) < _SHORTEST_HEADER:
        return None
    encapsulated = packet.protocol == IPIP
    if encapsulated:
        packet = CapturedPacket(packet.payload, packet.outgoing)
        if len(packet.data) < _SHORTEST_HEADER or packet.data[0] >> 4 != 4:
            return None
    if packet.protocol != ICMP or packet.payload[:1] != bytes([_ECHO_REQUEST]):
        return None
    return Sighting(packet.source, packet.destination, encapsulated)


class Wire:
    """Captures on the uplinks of ``nodes``, and what they have shown so far.

    Use it as a context manager. :meth:`drain` must be called now and then: a capture holds a
    few hundred packets.
    """

    def __init__(self, net: CalicoNet, nodes: Iterable[str]) -> None:
        self._stack = ExitStack()
        self._captures: list[Capture] = []
        self._seen: dict[tuple[str, str], bool] = {}
        try:
            for node in nodes:
                for protocol in (IPIP, ICMP):
                    self._captures.append(self._stack.enter_context(
                        net.runtime.capture(node, UPLINK, protocol)))
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stack.close()

    def drain(self) -> None:
        """Take note of the packets since the last call."""
        for capture in self._captures:
            for packet in capture.read():
                seen = sighting(packet)
                if seen is not None:
                    key = (seen.source, seen.destination)
                    self._seen[key] = self._seen.get(key, False) or seen.encapsulated

    def encapsulated(self, pair: Pair) -> bool | None:
        """Whether requests from source to destination were seen inside IPIP on any uplink.

        None: none was seen, neither so nor plainly. Between pods of one node none is to be
        seen, and the answer is False.
        """
        seen = self._seen.get((pair.source.ip, pair.destination.ip))
        return False if seen is None and pair.path == SAME_NODE else seen
