"""How long convergence takes: from an event until the last node has the right routes.

Question  After a boot, a change, a restart or a failure, how long do some nodes have wrong routes,
          and what do pods lose meanwhile? What do route reflectors and BIRD's timers change?
Method    A cluster of its own, in mode Always, lives through one event after the other:
          1. boot: from the call until the last node has its routes.
          2. new-block: a pod on node4 gets an address of a block that no node has.
          3. mode-change: all pools to CrossSubnet.
          4. daemon-restart: the BGP daemon of node4 is killed, and node3 gets one more block. From
             the daemon's start until node4 has a route to that block, too.
          5. node-removed: the last node leaves, and its daemon closes its sessions.
          6. node-killed: the cable of the last node but one is pulled at the switch. The others
             have to notice; what that node itself does is not looked at.
          7. reflector-lost: the same with node2, the second of two route reflectors.
          8. link-cut, in another cluster: a rack's cable to its router is pulled. All nodes have to
             lose the routes to the other rack, and to keep those within their own.
          What routes each node should have is the program's own desired state. When it has them is
          known from the kernel's route notifications, by CLOCK_MONOTONIC; at the end all tables are
          read and compared. Numbered packets flow both ways between the pods of node1 and node3
          (one subnet) and of node1 and node4 (two subnets). The built-in engine detects nothing: it
          is told of a pulled cable. A hold time of more than 30 s is computed, not waited for.
          Trials run in seeded random order, in blocks that hold every combination once.
Expected  Built-in: milliseconds. BIRD: milliseconds after all that is announced; a connect delay at
          the start; after a loss in silence the hold time, or about a second with BFD. Reflectors:
          fewer sessions and a faster boot. Graceful restart: nothing is lost.
          See docs/experiments/convergence.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.experiment.frame import Experiment, Repetitions
    from calico_mn.experiment.options import choice_list, int_list, positive_int
    from calico_mn.measure.incidents import BOOT, CUT, EVENTS, FEWEST_NODES, REFLECTOR, SILENT
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

experiment = Experiment(__file__, __doc__, topology="two-subnets.yaml",
                        why_emulated="it takes nodes and their BGP speakers away",
                        full=Repetitions(2, duration=0.5), quick=Repetitions(1, duration=0.3))
MESH, REFLECTORS = "mesh", "reflectors"
WHERE = {MESH: "in a mesh", REFLECTORS: "with reflectors"}
ENGINES = experiment.factor(
    "--engines", choice_list("builtin", "bird"), (), "ENGINE[,ENGINE]",
    "builtin, bird (default: both, or that of --engine; without BIRD the first alone)")
NODES = experiment.factor("--nodes", int_list(FEWEST_NODES, 200), (6, 16), "N[,N...]",
                          "nodes (default: 6,16)", quick=(6,))
PEERINGS = experiment.factor(
    "--peerings", choice_list(MESH, REFLECTORS), (MESH, REFLECTORS), "KIND[,KIND]",
    "mesh: every node with every other; reflectors: with two (default: both)", quick=(MESH,))
SETS = {"short": "short", "bfd": "short,bfd=300", "calico": "calico"}
TIMERS = experiment.factor(
    "--timers", choice_list(*SETS), tuple(SETS), "SET[,SET...]",
    "BIRD's timers: calico, short, bfd (short with BFD of 300 ms x 3); default: all, or what"
    " --bird-timers says", quick=("short",))
ASKED = experiment.factor("--events", choice_list(*EVENTS), EVENTS, "EVENT[,EVENT...]",
                          f"{', '.join(EVENTS)} (default: all)", quick=EVENTS[:-1])
PACKETS = experiment.factor("--packets", positive_int, 500, "N",
                            "packets a second in each direction (default: 500)")

if __name__ == "__main__":
    experiment.check_command_line()

# What follows takes long to import.
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain, product
from statistics import median
from typing import Any

from calico_mn.bgp.engine import BIRD, BUILTIN
from calico_mn.bgp.timers import CALICO, Timers, read_timers
from calico_mn.calico.encapsulation import IPIP
from calico_mn.errors import ClusterError
from calico_mn.experiment.report import begin, document
from calico_mn.experiment.run import Run, changed
from calico_mn.kernel import bird
from calico_mn.measure import flows, incidents, resources
from calico_mn.measure.cluster import CONVERGENCE
from calico_mn.measure.convergence import NODE_TIMES, NODES_CHANGED, ROUTE_CHANGES
from calico_mn.measure.incidents import COURSES, RESTART, ROUTES, STREAM, hold_of
from calico_mn.measure.paths import CROSS_SUBNET, PATHS
from calico_mn.measure.readings import Reading, Value, by_factors, under, values
from calico_mn.measure.trials import Trial, factorial
from calico_mn.model import EncapsulationMode
from calico_mn.report.document import Document, Figure, Numbers, Table, ends_of, range_of
from calico_mn.report.plots.distribution import Curve, distribution
from calico_mn.report.plots.lines import Line, lines
from calico_mn.text import duration, join
from calico_mn.topology.scaled import in_two_subnets, scaled, with_reflectors

#: level of the factor "timers" of the built-in engine
NONE = "none"


# --- method

def measure(run: Run) -> None:
    """The topology's own cluster boots first, and stays: the environment describes it."""
    run.topology = changed(run.topology, encapsulation=IPIP, mode=EncapsulationMode.ALWAYS)
    engines, left_out = chosen_engines(run)
    sets = {"asked": run.options.bird_timers} if run.options.bird_timers else {
        name: read_timers(SETS[name]) for name in run[TIMERS]}
    net = run.net()
    racks = {net.topology.subnet_of(node.address.ip) for node in net.topology.nodes}
    asked = [event for event in run[ASKED] if event != CUT or len(racks) > 1]
    if asked != list(run[ASKED]):
        left_out.append(f"Not measured: {CUT}, since all nodes are in one subnet.")

    def events(setting: Mapping[str, Value]) -> list[str]:
        """What is measured in a cluster."""
        return incidents.events_of(str(setting["course"]), asked, sets.get(str(setting["timers"])),
                                   reflectors=setting["peerings"] == REFLECTORS)

    settings = [setting for engine in engines for setting in factorial(
        engine=[engine], timers=[NONE] if engine == BUILTIN else list(sets),
        peerings=run[PEERINGS], nodes=run[NODES], course=list(COURSES)) if events(setting)]
    if not settings:
        raise ClusterError(f"none of {join(list(run[ASKED]))} can be measured with what was asked"
                           f" for: {REFLECTOR} needs reflectors, and a hold time of more than"
                           f" {incidents.LONGEST_HOLD_S} s is not waited for")
    begin(run, net, "How long convergence takes", settings, lambda trial: incidents.seconds_of(
        events(trial.setting), sets.get(trial.text("timers"))), noun="cluster", facts={
        "routes by": join(["built-in" if engine == BUILTIN else bird.version(bird.program())
                           for engine in engines]),
        **{f"timers {name}": timers.words for name, timers in sets.items() if BIRD in engines},
        "clusters": f"{join([str(count) for count in run[NODES]])} nodes with a pod each,"
                    f" {join(list(run[PEERINGS]), 'or')}"},
        engines=list(engines), timers={name: asdict(timers) for name, timers in sets.items()},
        **run.levels(PEERINGS, NODES), events=asked, packets_per_s=run[PACKETS], left_out=left_out)
    rest = resources.Rest(2.0 if run.options.quick else 10.0)

    def life(trial: Trial) -> None:
        """One cluster; what was read before is not written again."""
        rest.wait()
        topology = scaled(in_two_subnets(run.topology), trial.number("nodes"), 1)
        if trial["peerings"] == REFLECTORS:
            topology = with_reflectors(topology, 2)
        timers = sets.get(trial.text("timers"))
        incidents.live(
            lambda created: run.temporary_cluster(
                topology, engine=trial.text("engine"), timers=timers, created=created),
            events(trial.setting), lambda instrument, factors, measurement: run.record(
                instrument, trial, measurement, factors=factors),
            is_told=trial["engine"] == BUILTIN, rate=run[PACKETS], quiet=run.duration,
            patience=60 + (timers.hold if timers else 0))  # seconds

    run.trials(settings, life,
               readings=lambda trial: [(ROUTES, {"event": e}) for e in events(trial.setting)],
               doing=lambda trial: f"{named(trial.text('timers'))}, {trial['nodes']} nodes")


