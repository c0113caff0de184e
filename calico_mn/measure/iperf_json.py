"""What iperf3 says of a transfer: its JSON, read on the client's side. Pure.

Running iperf3 is :mod:`calico_mn.measure.iperf`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from calico_mn.errors import ToolError
from calico_mn.measure.physics import IPV4, TCP, mss

#: with --bidir, iperf3 has each sum once more for the direction from server to client
_DIRECTIONS = ("", "_bidir_reverse")


@dataclass(frozen=True, slots=True)
class Transfer:
    """What the receiver got: goodput in Mbit/s of TCP payload, bytes, and the time in s.

    Streams are summed up, and so are both directions where both were asked for.
    ``retransmits`` counts segments; None where iperf3 cannot tell. ``mss``: bytes of payload in
    a full segment, see :func:`segment_size`. ``cpu_s``: see :func:`cpu_seconds`.
    """

    mbit_per_s: float
    bytes: int
    seconds: float
    retransmits: int | None
    mss: int | None = None
    cpu_s: float | None = field(default=None, compare=False)


def load(output: str) -> dict[str, Any]:
    """The answer as iperf3 wrote it. Raises ToolError with its error, or with ours."""
    try:
        answer = json.loads(output)
    except ValueError:
        raise ToolError(f"iperf3 answered something that is not JSON: {output[:80]!r}") from None
    if not isinstance(answer, dict):
        raise ToolError(f"iperf3 answered no JSON object: {output[:80]!r}")
    if "error" in answer:
        raise ToolError(f"iperf3: {answer['error']}")
    return answer


def parse(output: str) -> Transfer:
    """Read the answer to a TCP transfer. Raises ToolError with iperf3's error, or with ours."""
    answer = load(output)
    try:
        end = answer["end"]
        received = [end[f"sum_received{way}"] for way in _DIRECTIONS
                    if not way or f"sum_received{way}" in end]
        sent = [end.get(f"sum_sent{way}", {}) for way in _DIRECTIONS[:len(received)]]
        retransmits = [total.get("retransmits") for total in sent]
        transfer = Transfer(
            round(sum(float(total["bits_per_second"]) for total in received) / 1e6, 3),
            sum(int(total["bytes"]) for total in received),
            max(float(total["seconds"]) for total in received),
            None if None in retransmits else sum(int(number) for number in retransmits),
            segment_size(answer),
            cpu_seconds(answer, max(float(total["seconds"]) for total in received)))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ToolError("iperf3's answer has no end.sum_received with bytes, seconds and"
                        " bits_per_second") from None
    if transfer.bytes <= 0:
        raise ToolError("iperf3: nothing arrived")
    return transfer


def cpu_seconds(answer: dict[str, Any], seconds: float) -> float | None:
    """CPU time of both iperf3s in a transfer of so many seconds; None where it is not told.

    ``end.cpu_utilization_percent`` is getrusage(2) by the clock from the transfer's begin to its
    end (cpu_util in src/iperf_util.c). The kernel's work for a program counts, and so do softirqs
    that run in its name, as they do after each packet sent on a veth unless the kernel accounts
    for them apart (CONFIG_IRQ_TIME_ACCOUNTING). What ksoftirqd does, does not.
    """
    found = answer.get("end", {}).get("cpu_utilization_percent", {})
    try:
        return float(found["host_total"] + found["remote_total"]) / 100 * seconds
    except (KeyError, TypeError):
        return None


def segment_size(answer: dict[str, Any]) -> int | None:
    """Bytes of payload in a full segment of the transfer; None where iperf3 does not tell.

    ``start.tcp_mss_default`` is TCP_MAXSEG of iperf3's *control* connection, asked for when that
    has just been set up (iperf_connect in src/iperf_client_api.c of iperf3 3.1 to 3.18): what a
    packet carries after TCP's options (1428 with an MTU of 1480), and not what ICMP may tell
    later. Where the path turns out to be narrower than the pod's MTU, it is 20 too many in the
    first transfer. So ``pmtu`` of the sending streams' TCP_INFO, which is taken at the end, has
    the last word when the two contradict each other; options are taken to be timestamps then.
    A transfer in reverse has no ``pmtu``: its sender is at the other end.
    """
    size = answer.get("start", {}).get("tcp_mss_default")
    if not isinstance(size, int) or size <= 0:
        return None
    intervals = answer.get("intervals") or [{}]
    widths = [stream["pmtu"] for stream in intervals[-1].get("streams", ())
              if isinstance(stream.get("pmtu"), int) and stream["pmtu"] > 0]
    if widths and size > min(widths) - IPV4 - TCP:
        return mss(min(widths))
    return size
