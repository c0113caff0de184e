"""Packets lost by a live change of the encapsulation mode, by all nodes or by one alone.

Question  What does a change of ipipMode or vxlanMode cost running traffic at that moment? And
          what stays broken when one node follows and the others do not?
Method    Clusters that differ in the nodes' reverse path filter (rp_filter 0 off, 1 strict,
          2 loose) run side by side. In a trial all nodes are in one mode, and numbered packets
          flow at a steady rate between two pods of one subnet and two of different subnets, in
          both directions. Then the mode changes: on every node, or on one. The streams go on.
          Numbers show which packets were lost, reordered or duplicated, and the sender's clock
          (CLOCK_MONOTONIC, common to all namespaces) when. The nodes' own counters show how many
          packets their reverse path filters dropped meanwhile. Trials run in seeded random
          order, in blocks that hold every combination once.
          Where Never is the mode before or after, the routers know the pods' blocks: without
          that, Never has no way across them, and there would be nothing to lose.
Expected  All nodes: next to nothing, since one route replaces the other in one step, but nodes
          change one after the other, and for that moment a filter can bite. One node, IPIP:
          nothing without a filter. Strict: pods lose each other in both directions wherever one
          node tunnels and the other does not. Loose: only what is tunnelled to a node in Never,
          whose tunl0 has no address any more. VXLAN: no node tunnels to one in Never, which has
          no vxlan.calico, so only Always beside CrossSubnet is at odds.
          See docs/experiments/mode_switch.md for why.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.experiment import options
    from calico_mn.experiment.frame import Experiment, Repetitions
    from calico_mn.experiment.options import choice_list, int_list, positive_int
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

experiment = Experiment(__file__, __doc__, topology="two-subnets.yaml",
                        full=Repetitions(5, duration=0.5), quick=Repetitions(1, duration=0.1))

experiment.encapsulation()
#: who follows a change: every node, or one while the others stay as they are
ALL, ONE = "all", "one"

MODES = experiment.factor(
    "--modes", options.mode_list, options.MODES, "MODE[,MODE...]",
    "change between these modes, in every order (default: all three)")
RPFILTERS = experiment.factor(
    "--rp-filters", int_list(0, 2), (0, 1, 2), "N[,N...]",
    "the nodes' reverse path filter: 0 off, 1 strict, 2 loose (default: 0,1,2)")
FOLLOWERS = experiment.factor(
    "--followers", choice_list(ALL, ONE), (ALL, ONE), "WHO[,WHO]",
    "which nodes follow a change: all, or one (default: both, apart)")
PACKETS = experiment.factor("--packets", positive_int, 1000, "N",
                            "packets a second in each direction (default: 1000)")

if __name__ == "__main__":
    experiment.check_command_line()

# What follows takes long to import.
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from statistics import median
from typing import NamedTuple

from calico_mn.calico.encapsulation import DELETED_WHEN_OFF, Encapsulation
from calico_mn.errors import ClusterError
from calico_mn.experiment.report import document, heading, trials_line
from calico_mn.experiment.run import Named, Run
from calico_mn.measure import flows, paths, reverse_path
from calico_mn.measure.cluster import CHANGE
from calico_mn.measure.metrics import Measurement, Value
from calico_mn.measure.paths import CROSS_SUBNET, PATHS, SAME_NODE, Pair
from calico_mn.measure.readings import Reading, values
from calico_mn.measure.reverse_path import DIES, FILTERS, LIVES, NEVER, ONLY_FROM, ONLY_TO
from calico_mn.measure.trials import PLAIN, POD_ROUTES, Trial, factorial
from calico_mn.model import EncapsulationMode
from calico_mn.report.document import BAD, GOOD, MIXED, Cell, Document, Figure, Table
from calico_mn.report.plots.grid import Losses, grid, timeline
from calico_mn.text import join

#: instruments
STREAM, COUNTER = "stream", "reverse path filter"
#: in place of a verdict: repeats do not agree
VARIES = "varies"

#: seconds that the streams run before the change, at the most; and that a trial takes besides
_BEFORE_S, _TRIAL_S = 0.1, 0.3
#: streams end by themselves after this many seconds more
_SPARE_S = 30.0


# --- method

def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken.

    Each pair of pods has an end on ``node``, the one that follows alone.
    """
    nets = {number: run.net(rp_filter=number) for number in run[RPFILTERS]}
    net = next(iter(nets.values()))
    pairs = {path: pair for path, pair in
             paths.representative_pairs(paths.endpoints(net)).items() if path != SAME_NODE}
    if len(run[MODES]) < 2 or not pairs:
        raise ClusterError("a change needs two modes, and pods on two nodes to see it")
    node = next(iter(pairs.values())).source.node
    near = tuple(pair for pair in pairs.values() if pair.source.node == node)
    settings = [setting for setting in factorial(
        before=run[MODES], after=run[MODES], followers=run[FOLLOWERS], rp_filter=run[RPFILTERS],
        **{name: [value] for name, value in run.encapsulation_factor.items()})
        if setting["before"] != setting["after"]]
    run.plan = {
        "node": node, "modes": list(run[MODES]), "rp_filters": list(run[RPFILTERS]),
        "followers": list(run[FOLLOWERS]), "packets_per_s": run[PACKETS],
        "duration_s": run.duration, "repeats": run.repeats, "seed": run.options.seed,
        "quick": run.options.quick, "tunnel": run.tunnel(net), **run.encapsulation_factor,
        "pairs": {pair.path: [pair.source.name, pair.destination.name] for pair in near}}
    before_s = min(_BEFORE_S, run.duration / 2)
    each = run.duration + before_s + _TRIAL_S
    seconds = len(settings) * run.repeats * each
    run.heading(f"Packets lost by a change of {run.encapsulation} mode", [
        *heading(run, net),
        ("streams", "; ".join(f"{pair.path}: {pair.source.name} and {pair.destination.name}"
                              for pair in near) + f"; {run[PACKETS]} packets/s each way"),
        ("follows alone", node),
        trials_line(run, f"{len(settings)} settings", seconds)], seconds)

    def readings(trial: Trial) -> tuple[Named, ...]:
        return (*((STREAM, direction(trial, way))
                  for pair in near for way in (pair, flows.reverse(pair))),
                *((COUNTER, {"node": other.name}) for other in net.nodes))

    def watch(trial: Trial) -> None:
        """Let streams run, change the mode, keep watching."""
        net = nets[int(trial.text("rp_filter"))]
        # After the first Always each node has a tunnel device that is up, also where the topology
        # begins with Never.
        net.set_mode(EncapsulationMode.ALWAYS, encapsulation=run.encapsulation)
        net.set_mode(trial.text("before"), encapsulation=run.encapsulation)
        net.set_pod_routes(NEVER in (trial["before"], trial["after"]))
        counts = {other.name: reverse_path.drops(net, other.name) for other in net.nodes}
        with flows.streams(net, near, rate=run[PACKETS],
                            longest=run.duration + _SPARE_S) as running:
            time.sleep(before_s)
            begin = time.monotonic_ns()
            net.set_mode(trial.text("after"), node if trial["followers"] == ONE else None,
                         run.encapsulation)
            changed = time.monotonic_ns()
            time.sleep(run.duration)
            until = time.monotonic_ns()
            by_direction = running.finish()
        for pair, flow in by_direction.items():
            losses = flows.losses(flow, running.began, begin, until)
            run.record(STREAM, trial, Measurement(
                {**losses.values, CHANGE: round((changed - begin) / 1e6, 3)}, losses.series),
                factors=direction(trial, pair))
        for name, count in counts.items():
            run.record(COUNTER, trial, Measurement(
                {reverse_path.RP_DROPPED: reverse_path.drops(net, name) - count}),
                factors={"node": name})

    run.trials(settings, watch, readings=readings, seconds=lambda _: each,
               doing=lambda trial: f"{trial['before']} to {trial['after']}")