def chosen_engines(run: Run) -> tuple[tuple[str, ...], list[str]]:
    """They, and what is not measured. Raises UnsupportedError for BIRD, asked for by name."""
    asked = run[ENGINES] or ((BIRD,) if run.options.engine == BIRD else ())
    if BIRD in asked:
        bird.program()
    lacking = bird.lacking()
    return (asked or ((BUILTIN,) if lacking else (BUILTIN, BIRD)),
            [f"Not measured: BIRD, since {lacking}."] if lacking else [])


# --- what was measured

class Results:
    """The readings, by series: the built-in engine, and BIRD with each set of timers."""

    def __init__(self, readings: Sequence[Reading], plan: Mapping[str, Any]) -> None:
        self.readings = readings
        #: those between pods that the event does not part
        self.streams = [stream for stream in under(readings, STREAM) if (
            stream.setting["event"], stream.setting["path"]) != (CUT, CROSS_SUBNET)]
        self.events, self.nodes, self.peerings = plan["events"], plan["nodes"], plan["peerings"]
        #: level of the factor "timers" -> BIRD's timers
        self.series: dict[str, Timers | None] = {NONE: None} if BUILTIN in plan["engines"] else {}
        if BIRD in plan["engines"]:
            self.series |= {name: Timers(**timers) for name, timers in plan["timers"].items()}

    def times(self, *events: str, series: str, **levels: Value) -> list[float]:
        """Milliseconds until the last node was right, one a trial."""
        return [time for event in events for time in values(
            self.readings, CONVERGENCE, event=event, timers=series, **levels)]


