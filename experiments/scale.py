"""How an emulated cluster grows: boot, stop, memory, routes and convergence by nodes and pods.

Question  What does a cluster cost to boot, to stop and in memory, how many routes does it have,
          and how long do all nodes take to learn of a change, as nodes and pods become more?
Method    For every number of nodes with every number of pods on each, a cluster of its own is
          made from the topology's subnets and pools, in mode Always. Its life, one reading:
          1. The machine comes to rest: the kernel takes stopped clusters apart in the background,
             and a boot meanwhile is up to twice as slow.
          2. It boots, from topology object to Mininet nodes; the machine's memory is compared.
          3. All nodes' routing tables are read from the kernel and counted.
          4. All nodes change to Never and back to Always; one more node joins. Timed until the
             kernel has acknowledged the last route; then every table is read and checked.
          5. A pod on the first node pings one on the last. The cluster is stopped.
          Sizes come in seeded random order, in blocks that hold each once. Straight lines and
          planes are fitted to all samples by least squares.
Expected  Boot and memory linear in pods, with something for each node. Remote routes: nodes times
          (nodes - 1), times blocks a node; so what touches them all grows with the square.
          See docs/experiments/scale.md.
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

experiment = Experiment(__file__, __doc__, topology="scale.yaml",
                        why_emulated="it makes clusters of many sizes",
                        full=Repetitions(3, duration=1), quick=Repetitions(1, duration=1))

NODES = experiment.factor("--nodes", int_list(2, 400), (2, 5, 10, 20, 40), "N[,N...]",
                          "nodes (default: 2,5,10,20,40)", quick=(2, 5, 10))
PODS = experiment.factor("--pods", int_list(1, 500), (10, 20, 50), "N[,N...]",
                         "pods on each node (default: 10,20,50)", quick=(5, 20))

if __name__ == "__main__":
    experiment.check_command_line()

# What follows takes long to import.
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from calico_mn.calico.encapsulation import IPIP
from calico_mn.errors import CalicoMnError, ToolError
from calico_mn.experiment.report import begin, document
from calico_mn.experiment.run import Run, changed
from calico_mn.kernel import neighbour_quota
from calico_mn.measure import cluster, fits, ping, resources
from calico_mn.measure.cluster import BOOT, CHANGE, CONVERGENCE, ROUTES, ROUTES_CHANGED, STOP
from calico_mn.measure.readings import Measurement, Reading, by_factors, known_metrics, values
from calico_mn.measure.resources import MEMORY, MEMORY_SLAB
from calico_mn.measure.trials import Trial, factorial
from calico_mn.model import EncapsulationMode
from calico_mn.report.document import BAD, PLAIN_TONE, Cell, Document, Figure, Table, rounded
from calico_mn.report.plots.lines import Line, lines
from calico_mn.text import number
from calico_mn.topology.scaled import check_room, free_addresses, scaled

#: rough costs in ms and kB, to estimate the time and to refuse what cannot fit
_POD_MS, _NODE_MS, _TRIAL_MS, _POD_KB = 2.2, 12.0, 900.0, 350


# --- method

def measure(run: Run) -> None:
    """The topology's own cluster boots first, and stays: the environment describes it."""
    run.topology = changed(run.topology, encapsulation=IPIP, mode=EncapsulationMode.ALWAYS)
    nodes, pods = run[NODES], run[PODS]
    check_room(run.topology, max(nodes), max(pods))
    wanted, free = max(nodes) * max(pods) * _POD_KB, resources.available_kb()
    if wanted > free:
        raise CalicoMnError(f"{max(nodes)} nodes with {max(pods)} pods need about"
                            f" {wanted / 1e6:.1f} GB, and this machine has {free / 1e6:.1f} GB"
                            " available: ask for fewer")
    rest = resources.Rest(2.0 if run.options.quick else 10.0)
    net = run.net()
    settings = factorial(nodes=nodes, pods=pods, tunnel=[net.tunnel])
    begin(run, net, "How an emulated cluster grows", settings, trial_seconds, noun="size", facts={
        "sizes": f"{', '.join(map(str, nodes))} nodes with {', '.join(map(str, pods))} pods on"
                 f" each: up to {max(nodes) * max(pods):,} pods"},
        **run.levels(NODES, PODS), neighbour_limit=neighbour_quota.limit())

    def life(trial: Trial) -> Measurement:
        """One cluster from boot to stop."""
        topology = scaled(run.topology, trial.number("nodes"), trial.number("pods"))
        at_rest = rest.wait()
        footprint, start = resources.Footprint(), time.perf_counter()
        with run.temporary_cluster(topology) as net:
            values = {BOOT: cluster.milliseconds_since(start), **footprint.since()}
            values |= cluster.routes(net) | cluster.change_there_and_back(net, IPIP)
            count = len(net.nodes) + 1
            values |= cluster.join(net, f"node{count}",
                                   str(free_addresses(net.topology, count)[-1]))
            first, last = net.pods[0], net.pods[-1]
            if not ping.answers(first, last.ip):
                raise ToolError(f"{last.name} does not answer {first.name}")
            stopping = time.perf_counter()
        return Measurement({**values, STOP: cluster.milliseconds_since(stopping)},
                           seen={"at_rest": at_rest})

    run.trials(settings, lambda trial: run.measure("life", trial, lambda: life(trial)),
               doing=lambda trial: f"{trial['nodes']} nodes with {trial['pods']} pods")


