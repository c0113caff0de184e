"""What the outer header costs: CPU time of each packet, tunnelled and not, by size and offloads.

Question  How many microseconds of CPU time does encapsulation add to a packet, does that depend
          on its size, and what do segmentation offloads change?
Method    Two pods on two nodes of one subnet. Always tunnels between them, Never does not: the
          same pods, nodes and links, the mode is changed live, and the encapsulation alone differs.
          1. UDP datagrams of several sizes, as fast as the client can: packets/s, and CPU time
             of the two programs, with the kernel's work in their name, by the packets sent.
          2. TCP in bulk, with offloads as they are and with tso, gso and gro off on both pods and
             both nodes: CPU time by the segments, and segments/s. UDP datagrams of
             iperf3 are never larger than a packet, so no offload cuts or joins them.
          Trials run in seeded random order, in blocks that hold every combination once. Each block
          gives a paired difference, Always minus Never, and a line cost = a + b * size through its
          UDP sizes.
Expected  A fixed cost a packet, since the payload is not touched; with offloads it is paid once
          for dozens of TCP segments. See docs/experiments/encapsulation_cost.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.experiment.frame import Experiment, Repetitions
    from calico_mn.experiment.options import choice_list, int_list
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

experiment = Experiment(__file__, __doc__, topology="two-subnets.yaml",
                        why_emulated="it reads the CPU time of one machine that is every node",
                        full=Repetitions(6, duration=1), quick=Repetitions(3, duration=0.3))

# Sizes are bytes of UDP payload; 28 more are the packet, which pods with an MTU of 1480 can still
# send.
SIZES = experiment.factor("--sizes", int_list(16, 65507), (64, 512, 960, 1400),
                          "BYTES[,BYTES...]", "UDP payloads (default: 64,512,960,1400)",
                          quick=(64, 1400))
TUNNELS = experiment.factor("--tunnels", choice_list("kernel", "ebpf"), (), "NAME[,NAME]",
                            "tunnel back ends (default: all that this machine has)")

if __name__ == "__main__":
    experiment.check_command_line()

# What follows takes long to import.
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

from calico_mn.calico.encapsulation import IPIP
from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import UnsupportedError
from calico_mn.experiment.report import begin, document
from calico_mn.experiment.run import Run
from calico_mn.measure import fits, iperf, offloads, paths, tcp, udp
from calico_mn.measure.readings import Reading, Value, by_factors, by_repeat, under
from calico_mn.measure.resources import MACHINE_PACKET, PROGRAMS_PACKET
from calico_mn.measure.statistics import MORE, Comparison, confidence_of, judge, worded
from calico_mn.measure.trials import Trial, conditions, factorial
from calico_mn.report.document import BAD, Cell, Document, Figure, Numbers, Table, median_of
from calico_mn.report.findings import NOISY_STEAL
from calico_mn.report.plots.lines import Line, lines
from calico_mn.report.summary_tables import bounds

MODES = ALWAYS, NEVER = ("Always", "Never")
#: offloads as the devices have them, or off
AS_THEY_ARE, OFF = "as they are", "off"
#: seconds of a trial besides its measurements
_UDP_S, _TCP_S = 0.6, 0.9
TUNNEL = IPIP.device


# --- method

def measure(run: Run) -> None:
    nets = clusters(run)
    first = next(iter(nets.values()))
    pair = paths.one_pair(first, paths.SAME_SUBNET, needed=(
        "no two pods are on two nodes of one subnet, where Always and Never can be compared on the"
        " same path"))
    settings = [{**setting, **pair.factors} for setting in (
        *factorial(tunnel=tuple(nets), mode=MODES, size=run[SIZES], offloads=(AS_THEY_ARE,)),
        # Size 0 stands for TCP, which chooses its segments' size.
        *factorial(tunnel=tuple(nets), mode=MODES, size=(0,), offloads=(AS_THEY_ARE, OFF)))]
    # How long the installed iperf3 makes a measurement.
    duration = iperf.timed(first[pair.source.name], run.duration)

    def trial_seconds(trial: Trial) -> float:
        return duration + (_UDP_S if trial["size"] else _TCP_S)

    begin(run, first, "What the outer header costs", settings, trial_seconds, noun="combination",
          facts={"pods": str(pair), "transfers": f"{duration:g} s each"},
          pair=pair.names, **run.levels(SIZES), tunnels=list(nets))

    # Short transfers that are no measurements; their rate is the amount that TCP sends.
    rates: dict[tuple[str, str], float] = {}
    for tunnel, net in nets.items():
        net.set_mode(ALWAYS, encapsulation=IPIP)
        for level in (AS_THEY_ARE, OFF):
            with offloads.pair_offloads(net, pair, off=level == OFF):
                rates[tunnel, level] = iperf.warm_up(*(net[name] for name in pair.names))

    def read(trial: Trial) -> None:
        tunnel, level, size = trial.text("tunnel"), trial.text("offloads"), trial.number("size")
        net = nets[tunnel]
        client, server = (net[name] for name in pair.names)
        with (conditions(net, trial.text("mode"), pair, pod_routes=False, encapsulation=IPIP)
              as observed, offloads.pair_offloads(net, pair, off=level == OFF) as switched):
            run.measure(instrument(trial), trial, lambda: udp.cost(
                client, server, size=size, duration=run.duration) if size else tcp.cost(
                client, server, duration=run.duration, rate=rates[tunnel, level]), observed={
                    "encapsulated": observed.encapsulated, **offloads.noted(switched)})

    run.trials(settings, read, readings=lambda trial: [(instrument(trial), {})],
               doing=lambda trial: f"{trial['mode']}, {what(trial['size'], trial['offloads'])}")


def instrument(trial: Trial) -> str:
    return "udp cost" if trial["size"] else "tcp cost"


def clusters(run: Run) -> dict[str, CalicoNet]:
    """Back end -> cluster: those asked for, else the one of --tunnel, else all that there are."""
    asked = run[TUNNELS] or (() if run.options.tunnel == "auto" else (run.options.tunnel,))
    if asked:
        return {name: run.net(tunnel=name) for name in asked}
    first = run.net()
    nets = {first.tunnel: first}
    for name in {"kernel", "ebpf"} - set(nets):
        with suppress(UnsupportedError):
            nets[name] = run.net(tunnel=name)
    return nets


def what(size: Value, offloads: Value) -> str:
    """What is sent, in words."""
    return f"UDP {size} B" if size else f"TCP, offloads {offloads}"


# --- cases

@dataclass(frozen=True)
class Case:
    """Always and Never on one back end, for one size (0: TCP) and one level of offloads."""

    readings: tuple[Reading, ...]
    tunnel: str
    size: int
    offloads: str

    @property
    def name(self) -> str:
        """What was sent, in words."""
        return what(self.size, self.offloads)

    def values(self, mode: str, metric: str = PROGRAMS_PACKET) -> dict[int, float]:
        """Repeat -> value."""
        return by_repeat(self.readings, metric, mode=mode)

    def medians(self, metric: str, digits: int, scale: float = 1) -> list[Cell]:
        """Over the repeats, of Never and of Always; None without a value."""
        return [median_of(self.values(mode, metric).values(), digits, scale)
                for mode in (NEVER, ALWAYS)]

    def difference(self) -> Comparison | None:
        """Of the programs' CPU time: Always minus Never, repeat by repeat."""
        return judge(self.values(ALWAYS), self.values(NEVER))