def named(series: str) -> str:
    return "Built-in" if series == NONE else f"BIRD, {series}"


# --- report

def report(run: Run) -> Document:
    """What people read."""
    results = Results(run.log.readings, run.plan)
    return document(
        run, experiment, title="How long convergence takes", findings=findings(results),
        tables=[times_table(results), *loss_table(results)], figures=pictures(results),
        caveats=caveats(run), data=[every_time(results)])


def times_table(results: Results) -> Table:
    columns = list(product(results.peerings, results.nodes))
    rows = [(event, named(series), *(
        Numbers(duration(median(times)), {" ms": median(times)}) if times
        else Numbers(f"({hold} s)", {" ms": None}) if hold else None
        for peerings, nodes in columns
        for times in [results.times(event, series=series, peerings=peerings, nodes=nodes)]
        for hold in [hold_of(event, timers, reflectors=peerings == REFLECTORS)]))
            for event in results.events for series, timers in results.series.items()]
    return Table("times", "Until the last node had the right routes", (
        "event", "routes by", *(f"{peerings}, {nodes}" for peerings, nodes in columns)),
        tuple(row for row in rows if any(row[2:])),
        note="peerings, nodes: medians of the repeats. In brackets: up to the hold time, computed"
             " and not waited for.")


def every_time(results: Results) -> Table:
    return Table("convergence", "Each event of each trial", (
        "event", "routes by", "peerings", "nodes", "repeat", "ms", "nodes changed",
        "changes of routes"), tuple(
        (reading.text("event"), named(reading.text("timers")),
         *map(reading.setting.get, ("peerings", "nodes")), reading.repeat,
         *map(reading.number, (CONVERGENCE, NODES_CHANGED, ROUTE_CHANGES)))
        for reading in under(results.readings, ROUTES)))


def loss_table(results: Results) -> Iterator[Table]:
    """Only where packets were lost: the findings say where none was."""
    streams = by_factors(results.streams, "event", "timers", "path")
    rows = tuple((event, named(series), path, lost, max(values(some, flows.GAP)))
                 for event, series, path in product(results.events, results.series, PATHS)
                 for some in [streams.get((event, series, path), ())]
                 if (lost := sum(values(some, flows.LOST))))
    if rows:
        yield Table("losses", "Packets lost between pods that stay connected",
                    ("event", "routes by", "path", "lost", "gap ms"), rows,
                    note="same-subnet: node1 and node3, cross-subnet: node1 and node4; both"
                         " directions, all trials together. gap: the longest run of lost packets.")


