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
          gives a paired difference, Always less Never, and a line cost = a + b * size through its
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
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from calico_mn.calico.encapsulation import IPIP
from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import ClusterError, UnsupportedError
from calico_mn.experiment.report import document, heading
from calico_mn.experiment.run import Run
from calico_mn.measure import fits, iperf, paths, tcp, udp
from calico_mn.measure.metrics import Measurement, Value
from calico_mn.measure.offloads import pair_offloads
from calico_mn.measure.readings import Reading, by_factors
from calico_mn.measure.resources import MACHINE_PACKET, PROGRAMS_PACKET
from calico_mn.measure.statistics import MORE, Comparison, judge, worded
from calico_mn.measure.trials import Trial, conditions, factorial
from calico_mn.report.document import BAD, PLAIN_TONE, Cell, Document, Figure, Table
from calico_mn.report.plots.lines import Line, lines

MODES = ALWAYS, NEVER = ("Always", "Never")
#: offloads as the devices have them, or off
AS_THEY_ARE, OFF = "as they are", "off"
#: instruments
DATAGRAMS, BULK = "udp cost", "tcp cost"
#: seconds of a trial besides its measurements
_UDP_S, _TCP_S = 0.6, 0.9
#: what is measured; its name and device in all that follows
ENCAPSULATION = IPIP
TUNNEL = ENCAPSULATION.device


# --- method

def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken."""
    nets = clusters(run)
    net = next(iter(nets.values()))
    pair = paths.representative_pairs(paths.endpoints(net)).get(paths.SAME_SUBNET)
    if pair is None:
        raise ClusterError(f"{run.source}: no two pods are on two nodes of one subnet, where Always"
                           " and Never can be compared on the same path")
    source, destination = pair.source, pair.destination
    settings = [{**setting, **pair.factors} for setting in (
        *factorial(tunnel=tuple(nets), mode=MODES, size=run[SIZES], offloads=(AS_THEY_ARE,)),
        # Size 0 stands for TCP, which chooses its segments' size.
        *factorial(tunnel=tuple(nets), mode=MODES, size=(0,), offloads=(AS_THEY_ARE, OFF)))]
    run.plan = {"pair": [source.name, destination.name], "sizes": list(run[SIZES]),
                "tunnels": list(nets), "repeats": run.repeats, "duration_s": run.duration,
                "seed": run.options.seed, "quick": run.options.quick}
    # How long the installed iperf3 makes a measurement.
    duration = iperf.timed(net[source.name], run.duration)
    seconds = run.repeats * sum(duration + (_UDP_S if setting["size"] else _TCP_S)
                                for setting in settings)
    run.heading("What the outer header costs", [
        *heading(run, net),
        ("pods", f"{source.name} on {source.node} to {destination.name} on {destination.node}"),
        ("trials", f"{len(settings)} combinations x {run.repeats} repeats of {duration:g} s, in"
         f" random order (seed {run.options.seed}); about {seconds:.0f} s")], seconds)

    # Short transfers that are no measurements; their rate is the amount that TCP sends.
    rates: dict[tuple[str, str], float] = {}
    for tunnel, net in nets.items():
        net.set_mode(ALWAYS, encapsulation=ENCAPSULATION)
        for level in (AS_THEY_ARE, OFF):
            with pair_offloads(net, pair, off=level == OFF):
                rates[tunnel, level] = iperf.warm_up(net[source.name], net[destination.name])

    def read(trial: Trial) -> None:
        tunnel, level, size = trial.text("tunnel"), trial.text("offloads"), int(trial.text("size"))
        net = nets[tunnel]
        client, server = net[source.name], net[destination.name]

        def take() -> Measurement:
            if size:
                return udp.cost(client, server, size=size, duration=run.duration)
            return tcp.cost(client, server, duration=run.duration,
                            rate=rates[tunnel, level])

        with conditions(net, trial.text("mode"), pair, pod_routes=False,
                        encapsulation=ENCAPSULATION) as observed, \
                pair_offloads(net, pair, off=level == OFF) as switched:
            run.measure(DATAGRAMS if size else BULK, trial, take, observed={
                "encapsulated": observed.encapsulated,
                "offloads_off": ", ".join(map(str, switched))})

    run.trials(
        settings, read,
        readings=lambda trial: [(DATAGRAMS if trial["size"] else BULK, {})],
        seconds=lambda trial: duration + (_UDP_S if trial["size"] else _TCP_S),
        doing=lambda trial: f"{trial['mode']}, {what(int(trial.text('size')), trial['offloads'])}")


def clusters(run: Run) -> dict[str, CalicoNet]:
    """Back end -> cluster: those asked for, else the one of --tunnel, else all that there are."""
    asked = run[TUNNELS] or (() if run.options.tunnel == "auto" else (run.options.tunnel,))
    if asked:
        return {name: run.net(tunnel=name) for name in asked}
    first = run.net()
    nets = {first.tunnel: first}
    for name in {"kernel", "ebpf"} - set(nets):
        try:
            nets[name] = run.net(tunnel=name)
        except UnsupportedError:
            continue
    return nets


def what(size: int, offloads: Value) -> str:
    """What is sent, in words."""
    return f"UDP {size} B" if size else f"TCP, offloads {offloads}"


# --- cases

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
        return what(self.size, self.offloads)

    def values(self, mode: str, metric: str = PROGRAMS_PACKET) -> dict[int, float]:
        """Repeat -> value."""
        return {reading.repeat: value for reading in self.readings
                if reading.setting["mode"] == mode for value in [reading.number(metric)]
                if value is not None}

    def median(self, mode: str, metric: str = PROGRAMS_PACKET) -> float | None:
        """The median over repeats; None without a value."""
        values = self.values(mode, metric).values()
        return statistics.median(values) if values else None

    def difference(self) -> Comparison | None:
        """Of the programs' CPU time: Always less Never, repeat by repeat."""
        return judge(self.values(ALWAYS), self.values(NEVER))


