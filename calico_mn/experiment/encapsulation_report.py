"""The experiment on the cost of encapsulation: from its readings to its report."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from calico_mn.experiment import common
from calico_mn.experiment.encapsulation_cost import ALWAYS, AS_THEY_ARE, MODES, NEVER, OFF
from calico_mn.experiment.run import Run
from calico_mn.measure.fits import line
from calico_mn.measure.readings import Reading
from calico_mn.measure.statistics import (
    MORE,
    NO_DIFFERENCE,
    TOO_FEW,
    Difference,
    judge,
    paired_differences,
)
from calico_mn.report.document import BAD, PLAIN_TONE, Cell, Document, Figure, Table
from calico_mn.report.plots.lines import Line, lines

COST = "programs_packet"
_PARTS = ("cpu_packet_user", "cpu_packet_system", "cpu_packet_softirq", "cpu_packet")


@dataclass(frozen=True)
class Case:
    """Always and Never on one back end, for one size (0: TCP) and one level of offloads."""

    tunnel: str
    size: int
    offloads: str
    readings: tuple[Reading, ...]

    @property
    def name(self) -> str:
        """What was sent, in words."""
        return f"UDP {self.size} B" if self.size else f"TCP, offloads {self.offloads}"

    def values(self, mode: str, metric: str = COST) -> dict[int, float]:
        """Repeat -> value."""
        return {r.repeat: float(value) for r in self.readings if r.setting["mode"] == mode
                for value in [r.values.get(metric)] if isinstance(value, (int, float))}

    def median(self, mode: str, metric: str = COST) -> float | None:
        """The median over repeats; None without a value."""
        found = self.values(mode, metric)
        return statistics.median(found.values()) if found else None

    def difference(self, metric: str = COST) -> Difference | None:
        """Always less Never, repeat by repeat."""
        found = paired_differences(self.values(ALWAYS, metric), self.values(NEVER, metric))
        return judge(found) if found else None


def cases(readings: Sequence[Reading]) -> tuple[Case, ...]:
    """Every case that was measured: by back end, UDP by size, then TCP."""
    groups: dict[tuple[str, int, str], list[Reading]] = {}
    for r in readings:
        key = (str(r.setting["tunnel"]), int(str(r.setting["size"])), str(r.setting["offloads"]))
        groups.setdefault(key, []).append(r)
    order = sorted(groups, key=lambda key: (key[0], key[1] or 1 << 20, key[2] == OFF))
    return tuple(Case(*key, tuple(groups[key])) for key in order)


def report(run: Run) -> Document:
    """What people read."""
    found = cases(run.log.readings)
    tunnels = tuple(dict.fromkeys(case.tunnel for case in found))
    return common.document(
        run, title="What the outer header costs",
        question="How many microseconds of CPU time does encapsulation add to a packet, does that"
                 " depend on its size, and what do segmentation offloads change?",
        method=_METHOD, findings=[*(text for tunnel in tunnels for text in _findings(
            [case for case in found if case.tunnel == tunnel]))],
        tables=(_costs(found), _speeds(found)), data=(_machine(found),),
        figures=tuple(_figure([c for c in found if c.tunnel == tunnel]) for tunnel in tunnels
                      if any(c.size and c.values(NEVER) for c in found if c.tunnel == tunnel)),
        caveats=_caveats(run))


def _costs(found: Sequence[Case]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    tones = []
    for case in found:
        difference = case.difference()
        rows.append((case.tunnel, case.name, *(_rounded(case.median(mode)) for mode in
                                               (NEVER, ALWAYS)), *_shown(difference)))
        tones.append(BAD if difference and difference.verdict == MORE else PLAIN_TONE)
    return Table(
        "costs", "CPU time of both programs, us a packet (medians)",
        ("tunl0", "what", NEVER, ALWAYS, "difference", "interval", "verdict"), tuple(rows),
        note="The difference is the median of the paired differences, Always less Never.",
        tones=tuple(tones))


def _shown(found: Difference | None) -> tuple[Cell, ...]:
    if found is None:
        return None, None, "not measured"
    interval = found.interval
    between = f"{interval.low:+.2f} to {interval.high:+.2f}" if interval else "-"
    return f"{found.median:+.2f}", between, found.verdict


def _speeds(found: Sequence[Case]) -> Table:
    return Table(
        "speeds", "Packets a second received (medians)",
        ("tunl0", "what", NEVER, ALWAYS, "lost, Never %", "lost, Always %"),
        tuple((case.tunnel, case.name,
               *(_rounded(case.median(mode, "packets"), 0) for mode in (NEVER, ALWAYS)),
               *(_percent(case.median(mode, "loss")) for mode in (NEVER, ALWAYS)))
              for case in found),
        note="For TCP, full segments. Nothing holds a UDP sender back: what is lost is lost in the"
             " receiver's socket buffer, at the end of its way.")


def _machine(found: Sequence[Case]) -> Table:
    return Table(
        "machine", "CPU time of the whole machine, us a packet (medians)",
        ("tunl0", "what", "mode", *_PARTS),
        tuple((case.tunnel, case.name, mode, *(_rounded(case.median(mode, part))
                                               for part in _PARTS))
              for case in found for mode in MODES))


def _figure(found: Sequence[Case]) -> Figure:
    series = [Line(mode, tuple((float(case.size), tuple(case.values(mode).values()))
                               for case in found if case.size and case.values(mode)))
              for mode in MODES]
    return lines(f"cost-{found[0].tunnel}", f"CPU time of a UDP packet, {found[0].tunnel} tunl0",
                 "CPU time", "\u00b5s", "UDP payload, bytes", series)


def _findings(found: Sequence[Case]) -> Iterator[str]:
    """Of one back end."""
    tunnel = found[0].tunnel
    parts = [f"{case.name}: {_worded(difference)}" for case in found
             for difference in [case.difference()] if difference]
    if parts:
        yield f"{tunnel} tunl0, Always less Never, a packet: " + "; ".join(parts) + "."
    yield from _fitted(tunnel, [case for case in found if case.size])
    levels = {case.offloads: case.difference() for case in found if not case.size}
    on, off = levels.get(AS_THEY_ARE), levels.get(OFF)
    if on and off and MORE in (on.verdict, off.verdict):
        yield (f"{tunnel} tunl0, TCP: a segment costs Always {_worded(on)} with offloads, and"
               f" {_worded(off)} without. With them, one header is made for a packet of"
               " up to 64 kB, which is dozens of segments.")


def _worded(found: Difference) -> str:
    text = f"{found.median:+.2f} us"
    if found.interval is None or found.verdict == TOO_FEW:
        return f"{text} ({TOO_FEW})"
    text += f" [{found.interval.low:+.2f} to {found.interval.high:+.2f}]"
    return f"{text}, {NO_DIFFERENCE}" if found.verdict == NO_DIFFERENCE else text


def _fitted(tunnel: str, found: Sequence[Case]) -> Iterator[str]:
    """The line through the sizes of each repeat, and the paired differences of its two parts."""
    by_mode = {mode: _lines_of(found, mode) for mode in MODES}
    if not all(by_mode.values()):
        return
    shown = []
    for mode, repeats in by_mode.items():
        fixed = statistics.median(a for a, _ in repeats.values())
        growing = statistics.median(b for _, b in repeats.values())
        shown.append(f"{mode} {fixed:.2f} {growing:+.2f} * kB")
    judged = [judge(differences) for part in (0, 1) if (differences := paired_differences(
        {repeat: line[part] for repeat, line in by_mode[ALWAYS].items()},
        {repeat: line[part] for repeat, line in by_mode[NEVER].items()}))]
    text = (f"{tunnel} tunl0, UDP as a + b * kilobytes, in us (medians of the repeats' lines):"
            f" {', '.join(shown)}.")
    if len(judged) == len(("a", "b")):
        text += (f" Always less Never: a {_worded(judged[0])}; b {_worded(judged[1])}.")
    yield text


def _lines_of(found: Sequence[Case], mode: str) -> Mapping[int, tuple[float, float]]:
    points: dict[int, list[tuple[float, float]]] = {}
    for case in found:
        for repeat, value in case.values(mode).items():
            points.setdefault(repeat, []).append((case.size / 1000, value))
    fits = {repeat: line(some) for repeat, some in points.items()}
    return {repeat: (fit.intercept, fit.slope) for repeat, fit in fits.items() if fit}


def _caveats(run: Run) -> Iterator[str]:
    devices = {str(r.seen.get("offloads_off") or "") for r in run.log.readings} - {""}
    for switched in sorted(devices):
        yield f"Offloads off means tso, gso and gro, switched off on {switched} for the trial."
    if any(r.setting["tunnel"] == "ebpf" for r in run.log.readings):
        yield ("The eBPF tunl0 makes a copy of each packet's descriptor, so that captures on tunl0"
               " see it; its cost is in these numbers, and the kernel's module does without.")
    yield ("The time is that of iperf3's two ends, with softirqs that run in their name. What"
           " ksoftirqd does is not in it, nor what other programs do; machine.csv has the whole"
           " machine's time, by user, system and softirq, with whatever else ran.")
    steal = run.steal_share
    if steal is not None and steal > 0.05:
        yield f"{100 * steal:.0f} % of the CPU time wanted went to other machines (steal)."


def _rounded(value: float | None, digits: int = 2) -> Cell:
    return None if value is None else round(value, digits) if digits else round(value)


def _percent(value: float | None) -> Cell:
    return None if value is None else round(100 * value, 1)


_METHOD = (
    "Two pods on two nodes of one subnet. Always tunnels between them, Never does not: the same"
    " pods, nodes and links, the mode is changed live, and the encapsulation alone differs.",
    "UDP datagrams of several sizes are sent as fast as the client can, and TCP in bulk, the latter"
    " also with tso, gso and gro off on both pods and both nodes. CPU time of the two programs is"
    " divided by the packets sent (UDP), or by the full segments that the payload makes (TCP).",
    "Trials run in seeded random order, in blocks that hold every combination once; each block"
    " gives one paired difference, and one line a + b * size through its UDP sizes.",
)
