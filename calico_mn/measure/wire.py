"""What the wire shows: which packets were encapsulated, and what a transfer's headers weigh.

Nothing is deduced from a mode or from a routing table: captures on the nodes' uplinks hold the
packets themselves. An encapsulated one has the pods' addresses in its inner header, a plain one
in its only header.

Between virtual devices, TCP travels uncut (GSO): one packet of up to 64 kB stands for dozens of
segments. What a network card would send of it is computed from its own headers: the payload cut
into pieces of ``gso_size``, every piece with all of the headers.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calico_mn.calico.encapsulation import ENCAPSULATIONS, UPLINK
from calico_mn.errors import ToolError
from calico_mn.kernel.capture import Frame
from calico_mn.kernel.packets import ECHO_REQUEST, ICMP, TCP
from calico_mn.measure.paths import SAME_NODE, Frames, Net, Pair
from calico_mn.packetmatch import CaptureFilter, PacketMatch

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

#: what the outer packets of all encapsulations are
OUTER = tuple(encapsulation.match for encapsulation in ENCAPSULATIONS)
_ECHO_REQUESTS = CaptureFilter((PacketMatch(ICMP, ECHO_REQUEST),), OUTER)
#: a transfer has more payload than this; a connection with less is there to control it
_CONTROL_BYTES = 64 * 1024
_LOOK_S = 0.02


def echo_request(frame: Frame) -> tuple[str, str, bool] | None:
    """An echo request's source and destination, pods' addresses, and whether it is encapsulated.

    None for anything but a whole one.
    """
    packet = frame.packet
    if packet is None or packet.transport is None or (
            packet.transport.protocol, packet.transport.kind) != (ICMP, ECHO_REQUEST):
        return None
    inner = packet.headers[-1]
    return inner.source, inner.destination, packet.encapsulated


class Wire:
    """Captures on uplinks, and what they have shown so far: see :func:`watch`.

    :meth:`drain` must be called now and then: a capture holds a few thousand packets.
    """

    def __init__(self, captures: Sequence[Frames]) -> None:
        self._captures = captures
        self._lag = max((capture.lag_s for capture in captures), default=0.0)
        self._seen: dict[tuple[str, str], bool] = {}

    def drain(self) -> None:
        """Take note of the packets since the last call."""
        for capture in self._captures:
            for frame in capture.read():
                if seen := echo_request(frame):
                    source, destination, encapsulated = seen
                    key = source, destination
                    self._seen[key] = self._seen.get(key, False) or encapsulated

    def encapsulated(self, pair: Pair) -> bool | None:
        """Whether requests from source to destination were seen encapsulated on any uplink.

        None: none was seen, neither so nor plainly, or there are no captures. Between pods of one
        node none is to be seen, and the answer is False.
        """
        key, deadline = (pair.source.ip, pair.destination.ip), time.monotonic() + self._lag
        if pair.path == SAME_NODE and self._captures:
            return self._seen.get(key, False)
        while key not in self._seen and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
            self.drain()
        return self._seen.get(key)


@contextmanager
def watch(net: Net, nodes: Iterable[str]) -> Iterator[Wire]:
    """Capture echo requests on the uplinks of ``nodes`` while the block runs."""
    with ExitStack() as stack:
        yield Wire([stack.enter_context(capture) for node in nodes
                    if (capture := net.capture(node, UPLINK, _ECHO_REQUESTS))])


@dataclass(frozen=True, slots=True)
class TcpPacket:
    """A TCP packet as it was captured, before it is cut.

    ``connection``: both addresses and both ports. ``headers``: bytes of all headers, Ethernet's
    14 and the outer ones included. ``payload`` in bytes; ``gso_size`` 0: not to be cut.
    """

    connection: tuple[str, str, int, int]
    encapsulated: bool
    headers: int
    payload: int
    gso_size: int

    @property
    def count(self) -> int:
        """The segments that go over a wire for it."""
        return -(-self.payload // self.gso_size) if self.gso_size else 1

    @property
    def wire_bytes(self) -> int:
        """The bytes of these segments, headers included."""
        return self.payload + self.count * self.headers


@dataclass(frozen=True, slots=True)
class Segments:
    """One direction of a transfer on a wire: segments with payload, from the source pod.

    Neither counted are segments without payload (SYN, FIN, and the ACKs of the other direction),
    nor connections with less than 64 kB in all (iperf3's control connection). What was sent
    again is counted again. ``wire_bytes`` begin with Ethernet's header of 14 bytes, without
    preamble, frame check sequence and gap. ``largest_segment``: bytes of the largest packet as
    GSO handed it to the device, headers included. ``dropped``: captured packets that were lost. If
    it is not 0, the sums are too low.
    """

    payload_bytes: int
    wire_bytes: int
    largest_segment: int
    dropped: int


def tcp_packet(frame: Frame) -> TcpPacket | None:
    """Read a frame's headers; None for anything but whole headers of TCP, plain or encapsulated.

    The lengths come from the headers themselves and from the frame's. virtio_net_hdr's hdr_len
    would not do: it is the linear part of the packet's memory (virtio_net_hdr_from_skb in Linux'
    include/linux/virtio_net.h). Neither would IPv4's total length, which a packet beyond 64 kB
    cannot have.
    """
    packet = frame.packet
    if packet is None or packet.transport is None or packet.transport.protocol != TCP or (
            not packet.header_bytes):
        return None
    inner, ports = packet.layers[-1].header, packet.transport
    return TcpPacket(
        (inner.source, inner.destination, ports.source_port, ports.destination_port),
        packet.encapsulated, packet.header_bytes, frame.length - packet.header_bytes,
        frame.gso_size)


def add_up(frames: Iterable[Frame], dropped: int = 0) -> Segments:
    """All data of the transfer's connections. Raises ToolError when there is none."""
    by_connection: defaultdict[tuple[str, str, int, int], list[TcpPacket]] = defaultdict(list)
    for frame in frames:
        packet = tcp_packet(frame)
        if packet is not None and packet.payload > 0:
            by_connection[packet.connection].append(packet)
    counted = [packet for packets in by_connection.values()
               if sum(packet.payload for packet in packets) >= _CONTROL_BYTES
               for packet in packets]
    if not counted:
        raise ToolError("no TCP transfer of 64 kB or more was seen on the wire")
    return Segments(
        sum(packet.payload for packet in counted), sum(packet.wire_bytes for packet in counted),
        max(packet.payload + packet.headers for packet in counted), dropped)


def wire_segments(net: CalicoNet, pair: Pair, transfer: Callable[[], object]) -> Segments:
    """Watch the source pod's TCP packets while ``transfer`` runs.

    The place is the uplink of the source's node; between pods of one node, which use no wire, the
    source's cali device. The capture costs CPU time: take speeds elsewhere. Raises ToolError.
    """
    device = net[pair.source.name].device if pair.path == SAME_NODE else UPLINK
    capture = net.capture_bulk(pair.source.node, device, CaptureFilter(
        (PacketMatch(TCP),), OUTER, source=pair.source.ip))
    try:
        transfer()
    finally:
        frames, dropped = capture.finish()
    return add_up(frames, dropped)
