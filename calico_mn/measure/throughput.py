"""One throughput between two places, in a line: what ``calico-mn iperf`` and ``net.iperf`` print.

    two nodes of a cluster --> one TCP SYN, seen on the uplinks --> iperf3 --> Throughput

The SYN shows whether the other end is reachable, and whether packets between the two are
encapsulated. No capture runs beside the transfer, which it would slow down.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calico_mn.calico.encapsulation import ENCAPSULATIONS, UPLINK
from calico_mn.errors import ClusterError, ToolError
from calico_mn.kernel.packets import TCP
from calico_mn.measure import iperf, udp
from calico_mn.measure.wire import OUTER
from calico_mn.packetmatch import CaptureFilter, PacketMatch
from calico_mn.text import number, percent, plural

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet
    from calico_mn.emulation.node import NamespaceNode

#: iperf3's own port
PORT = 5201
_CONNECT_S = iperf.CONNECT_TIMEOUT_MS / 1000
_LONGEST_S, _MOST_STREAMS = 3600, 128
NONE = "no"
_RATE = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?[KMGkmg]?")


@dataclass(frozen=True, slots=True)
class Throughput:
    """What the receiver got: goodput in Mbit/s of payload, over so many seconds.

    ``source`` sends the payload, and ``destination`` receives it. ``retransmits`` counts segments
    of TCP; of UDP, ``loss`` is a share from 0 to 1 and ``jitter_ms`` that of RFC 3550. Each is None
    with the other protocol. ``encapsulation`` is ``IPIP``, ``VXLAN`` or ``no``; None where no
    uplink saw a packet although the two are not on one node.
    """

    source: str
    destination: str
    protocol: str
    seconds: int
    streams: int
    mbit_per_s: float
    retransmits: int | None
    loss: float | None
    jitter_ms: float | None
    encapsulation: str | None

    def __str__(self) -> str:
        rate = (f"{number(self.mbit_per_s / 1000)} Gbit/s" if self.mbit_per_s >= 1000 else
                f"{number(self.mbit_per_s)} Mbit/s")
        parts = [rate]
        if self.retransmits is not None:
            parts.append(plural(self.retransmits, "retransmit"))
        if self.loss is not None:
            parts.append(f"{percent(self.loss, 1)} lost")
        if self.jitter_ms is not None:
            parts.append(f"jitter {number(self.jitter_ms, 2)} ms")
        parts.append("encapsulation not seen" if self.encapsulation is None else
                     "not encapsulated" if self.encapsulation == NONE else
                     f"inside {self.encapsulation}")
        return f"{self.source} -> {self.destination}, {self.protocol}: {', '.join(parts)}"


def throughput(net: CalicoNet, client: NamespaceNode, server: NamespaceNode, *, seconds: int = 5,
               streams: int = 1, use_udp: bool = False, rate: str = "", reverse: bool = False,
               tick: Callable[[float], None] | None = None,
               lock: Callable[[], AbstractContextManager[None]] = nullcontext) -> Throughput:
    """Run iperf3 between two nodes, with a server of its own that is ended in every case.

    ``rate`` is iperf3's ``-b``, for each stream; of UDP it is 10 Mbit/s by default, and ``0`` means
    as fast as the sender can. ``reverse`` lets the server send. ``tick`` is called about every
    second with the seconds gone by; what it raises ends the transfer. ``lock`` is held only
    while the cluster itself is used. Raises ClusterError for what cannot be asked for, and
    ToolError within a few seconds where the other end does not answer.
    """
    if not (1 <= seconds <= _LONGEST_S and 1 <= streams <= _MOST_STREAMS):
        raise ClusterError(f"iperf sends for 1 to {_LONGEST_S} seconds, in 1 to {_MOST_STREAMS}"
                           " streams")
    if rate and not _RATE.fullmatch(rate):
        raise ClusterError(f"a rate is bits/s, such as 500K, 100M or 1G, not {rate[:40]!r}")
    if client is server:
        raise ClusterError(f"iperf needs two places, and {client.name} is one")
    with lock():
        address = str(server.IP() or "")
        if not address:
            raise ClusterError(f"{server.name} has no address")
        seen = _encapsulation(net, client, server, address, reverse)
    more = [*(["-P", str(streams)] if streams != 1 else []), *(["-R"] if reverse else [])]
    if use_udp or rate:
        more += [*(["-u"] if use_udp else []), "-b", rate or "10M"]
    command = iperf.client_argv(address, seconds=seconds, more=more)
    began = time.monotonic()
    output = iperf.answer(client, server, command, seconds, tick and (
        lambda: tick(time.monotonic() - began)))
    source, destination = (server.name, client.name) if reverse else (client.name, server.name)
    try:
        if use_udp:
            sent = udp.parse(output)
            return Throughput(source, destination, "UDP", seconds, streams, sent.mbit_per_s, None,
                              sent.loss, sent.jitter_ms, seen)
        transfer = iperf.parse(output)
    except ToolError as error:
        raise ToolError(f"{client.name} to {server.name}: {error}") from None
    return Throughput(source, destination, "TCP", seconds, streams, transfer.mbit_per_s,
                      transfer.retransmits, None, None, seen)


def _encapsulation(net: CalicoNet, client: NamespaceNode, server: NamespaceNode, address: str,
                   reverse: bool) -> str | None:
    """In what packets to or, in ``reverse``, from the server travel; see :class:`Throughput`.

    Nothing listens, and the server's host answers the SYN with a reset. Raises ToolError.
    """
    nodes = {str(getattr(end, "node", end.name)) for end in (client, server)}
    with ExitStack() as stack:
        captures = [stack.enter_context(net.capture(node, UPLINK, CaptureFilter(
            (PacketMatch(TCP, port=PORT),), OUTER))) for node in sorted(
                nodes & set(net.cluster.nodes))]
        with _probe(net, client) as probe:
            try:
                probe.connect((address, PORT))
            except ConnectionRefusedError:
                pass
            except OSError as error:
                why = f"no answer from TCP port {PORT} within {_CONNECT_S:g} s" if isinstance(
                    error, TimeoutError) else (error.strerror or str(error)).lower()
                raise ToolError(
                    f"{client.name} does not reach {server.name} ({address}): {why}; 'calico-mn"
                    f" trace {client.name} {server.name} --protocol tcp --port {PORT}' shows where"
                    " packets are lost") from None
        packets = [packet for capture in captures for frame in capture.read()
                   if (packet := frame.packet) is not None and packet.transport is not None]
    of_probe = [packet for packet in packets if packet.transport
              and packet.transport.source_port == packet.transport.destination_port
              and address == (packet.headers[-1].source if reverse else
                              packet.headers[-1].destination)]
    for packet in of_probe:
        if packet.encapsulated:
            return next(e.name for e in ENCAPSULATIONS
                        if e.match.protocol == packet.headers[0].protocol)
    return NONE if of_probe or len(nodes) == 1 else None


@contextmanager
def _probe(net: CalicoNet, client: NamespaceNode) -> Iterator[socket.socket]:
    """A TCP socket in the client's namespace, from iperf3's port, so that a capture knows both
    directions by it.
    """
    with net.inside(client.name, socket.socket) as probe:
        probe.settimeout(_CONNECT_S)
        try:
            # Also where the pod was iperf3's server less than a minute ago (TIME_WAIT).
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", PORT))
        except OSError as error:
            raise ToolError(f"{client.name}: port {PORT} is taken: {error.strerror}") from None
        yield probe