def pictures(results: Results) -> Iterator[Figure]:
    """When nodes of the largest clusters were right, with reflectors if there are some; boots."""
    most, peerings = max(results.nodes), results.peerings[-1]
    for name, title in (("announced", "What is announced"), ("silent", "What only a timer ends")):
        curves = [
            Curve(event, named(series), times) for event, series in product(
                results.events, results.series) if (event in SILENT) is (name == "silent")
            if (times := tuple(chain(*(reading.series[NODE_TIMES] for reading in under(
                results.readings, ROUTES, event=event, timers=series, nodes=most,
                peerings=peerings)))))]
        if curves:
            yield distribution(
                name, f"{title}: when nodes have the right routes", "time since the event", "ms",
                curves, note=f"A sample is a node of a trial; {most} nodes, {peerings}.")
    if BOOT in results.events and len(results.nodes) > 1:
        yield lines("boots", "Boot, until the last node has its routes", "time", "ms", "nodes", [
            Line(f"{named(series)}, {peerings}", tuple(
                (nodes, tuple(results.times(BOOT, series=series, peerings=peerings, nodes=nodes)))
                for nodes in results.nodes))
            for series, peerings in product(results.series, results.peerings)])


def findings(results: Results) -> Iterator[str]:
    most = max(results.nodes)
    announced = [event for event in results.events if event not in (BOOT, RESTART, *SILENT)]
    for series, timers in results.series.items():
        boots = [f"{range_of(times, duration)} {WHERE[peerings]}" for peerings in results.peerings
                 if (times := results.times(BOOT, series=series, peerings=peerings, nodes=most))]
        parts = [f"{most} nodes have their routes after {join(boots)}"] if boots else []
        if times := results.times(*announced, series=series):
            parts.append(f"what is announced ({join(announced)}) is at the last node within"
                         f" {duration(max(times))}")
        if times := results.times(RESTART, series=series):
            parts.append("a daemon that is started again has what it missed after"
                         f" {range_of(times, duration)}")
        if times := results.times(*SILENT, series=series):
            parts.append(f"a loss in silence is over {ends_of(times, duration)} after it, " + (
                f"where its timers say {timers.silence_in_words} for each session" if timers
                else "from when the engine is told"))
        if parts:
            yield f"{named(series)}: {'; '.join(parts)}."
    if any(results.series.values()) and set(SILENT) & set(results.events):
        yield (f"With Calico's default hold time of {CALICO.hold} s each session ends"
               f" {CALICO.silence_in_words} after a loss in silence, and the last one counts.")
    yield from about_losses(results)


def about_losses(results: Results) -> Iterator[str]:
    """What was lost between pods that an event does not part."""
    for series, timers in results.series.items():
        some = under(results.streams, timers=series)
        lost = {event: f"{count:,.0f} were lost at {event}" for event in results.events
                if (count := sum(values(some, flows.LOST, event=event)))}
        why = (": BFD ends a session with a dead daemon, and its routes go at once, graceful"
               " restart or not" if RESTART in lost and timers and timers.bfd else "")
        if sent := sum(values(some, flows.SENT)):
            yield (f"{named(series)}: of {sent:,.0f} packets between pods that stay connected,"
                   f" {join([*lost.values()]) or 'none was lost'}{why}.")


def caveats(run: Run) -> Iterator[str]:
    yield from run.plan["left_out"]
    yield ("The built-in engine computes what BGP converges to: its times are those of computing"
           " and writing routes, and of the namespaces and programs that an event makes or ends.")
    yield ("All nodes share the processors of one machine, and their BIRDs too. In a real cluster"
           " the way to the datastore, Typha, Felix and confd comes before BGP.")
    yield flows.resolution(run.plan["packets_per_s"])


if __name__ == "__main__":
    experiment.main(measure, report)
