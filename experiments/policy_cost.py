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
                        why_emulated="it puts other policies in place of the cluster's",
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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product

from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import UnsupportedError
from calico_mn.experiment.report import begin, document
from calico_mn.experiment.run import Run
from calico_mn.kernel.iptables import AUTO, LEGACY, NFT, NONE
from calico_mn.measure import cluster, fits, iperf, paths, ping, readings, tcp, udp
from calico_mn.measure.ping import LATENCY
from calico_mn.measure.readings import Measurement, Reading, Value, by_factors, by_repeat
from calico_mn.measure.statistics import Comparison, compare_repeats, judge, worded, worded_ratio
from calico_mn.measure.tcp import CONNECTIONS, THROUGHPUT
from calico_mn.measure.trials import Trial
from calico_mn.measure.udp import NEW_PACKET
from calico_mn.report.document import Cell, Document, Figure, Table, median_of, rounded
from calico_mn.report.plots.comparison import Ratio, forest
from calico_mn.report.plots.lines import Line, lines
from calico_mn.text import number, plural
from calico_mn.topology.scaled import policies

#: series, and what each counts, also in a picture
SERIES = {"policies": "policy", "rules": "rule", "members": "member"}
AXES = {"policies": "policies of one rule", "rules": "rules of one policy",
        "members": "members of one set"}
#: seconds of a trial besides its measurements: of new packets, and of what is established
_NEW_S, _FLOWS_S = 0.6, 1.0
FACTORS = ("path", "filter", "series", "count")


@dataclass(frozen=True)
class Key:
    """What is measured under: a path, who filters, and how much of what is enforced."""

    path: str
    filter: str = NONE
    series: str = "policies"
    count: int = 0

    @property
    def load(self) -> str:
        """What is enforced, in words."""
        if self.filter == NONE:
            return "no filter"
        return plural(self.count, SERIES[self.series], self.series) if self.count else "no policy"

    def enforce(self, net: CalicoNet, less: int = 0) -> Measurement:
        """Put policies and sets into force, or so many less."""
        count = {"policies": 1, "rules": 1, "members": 10, self.series: self.count - less}
        return cluster.enforce(net, *policies(
            count["policies"], rules=count["rules"], members=count["members"]))


# --- method

def measure(run: Run) -> None:
    run.topology = replace(run.topology, policies=(), network_sets=())
    nets = clusters(run)
    net = nets[next(iter(nets))]
    pairs = paths.representative_pairs(paths.endpoints(net))
    pairs.pop(paths.CROSS_SUBNET if paths.SAME_SUBNET in pairs else "", None)
    levels = [("policies", 0), *product(["policies"], run[POLICIES]),
              *product(["rules"], run[RULES]), *product(["members"], run[MEMBERS])]
    settings: list[dict[str, Value]] = [
        {"filter": name, "series": series, "count": count, **pair.factors, "tunnel": net.tunnel}
        for pair in pairs.values() for name in dict.fromkeys((NONE, *nets))
        for series, count in (levels if name != NONE else levels[:1])]
    transfer_s = iperf.timed(net[next(iter(pairs.values())).source.name], run.duration)
    new_s, flows_s = _NEW_S + run.duration, _FLOWS_S + run.duration + transfer_s
    begin(run, net, "What network policies cost", settings,
          lambda trial: new_s + flows_s * (trial["series"] == "policies"),
          facts={"filters": ", ".join(nets), **{path: str(pair) for path, pair in pairs.items()}},
          **run.levels(POLICIES, RULES, MEMBERS), filters=list(nets),
          pairs={path: pair.names for path, pair in pairs.items()})

    # Short transfers that are no measurements; their rate is the amount that TCP sends.
    rates = {(name, path): iperf.warm_up(*(each[pod] for pod in pair.names))
             for name, each in nets.items() for path, pair in pairs.items()}

    def read(trial: Trial) -> None:
        key = Key(*trial.levels(*FACTORS))
        net, pair = nets[key.filter], pairs[key.path]
        client, server = (net[pod] for pod in pair.names)
        seconds, rate = run.duration, rates[key.filter, key.path]
        if key.count:
            key.enforce(net, less=1)
            run.measure("policy change", trial, lambda: key.enforce(net))
        if key.filter != NONE:
            key.enforce(net)
        run.measure("new packets", trial, lambda: udp.one_way(client, server, duration=seconds))
        if key.series == "policies":
            run.measure("tcp", trial, lambda: tcp.bulk(
                client, server, duration=seconds, rate=rate, limited=False))
            run.measure("round trips", trial, lambda: ping.latency(client, server))
            run.measure("tcp connections", trial, lambda: tcp.connection_rate(
                client, server, duration=seconds))

    run.trials(settings, read, doing=lambda trial: Key(*trial.levels(*FACTORS)).load)


