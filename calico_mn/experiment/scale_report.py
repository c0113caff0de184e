"""Clusters of many sizes: from readings to what people read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from calico_mn.experiment.common import document
from calico_mn.experiment.run import Run
from calico_mn.experiment.scale import INSTRUMENT, Computed, computed
from calico_mn.measure.fits import plane
from calico_mn.measure.readings import Reading
from calico_mn.report.document import BAD, PLAIN_TONE, Cell, Document, Figure, Table
from calico_mn.report.plots.lines import Line, growth, lines
from calico_mn.text import number


@dataclass(frozen=True, eq=False)
class Size:
    """The readings of one number of nodes with one number of pods on each."""

    nodes: int
    each: int
    readings: tuple[Reading, ...]

    @property
    def pods(self) -> int:
        """In the whole cluster."""
        return self.nodes * self.each

    def values(self, metric: str) -> tuple[float, ...]:
        """One for each repeat."""
        return tuple(float(str(one.values[metric])) for one in self.readings)

    def median(self, metric: str) -> float:
        """The repeats' median."""
        return median(self.values(metric))


@dataclass(frozen=True)
class Growth:
    """What is fitted: a metric over counts of these names."""

    title: str
    metric: str
    unit: str
    terms: tuple[str, ...]
    counts: Callable[[Size], tuple[float, ...]]


GROWTHS = (
    Growth("boot", "boot", "ms", ("node", "pod"), lambda one: (one.nodes, one.pods)),
    Growth("slabs", "memory_slab", "MB", ("node", "pod"), lambda one: (one.nodes, one.pods)),
    Growth("MemAvailable", "memory", "MB", ("node", "pod"), lambda one: (one.nodes, one.pods)),
    Growth("a node joins", "convergence", "ms", ("node", "pod"),
           lambda one: (one.nodes, one.pods)),
    Growth("all to Never", "change", "ms", ("route replaced", "pod"),
           lambda one: (one.median("routes_changed"), one.pods)),
    Growth("back to Always", "change_back", "ms", ("route replaced", "pod"),
           lambda one: (one.median("routes_changed"), one.pods)),
)


def report(run: Run) -> Document:
    """What people read."""
    sizes = sizes_of(run.log.readings)
    arithmetic = {one: computed(run.topology, one.nodes, one.each) for one in sizes}
    return document(
        run, title="How an emulated cluster grows",
        question="What does a cluster cost to boot, to stop and in memory, how many routes does it"
                 " have, and how long do all nodes take to learn of a change, as nodes and pods"
                 " become more?",
        method=_METHOD, findings=_findings(sizes, arithmetic),
        tables=(_costs(sizes), _routes(sizes, arithmetic), _fits(sizes)),
        figures=_figures(sizes), caveats=_caveats(run, sizes))


def sizes_of(readings: Sequence[Reading]) -> tuple[Size, ...]:
    """The readings by size, in order of nodes, then pods."""
    keys = sorted({_key(one) for one in readings if one.instrument == INSTRUMENT})
    return tuple(Size(*key, tuple(one for one in readings if _key(one) == key)) for key in keys)


def _key(reading: Reading) -> tuple[int, int]:
    return int(str(reading.setting["nodes"])), int(str(reading.setting["pods"]))


def formula(sizes: Sequence[Size], wanted: Growth) -> tuple[str, float | None] | None:
    """The plane through all samples in words, and its R2; None with too few sizes for it."""
    rows = [(wanted.counts(one), value) for one in sizes for value in one.values(wanted.metric)]
    found = plane([row for row, _ in rows], [value for _, value in rows])
    if found is None:
        return None
    parts = [f"{number(found.intercept)} {wanted.unit}"]
    for slope, name in zip(found.slopes, wanted.terms, strict=True):
        parts.append(f"{'-' if slope < 0 else '+'} {_small(abs(slope), wanted.unit)} a {name}")
    return " ".join(parts), found.r2


def _small(value: float, unit: str) -> str:
    if value < 1:
        value, unit = value * 1000, {"ms": "us", "MB": "kB"}[unit]
    return f"{number(value)} {unit}"


def _costs(sizes: Sequence[Size]) -> Table:
    return Table(
        "costs", "Boot, stop, memory: medians of the repeats",
        ("nodes", "pods each", "pods", "boot, ms", "ms a pod", "stop, ms", "slabs, MB",
         "kB a pod", "MemAvailable, MB"),
        tuple((one.nodes, one.each, one.pods, round(one.median("boot"), 1),
               round(one.median("boot") / one.pods, 2), round(one.median("stop"), 1),
               round(one.median("memory_slab"), 1),
               round(1000 * one.median("memory_slab") / one.pods),
               round(one.median("memory"), 1)) for one in sizes),
        note="slabs: what the kernel's small objects take more after the boot (kB a pod is of"
             " that). MemAvailable: how much less there is of it. Both are the whole machine's:"
             " whatever else runs moves them, and the kernel keeps some of what it freed for the"
             " next cluster.")


def _routes(sizes: Sequence[Size], arithmetic: dict[Size, Computed]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (one.nodes, one.each, int(one.median("routes_remote")), int(one.median("routes")),
         arithmetic[one].total, round(one.median("convergence"), 1),
         round(one.median("change"), 1), round(one.median("change_back"), 1)) for one in sizes]
    return Table(
        "routes", "Routes in all nodes' kernel tables, and how fast a change reaches them all",
        ("nodes", "pods each", "remote", "all", "computed", "node joins, ms", "to Never, ms",
         "back, ms"),
        tuple(rows),
        note="remote: to blocks of other nodes. computed: nodes x (nodes - 1) x blocks a node,"
             " and what each node has of its own.",
        tones=tuple(PLAIN_TONE if _agrees(one, arithmetic[one]) else BAD for one in sizes))