def trial_seconds(trial: Trial) -> float:
    """How long a trial is expected to take."""
    nodes, pods = trial.number("nodes"), trial.number("pods")
    return (_TRIAL_MS + _NODE_MS * nodes + _POD_MS * nodes * pods) / 1e3


# --- what was measured

@dataclass(frozen=True, eq=False)
class Size:
    """The readings of one number of nodes with one number of pods on each."""

    readings: tuple[Reading, ...]
    nodes: int
    each: int

    @property
    def pods(self) -> int:
        """In the whole cluster."""
        return self.nodes * self.each

    def values(self, metric: str) -> tuple[float, ...]:
        """One for each repeat."""
        return tuple(values(self.readings, metric))

    def median(self, metric: str) -> float:
        """The repeats' median."""
        return median(self.values(metric))

    def medians(self, digits: int, *metrics: str) -> list[Cell]:
        """Rounded, for a table."""
        return [rounded(self.median(metric), digits) for metric in metrics]


def sizes_of(readings: Sequence[Reading]) -> tuple[Size, ...]:
    """The readings by size, in order of nodes, then pods."""
    return tuple(sorted(
        (Size(some, *levels) for levels, some in by_factors(readings, "nodes", "pods").items()),
        key=lambda size: (size.nodes, size.each)))


# --- report

def report(run: Run) -> Document:
    sizes = sizes_of(run.log.readings)
    computed = {size: cluster.computed(run.topology, size.nodes, size.each) for size in sizes}
    return document(
        run, experiment, title="How an emulated cluster grows", findings=findings(sizes, computed),
        tables=(costs(sizes), routes(sizes, computed), fitted(sizes)),
        figures=pictures(sizes), caveats=caveats(run, sizes))


UNMEASURABLE = "not measurable in this run (other load: run alone, or with --repeats 3)"
#: what is fitted: title and metric, over counts of these and of pods
GROWTHS = (
    ("boot", BOOT, "node"), ("slabs", MEMORY_SLAB, "node"), ("MemAvailable", MEMORY, "node"),
    ("a node joins", CONVERGENCE, "node"), ("all to Never", CHANGE, "route replaced"),
    ("back to Always", cluster.CHANGE_BACK, "route replaced"))


