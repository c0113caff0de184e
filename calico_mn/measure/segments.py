"""What a TCP transfer puts on the wire: segments, and the bytes of their headers.

Between virtual devices, packets travel uncut (GSO): one of up to 64 kB stands for dozens of
segments. What a network card would send of it is computed from its own headers here: the payload
cut into pieces of ``gso_size``, every piece with all of the headers.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calico_mn.errors import ToolError
from calico_mn.kernel.bulk_capture import CapturedHeader
from calico_mn.measure import iperf
from calico_mn.measure.paths import SAME_NODE, Pair
from calico_mn.measure.physics import ETHERNET
from calico_mn.measure.wire import IPIP, UPLINK

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

_IPV4_ETHERTYPE = 0x0800
_TCP = 6
_SHORTEST_HEADER = 20
#: a transfer has more payload than this; a connection with less is there to control it
_CONTROL_BYTES = 64 * 1024
_EXPECTED_S = 60.0


@dataclass(frozen=True, slots=True)
class Packet:
    """A TCP packet as it was captured.

    ``connection``: both addresses and both ports. ``headers``: bytes of all headers, Ethernet's
    14 and the outer IPv4 included. ``payload`` in bytes; ``gso_size`` 0: not to be cut.
    """

    connection: tuple[bytes, bytes, int, int]
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
    preamble, frame check sequence and gap. ``mss``: payload of the largest segment.
    ``full_segment``: its bytes on the wire. ``largest_segment``: bytes of the largest packet as
    GSO handed it to the device, headers included. ``encapsulated``: all were inside IPIP, or
    none; None for some of each. ``dropped``: captured packets that were lost. If it is not 0,
    the sums are too low.
    """

    payload_bytes: int
    wire_bytes: int
    wire_packets: int
    mss: int
    full_segment: int
    largest_segment: int
    encapsulated: bool | None
    dropped: int

    @property
    def exact(self) -> bool:
        """Whether nothing is missing."""
        return self.dropped == 0

    @property
    def wire_bytes_per_payload_byte(self) -> float:
        """Over the whole transfer, with the few segments that were not full."""
        return self.wire_bytes / self.payload_bytes

    @property
    def full_segment_ratio(self) -> float:
        """Of a full segment alone: what header sizes say, such as 1494/1428 or 1514/1428."""
        return self.full_segment / self.mss


def packet(header: CapturedHeader) -> Packet | None:
    """Read a frame's headers; None for anything but whole headers of TCP, plain or inside IPIP.

    The lengths come from the headers themselves and from the frame's. virtio_net_hdr's hdr_len
    would not do: it is the linear part of the packet's memory (virtio_net_hdr_from_skb in Linux'
    include/linux/virtio_net.h). Neither would IPv4's total length, which a packet beyond 64 kB
    cannot have.
    """
    data, at = header.data, ETHERNET
    if len(data) < at or struct.unpack_from("!H", data, at - 2)[0] != _IPV4_ETHERTYPE:
        return None
    ip = _ipv4(data, at)
    if ip is None:
        return None
    protocol, at = ip
    encapsulated = protocol == IPIP
    start = ETHERNET
    if encapsulated:
        start, ip = at, _ipv4(data, at)
        if ip is None:
            return None
        protocol, at = ip
    if protocol != _TCP or len(data) < at + _SHORTEST_HEADER:
        return None
    source, destination = struct.unpack_from("!HH", data, at)
    headers = at + (data[at + 12] >> 4) * 4
    return Packet((data[start + 12:start + 16], data[start + 16:start + 20], source, destination),
                  encapsulated, headers, header.length - headers, header.gso_size)


def _ipv4(data: bytes, at: int) -> tuple[int, int] | None:
    """(protocol, where the header ends); None if it is not there as a whole."""
    if len(data) < at + _SHORTEST_HEADER or data[at] >> 4 != 4:
        return None
    return data[at + 9], at + (data[at] & 15) * 4


def add_up(headers: Iterable[CapturedHeader], dropped: int = 0) -> Segments:
    """All data of the transfer's connections. Raises ToolError when there is none."""
    by_connection: defaultdict[tuple[bytes, bytes, int, int], list[Packet]] = defaultdict(list)
    for header in headers:
        found = packet(header)
        if found is not None and found.payload > 0:
            by_connection[found.connection].append(found)
    counted = [one for packets in by_connection.values()
               if sum(one.payload for one in packets) >= _CONTROL_BYTES for one in packets]
    if not counted:
        raise ToolError("no TCP transfer of 64 kB or more was seen on the wire")
    largest = max(counted, key=lambda one: min(one.payload, one.gso_size or one.payload))
    mss = min(largest.payload, largest.gso_size or largest.payload)
    kinds = {one.encapsulated for one in counted}
    return Segments(
        sum(one.payload for one in counted), sum(one.wire_bytes for one in counted),
        sum(one.count for one in counted), mss, mss + largest.headers,
        max(one.payload + one.headers for one in counted),
        kinds.pop() if len(kinds) == 1 else None, dropped)


def wire_segments(net: CalicoNet, pair: Pair, transfer: Callable[[], object] | int) -> Segments:
    """Watch the source pod's TCP packets while ``transfer`` runs.

    It is called, or it is an amount in bytes, which iperf3 then sends from the pair's source to
    its destination. The place is the uplink of the source's node; between pods of one node, which
    use no wire, the source's cali device. The capture costs CPU time: take speeds elsewhere. An
    amount is what iperf3 writes; it stops with some of that still unsent, so a little less may be
    seen.
    Raises ToolError.
    """
    client, server = net[pair.source.name], net[pair.destination.name]
    device = client.device if pair.path == SAME_NODE else UPLINK
    capture = net.runtime.capture_bulk(pair.source.node, device, pair.source.ip)
    try:
        if callable(transfer):
            transfer()
        else:
            iperf.parse(iperf.answer(
                client, server, iperf.client_argv(server.ip, amount=transfer), _EXPECTED_S))
    finally:
        headers, dropped = capture.finish()
    return add_up(headers, dropped)