def direction(trial: Trial, pair: Pair) -> dict[str, Value]:
    """The further factors of a pair's direction in a trial.

    The routers know the pods where Never is to have a way across them.
    """
    across = pair.path == CROSS_SUBNET and NEVER in (trial["before"], trial["after"])
    return {**pair.factors, "fabric": POD_ROUTES if across else PLAIN}


# --- what becomes of traffic

class Change(NamedTuple):
    """A change of mode by ``followers`` (all nodes, or one), with that reverse path filter."""

    before: str
    after: str
    followers: str
    rp_filter: int

    def __str__(self) -> str:
        return f"{self.before} to {self.after}"


class Outcomes:
    """The readings of each change, with what they say taken together.

    ``node`` is the one that follows alone, ``sources`` its pods. ``streams`` are by change and
    path, ``filtered`` packets (a number for each trial) by change and node.
    """

    def __init__(self, readings: Iterable[Reading], node: str, sources: Iterable[str]) -> None:
        self.node = node
        self._sources = frozenset(sources)
        self.streams: dict[tuple[Change, str], list[Reading]] = defaultdict(list)
        self.filtered: dict[tuple[Change, str], list[int]] = defaultdict(list)
        for reading in readings:
            setting = reading.setting
            change = Change(str(setting["before"]), str(setting["after"]),
                            str(setting["followers"]), int(str(setting["rp_filter"])))
            if reading.instrument == STREAM:
                self.streams[change, str(setting["path"])].append(reading)
            elif reading.instrument == COUNTER:
                self.filtered[change, str(setting["node"])].append(int(total([reading],
                                                                             reverse_path.RP_DROPPED)))
        self.filters = sorted({change.rp_filter for change, _ in self.streams})

    def changes(self, followers: str) -> dict[tuple[str, str], list[Change]]:
        """(the change, path) -> it with each filter, in the order of modes and paths."""
        keys = sorted({(change.before, change.after, path) for change, path in self.streams
                       if change.followers == followers},
                      key=lambda key: (key[0], key[1], PATHS.index(key[2])))
        return {(f"{before} to {after}", path): [Change(before, after, followers, number)
                                                 for number in self.filters]
                for before, after, path in keys}

    def verdict(self, change: Change, path: str) -> str:
        """What stays of the traffic, in a word; empty where nothing was measured."""
        verdicts = {self._verdict(both) for both in self._repeats(change, path)}
        return VARIES if len(verdicts) > 1 else verdicts.pop() if verdicts else ""

    def lost(self, change: Change, path: str) -> list[int]:
        """Packets lost in both directions, a number for each repeat."""
        return [int(total(both, flows.LOST)) for both in self._repeats(change, path)]

    def named(self, verdict: str) -> str:
        """A verdict with the node's name where it needs one: ``only from node31``."""
        return f"{verdict} {self.node}" if verdict in (ONLY_FROM, ONLY_TO) else verdict

    def _repeats(self, change: Change, path: str) -> list[list[Reading]]:
        """The two directions of each repeat."""
        by_repeat: dict[int, list[Reading]] = defaultdict(list)
        for reading in self.streams.get((change, path), ()):
            by_repeat[reading.repeat].append(reading)
        return list(by_repeat.values())

    def _verdict(self, both: list[Reading]) -> str:
        """From the lasting loss of what the node that follows sends, and of what it gets."""
        out, back = (max((total([reading], flows.LASTING_LOSS) for reading in both
                          if (reading.setting["source"] in self._sources) is mine), default=0.0)
                     for mine in (True, False))
        return reverse_path.verdict(out, back)


