"""What Felix's rules and network policies cost: new flows, established ones, and changes.

Question  What does a packet pay for Calico's filter, and for each policy, rule and set member?
          Is it paid by every packet of a flow, or by the first ones alone?
Method    Two pods on one node, and two on two nodes. Policies are for what comes to a pod, and the
          last rule of the last policy allows everything: so each packet meets all rules before, the
          worst case. A rule looks its source up in an IP set of its own, which does not have it.
          Clusters without any rules, and with Felix's by each back end of iptables, run side by
          side. Series: policies of one rule, rules of one policy, members of one rule's set.
          1. Datagrams that nothing answers: to conntrack, each belongs to a new flow. Time that the
             sender has a processor, by the datagrams. On a veth it does all of a packet's way.
          2. In the series of policies, what is established: TCP throughput, and round trips; and
             TCP connections, one after the other, closed by resets.
          3. The time from one policy, rule or member less to what is measured.
          Trials run in seeded random order, in blocks that hold every combination once.
Expected  A step for having the filter at all; nothing more for established flows, since Felix's
          chains accept them first; for new ones a cost that grows with each policy and rule, and
          not with members. See docs/experiments/policy_cost.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.experiment.frame import Experiment, Repetitions
    from calico_mn.experiment.options import int_list
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

experiment = Experiment(__file__, __doc__, topology="two-subnets.yaml",
                        full=Repetitions(6, duration=0.5), quick=Repetitions(2, duration=0.2))

POLICIES = experiment.factor("--policies", int_list(1, 1000), (1, 10, 30, 100), "N[,N...]",
                             "policies of one rule (default: 1,10,30,100)", quick=(10, 50))
RULES = experiment.factor("--rules", int_list(1, 1000), (1, 10, 30, 100), "N[,N...]",
                          "rules of one policy (default: 1,10,30,100)", quick=(1, 10, 50))
MEMBERS = experiment.factor("--members", int_list(1, 100_000), (10, 100, 1000, 10_000),
                            "N[,N...]", "addresses in the set of one rule (default:"
                            " 10,100,1000,10000)", quick=(10, 10_000))

if __name__ == "__main__":
    experiment.check_command_line()

# What follows takes long to import.
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from statistics import median

from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import UnsupportedError
from calico_mn.experiment.report import document, heading, trials_line
from calico_mn.experiment.run import Run
from calico_mn.kernel.iptables import AUTO, LEGACY, NFT, NONE
from calico_mn.measure import cluster, fits, iperf, paths, ping, statistics, tcp, udp
from calico_mn.measure.cluster import POLICY_CHANGE
from calico_mn.measure.metrics import Value, known_metrics
from calico_mn.measure.ping import LATENCY
from calico_mn.measure.readings import Reading
from calico_mn.measure.statistics import Comparison, worded
from calico_mn.measure.tcp import CONNECTIONS, THROUGHPUT
from calico_mn.measure.trials import Trial
from calico_mn.measure.udp import NEW_PACKET
from calico_mn.policy import NetworkSet, Policy
from calico_mn.report.document import Cell, Document, Figure, Table
from calico_mn.report.plots.lines import Line, lines
from calico_mn.text import number, plural
from calico_mn.topology.scaled import policies

#: series, and what each counts, also in a picture
SERIES = {"policies": "policy", "rules": "rule", "members": "member"}
AXES = {"policies": "policies of one rule", "rules": "rules of one policy",
        "members": "members of one set"}
#: instruments
CHANGE, NEW, BULK, IDLE, CONNECTING = (
    "policy change", "new packets", "tcp", "round trips", "tcp connections")
#: from this R2 on a line is printed as one
_STRAIGHT = 0.9
#: seconds of a trial besides its measurements: of new packets, and of what is established
_NEW_S, _FLOWS_S = 0.6, 1.0


# --- what is enforced

def resources(series: str, count: int) -> tuple[list[Policy], list[NetworkSet]]:
    """The policies and sets of a setting."""
    numbers = {"policies": 1, "rules": 1, "members": 10, series: count}
    return policies(numbers["policies"], rules=numbers["rules"], members=numbers["members"])


def words(filter: str, series: str, count: int) -> str:
    """A setting, in words."""
    if filter == NONE:
        return "no filter"
    return plural(count, SERIES[series], series) if count else "no policy"


# --- method

def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken."""
    run.topology = replace(run.topology, policies=(), network_sets=())
    nets = clusters(run)
    net = nets[next(iter(nets))]
    pairs = paths.representative_pairs(paths.endpoints(net))
    pairs.pop(paths.CROSS_SUBNET if paths.SAME_SUBNET in pairs else "", None)
    levels = [(NONE, "policies", 0), *((name, *level) for name in nets if name != NONE
              for level in [("policies", 0), *product(["policies"], run[POLICIES]),
                            *product(["rules"], run[RULES]), *product(["members"], run[MEMBERS])])]
    settings: list[dict[str, Value]] = [
        {"filter": name, "series": series, "count": count, **pair.factors, "tunnel": net.tunnel}
        for pair in pairs.values() for name, series, count in levels]
    run.plan = {"policies": list(run[POLICIES]), "rules": list(run[RULES]),
                "members": list(run[MEMBERS]), "filters": list(nets), "repeats": run.repeats,
                "pairs": {path: [pair.source.name, pair.destination.name]
                          for path, pair in pairs.items()},
                "duration_s": run.duration, "seed": run.options.seed, "quick": run.options.quick}
    # How long the installed iperf3 makes a measurement.
    duration = iperf.timed(net[next(iter(pairs.values())).source.name], run.duration)

    def trial_seconds(trial: Trial) -> float:
        return _NEW_S + run.duration + (trial["series"] == "policies") * (
            _FLOWS_S + run.duration + duration)

    seconds = run.repeats * sum(trial_seconds(Trial(setting, 1)) for setting in settings)
    run.heading("What network policies cost", [
        *heading(run, net), ("filters", ", ".join(nets)),
        *((path, f"{pair.source.name} on {pair.source.node} to {pair.destination.name} on"
           f" {pair.destination.node}") for path, pair in pairs.items()),
        trials_line(run, plural(len(settings), "setting"), seconds)], seconds)

    # Short transfers that are no measurements; their rate is the amount that TCP sends.
    rates = {(name, path): iperf.warm_up(each[pair.source.name], each[pair.destination.name])
             for name, each in nets.items() for path, pair in pairs.items()}

    def read(trial: Trial) -> None:
        name, series, count = setting_of(trial.setting)
        each, pair = nets[name], pairs[trial.text("path")]
        client, server = each[pair.source.name], each[pair.destination.name]
        if count:
            cluster.enforce(each, *resources(series, count - 1))
            run.measure(CHANGE, trial, lambda: cluster.enforce(each, *resources(series, count)))
        if name != NONE:
            cluster.enforce(each, *resources(series, count))
        run.measure(NEW, trial, lambda: udp.one_way(client, server, duration=run.duration))
        if series == "policies":
            run.measure(BULK, trial, lambda: tcp.bulk(
                client, server, duration=run.duration, rate=rates[name, pair.path], limited=False))
            run.measure(IDLE, trial, lambda: ping.latency(client, server))
            run.measure(CONNECTING, trial, lambda: tcp.connection_rate(
                client, server, duration=run.duration))

    run.trials(settings, read, seconds=trial_seconds,
               doing=lambda trial: words(*setting_of(trial.setting)))