def cases(readings: Sequence[Reading]) -> tuple[Case, ...]:
    """Every case that was measured: by back end, UDP by size, then TCP."""
    return tuple(sorted(
        (Case(tunnel, int(size), offloads, some) for (tunnel, size, offloads), some
         in by_factors(readings, "tunnel", "size", "offloads").items()),
        key=lambda case: (case.tunnel, case.size or 1 << 20, case.offloads == OFF)))


# --- report

def report(run: Run) -> Document:
    """What people read."""
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
        return (f"{difference.median:+.2f}",
                f"{span.low:+.2f} to {span.high:+.2f}" if span else "-", difference.verdict)

    differences = [case.difference() for case in measured]
    return Table(
        "costs", "CPU time of both programs, us a packet (medians)",
        (TUNNEL, "what", NEVER, ALWAYS, "difference", "interval", "verdict"),
        tuple((case.tunnel, case.name, *(rounded(case.median(mode)) for mode in (NEVER, ALWAYS)),
               *judged(difference))
              for case, difference in zip(measured, differences, strict=True)),
        note="The difference is the median of the paired differences, Always less Never.",
        tones=tuple(BAD if difference and difference.verdict == MORE else PLAIN_TONE
                    for difference in differences))


def speeds(measured: Sequence[Case]) -> Table:
    """Packets received and lost."""
    return Table(
        "speeds", "Packets a second received (medians)",
        (TUNNEL, "what", NEVER, ALWAYS, "lost, Never %", "lost, Always %"),
        tuple((case.tunnel, case.name,
               *(rounded(case.median(mode, udp.PACKETS), 0) for mode in (NEVER, ALWAYS)),
               *(rounded(case.median(mode, udp.LOSS), 1, 100) for mode in (NEVER, ALWAYS)))
              for case in measured),
        note="For TCP, full segments. Nothing holds a UDP sender back: what is lost is lost in the"
             " receiver's socket buffer, at the end of its way.")