def _agrees(one: Size, wanted: Computed) -> bool:
    return (set(one.values("routes")) == {wanted.total}
            and set(one.values("routes_remote")) == {wanted.remote})


def _fits(sizes: Sequence[Size]) -> Table:
    rows = []
    for wanted in GROWTHS:
        found = formula(sizes, wanted)
        if found is not None:
            rows.append((wanted.title, found[0],
                         None if found[1] is None else round(found[1], 4)))
    note = ("The parts that grow with pods in the last three are the emulation's own: each node's"
            " whole state is worked out and compared with the one before.")
    return Table("fits", "Least squares through all samples", ("quantity", "formula", "R2"),
                 tuple(rows), note=note if rows else "Too few sizes to fit anything.")


def _figures(sizes: Sequence[Size]) -> Iterator[Figure]:
    def over(count: Callable[[Size], float], metric: str, name: str,
             some: Sequence[Size] = sizes) -> Line:
        return Line(name, tuple((count(one), one.values(metric)) for one in some))

    by_pods = {each: [one for one in sizes if one.each == each]
               for each in sorted({one.each for one in sizes})}
    yield growth("boot", "Boot time", "time", "ms", "pods in all", "pod",
                 [over(lambda one: one.pods, "boot", "boot")])
    yield growth("memory", "Memory of a cluster", "memory", "MB", "pods in all", "pod",
                 [over(lambda one: one.pods, "memory_slab", "slabs"),
                  over(lambda one: one.pods, "memory", "MemAvailable")])
    yield lines("routes", "Routes of all nodes", "in all kernel tables", "routes", "nodes",
                [over(lambda one: one.nodes, "routes", f"{each} pods each", some)
                 for each, some in by_pods.items()])
    yield growth("join", "A node joins", "until all have its block", "ms", "nodes before", "node",
                 [over(lambda one: one.nodes, "convergence", f"{each} pods each", some)
                  for each, some in by_pods.items()])
    yield growth("mode-change", "All nodes change from Always to Never", "time", "ms",
                 "routes replaced", "route",
                 [over(lambda one: one.median("routes_changed"), "change", f"{each} pods each",
                       some) for each, some in by_pods.items()])


def _findings(sizes: Sequence[Size], arithmetic: dict[Size, Computed]) -> Iterator[str]:
    last = max(sizes, key=lambda one: one.pods)
    yield (f"{last.pods:,} pods on {last.nodes} nodes: {number(last.median('boot') / 1000)} s to"
           f" boot, {number(last.median('stop'))} ms to stop,"
           f" {number(last.median('memory_slab'))} MB of slabs in the kernel.")
    for wanted in GROWTHS:
        found = formula(sizes, wanted)
        if found is not None and wanted.metric in ("boot", "memory_slab", "convergence"):
            text, r2 = found
            yield (f"{wanted.title[0].upper() + wanted.title[1:]}: {text}"
                   + (f" (R2 = {r2:.4f})." if r2 is not None else "."))
    wrong = [one for one in sizes if not _agrees(one, arithmetic[one])]
    if wrong:
        yield "The kernel's routes differ from arithmetic: " + "; ".join(
            f"{one.nodes} nodes with {one.each} pods have {one.median('routes'):.0f}, computed"
            f" {arithmetic[one].total}" for one in wrong) + "."
    else:
        yield (f"All {len(sizes)} sizes have exactly the routes that arithmetic says:"
               " nodes x (nodes - 1) x blocks a node to other nodes, and of its own each node's"
               " subnet, default route, blocks and pods.")
    yield ("After each mode change every node's table in the kernel was right, after each joining"
           " node too; and a pod of the first node reached one of the last.")


def _caveats(run: Run, sizes: Sequence[Size]) -> Iterator[str]:
    limit, pods = run.plan["neighbour_limit"], max(one.pods for one in sizes)
    if limit is not None and pods > limit and not run.options.raise_neighbour_limit:
        yield (f"The largest cluster has {pods:,} pods, and this machine's neighbour table holds"
               f" {limit:,} entries of all namespaces together (gc_thresh3). Booting needs none of"
               " them, so nothing here depends on it; but if all pods talked at once, some would"
               " not get through (\"neighbour table overflow\" in dmesg). It is the machine's and"
               f" was not changed: sysctl -w net.ipv4.neigh.default.gc_thresh3={4 * pods} would.")
    restless = sum(one.seen["at_rest"] is False for size in sizes for one in size.readings)
    if restless:
        yield (f"{restless} of {sum(len(one.readings) for one in sizes)} clusters booted although"
               " the machine had not come to rest in time: something else makes or ends"
               " namespaces.")
    yield ("Routes are handed on by a built-in distributor without timers. Real nodes add BIRD's:"
           " connections, scans, and Kubernetes' own time to tell them.")
    yield "Stopped is what the caller waits for: the kernel takes the namespaces apart afterwards."


_METHOD = (
    "For every number of nodes with every number of pods on each, a cluster of its own boots, in"
    " random order, in blocks that hold each size once. Before each, the machine comes to rest.",
    "Boot is the time from the topology object to Mininet nodes, memory what the machine has less"
    " available then. All nodes' routing tables are read from the kernel by rtnetlink and counted.",
    "All nodes change to Never and back to Always, and one more node joins: timed until the kernel"
    " has acknowledged the last route. Then every node's table is read from it and checked.",
)