def formula(sizes: Sequence[Size], metric: str, term: str) -> tuple[str, float | None] | None:
    """The plane over counts of ``term`` and of pods in words, and its R2; None with too few sizes.

    Where the samples lie on no plane that grows, it is UNMEASURABLE, without R2.
    """
    rows = [((size.nodes if term == "node" else size.median(ROUTES_CHANGED), size.pods), value)
            for size in sizes for value in size.values(metric)]
    plane = fits.plane([row for row, _ in rows], [value for _, value in rows])
    if plane is None:
        return None
    if not plane.grows:
        return UNMEASURABLE, None
    unit = known_metrics()[metric].unit
    return " ".join([f"{number(plane.intercept)} {unit}", *(
        f"{'-' if slope < 0 else '+'} {small(abs(slope), unit)} a {name}"
        for slope, name in zip(plane.slopes, (term, "pod"), strict=True))]), plane.r2


def small(value: float, unit: str) -> str:
    """In a smaller unit where it is less than 1."""
    if value < 1:
        value, unit = value * 1000, {"ms": "us", "MB": "kB"}[unit]
    return f"{number(value)} {unit}"


def costs(sizes: Sequence[Size]) -> Table:
    """Time and memory."""
    return Table(
        "costs", "Boot, stop, memory: medians of the repeats",
        ("nodes", "pods each", "pods", "boot, ms", "ms a pod", "stop, ms", "slabs, MB",
         "kB a pod", "MemAvailable, MB"),
        tuple((size.nodes, size.each, size.pods, *size.medians(1, BOOT),
               rounded(size.median(BOOT) / size.pods, 2), *size.medians(1, STOP),
               rounded(grown(size, MEMORY_SLAB), 1),
               rounded(grown(size, MEMORY_SLAB), 0, 1000 / size.pods),
               rounded(grown(size, MEMORY), 1)) for size in sizes),
        note="slabs: what the kernel's small objects take more after the boot (kB a pod is of"
             " that). MemAvailable: how much less there is of it. Both are the whole machine's:"
             " all else that runs moves them, and the kernel keeps some of what it freed for the"
             " next cluster. Empty where memory shrank meanwhile, so that nothing was measured.")


def grown(size: Size, metric: str) -> float | None:
    """The median in MB; None where other programs freed more than the cluster took."""
    amount = size.median(metric)
    return amount if amount > 0 else None


def routes(sizes: Sequence[Size], computed: dict[Size, cluster.Routes]) -> Table:
    return Table(
        "routes", "Routes in all nodes' kernel tables, and how fast a change reaches them all",
        ("nodes", "pods each", "remote", "all", "computed", "node joins, ms", "to Never, ms",
         "back, ms"),
        tuple((size.nodes, size.each, int(size.median(cluster.ROUTES_REMOTE)),
               int(size.median(ROUTES)), computed[size].total,
               *size.medians(1, CONVERGENCE, CHANGE, cluster.CHANGE_BACK)) for size in sizes),
        note="remote: to blocks of other nodes. computed: nodes x (nodes - 1) x blocks a node,"
             " and what each node has of its own.",
        tones=tuple(PLAIN_TONE if agrees(size, computed[size]) else BAD for size in sizes))


def agrees(size: Size, wanted: cluster.Routes) -> bool:
    return (set(size.values(ROUTES)) == {wanted.total}
            and set(size.values(cluster.ROUTES_REMOTE)) == {wanted.remote})


def fitted(sizes: Sequence[Size]) -> Table:
    rows = [(title, plane[0], rounded(plane[1], 4)) for title, metric, term in GROWTHS
            for plane in [formula(sizes, metric, term)] if plane]
    note = ("The parts that grow with pods in the last three are the emulation's own: each node's"
            " whole state is worked out and compared with the one before.")
    return Table("fits", "Least squares through all samples", ("quantity", "formula", "R2"),
                 tuple(rows), note=note if rows else "Too few sizes to fit anything.")