def cases(readings: Sequence[Reading]) -> tuple[Case, ...]:
    """Every case that was measured: by back end, UDP by size, then TCP."""
    return tuple(sorted(
        (Case(some, *levels) for levels, some
         in by_factors(readings, "tunnel", "size", "offloads").items()),
        key=lambda case: (case.tunnel, case.size or 1 << 20, case.offloads == OFF)))


# --- report

def report(run: Run) -> Document:
    measured = cases(run.log.readings)
    by_tunnel = {tunnel: [case for case in measured if case.tunnel == tunnel]
                 for tunnel in dict.fromkeys(case.tunnel for case in measured)}
    return document(
        run, experiment, title="What the outer header costs",
        findings=[text for mine in by_tunnel.values() for text in findings(mine)],
        tables=(costs(measured), speeds(measured)), data=(machine(measured),),
        figures=[picture(mine) for mine in by_tunnel.values()
                 if any(case.size and case.values(NEVER) for case in mine)],
        caveats=caveats(run))


def costs(measured: Sequence[Case]) -> Table:
    """CPU time of the programs, and the difference."""
    def judged(difference: Comparison | None) -> tuple[Cell, ...]:
        if difference is None:
            return None, None, "not measured"
        span = difference.interval
        return (Numbers(f"{difference.median:+.2f}", {"": difference.median}),
                Numbers(f"{span.low:+.2f} to {span.high:+.2f}", bounds(span, " "))
                if span else None, difference.verdict)

    differences = [case.difference() for case in measured]
    percents = confidence_of(difference.interval for difference in differences if difference)
    return Table(
        "costs", "CPU time of both programs, us a packet (medians)",
        (TUNNEL, "what", NEVER, ALWAYS, "difference", "interval", "verdict"),
        tuple((case.tunnel, case.name, *case.medians(PROGRAMS_PACKET, 2), *judged(difference))
              for case, difference in zip(measured, differences, strict=True)),
        note="The difference is the median of the paired differences, Always minus Never."
             + (f" Its interval: {percents}." if percents else "")
             + (" Below six repeats that is their range, and a difference is called one only if"
                " Student's t says so too (5 %)." if percents not in ("", "95 %") else ""),
        tones=tuple(BAD if difference and difference.verdict == MORE else ""
                    for difference in differences))