def total(readings: Iterable[Reading], metric: str) -> float:
    """The sum of a metric; 0 for a reading that has none."""
    return sum(values(readings, metric))


# --- report

def report(run: Run) -> Document:
    """What people read."""
    plan = run.plan
    outcomes = Outcomes(run.log.readings, plan["node"],
                        (pair[0] for pair in plan["pairs"].values()))
    return document(
        run, experiment, title=f"Packets lost by a live change of the {run.encapsulation} mode",
        findings=findings(outcomes, plan["packets_per_s"], run.encapsulation),
        tables=tables(outcomes),
        figures=[*alone_picture(outcomes), *moment_picture(outcomes)], caveats=caveats(run))


def tables(outcomes: Outcomes) -> Iterator[Table]:
    """What lasts when one node changes, what is lost when all do, and the nodes' own counts."""
    node, filters, alone = outcomes.node, outcomes.filters, outcomes.changes(ONE)
    verdicts = {key: [outcomes.verdict(change, key[1]) for change in changes]
                for key, changes in alone.items()}
    if verdicts:
        yield Table(
            "alone", f"What lasts when {node} alone changes, between its pods and others",
            ("change", "path",
             *(f"rp_filter {number} ({FILTERS[number]})" for number in filters)),
            tuple((*key, *map(outcomes.named, words)) for key, words in verdicts.items()),
            tones=tuple(GOOD if measured == {LIVES} else MIXED if LIVES in measured else BAD
                        for measured in (set(filter(None, words)) for words in verdicts.values())),
            note=f"dies: in both directions. {outcomes.named(ONLY_FROM)}: its packets arrive,"
                 " those to it do not, so nothing that needs an answer works; the other way round"
                 f" with {outcomes.named(ONLY_TO)}.")
    rows: list[tuple[Cell, ...]] = []
    for key, changes in outcomes.changes(ALL).items():
        took = [total([reading], CHANGE) for change in changes
                for reading in outcomes.streams.get((change, key[1]), ())]
        rows.append((*key, *(in_passing(outcomes, change, key[1]) for change in changes),
                     round(median(took), 1)))
    if rows:
        yield Table(
            "moment", "Packets lost when all nodes change, both directions together",
            ("change", "path", *(f"rp_filter {number}" for number in filters), "took ms"),
            tuple(rows),
            note="Median of the repeats (least to most). took ms: from asking for the change until"
                 " the last node had its routes.")
    nodes = list(dict.fromkeys(node for _, node in outcomes.filtered))
    counts = {change: [int(median(outcomes.filtered.get((change, node), [0]))) for node in nodes]
              for changes in alone.values() for change in changes}
    rows = [(str(change), change.rp_filter, *each) for change, each in counts.items() if any(each)]
    if rows:
        yield Table(
            "filters", f"Who dropped packets when {outcomes.node} alone changed, and how many",
            ("change", "rp_filter", *nodes), tuple(rows),
            note="The nodes' own counts of packets that failed their reverse path filter"
                 " (IPReversePathFilter), median of the trials. A change with no such packet is"
                 " not listed.")


