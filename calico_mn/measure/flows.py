"""Steady streams of our own program, :mod:`.endpoint`: which packets were lost, and when.

Streams of numbered packets run between pods, both ways at once. All namespaces of a machine share
CLOCK_MONOTONIC, so each direction's losses are known by themselves and by the time at which the
lost packet was sent.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calico_mn.errors import ToolError
from calico_mn.measure.paths import Pair
from calico_mn.measure.programs import Host, end, ending, endpoint, first_line, start
from calico_mn.measure.readings import Measurement, Reading, metric, values
from calico_mn.text import join

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

SENT = metric("sent", "packets", "packets sent")
LOST = metric("lost", "packets", "packets lost", more_is_better=False)
GAP = metric("gap", "ms", "longest run of lost packets", more_is_better=False)
REORDERED = metric("reordered", "packets", "packets that came out of order",
                   more_is_better=False)
DUPLICATED = metric("duplicated", "packets", "packets that came twice", more_is_better=False)
LOST_BEFORE = metric("lost_before", "packets", "packets lost before the change",
                     more_is_better=False)
LASTING_LOSS = metric("lasting_loss", "share",
                      "packets lost in the second half of the time after it",
                      more_is_better=False)
#: the series of the times of lost packets, in ms since the change
LOST_AT = "lost_at"

#: UDP port of the first stream; the others follow
FIRST_PORT = 5500

_END_TIMEOUT_S = 10.0
#: after all ends run and before the first packet counts: the neighbours are being resolved
_LEAD_S = 0.05


@dataclass(frozen=True, slots=True)
class Flow:
    """One direction: when each packet was sent (CLOCK_MONOTONIC, ns), and the numbers that came.

    A packet's number is its place in ``sent``; ``arrived`` is in order of arrival.
    """

    sent: tuple[int, ...]
    arrived: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the packets that were sent in a window of time.

    ``reordered`` ones came after one with a higher number (RFC 4737, 3.3); ``duplicated`` counts
    copies beyond the first (RFC 5560). ``lost_at`` says when each lost packet was sent, in ms
    since the window began. ``gap`` is the longest time in ms during which every packet was lost:
    from the sending of the first to that of the next one that arrived, or to the window's end.
    """

    sent: int
    reordered: int
    duplicated: int
    lost_at: tuple[float, ...]
    gap: float

    @property
    def lost(self) -> int:
        """How many packets never came."""
        return len(self.lost_at)


def tally(flow: Flow, begin: int, until: int) -> Tally:
    """The packets sent from ``begin`` on and before ``until``; both CLOCK_MONOTONIC, ns."""
    window = [number for number, when in enumerate(flow.sent) if begin <= when < until]
    inside = range(window[0], window[-1] + 1) if window else range(0)
    seen: set[int] = set()
    highest = -1
    reordered = duplicated = 0
    for number in flow.arrived:
        if number in seen:
            duplicated += number in inside
            continue
        reordered += number in inside and number < highest
        highest = max(highest, number)
        seen.add(number)
    gap, since = 0, None
    for number in window:
        if number in seen:
            since = None
            continue
        since = flow.sent[number] if since is None else since
        gap = max(gap, (flow.sent[number + 1] if number + 1 in inside else until) - since)
    lost_at = tuple(_ms(flow.sent[number] - begin) for number in window if number not in seen)
    return Tally(len(window), reordered, duplicated, lost_at, _ms(gap))