def clusters(run: Run) -> dict[str, CalicoNet]:
    """Filter -> cluster: the back end asked for or usual here, the other one, and none."""
    first = run.net()
    if first.iptables == NONE:
        raise UnsupportedError(f"Felix's rules cannot be written: {first.runtime.iptables.reason}")
    nets = {first.iptables: first}
    if run.options.iptables == AUTO and not run.options.quick:
        with suppress(UnsupportedError):
            other = LEGACY if first.iptables == NFT else NFT
            nets[other] = run.net(iptables=other)
    return {**nets, NONE: run.net(policies=False)}


# --- what was measured

class Measured:
    """The readings, by metric and setting."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._of = {Key(*levels): some for levels, some in by_factors(readings, *FACTORS).items()}
        self.paths = [path for path in paths.PATHS if any(key.path == path for key in self._of)]
        self.filters = sorted({key.filter for key in self._of} - {NONE})
        # In the order of the series, and in each from little to much.
        self.levels = sorted({(key.series, key.count) for key in self._of},
                             key=lambda level: (list(SERIES).index(level[0]), level[1]))
        self.keys = [key for path, name, level in product(
            self.paths, (NONE, *self.filters), self.levels)
            if (key := Key(path, name, *level)) in self._of]

    def values(self, metric: str, key: Key) -> dict[int, float]:
        """Repeat -> value."""
        return by_repeat(self._of.get(key, ()), metric)

    def median(self, metric: str, key: Key, digits: int = 2) -> Cell:
        """The median over repeats; None without a value."""
        return median_of(self.values(metric, key).values(), digits)

    def ratio(self, metric: str, key: Key, reference: Key) -> Comparison | None:
        """Repeat by repeat; None to itself."""
        return None if key == reference else compare_repeats(
            self.values(metric, key), self.values(metric, reference),
            bool(readings.known_metrics()[metric].more_is_better))

    def growth(self, path: str, name: str, series: str) -> fits.Growth | None:
        """How the time of a new packet grows in a series."""
        points = {count: values for of, count in self.levels if of == series
                  if (values := self.values(NEW_PACKET, Key(path, name, series, count)))}
        return fits.Growth(points) if len(points) > 1 else None


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
    measured = Measured(run.log.readings)
    return document(
        run, experiment, title="What network policies cost", findings=findings(measured),
        tables=(new_packets(measured), flows(measured), changes(measured)),
        figures=pictures(measured), caveats=CAVEATS)


def new_packets(measured: Measured) -> Table:
    """A row for each load, a column for each path and filter."""
    columns = [*product(measured.paths, measured.filters)]
    none = ("no filter", *(measured.median(NEW_PACKET, Key(path)) for path, _ in columns))
    return Table(
        "new-packets", "Processor time per packet of a new flow, us (medians)",
        ("load", *map(", ".join, columns)), (none, *(
            (Key("", NFT, *level).load, *(measured.median(NEW_PACKET, Key(*column, *level))
                                          for column in columns)) for level in measured.levels)),
        note="Policies have one rule, whose set has 10 members; rules and members are"
             " those of one policy. After them comes the rule that allows the packet.")


def flows(measured: Measured) -> Table:
    def cells(metric: str, key: Key, digits: int = 0) -> tuple[Cell, Cell]:
        ratio = measured.ratio(metric, key, Key(key.path))
        return measured.median(metric, key, digits), rounded(ratio.median if ratio else None, 2)

    return Table(
        "flows", "Established flows, and connections (medians)",
        ("path", "filter", "load", "Mbit/s", "TCP ratio", "RTT us", "RTT ratio", "conn/s",
         "conn ratio"),
        tuple((key.path, key.filter, key.load, *cells(THROUGHPUT, key), *cells(LATENCY, key, 1),
               *cells(CONNECTIONS, key)) for key in measured.keys if measured.values(LATENCY, key)),
        note="ratio: to no filter, the median of the repeats' ratios.")


def changes(measured: Measured) -> Table:
    return Table(
        "changes", "Time of a change, ms (medians)", ("to", *measured.filters), tuple(
            (Key("", NFT, *level).load, *(median_of([
                value for path in measured.paths for value in measured.values(
                    cluster.POLICY_CHANGE, Key(path, name, *level)).values()], 1)
                for name in measured.filters)) for level in measured.levels if level[1]),
        note="From one policy, rule or member less. It is that of all nodes, and of the emulation:"
             " new states are worked out, compared and written by iptables-restore and ipset.")


def pictures(measured: Measured) -> Iterator[Figure]:
    """What rules cost established flows, and the time of a new packet in each series."""
    ratios = [Ratio(title[0].upper() + title[1:], key.path, f"{key.filter}, {key.load}", ratio)
              for metric, title in TITLES.items() for key in measured.keys
              if (ratio := measured.ratio(metric, key, Key(key.path)))]
    if ratios:
        yield forest("ratios", "Compared with no filter", "no filter", ratios)
    for series, each in SERIES.items():
        growths = {f"{path}, {name}": growth
                   for path, name in product(measured.paths, measured.filters)
                   if (growth := measured.growth(path, name, series))}
        if growths:
            yield lines(
                f"new-{series}", f"A packet of a new flow, by {series}", "processor time", "us",
                AXES[series], [
                    Line(name, tuple((count, tuple(values.values()))
                                     for count, values in growth.points.items()))
                    for name, growth in growths.items()],
                each=each if all(growth.straight for growth in growths.values()) else "")


def findings(measured: Measured) -> Iterator[str]:
    """The step, what established flows pay for policies, and what new ones do."""
    most = max((count for series, count in measured.levels if series == "policies"), default=0)
    for path, name in product(measured.paths, measured.filters):
        place, guards = f"{path}, {name}", Key(path, name, "policies", 0)
        step = judge(measured.values(NEW_PACKET, guards),
                                measured.values(NEW_PACKET, Key(path)))
        if step:
            parts = [f"a packet of a new flow {worded(step)}"] + [
                f"{title} x {worded_ratio(ratio)}" for metric, title in TITLES.items()
                if (ratio := measured.ratio(metric, guards, Key(path)))]
            yield f"{place}: Felix's rules without a policy, against none: {'; '.join(parts)}."
        loaded = Key(path, name, "policies", most)
        flat = [f"{TITLES[metric]} x {worded_ratio(ratio)}, {ratio.verdict}"
                for metric in (THROUGHPUT, LATENCY)
                if (ratio := measured.ratio(metric, loaded, guards))]
        if flat:
            yield f"{place}: {loaded.load} against none, what is established: {'; '.join(flat)}."
        grown = [grows(series, growth) for series in SERIES
                 if (growth := measured.growth(path, name, series))]
        if grown:
            yield f"{place}: a packet of a new flow pays {'; '.join(grown)}."


def grows(series: str, growth: fits.Growth) -> str:
    """``0.31 us a policy (R2 = 0.99)``, or the difference from the least to the most."""
    if line := growth.straight:
        return f"{number(line.slope)} us a {SERIES[series]} (R2 = {line.r2:.3f})"
    least, *_, most = growth.points
    return (f"for {most:,} {series} in place of {least:,}"
            f" {worded(growth.difference) if growth.difference else 'an unknown difference'}")


if __name__ == "__main__":
    experiment.main(measure, report)