def in_passing(outcomes: Outcomes, change: Change, path: str) -> str:
    lost = outcomes.lost(change, path)
    if not lost or outcomes.verdict(change, path) != LIVES:
        return "for good" if lost else ""
    middle = f"{median(lost):g}"
    return middle if min(lost) == max(lost) else f"{middle} ({min(lost)} to {max(lost)})"


def alone_picture(outcomes: Outcomes) -> Iterator[Figure]:
    cells = {(str(change), f"{path}, rp_filter {change.rp_filter}"):
             (outcomes.named(verdict), {LIVES: GOOD, DIES: BAD}.get(verdict, MIXED))
             for (_, path), changes in outcomes.changes(ONE).items() for change in changes
             for verdict in [outcomes.verdict(change, path)] if verdict}
    if cells:
        yield grid(
            "alone", f"What lasts when {outcomes.node} alone changes",
            list(dict.fromkeys(row for row, _ in cells)),
            sorted({column for _, column in cells},
                   key=lambda c: (PATHS.index(c.partition(",")[0]), c)), cells,
            row_heading="the change", column_heading="path, and the nodes' reverse path filter",
            note=f"{outcomes.node} against nodes that did not change. {outcomes.named(ONLY_FROM)}:"
                 " its packets arrive, those to it do not. rp_filter: 0 off, 1 strict, 2 loose.",
            caption="What a mixed cluster carries depends on the two modes, and on the reverse"
                    " path filter.")


def moment_picture(outcomes: Outcomes) -> Iterator[Figure]:
    """Where anything was lost while all nodes changed: a row for each change and filter."""
    lives: dict[Change, list[Reading]] = defaultdict(list)
    for (change, path), readings in outcomes.streams.items():
        if change.followers == ALL and outcomes.verdict(change, path) == LIVES:
            lives[change] += readings
    rows = [Losses(f"{change}, rp_filter {change.rp_filter}", times,
                   int(total(readings, flows.SENT)))
            for change, readings in sorted(lives.items(), key=lambda item: item[0])
            for times in [tuple(at for reading in readings
                                for at in reading.series[flows.LOST_AT])] if times]
    if rows:
        yield timeline(
            "moment", "Packets lost while all nodes change", "the change was asked for", rows,
            window=(0, 5), note="All repeats, paths and directions together. Changes without a"
            " loss are not listed.",
            caption="Nodes change one after the other; in between, two ends of a path are in"
                    " different modes.")


# --- findings

