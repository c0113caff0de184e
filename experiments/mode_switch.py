"""Packets lost by a live change of the encapsulation mode, by all nodes or by one alone.

Question  What does a change of ipipMode or vxlanMode cost running traffic at that moment? And
          what stays broken when one node follows and the others do not?
Method    Clusters that differ in the nodes' reverse path filter (rp_filter 0 off, 1 strict, 2
          loose) run side by side. In a trial all nodes are in one mode, and numbered packets flow
          at a steady rate between two pods of one subnet and two of different subnets, in both
          directions. Then the mode changes: on every node, or on one. The streams go on. Numbers
          show which packets were lost, reordered or duplicated, and the sender's clock
          (CLOCK_MONOTONIC, common to all namespaces) when. The nodes' own counters show how many
          packets their reverse path filters dropped meanwhile. Trials run in seeded random order,
          in blocks that hold every combination once.
          Where Never is the mode before or after, the routers know the pods' blocks: without that,
          Never has no way across them, and there would be nothing to lose.
Expected  All nodes: next to nothing, since one route replaces the other in one step, but nodes
          change one after the other, and for that moment a filter can bite. One node, IPIP: nothing
          without a filter. Strict: pods lose each other in both directions wherever one node
          tunnels and the other does not. Loose: only what is tunnelled to a node in Never, whose
          tunl0 has no address any more. VXLAN: no node tunnels to one in Never, which has no
          vxlan.calico, so only Always beside CrossSubnet is at odds. See
          docs/experiments/mode_switch.md for why.
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
                        why_emulated="both ends of a stream read one clock",
                        full=Repetitions(5, duration=0.5), quick=Repetitions(1, duration=0.1))
experiment.encapsulation()
#: who follows a change: every node, or one while the others stay as they are
ALL, ONE = "all", "one"
MODES = experiment.factor("--modes", options.mode_list, options.MODES, "MODE[,MODE...]",
                          "change between these modes, in every order (default: all three)")
RPFILTERS = experiment.factor(
    "--rp-filters", int_list(0, 2), (0, 1, 2), "N[,N...]",
    "the nodes' reverse path filter: 0 off, 1 strict, 2 loose (default: 0,1,2)")
FOLLOWERS = experiment.factor("--followers", choice_list(ALL, ONE), (ALL, ONE), "WHO[,WHO]",
                              "which nodes follow a change: all, or one (default: both, apart)")
PACKETS = experiment.factor("--packets", positive_int, 1000, "N",
                            "packets a second in each direction (default: 1000)")

if __name__ == "__main__":
    experiment.check_command_line()

# What follows takes long to import.
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby
from operator import attrgetter
from statistics import median

from calico_mn.calico.encapsulation import DELETED_WHEN_OFF, Encapsulation
from calico_mn.errors import ClusterError
from calico_mn.experiment.report import begin, document
from calico_mn.experiment.run import Named, Run
from calico_mn.measure import flows, paths, reverse_path
from calico_mn.measure.cluster import CHANGE, milliseconds_since
from calico_mn.measure.paths import CROSS_SUBNET, PATHS, SAME_NODE, Pair
from calico_mn.measure.readings import Value, by_factors, under, values
from calico_mn.measure.reverse_path import ALWAYS, DIES, FILTERS, LIVES, NEVER, Case, Counted
from calico_mn.measure.trials import PLAIN, POD_ROUTES, Trial, factorial
from calico_mn.report.document import BAD, GOOD, MIXED, Document, Figure, Table, median_of, range_of
from calico_mn.report.plots.grid import Losses, grid, timeline
from calico_mn.text import join

#: instruments
STREAM, COUNTER = "stream", "reverse path filter"
#: seconds of streams before a change, at the most; of a trial besides; until streams end alone
_BEFORE_S, _TRIAL_S, _SPARE_S = 0.1, 0.3, 30.0


# --- method

def measure(run: Run) -> None:
    """Each pair of pods has an end on ``node``, the one that follows alone."""
    nets = {number: run.net(rp_filter=number) for number in run[RPFILTERS]}
    net = next(iter(nets.values()))
    pairs = [pair for path, pair in paths.representative_pairs(paths.endpoints(net)).items()
             if path != SAME_NODE]
    if len(run[MODES]) < 2 or not pairs:
        raise ClusterError("a change needs two modes, and pods on two nodes to see it")
    node = pairs[0].source.node
    near = [pair for pair in pairs if pair.source.node == node]
    settings = [{**setting, **run.encapsulation_factor} for setting in factorial(
        before=run[MODES], after=run[MODES], followers=run[FOLLOWERS], rp_filter=run[RPFILTERS])
        if setting["before"] != setting["after"]]
    before_s = min(_BEFORE_S, run.duration / 2)
    begin(run, net, f"Packets lost by a change of {run.encapsulation} mode", settings,
          lambda _: run.duration + before_s + _TRIAL_S, facts={
              "streams": "; ".join(f"{pair.path}: {' and '.join(pair.names)}" for pair in near)
                         + f"; {run[PACKETS]} packets/s each way", "follows alone": node},
          **run.levels(MODES, RPFILTERS, FOLLOWERS), packets_per_s=run[PACKETS], node=node,
          tunnel=run.tunnel(net), pairs={pair.path: pair.names for pair in near})

    def readings(trial: Trial) -> list[Named]:
        return [*((STREAM, direction(trial, way))
                  for pair in near for way in (pair, flows.reverse(pair))),
                *((COUNTER, {"node": other.name}) for other in net.nodes)]

    def watch(trial: Trial) -> None:
        """Let streams run, change the mode, keep watching."""
        net = nets[trial.number("rp_filter")]
        # After the first Always each node has a tunnel device that is up, also where the topology
        # begins with Never.
        for mode in (ALWAYS, trial.text("before")):
            net.set_mode(mode, encapsulation=run.encapsulation)
        net.set_pod_routes(NEVER in (trial["before"], trial["after"]))
        drops = reverse_path.Drops(net)
        with flows.losses_around(net, near, rate=run[PACKETS], before_s=before_s,
                                 longest=run.duration + _SPARE_S) as losses:
            start = time.perf_counter()
            net.set_mode(trial.text("after"), node if trial["followers"] == ONE else None,
                         run.encapsulation)
            took = milliseconds_since(start)
            time.sleep(run.duration)
        for pair, lost in losses.items():
            run.record(STREAM, trial, replace(lost, values={**lost.values, CHANGE: took}),
                       factors=direction(trial, pair))
        for name, dropped in drops.since().items():
            run.record(COUNTER, trial, dropped, factors={"node": name})

    run.trials(settings, watch, readings=readings,
               doing=lambda trial: f"{trial['before']} to {trial['after']}")


def direction(trial: Trial, pair: Pair) -> dict[str, Value]:
    """What it has besides: the routers know the pods where Never is to have a way across them."""
    across = pair.path == CROSS_SUBNET and NEVER in (trial["before"], trial["after"])
    return {**pair.factors, "fabric": POD_ROUTES if across else PLAIN}


# --- report

def report(run: Run) -> Document:
    readings, node = run.log.readings, run.plan["node"]
    found = reverse_path.cases(under(readings, STREAM), node, run.plan["pairs"])
    alone, together = ([case for case in found if case.followers == who] for who in (ONE, ALL))
    counted = by_factors(under(readings, COUNTER), "before", "after", "followers", "rp_filter")
    return document(
        run, experiment, title=f"Packets lost by a live change of the {run.encapsulation} mode",
        findings=[*about_all(together), *about_one(alone, run.encapsulation),
                  *about_filters(found, counted), flows.order(readings, run.plan["packets_per_s"])],
        tables=[*alone_table(alone, node), *moment_table(together), *filters_table(counted, node)],
        figures=[*alone_picture(alone, node), *moment_picture(together)], caveats=caveats(run))


def alone_table(alone: Sequence[Case], node: str) -> Iterator[Table]:
    filters, rows = by_change(alone)
    if rows:
        yield Table(
            "alone", f"What lasts when {node} alone changes, between its pods and others",
            ("change", "path", *(f"rp_filter {n} ({FILTERS[n]})" for n in filters)),
            tuple((*key, *(row[n].words if n in row else "" for n in filters))
                  for key, row in rows.items()),
            tones=tuple(GOOD if words == {LIVES} else MIXED if LIVES in words else BAD
                        for row in rows.values() for words in [{row[n].verdict for n in row}]),
            note=f"dies: in both directions. {reverse_path.ONLY_FROM} {node}: its packets arrive,"
                 " those to it do not, so nothing that needs an answer works; the other way round"
                 f" with {reverse_path.ONLY_TO} {node}.")


def moment_table(together: Sequence[Case]) -> Iterator[Table]:
    filters, rows = by_change(together)
    if rows:
        yield Table(
            "moment", "Packets lost when all nodes change, both directions together",
            ("change", "path", *(f"rp_filter {n}" for n in filters), "took ms"), tuple(
                (*key, *(None if n not in row else "for good" if row[n].verdict != LIVES else
                         range_of(row[n].lost, "{:g}".format) for n in filters),
                 median_of(values(chain(*(case.readings for case in row.values())), CHANGE), 1))
                for key, row in rows.items()),
            note="Median of the repeats (least to most). took ms: from asking for the change until"
                 " the last node had its routes.")


def by_change(cases: Sequence[Case]) -> tuple[list[int], dict[tuple[str, str], dict[int, Case]]]:
    """The filters; and change and path -> filter -> case."""
    return sorted({case.rp_filter for case in cases}), {
        place: {case.rp_filter: case for case in some}
        for place, some in groupby(cases, attrgetter("change", "path"))}


def filters_table(counted: Counted, node: str) -> Iterator[Table]:
    nodes = list(by_factors(chain(*counted.values()), "node"))
    counts = {change: numbers for change, some in sorted(counted.items()) if change[2] == ONE
              for numbers in [[
                  int(median(values(some, reverse_path.RP_DROPPED, node=name) or [0]))
                  for name, in nodes]] if any(numbers)}
    if counts:
        yield Table(
            "filters", f"Who dropped packets when {node} alone changed, and how many",
            ("change", "rp_filter", *(name for name, in nodes)), tuple(
                (f"{before} to {after}", number, *numbers)
                for (before, after, _, number), numbers in counts.items()),
            note="The nodes' own counts of packets that failed their reverse path filter"
                 " (IPReversePathFilter), median of the trials. A change with no such packet is"
                 " not listed.")


def alone_picture(alone: Sequence[Case], node: str) -> Iterator[Figure]:
    cells = {(case.change, f"{case.path}, rp_filter {case.rp_filter}"):
             (case.words, {LIVES: GOOD, DIES: BAD}.get(case.verdict, MIXED)) for case in alone}
    if cells:
        yield grid(
            "alone", f"What lasts when {node} alone changes",
            list(dict.fromkeys(case.change for case in alone)),
            sorted({column for _, column in cells},
                   key=lambda c: (PATHS.index(c.partition(",")[0]), c)), cells,
            row_heading="the change", column_heading="path, and the nodes' reverse path filter",
            note=f"{node} against nodes that did not change. {reverse_path.ONLY_FROM} {node}: its"
                 " packets arrive, those to it do not. rp_filter: 0 off, 1 strict, 2 loose.",
            caption="What a mixed cluster carries depends on the two modes, and on the reverse"
                    " path filter.")


def moment_picture(together: Sequence[Case]) -> Iterator[Figure]:
    """Where anything was lost while all nodes changed: a row for each change and filter."""
    lives = by_factors((reading for case in together if case.verdict == LIVES
                        for reading in case.readings), "before", "after", "rp_filter")
    rows = [Losses(f"{before} to {after}, rp_filter {number}", times,
                   int(sum(values(some, flows.SENT))))
            for (before, after, number), some in sorted(lives.items())
            for times in [tuple(at for reading in some for at in reading.series[flows.LOST_AT])]
            if times]
    if rows:
        yield timeline(
            "moment", "Packets lost while all nodes change", "the change was asked for", rows,
            window=(0, 5), note="All repeats, paths and directions together. Changes without a"
            " loss are not listed.",
            caption="Nodes change one after the other; in between, two ends of a path are in"
                    " different modes.")


# --- findings

def about_all(together: Sequence[Case]) -> Iterator[str]:
    yield from (f"All nodes change: {case.change} on the {case.path} path with rp_filter"
                f" {case.rp_filter} did not come back to life."
                for case in together if case.verdict != LIVES)
    counts = [count for case in together for count in case.lost]
    if any(counts):
        worst = max(gap for case in together for gap in values(case.readings, flows.GAP))
        filters = sorted({str(case.rp_filter) for case in together if any(case.lost)})
        yield (f"All nodes change: a path lost nothing in {counts.count(0)} of {len(counts)}"
               f" changes. In the others it lost {min(filter(None, counts))} to {max(counts)}"
               f" packets in both directions together, with rp_filter {join(filters)};"
               f" the longest gap in one direction was {worst:.1f} ms.")
    elif counts:
        yield f"All nodes change: nothing was lost, in {len(counts)} changes seen on a path."


def about_one(alone: Sequence[Case], encapsulation: Encapsulation) -> Iterator[str]:
    for number in sorted({case.rp_filter for case in alone}):
        some = [case for case in alone if case.rp_filter == number]
        odd = "; ".join(f"{case.change} ({case.path}) {case.words}" for case in some
                        if not case.is_expected(encapsulation))
        rule = reverse_path.rule(number, encapsulation)
        yield (f"{some[0].node} changes alone, rp_filter {number} ({FILTERS[number]}):"
               f" {sum(case.verdict != LIVES for case in some) or 'none'} of {len(some)} stay"
               " broken. "
               + (f"The kernel's rule ({rule}) says otherwise of: {odd}." if odd else
                  f"That is what the kernel's rule says: {rule}."))


def about_filters(found: Sequence[Case], counted: Counted) -> Iterator[str]:
    """Lost packets beside the filters' counts, where a change broke something for good."""
    broken = {case.key for case in found if case.verdict != LIVES}
    lost = sum(sum(case.lost) for case in found if case.key in broken)
    dropped = int(sum(values(chain(*(counted.get(key, ()) for key in broken)),
                             reverse_path.RP_DROPPED)))
    if lost:
        yield (f"Where something stays broken, {lost:,} packets were lost, and the nodes' reverse"
               f" path filters counted {dropped:,} dropped ones (theirs include those sent while"
               f" the streams were ending): the filter is {'' if dropped >= lost else 'not '}the"
               " whole cause.")


def caveats(run: Run) -> Iterator[str]:
    """What the numbers cannot say."""
    plan = run.plan
    yield flows.resolution(plan["packets_per_s"])
    yield ("A real cluster changes more slowly: the new pool has to reach each node's Felix and"
           " confd, which restart or reload, and "
           + ("Felix and BIRD hand routes over to each other."
              if run.encapsulation in run.routes.felix else
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