def speeds(measured: Sequence[Case]) -> Table:
    """Packets received and lost."""
    return Table(
        "speeds", "Packets a second received (medians)",
        (TUNNEL, "what", NEVER, ALWAYS, "lost, Never %", "lost, Always %"),
        tuple((case.tunnel, case.name, *case.medians(udp.PACKETS, 0),
               *case.medians(udp.LOSS, 1, 100)) for case in measured),
        note="For TCP, full segments. Nothing holds a UDP sender back: what is lost is lost in the"
             " receiver's socket buffer, at the end of its way.")


def machine(measured: Sequence[Case]) -> Table:
    """All there is of the machine's CPU time, for a file only."""
    rows: list[tuple[Cell, ...]] = [
        (case.tunnel, case.name, mode, *(median_of(case.values(mode, part).values())
                                         for part in MACHINE_PACKET))
        for case in measured for mode in MODES]
    return Table("machine", "CPU time of the whole machine, us a packet (medians)",
                 (TUNNEL, "what", "mode", *MACHINE_PACKET), tuple(rows))


def picture(measured: Sequence[Case]) -> Figure:
    """CPU time by size, on one back end."""
    tunnel = measured[0].tunnel
    return lines(f"cost-{tunnel}", f"CPU time of a UDP packet, {tunnel} {TUNNEL}", "CPU time",
                 "\u00b5s", "UDP payload, bytes", [Line(mode, tuple(
                     (float(case.size), tuple(case.values(mode).values()))
                     for case in measured if case.size)) for mode in MODES])


def findings(measured: Sequence[Case]) -> Iterator[str]:
    """Of one back end."""
    tunnel = f"{measured[0].tunnel} {TUNNEL}"
    parts = "; ".join(f"{case.name}: {worded(difference)}" for case in measured
                      for difference in [case.difference()] if difference)
    if parts:
        yield f"Extra CPU time per packet (Always minus Never, {tunnel}): {parts}."
    yield from fitted(tunnel, [case for case in measured if case.size])
    levels = {case.offloads: case.difference() for case in measured if not case.size}
    on, off = levels.get(AS_THEY_ARE), levels.get(OFF)
    if on and off and MORE in (on.verdict, off.verdict):
        yield (f"{tunnel}, TCP: a segment costs Always {worded(on)} with offloads, and"
               f" {worded(off)} without. With them, one header is made for a packet of"
               " up to 64 kB, which is dozens of segments.")


def fitted(tunnel: str, measured: Sequence[Case]) -> Iterator[str]:
    """The line through the sizes of each repeat, and the paired differences of its two parts."""
    by_mode = {mode: lines_of(measured, mode) for mode in MODES}
    if not all(by_mode.values()):
        return
    together = [fits.through((case.size / 1000, case.values(mode).values()) for case in measured)
                for mode in MODES]
    if not all(line and line.grows for line in together):
        yield (f"{tunnel}, UDP: cost by packet size is not measurable in this run, because the"
               f" samples lie on no straight line that rises (R2 below {fits.STRAIGHT}).")
        return
    shown = [f"{mode} {median(line.intercept for line in repeats.values()):.2f} us and"
             f" {median(line.slope for line in repeats.values()):.2f} us per kB"
             for mode, repeats in by_mode.items()]
    text = (f"CPU time of a UDP packet by its size ({tunnel}, medians of the repeats' lines):"
            f" {'; '.join(shown)}.")
    intercepts, slopes = (judge(*(
        {repeat: getattr(line, part) for repeat, line in by_mode[mode].items()} for mode in MODES))
        for part in ("intercept", "slope"))
    if intercepts and slopes:
        text += f" Always minus Never: {worded(intercepts)}; per kB {worded(slopes)}."
    yield text


def lines_of(measured: Sequence[Case], mode: str) -> Mapping[int, fits.Fit]:
    """Repeat -> cost over kilobytes; a line through two sizes is no fit, so none for these."""
    values = [(case.size / 1000, case.values(mode)) for case in measured]
    return {repeat: line for repeat in {repeat for _, each in values for repeat in each}
            for line in [fits.line([(size, each[repeat]) for size, each in values
                                    if repeat in each])] if line and line.r2 is not None}


def caveats(run: Run) -> Iterator[str]:
    """What the numbers cannot say."""
    for switched in offloads.switched_off(run.log.readings):
        yield f"Offloads off means tso, gso and gro, switched off on {switched} for the trial."
    if under(run.log.readings, tunnel="ebpf"):
        yield (f"Before Linux 6.16 the eBPF {TUNNEL} makes a copy of each packet's descriptor, so"
               f" that captures on {TUNNEL} see it; the kernel's module does without.")
    yield ("The time is that of iperf3's two ends, with softirqs that run in their name. What"
           " ksoftirqd does is not in it, nor what other programs do; machine.csv has the whole"
           " machine's time, by user, system and softirq, with all else that ran.")
    steal = run.steal_share
    if steal is not None and steal > NOISY_STEAL:
        yield f"{100 * steal:.0f} % of the CPU time wanted went to other machines (steal)."


if __name__ == "__main__":
    experiment.main(measure, report)