def findings(outcomes: Outcomes, rate: int, encapsulation: Encapsulation) -> Iterator[str]:
    yield from about_all(outcomes)
    for number in outcomes.filters:
        yield from about_one(outcomes, number, encapsulation)
    # Lost packets beside the filters' counts, where a change broke something for good.
    broken = {key[0] for key in outcomes.streams if outcomes.verdict(*key) != LIVES}
    lost = sum(total(readings, flows.LOST) for (change, _), readings in outcomes.streams.items()
               if change in broken)
    dropped = sum(sum(counts) for (change, _), counts in outcomes.filtered.items()
                  if change in broken)
    if lost:
        yield (f"Where something stays broken, {lost:,.0f} packets were lost, and the nodes'"
               f" reverse path filters counted {dropped:,} dropped ones (theirs include those sent"
               " while the streams were ending): the filter is "
               + ("the whole cause." if dropped >= lost else "not the whole cause."))
    every = [reading for readings in outcomes.streams.values() for reading in readings]
    sent = total(every, flows.SENT)
    odd = {"lost before its change": total(every, flows.LOST_BEFORE),
           "reordered": total(every, flows.REORDERED),
           "duplicated": total(every, flows.DUPLICATED)}
    yield (f"Of {sent:,.0f} packets, " + join([f"{count:g} {what}" for what, count in odd.items()])
           + "." if any(odd.values()) else
           f"No packet was lost before its change, none came out of order or twice ({sent:,.0f}"
           f" packets, {rate} a second in each direction).")


def about_all(outcomes: Outcomes) -> Iterator[str]:
    lost = {key: outcomes.lost(*key) for key in outcomes.streams if key[0].followers == ALL}
    for change, path in lost:
        if outcomes.verdict(change, path) != LIVES:
            yield (f"All nodes change: {change} on the {path} path with rp_filter"
                   f" {change.rp_filter} did not come back to life.")
    counts = [count for some in lost.values() for count in some]
    if any(counts):
        worst = max(total([reading], flows.GAP)
                    for key in lost for reading in outcomes.streams[key])
        filters = sorted({change.rp_filter for (change, _), some in lost.items() if any(some)})
        yield (f"All nodes change: a path lost nothing in {counts.count(0)} of {len(counts)}"
               f" changes. In the others it lost {min(filter(None, counts))} to {max(counts)}"
               f" packets, both directions together, {worst:.1f} ms of a direction at the most,"
               f" with rp_filter {join(list(map(str, filters)))}.")
    elif counts:
        yield f"All nodes change: nothing was lost, in {len(counts)} changes seen on a path."


def about_one(outcomes: Outcomes, number: int, encapsulation: Encapsulation) -> Iterator[str]:
    verdicts = {(change, path): verdict for (_, path), changes in outcomes.changes(ONE).items()
                for change in changes if change.rp_filter == number
                for verdict in [outcomes.verdict(change, path)] if verdict}
    broken = sum(verdict != LIVES for verdict in verdicts.values())
    odd = [f"{change} ({path}) {outcomes.named(verdict)}"
           for (change, path), verdict in verdicts.items()
           if verdict != reverse_path.expected(change.before, change.after, number, path,
                                               encapsulation)]
    rule = reverse_path.rule(number, encapsulation)
    if verdicts:
        yield (f"{outcomes.node} changes alone, rp_filter {number} ({FILTERS[number]}):"
               f" {broken or 'none'} of {len(verdicts)} stay broken. "
               + (f"That is what the kernel's rule says: {rule}."
                  if not odd else f"The kernel's rule ({rule}) says"
                  f" otherwise of: {'; '.join(odd)}."))


def caveats(run: Run) -> Iterator[str]:
    """What the numbers cannot say."""
    plan = run.plan
    yield (f"Losses are seen in steps of {1000 / plan['packets_per_s']:g} ms, the time between two"
           " packets of a stream; a shorter one can pass unseen.")
    yield ("A real cluster changes more slowly: the new pool has to reach each node's Felix and"
           " confd, which restart or reload, and "
           + ("Felix and BIRD hand routes over to each other." if run.encapsulation.is_felix else
              "BIRD deletes a route before it adds the other.")
           + (" None of that is emulated; here a route is replaced in one step, and all nodes"
              " change" if run.options.engine == "builtin" else
              " Of that only BIRD is at work here, and all nodes get its new configuration")
           + " within milliseconds. What is shown for one node alone is what a real cluster lives"
           " through while its nodes have not all changed.")
    yield ("Where Never is involved, cross-subnet is measured with the pods' routes in the routers."
           " On a fabric that knows no pods, Never has no way across subnets at all."
           + (f" These routes also carry what comes to a node in Never from others: without"
              f" {run.encapsulation.device} there they have only their default routes."
              if run.encapsulation in DELETED_WHEN_OFF else ""))
    missing = [path for path in PATHS[1:] if path not in plan["pairs"]]
    if missing:
        yield f"Not measured: {join(missing)}; {plan['node']} has no such pair of pods."


if __name__ == "__main__":
    experiment.main(measure, report)