def clusters(run: Run) -> dict[str, CalicoNet]:
    """Filter -> cluster: the back end asked for or usual here, the other one, and none."""
    first = run.net()
    if first.iptables == NONE:
        raise UnsupportedError(f"Felix's rules cannot be written: {first.runtime.iptables.reason}")
    nets = {first.iptables: first}
    if run.options.iptables == AUTO and not run.options.quick:
        for name in {NFT, LEGACY} - set(nets):
            with suppress(UnsupportedError):
                nets[name] = run.net(iptables=name)
    return {**nets, NONE: run.net(policies=False)}


def setting_of(setting: Mapping[str, Value]) -> tuple[str, str, int]:
    """Filter, series and count."""
    return str(setting["filter"]), str(setting["series"]), int(str(setting["count"]))


# --- what was measured

#: path, filter, series, count
Key = tuple[str, str, str, int]


class Measured:
    """The readings, by metric and setting."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._values: dict[tuple[str, Key], dict[int, float]] = {}
        for reading in readings:
            key = (reading.text("path"), *setting_of(reading.setting))
            for metric in (NEW_PACKET, THROUGHPUT, LATENCY, CONNECTIONS, POLICY_CHANGE):
                value = reading.number(metric)
                if value is not None:
                    self._values.setdefault((metric, key), {})[reading.repeat] = value
        keys = dict.fromkeys(key for _, key in self._values)
        self.paths = [path for path in paths.PATHS if any(key[0] == path for key in keys)]
        self.filters = sorted({key[1] for key in keys} - {NONE})
        # In the order of the series, and in each from little to much.
        self.levels = sorted({key[2:] for key in keys}, key=lambda level: (
            list(SERIES).index(level[0]), level[1]))

    def values(self, metric: str, key: Key) -> dict[int, float]:
        """Repeat -> value."""
        return self._values.get((metric, key), {})

    def median(self, metric: str, key: Key, digits: int = 2) -> float | None:
        """The median over repeats; None without a value."""
        values = self.values(metric, key).values()
        return round(median(values), digits) if values else None

    def ratio(self, metric: str, key: Key, reference: Key) -> Comparison | None:
        """Repeat by repeat."""
        ratios = statistics.paired_ratios(self.values(metric, key),
                                          self.values(metric, reference))
        return (ratios and statistics.compare(
            ratios, bool(known_metrics()[metric].more_is_better))) or None

    def growth(self, path: str, name: str, series: str) -> Growth | None:
        """How the time of a new packet grows in a series."""
        points = [(count, self.values(NEW_PACKET, (path, name, series, count)))
                  for of, count in self.levels if of == series]
        points = [(count, values) for count, values in points if values]
        if len(points) < 2:
            return None
        return Growth(
            points[0][0], points[-1][0], statistics.judge(points[-1][1], points[0][1]),
            fits.line([(count, value) for count, values in points for value in values.values()]))


@dataclass(frozen=True)
class Growth:
    """From the ``least`` to the ``most`` of a series: the difference, and a line through all."""

    least: int
    most: int
    difference: Comparison | None
    line: fits.Fit | None

    @property
    def straight(self) -> fits.Fit | None:
        """The line, where there is a growth that is one."""
        grows = self.difference and self.difference.verdict in (
            statistics.MORE, statistics.TOO_FEW)
        return self.line if grows and self.line and (self.line.r2 or 0) >= _STRAIGHT else None


# --- report

TITLES = {THROUGHPUT: "TCP throughput", LATENCY: "round trip", CONNECTIONS: "connections/s"}
CAVEATS = (
    "The policies are the receiver's, and their last rule decides. A policy that decides earlier"
    " costs less, and one of the sender's as much again.",
    "A connection takes five or six packets, of which one is new, and both programs are Python's:"
    " they are most of its time.",
    "The sender's processor time has Python's own part in it, the same in all rows. What ksoftirqd"
    " does for the sender is not in it.")


def report(run: Run) -> Document:
    """What people read."""
    measured = Measured(run.log.readings)
    return document(
        run, experiment, title="What network policies cost", findings=findings(measured),
        tables=(new_packets(measured), flows(measured), changes(measured)),
        figures=pictures(measured), caveats=CAVEATS)


def new_packets(measured: Measured) -> Table:
    """A row for each load, a column for each path and filter."""
    columns = [*product(measured.paths, measured.filters)]
    none = ("no filter", *(measured.median(NEW_PACKET, (path, NONE, "policies", 0))
                           for path, _ in columns))
    return Table(
        "new-packets", "Processor time per packet of a new flow, us (medians)",
        ("", *(f"{path}, {name}" for path, name in columns)), (none, *(
            (words(NFT, *level), *(measured.median(NEW_PACKET, (path, name, *level))
                                   for path, name in columns)) for level in measured.levels)),
        note="Policies have one rule, whose set has 10 members; rules and members are"
             " those of one policy. After them comes the rule that allows the packet.")


def flows(measured: Measured) -> Table:
    """Established flows and connections, and their ratios to no filter."""
    rows: list[tuple[Cell, ...]] = []
    for path, name in product(measured.paths, (NONE, *measured.filters)):
        for series, count in measured.levels:
            key = (path, name, series, count)
            if measured.values(THROUGHPUT, key):
                cells: list[Cell] = []
                for metric, digits in ((THROUGHPUT, 0), (LATENCY, 1), (CONNECTIONS, 0)):
                    ratio = name != NONE and measured.ratio(
                        metric, key, (path, NONE, "policies", 0))
                    cells += [measured.median(metric, key, digits),
                              round(ratio.median, 2) if ratio else None]
                rows.append((path, name, words(*key[1:]), *cells))
    return Table(
        "flows", "Established flows, and connections (medians)",
        ("path", "filter", "", "Mbit/s", "ratio", "RTT, us", "ratio", "conn/s", "ratio"),
        tuple(rows), note="ratio: to no filter, the median of the repeats' ratios.")


def changes(measured: Measured) -> Table:
    """What a change takes."""
    return Table(
        "changes", "Time of a change, ms (medians)", ("to", *measured.filters), tuple(
            (words(NFT, *level), *(
                round(median(values), 1) if values else None for name in measured.filters
                for values in [[value for path in measured.paths for value in measured.values(
                    POLICY_CHANGE, (path, name, *level)).values()]]))
            for level in measured.levels if level[1]),
        note="From one policy, rule or member less. It is that of all nodes, and of the emulation:"
             " new states are worked out, compared and written by iptables-restore and ipset.")


def pictures(measured: Measured) -> Iterator[Figure]:
    """The time of a new packet in each series."""
    for series, each in SERIES.items():
        drawn = {f"{path}, {name}": (path, name)
                 for path, name in product(measured.paths, measured.filters)
                 if measured.growth(path, name, series)}
        straight = all(growth and growth.straight for path, name in drawn.values()
                       for growth in [measured.growth(path, name, series)])
        if drawn:
            yield lines(
                f"new-{series}", f"A packet of a new flow, by {series}", "processor time", "us",
                AXES[series], [
                    Line(label, tuple((count, tuple(measured.values(
                        NEW_PACKET, (path, name, series, count)).values()))
                        for of, count in measured.levels if of == series))
                    for label, (path, name) in drawn.items()], each=each if straight else "")


def findings(measured: Measured) -> Iterator[str]:
    """The step, what established flows pay for policies, and what new ones do."""
    for path, name in product(measured.paths, measured.filters):
        none, guards = (path, NONE, "policies", 0), (path, name, "policies", 0)
        most = (path, name, "policies", max(
            (count for series, count in measured.levels if series == "policies"), default=0))
        step = statistics.judge(measured.values(NEW_PACKET, guards),
                                measured.values(NEW_PACKET, none))
        if step:
            parts = [f"a packet of a new flow {worded(step)}"] + [
                f"{title} x {span(ratio)}" for metric, title in TITLES.items()
                for ratio in [measured.ratio(metric, guards, none)] if ratio]
            yield (f"{path}, {name}: Felix's rules without a policy, against none:"
                   f" {'; '.join(parts)}.")
        flat = [f"{TITLES[metric]} x {span(ratio)}, {ratio.verdict}"
                for metric in (THROUGHPUT, LATENCY)
                for ratio in [measured.ratio(metric, most, guards)] if ratio]
        if flat:
            yield (f"{path}, {name}: {words(*most[1:])} against none, what is established:"
                   f" {'; '.join(flat)}.")
        grown = [grows(series, growth) for series in SERIES
                 for growth in [measured.growth(path, name, series)] if growth]
        if grown:
            yield f"{path}, {name}: a packet of a new flow pays {'; '.join(grown)}."


def grows(series: str, growth: Growth) -> str:
    """``0.31 us a policy (R2 = 0.99)``, or the difference from the least to the most."""
    if growth.straight:
        return (f"{number(growth.straight.slope)} us a {SERIES[series]}"
                f" (R2 = {growth.straight.r2:.3f})")
    return (f"for {growth.most:,} {series} in place of {growth.least:,}"
            f" {worded(growth.difference) if growth.difference else 'an unknown difference'}")


def span(ratio: Comparison) -> str:
    """``0.93 [0.88-0.99]``."""
    text = f"{ratio.median:.2f}"
    return text if ratio.interval is None else (
        f"{text} [{ratio.interval.low:.2f}-{ratio.interval.high:.2f}]")


if __name__ == "__main__":
    experiment.main(measure, report)