def losses(flow: Flow, began: int, change: int, until: int) -> Measurement:
    """A flow before and after a ``change``; all three CLOCK_MONOTONIC, ns."""
    before, after = tally(flow, began, change), tally(flow, change, until)
    late = tally(flow, (change + until) // 2, until)
    return Measurement(
        {SENT: after.sent, LOST: after.lost, GAP: after.gap, REORDERED: after.reordered,
         DUPLICATED: after.duplicated, LOST_BEFORE: before.lost,
         LASTING_LOSS: round(late.lost / late.sent, 4) if late.sent else None},
        {LOST_AT: after.lost_at})


def _ms(ns: int) -> float:
    return round(ns / 1e6, 3)


@dataclass(frozen=True, slots=True)
class _End:
    """What sends in a direction, and takes what comes back from the other end."""

    host: Host
    process: subprocess.Popen[str]


class Streams:
    """Running streams; :meth:`finish` ends them.

    ``began`` is the CLOCK_MONOTONIC time in ns from which on packets count: all ends were up.
    """

    def __init__(self, ends: Mapping[Pair, _End]) -> None:
        self._ends = ends
        self.began = time.monotonic_ns()

    def finish(self) -> dict[Pair, Flow]:
        """The flows, of each pair and of its reverse. Raises ToolError when an end failed.

        Packets that were sent after the call are of no use: some ends had stopped by then.
        """
        for each in self._ends.values():
            each.process.send_signal(signal.SIGTERM)
        answers = {pair: _answer(each) for pair, each in self._ends.items()}
        return {pair: Flow(answer["sent"], answers[reverse(pair)]["arrived"])
                for pair, answer in answers.items()}


def reverse(pair: Pair) -> Pair:
    """The pair in the other direction."""
    return Pair(pair.destination, pair.source)


@contextmanager
def streams(net: CalicoNet, pairs: Sequence[Pair], *, rate: float, longest: float
            ) -> Iterator[Streams]:
    """Streams of ``rate`` packets a second in both directions of each pair, while the block runs.

    They end with the block, and after ``longest`` seconds in any case. Raises ToolError.
    """
    ends: dict[Pair, _End] = {}
    try:
        for port, pair in enumerate(pairs, FIRST_PORT):
            for way in (pair, reverse(pair)):
                ends[way] = _start(net, way, port, rate, longest)
        for each in ends.values():
            first_line(each.host, each.process)
        time.sleep(_LEAD_S)
        yield Streams(ends)
    finally:
        for each in ends.values():
            end(each.process)


@contextmanager
def losses_around(net: CalicoNet, pairs: Sequence[Pair], *, rate: float, before_s: float,
                  longest: float) -> Iterator[dict[Pair, Measurement]]:
    """Streams around a change, which the block makes and whose effect it waits for.

    They run ``before_s`` seconds before the block, and to its end. Then there is what each pair and
    its reverse lost (:func:`losses`). Raises ToolError; other arguments as of :func:`streams`.
    """
    lost: dict[Pair, Measurement] = {}
    with streams(net, pairs, rate=rate, longest=longest) as running:
        time.sleep(before_s)
        change = time.monotonic_ns()
        yield lost
        until = time.monotonic_ns()
        for pair, flow in running.finish().items():
            lost[pair] = losses(flow, running.began, change, until)


def order(readings: Iterable[Reading], rate: float) -> str:
    """Whether streams of ``rate`` packets a second lost some before their change, and whether any
    came out of order or twice, in words.
    """
    readings = list(readings)
    sent = sum(values(readings, SENT))
    odd = [f"{count:g} {what}" for metric, what in (
        (LOST_BEFORE, "lost before its change"), (REORDERED, "reordered"),
        (DUPLICATED, "duplicated")) for count in [sum(values(readings, metric))]]
    if any(not text.startswith("0 ") for text in odd):
        return f"Of {sent:,.0f} packets, {join(odd)}."
    return (f"No packet was lost before its change, none came out of order or twice ({sent:,.0f}"
            f" packets, {rate:g} a second in each direction).")


def resolution(rate: float) -> str:
    """How finely streams of ``rate`` packets a second show losses, in words."""
    return (f"Losses are seen in steps of {1000 / rate:g} ms, the time between two packets of a"
            " stream; a shorter one can pass unseen.")


def _start(net: CalicoNet, pair: Pair, port: int, rate: float, longest: float) -> _End:
    host = net[pair.source.name]
    return _End(host, start(host, endpoint(
        "stream", pair.source.ip, pair.destination.ip, str(port), f"{rate:g}", f"{longest:g}")))


def _answer(end: _End) -> dict[str, tuple[int, ...]]:
    try:
        out, err = end.process.communicate(timeout=_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise ToolError(f"{end.host.name}: a stream did not end within {_END_TIMEOUT_S:g} s"
                        ) from None
    if end.process.returncode:
        reason = err.strip() or ending(end.process.returncode)
        raise ToolError(f"{end.host.name}: a stream failed: {reason}")
    try:
        answer: dict[str, Any] = json.loads(out)
        return {name: tuple(map(int, answer[name])) for name in ("sent", "arrived")}
    except (ValueError, KeyError, TypeError):
        raise ToolError(f"{end.host.name}: unexpected answer of a stream: {out[:80]!r}") from None
