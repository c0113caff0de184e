"""UDP datagrams, sent as fast as the client can: how many arrive, and what they cost.

In go two pods of a running cluster; out come measurements.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from calico_mn.errors import ToolError
from calico_mn.measure import iperf
from calico_mn.measure.iperf import cpu_seconds, load, timed
from calico_mn.measure.programs import Host, ending, endpoint, excerpt, run, serving
from calico_mn.measure.readings import Column, Measurement, metric
from calico_mn.measure.resources import PROGRAMS_PACKET, CpuMeter

PACKETS = metric("packets", "1/s", "UDP packets received", more_is_better=True,
                 column=Column("delay", 5, "UDP {size} B kpps", digits=1, scale=1e-3))
PACKETS_SENT = metric("packets_sent", "1/s", "UDP packets sent")
LOSS = metric("loss", "share", "UDP packets lost", more_is_better=False,
              column=Column("delay", 5, "{size} B lost %", digits=1, scale=100))
NEW_PACKET = metric("new_packet", "us", "processor time per packet of a new flow",
                    more_is_better=False)

#: bytes of payload: what iperf3 writes into each datagram, and the most that IPv4 allows
SMALLEST, LARGEST = 16, 65507

_ONE_WAY, _GRACE_S = "one_way.py", 15.0
_PROBE_DATAGRAMS = 2000
#: for a count of datagrams, by how much the probe's rate may have been too high
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Datagrams:
    """Datagrams with ``size`` bytes of UDP payload each.

    ``sent_per_s`` and ``received_per_s`` each by their own end's clock; ``loss`` is the share of
    the sent ones that the receiving program did not read, 0 to 1; ``mbit_per_s`` the payload
    that it did. ``cpu_packet_us``: CPU time of both programs by the packets sent, see
    :func:`.iperf.cpu_seconds`. ``sent``: how many were sent. ``jitter_ms``: the receiver's, as
    in RFC 3550; None where iperf3 does not report it.
    """

    size: int
    sent_per_s: float
    received_per_s: float
    loss: float
    mbit_per_s: float
    cpu_packet_us: float | None = field(default=None, compare=False)
    sent: float = field(default=0, compare=False)
    jitter_ms: float | None = field(default=None, compare=False)


def datagrams(client: Host, server: iperf.Server, *, size: int, duration: float) -> Datagrams:
    """Send datagrams for ``duration`` seconds from ``client`` to ``server``, without a pause.

    iperf3 counts whole seconds only. Any other duration becomes a number of datagrams: what the
    rate of a short probe sends in that time; or where iperf3 does not time amounts, the next
    whole second, see :func:`.iperf.timed`. The sender is not held back by anything, so a
    loss says that the receiver (its socket buffer above all) is the slower of the two.
    Raises ToolError.
    """
    if not SMALLEST <= size <= LARGEST:
        raise ToolError(f"iperf3 sends datagrams of {SMALLEST} to {LARGEST} bytes, not of {size}")
    taken = timed(client, duration)
    if taken == int(taken):
        return _send(client, server, size, ["-t", str(int(taken))], taken)
    probe = _send(client, server, size, ["-k", str(_PROBE_DATAGRAMS)], _PATIENCE)
    count = max(1, round(probe.sent_per_s * duration))
    return _send(client, server, size, ["-k", str(count)], duration * _PATIENCE)


def rates(client: Host, server: iperf.Server, *, size: int, duration: float) -> Measurement:
    """Datagrams as fast as the client can."""
    sent = datagrams(client, server, size=size, duration=duration)
    return Measurement({PACKETS: sent.received_per_s, PACKETS_SENT: sent.sent_per_s,
                        LOSS: round(sent.loss, 5)})


def cost(client: Host, server: iperf.Server, *, size: int, duration: float) -> Measurement:
    """UDP as fast as the client can, and the CPU time of each datagram sent.

    A packet that is lost in the receiver's full socket buffer has crossed the whole path.
    """
    with CpuMeter() as meter:
        sent = datagrams(client, server, size=size, duration=duration)
    return Measurement({PROGRAMS_PACKET: sent.cpu_packet_us, **meter.cost.by_packet(sent.sent),
                        PACKETS: sent.received_per_s, PACKETS_SENT: sent.sent_per_s,
                        LOSS: round(sent.loss, 5)})


def one_way(client: Host, server: iperf.Server, *, duration: float) -> Measurement:
    """What a packet costs that no connection accepts: conntrack calls a flow new until its answer.

    One socket sends, and the receiving one neither reads nor answers. The time is the sender's,
    softirqs included: those do a packet's whole way, up to the socket's full buffer. Raises
    ToolError.
    """
    life = duration + _GRACE_S
    with serving(server, "hold", server.ip, f"{life:g}", program=_ONE_WAY) as (_, port):
        finished = run(client, endpoint("send", server.ip, port, f"{duration:g}",
                                        program=_ONE_WAY), timeout=life)
    try:
        count, seconds = map(float, finished.out.split())
        return Measurement({NEW_PACKET: round(seconds / count * 1e6, 4)})
    except (ValueError, ZeroDivisionError):
        reason = excerpt(finished.err) or ending(finished.status)
        raise ToolError(f"{client.name} to {server.name}: {_ONE_WAY}: {reason}") from None


def parse(output: str) -> Datagrams:
    """Read iperf3's JSON (client's side). Raises ToolError with its error, or with ours.

    What was received are the receiver's bytes by the size, what was sent the sender's packets.
    ``lost_packets`` is not used: to the receiver, datagrams lost after the last one that
    arrived do not exist, and one that comes late counts as lost in some versions. ``end.sum`` has
    the sender's bytes and the receiver's packets; iperf3 before 3.11 has nothing else, and then
    its packets less the lost ones are what arrived.
    """
    answer = load(output)
    try:
        size = int(answer["start"]["test_start"]["blksize"])
        end = answer["end"]
        if "sum_received" in end and "sum_sent" in end:
            received_by = end["sum_received"]
            sent_by, received = end["sum_sent"], int(received_by["bytes"]) / size
        else:
            sent_by = received_by = end["sum"]
            received = int(sent_by["packets"]) - int(sent_by["lost_packets"])
        sent = int(sent_by["bytes"]) / size
        cpu = cpu_seconds(answer, float(sent_by["seconds"]))
        return Datagrams(size, _rate(sent, sent_by), _rate(received, received_by),
                         max(0.0, 1 - received / sent),
                         round(_rate(received, received_by) * size * 8 / 1e6, 3),
                         None if cpu is None else round(cpu / sent * 1e6, 4), sent,
                         received_by.get("jitter_ms"))
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError):
        raise ToolError("iperf3's answer has no start.test_start.blksize, or no end.sum_sent and"
                        " end.sum_received with bytes and seconds, or nothing was sent"
                        ) from None


def _rate(count: float, total: dict[str, Any]) -> float:
    return round(count / float(total["seconds"]), 3)


def _send(client: Host, server: iperf.Server, size: int, limit: list[str], expected: float
          ) -> Datagrams:
    command = ["iperf3", "-c", server.ip, "-J", "-i", "0", "--connect-timeout",
               str(iperf.CONNECT_TIMEOUT_MS), "-u", "-b", "0", "-l", str(size), *limit]
    return iperf.exchange(client, server, command, expected, parse)