def machine(measured: Sequence[Case]) -> Table:
    """All there is of the machine's CPU time, for a file only."""
    return Table(
        "machine", "CPU time of the whole machine, us a packet (medians)",
        (TUNNEL, "what", "mode", *MACHINE_PACKET),
        tuple((case.tunnel, case.name, mode, *(rounded(case.median(mode, part))
                                               for part in MACHINE_PACKET))
              for case in measured for mode in MODES))


def rounded(value: float | None, digits: int = 2, scale: float = 1) -> Cell:
    """For a cell; a whole number for 0 digits."""
    return None if value is None else round(scale * value, digits) if digits else round(value)


def picture(measured: Sequence[Case]) -> Figure:
    """CPU time by size, on one back end."""
    series = [Line(mode, tuple((float(case.size), tuple(case.values(mode).values()))
                               for case in measured if case.size and case.values(mode)))
              for mode in MODES]
    return lines(f"cost-{measured[0].tunnel}",
                 f"CPU time of a UDP packet, {measured[0].tunnel} {TUNNEL}",
                 "CPU time", "\u00b5s", "UDP payload, bytes", series)


def findings(measured: Sequence[Case]) -> Iterator[str]:
    """Of one back end."""
    tunnel = f"{measured[0].tunnel} {TUNNEL}"
    parts = "; ".join(f"{case.name}: {worded(difference)}" for case in measured
                      for difference in [case.difference()] if difference)
    if parts:
        yield f"{tunnel}, Always less Never, a packet: {parts}."
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
    shown = [f"{mode} {statistics.median(line.intercept for line in repeats.values()):.2f}"
             f" {statistics.median(line.slope for line in repeats.values()):+.2f} * kB"
             for mode, repeats in by_mode.items()]
    text = (f"{tunnel}, UDP as a + b * kilobytes, in us (medians of the repeats' lines):"
            f" {', '.join(shown)}.")
    intercepts, slopes = (judge(*(
        {repeat: getattr(line, part) for repeat, line in by_mode[mode].items()} for mode in MODES))
        for part in ("intercept", "slope"))
    if intercepts and slopes:
        text += f" Always less Never: a {worded(intercepts)}; b {worded(slopes)}."
    yield text


def lines_of(measured: Sequence[Case], mode: str) -> Mapping[int, fits.Fit]:
    """Repeat -> cost over kilobytes, where there are two sizes."""
    values = [(case.size / 1000, case.values(mode)) for case in measured]
    return {repeat: line for repeat in {repeat for _, each in values for repeat in each}
            for line in [fits.line([(size, each[repeat]) for size, each in values
                                    if repeat in each])] if line}


def caveats(run: Run) -> Iterator[str]:
    """What the numbers cannot say."""
    devices = {str(reading.seen.get("offloads_off") or "") for reading in run.log.readings} - {""}
    for switched in sorted(devices):
        yield f"Offloads off means tso, gso and gro, switched off on {switched} for the trial."
    tunnels = {reading.setting["tunnel"] for reading in run.log.readings}
    if ENCAPSULATION is IPIP and "ebpf" in tunnels:
        yield (f"Before Linux 6.16 the eBPF {TUNNEL} makes a copy of each packet's descriptor, so"
               f" that captures on {TUNNEL} see it; the kernel's module does without.")
    yield ("The time is that of iperf3's two ends, with softirqs that run in their name. What"
           " ksoftirqd does is not in it, nor what other programs do; machine.csv has the whole"
           " machine's time, by user, system and softirq, with all else that ran.")
    steal = run.steal_share
    if steal is not None and steal > 0.05:
        yield f"{100 * steal:.0f} % of the CPU time wanted went to other machines (steal)."


if __name__ == "__main__":
    experiment.main(measure, report)