def pictures(sizes: Sequence[Size]) -> Iterator[Figure]:
    def over(count: Callable[[Size], float], metric: str, name: str,
             some: Sequence[Size] = sizes) -> Line:
        return Line(name, tuple((count(size), size.values(metric) if size.median(metric) > 0
                                 else ()) for size in some))

    def by_pods(count: Callable[[Size], float], metric: str) -> list[Line]:
        return [over(count, metric, f"{each} pods each", [
            size for size in sizes if size.each == each])
            for each in sorted({size.each for size in sizes})]

    yield lines("boot", "Boot time", "time", "ms", "pods in all",
                [over(lambda size: size.pods, BOOT, "boot")])
    memory = [over(lambda size: size.pods, metric, name) for metric, name in (
        (MEMORY_SLAB, "slabs"), (MEMORY, "MemAvailable"))]
    if any(values for line in memory for _, values in line.points):
        yield lines("memory", "Memory of a cluster", "memory", "MB", "pods in all", memory)
    yield lines("routes", "Routes of all nodes", "in all kernel tables", "routes", "nodes",
                by_pods(lambda size: size.nodes, ROUTES))
    yield lines("join", "A node joins", "until all have its block", "ms", "nodes before",
                by_pods(lambda size: size.nodes, CONVERGENCE))
    yield lines("mode-change", "All nodes change from Always to Never", "time", "ms",
                "routes replaced", by_pods(lambda size: size.median(ROUTES_CHANGED), CHANGE))


def findings(sizes: Sequence[Size], computed: dict[Size, cluster.Routes]) -> Iterator[str]:
    last = max(sizes, key=lambda size: size.pods)
    slabs = grown(last, MEMORY_SLAB)
    yield (f"{last.pods:,} pods on {last.nodes} nodes: {number(last.median(BOOT) / 1000)} s to"
           f" boot, {number(last.median(STOP))} ms to stop, slabs in the kernel "
           f"{f'{number(slabs)} MB' if slabs else UNMEASURABLE}.")
    for title, metric, term in GROWTHS:
        plane = formula(sizes, metric, term)
        if plane and metric in (BOOT, MEMORY_SLAB, CONVERGENCE):
            yield (f"{title[0].upper() + title[1:]}: {plane[0]}"
                   + (f" (R2 = {plane[1]:.4f})." if plane[1] is not None else "."))
    wrong = [size for size in sizes if not agrees(size, computed[size])]
    if wrong:
        yield "The kernel's routes differ from arithmetic: " + "; ".join(
            f"{size.nodes} nodes with {size.each} pods have {size.median(ROUTES):.0f}, computed"
            f" {computed[size].total}" for size in wrong) + "."
    else:
        yield (f"All {len(sizes)} sizes have exactly the routes that arithmetic says:"
               " nodes x (nodes - 1) x blocks a node to other nodes, and of its own each node's"
               " subnet, default route, blocks and pods.")
    yield ("After each mode change every node's table in the kernel was right, after each joining"
           " node too; and a pod of the first node reached one of the last.")


def caveats(run: Run, sizes: Sequence[Size]) -> Iterator[str]:
    limit, pods = run.plan["neighbour_limit"], max(size.pods for size in sizes)
    if limit is not None and pods > limit and not run.options.raise_neighbour_limit:
        yield (f"The largest cluster has {pods:,} pods, and this machine's neighbour table holds"
               f" {limit:,} entries of all namespaces together (gc_thresh3). Booting needs none of"
               " them, so nothing here depends on it; but if all pods talked at once, some would"
               " not get through (\"neighbour table overflow\" in dmesg). It is the machine's and"
               f" was not changed: sysctl -w {neighbour_quota.SYSCTL}={4 * pods} would.")
    restless = sum(reading.seen["at_rest"] is False for reading in run.log.readings)
    if restless:
        yield (f"{restless} of {len(run.log.readings)} clusters booted although the machine had not"
               " come to rest in time: something else makes or ends namespaces.")
    yield ("Routes are handed on by a built-in distributor without timers. Real nodes add BIRD's:"
           " connections, scans, and Kubernetes' own time to notify them.")
    yield "Stopped is what the caller waits for: the kernel takes the namespaces apart afterwards."


if __name__ == "__main__":
    experiment.main(measure, report)
