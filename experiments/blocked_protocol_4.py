"""A fabric that drops IP protocol 4: pods of which mode die, and does anything else notice?

Question  IPIP is IP protocol 4, which firewalls and clouds often drop. Who still reaches whom in
          Always, CrossSubnet and Never? And what do the nodes and the route exchange see of it?
Method    One cluster; its routers know the pods' blocks, so that Never has a way across subnets
          too and nothing but the drop makes a difference. In each mode four phases follow each
          other: before; every switch and router drops protocol 4 (nftables); only the routers
          do; after. In each phase every pod pings every other, captures on the nodes' uplinks
          tell which pings left inside IPIP, and the filters' counters tell where they died. Then
          every node pings every other and connects by TCP to its port 179, that of BGP; and each
          node's sessions and its routes in the kernel are counted.
Expected  Always loses all pods of other nodes, CrossSubnet those of other subnets, Never none.
          With routers alone that drop it, Always too loses other subnets only. The nodes' pings,
          TCP, sessions and routes stay as they were: TCP is IP protocol 6. Packets die in the
          first device that drops them. See docs/experiments/blocked_protocol_4.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    from calico_mn.experiment import requirements

    requirements.require_python()

    from calico_mn.calico.encapsulation import IPIP
    from calico_mn.experiment import options
    from calico_mn.experiment.frame import Experiment, Repetitions
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

experiment = Experiment(__file__, __doc__, topology="two-subnets.yaml",
                        full=Repetitions(3, duration=0.2), quick=Repetitions(1, duration=0.05))
#: whose packets the fabric drops, and how that is called
ENCAPSULATION, WHAT = IPIP, "protocol 4"

MODES = experiment.factor("--modes", options.mode_list, options.MODES, "MODE[,MODE...]",
                          f"{ENCAPSULATION} modes to try (default: {','.join(options.MODES)})")

if __name__ == "__main__":
    experiment.check_command_line()

# What follows takes long to import.
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import ToolError
from calico_mn.experiment.report import document, heading
from calico_mn.experiment.run import Named, Run
from calico_mn.measure import cluster, paths, reachability
from calico_mn.measure.connections import CONNECTIONS, connections
from calico_mn.measure.metrics import Measurement, Value
from calico_mn.measure.paths import PATHS, Endpoint, Pair
from calico_mn.measure.reachability import REACHABLE
from calico_mn.measure.readings import Reading, samples
from calico_mn.measure.trials import Trial
from calico_mn.report import matrix
from calico_mn.report.document import BAD, GOOD, MIXED, Cell, Document, Figure, Table
from calico_mn.report.plots.grid import grid
from calico_mn.text import join, plural

BEFORE, EVERYWHERE, ROUTERS, AFTER = "before", "everywhere", "routers", "after"
#: what drops the packets, in order: nothing; switches and routers; routers; nothing again
PHASES = (BEFORE, EVERYWHERE, ROUTERS, AFTER)
IN_WORDS = {BEFORE: "before", EVERYWHERE: "dropped everywhere", ROUTERS: "dropped by routers",
            AFTER: "after"}
#: instruments
PODS, NODES, TCP, SPEAKER, FILTER = "ping", "node ping", "node tcp", "speaker", "filter"
#: where BGP listens (RFC 4271, section 4)
BGP_PORT = 179
#: seconds that a pair's ping takes, a TCP pair besides its connections, a phase with losses
_PAIR_S, _TCP_S, _UNREACHABLE_S = 0.008, 0.15, 1.2


# --- method

def measure(run: Run) -> None:
    """The method; readings go to the run's log as they are taken."""
    net = run.net()
    endpoints = paths.endpoints(net)
    subnet_of = {pod.node: pod.subnet for pod in endpoints}
    hosts = [Endpoint(node.name, node.ip, node.name, subnet_of[node.name])
             for node in net.nodes if node.name in subnet_of]
    pods, nodes = paths.ordered_pairs(endpoints), paths.ordered_pairs(hosts)
    # Each two nodes once: a connection has both directions.
    tcp = [pair for pair in nodes if pair.source.name < pair.destination.name]
    run.plan = {
        "modes": list(run[MODES]), "phases": list(PHASES), "repeats": run.repeats,
        "duration_s": run.duration, "quick": run.options.quick, "tunnel": net.tunnel,
        "fabric": [device.name for device in net.fabric],
        "pods": [[pod.name, pod.ip, pod.node, pod.subnet] for pod in endpoints],
        "nodes": [[node.name, node.ip, node.node, node.subnet] for node in hosts]}
    phase_seconds = {
        phase: (len(pods) + len(nodes)) * _PAIR_S + len(tcp) * (run.duration + _TCP_S)
        + (_UNREACHABLE_S if phase in (EVERYWHERE, ROUTERS) else 0) for phase in PHASES}
    seconds = run.repeats * len(run[MODES]) * sum(phase_seconds.values())
    run.heading(f"A fabric that drops IP {WHAT} ({ENCAPSULATION})", [
        *heading(run, net),
        ("fabric", f"{', '.join(run.plan['fabric'])}; the routers know the pods"),
        ("phases", f"{plural(len(run[MODES]), 'mode')} x {', '.join(PHASES)} x"
         f" {plural(run.repeats, 'repeat')}; about {seconds:.0f} s")], seconds)
    readings: tuple[Named, ...] = (
        *((PODS, between(pair)) for pair in pods),
        *((FILTER, {"place": device.name}) for device in net.fabric),
        *((NODES, between(pair)) for pair in nodes), *((TCP, between(pair)) for pair in tcp),
        *((SPEAKER, {"node": node.name}) for node in net.nodes))

    def look(trial: Trial) -> None:
        """All that a phase reads, the pods first: the counters are theirs alone."""
        for reached in reachability.matrix(net, pods):
            run.record(PODS, trial, reached.measurement, factors=between(reached.pair))
        for device in net.fabric:
            run.record(FILTER, trial, cluster.dropped(net, device, ENCAPSULATION.match),
                       factors={"place": device.name})
        for reached in reachability.matrix(net, nodes):
            run.record(NODES, trial, reached.measurement, factors=between(reached.pair))
        for pair in tcp:
            run.record(TCP, trial, connect(net, pair, run.duration), factors=between(pair))
        for node in net.nodes:
            run.record(SPEAKER, trial, cluster.route_exchange(net, node),
                       factors={"node": node.name})

    net.set_pod_routes(True)
    for repeat in range(1, run.repeats + 1):
        for mode in run[MODES]:
            net.set_mode(mode, encapsulation=ENCAPSULATION)
            for phase in PHASES:
                trial = Trial({"mode": mode, "phase": phase}, repeat)
                droppers = {EVERYWHERE: net.fabric, ROUTERS: net.routers}.get(phase, [])
                if not run.has(trial, readings):
                    # The counters begin at 0 with the filters.
                    with net.dropping(droppers, ENCAPSULATION.match), run.trial(trial):
                        look(trial)
                run.step(f"{mode}: {phase}", phase_seconds[phase])


def connect(net: CalicoNet, pair: Pair, duration: float) -> Measurement:
    """Whether TCP connections to BGP's port carry a byte each way, and how many did a second."""
    client, server = (net.nameToNode[end.name] for end in (pair.source, pair.destination))
    try:
        made = connections(client, server, duration=duration, port=BGP_PORT)
    except ToolError as error:
        return Measurement({REACHABLE: 0}, seen={"reason": str(error)})
    return Measurement({REACHABLE: int(made.count > 0), CONNECTIONS: made.per_s})


def between(pair: Pair) -> dict[str, Value]:
    """A pair as factors."""
    return {"path": pair.path, "source": pair.source.name, "destination": pair.destination.name}


# --- report

class Outcomes:
    """The readings of a run, by instrument, mode and phase."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._of: dict[tuple[str, str, str], list[Reading]] = defaultdict(list)
        for reading in readings:
            mode, phase = str(reading.setting["mode"]), str(reading.setting["phase"])
            self._of[reading.instrument, mode, phase].append(reading)
        self.settings = [(mode, phase) for mode in dict.fromkeys(key[1] for key in self._of)
                         for phase in PHASES if (PODS, mode, phase) in self._of]
        self.dropping = [key for key in self.settings if key[1] in (EVERYWHERE, ROUTERS)]

    def readings(self, instrument: str, mode: str, phase: str) -> list[Reading]:
        """Those of one instrument, all repeats."""
        return self._of.get((instrument, mode, phase), [])

    def reached(self, instrument: str, mode: str, phase: str, path: str = ""
                ) -> tuple[int, int]:
        """(pairs that reached, pairs tried) over all repeats, on one path class or on all."""
        values = [reading.values[REACHABLE] for reading in self.readings(instrument, mode, phase)
                  if path in ("", reading.setting["path"])]
        return values.count(1), len(values)

    def total(self, instrument: str, metric: str, mode: str, phase: str, device: str = "") -> int:
        """The sum of a metric over all repeats, at one device or at all."""
        return sum(int(str(reading.values[metric]))
                   for reading in self.readings(instrument, mode, phase)
                   if device in ("", reading.setting.get("place")))


def report(run: Run) -> Document:
    """What people read."""
    outcomes = Outcomes(run.log.readings)
    return document(
        run, experiment, title=f"A fabric that drops IP {WHAT}",
        findings=findings(outcomes), tables=[state(outcomes), where(outcomes, run.plan["fabric"])],
        figures=pictures(outcomes), caveats=CAVEATS, matrices=matrices(run, outcomes))


def matrices(run: Run, outcomes: Outcomes) -> matrix.Matrices:
    """A matrix for each mode and phase."""
    pods = [Endpoint(*pod) for pod in run.plan["pods"]]
    grids: list[matrix.Grid] = []
    for mode in run.plan["modes"]:
        for phase in PHASES:
            one_phase = matrix.matrices(samples(outcomes.readings(PODS, mode, phase)), pods, [mode])
            grids += [replace(grid, mode=f"{mode}, {phase}") for grid in one_phase.grids]
    return replace(matrix.matrices((), pods, ()), grids=tuple(grids),
                   title=f"Who reaches whom: before, with {WHAT} dropped everywhere, dropped by"
                         " routers, after")


# --- tables and pictures

def state(outcomes: Outcomes) -> Table:
    rows: list[tuple[Cell, ...]] = []
    tones = []
    for mode, phase in outcomes.settings:
        pods = [outcomes.reached(PODS, mode, phase, path) for path in PATHS]
        rows.append((
            mode, phase, *map(count_of, pods), count_of(outcomes.reached(NODES, mode, phase)),
            count_of(outcomes.reached(TCP, mode, phase)),
            outcomes.total(SPEAKER, cluster.SESSIONS, mode, phase),
            outcomes.total(SPEAKER, cluster.ROUTES, mode, phase)))
        tones.append(tone(sum(count for count, _ in pods), sum(tried for _, tried in pods)))
    return Table(
        "state", "What works: pairs that reach each other, sessions, routes",
        ("mode", "dropped", *PATHS, "nodes", f"TCP {BGP_PORT}", "sessions", "routes"),
        tuple(rows), tones=tuple(tones),
        note="Over all repeats. same-node to cross-subnet: pods that ping pods; nodes: nodes that"
             f" ping nodes; TCP {BGP_PORT}: pairs of nodes that connect. sessions and routes: sums"
             " over the nodes of BGP-like sessions that are up, and of routes to other nodes' pods"
             " in the kernel.")


def where(outcomes: Outcomes, fabric: Sequence[str]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for mode, phase in outcomes.dropping:
        filters = {str(r.setting["place"]) for r in outcomes.readings(FILTER, mode, phase)
                   if r.seen.get("filters")}
        reached, tried = outcomes.reached(PODS, mode, phase)
        rows.append((mode, phase, tried - reached, *(
            outcomes.total(FILTER, cluster.DROPPED, mode, phase, device)
            if device in filters else None for device in fabric)))
    return Table(
        "where", "Where the pods' pings died: packets that each device dropped",
        ("mode", "dropped", "pairs lost", *fabric), tuple(rows),
        note="Over all repeats; an empty cell had no filter. Each lost pair pinged twice, and the"
             " first device on the way that drops a packet counts it.")


def pictures(outcomes: Outcomes) -> Iterator[Figure]:
    """For each drop a picture: what works, by mode."""
    modes = list(dict.fromkeys(mode for mode, _ in outcomes.settings))
    for phase in (EVERYWHERE, ROUTERS):
        cells = {}
        for mode in modes:
            counts = {f"pods, {path}": outcomes.reached(PODS, mode, phase, path) for path in PATHS}
            counts["nodes, ping"] = outcomes.reached(NODES, mode, phase)
            counts[f"nodes, TCP {BGP_PORT}"] = outcomes.reached(TCP, mode, phase)
            cells.update({(row, mode): (count_of(count), tone(*count))
                          for row, count in counts.items() if count[1]})
        if cells:
            yield grid(
                phase, f"IP {WHAT} {IN_WORDS[phase]}: who still reaches whom",
                list(dict.fromkeys(row for row, _ in cells)), modes, cells,
                column_heading="pairs that got an answer, by mode",
                caption="Pods lose each other where their packets are inside"
                        f" {ENCAPSULATION} on a device that"
                        f" drops {WHAT}. The nodes notice nothing.")


def count_of(counts: tuple[int, int]) -> str:
    return f"{counts[0]} of {counts[1]}" if counts[1] else ""


def tone(reached: int, tried: int) -> str:
    return GOOD if reached == tried else MIXED if reached else BAD


# --- findings

def findings(outcomes: Outcomes) -> Iterator[str]:
    for mode in dict.fromkeys(mode for mode, _ in outcomes.settings):
        by_fate: dict[str, list[str]] = {}
        for phase in [phase for other, phase in outcomes.dropping if other == mode]:
            by_fate.setdefault(fate(outcomes, mode, phase), []).append(IN_WORDS[phase])
        if by_fate:
            fates = "; ".join(f"with {WHAT} {' or '.join(drops)}, {words}"
                              for words, drops in by_fate.items())
            yield f"{mode}: {fates}.{healed(outcomes, mode)}"
    yield from unnoticed(outcomes)
    yield from counted(outcomes)


def fate(outcomes: Outcomes, mode: str, phase: str) -> str:
    counts = {path: outcomes.reached(PODS, mode, phase, path) for path in PATHS}
    dead = [path for path, (reached, tried) in counts.items() if tried and not reached]
    partly = [path for path, (reached, tried) in counts.items() if 0 < reached < tried]
    if not dead and not partly:
        return "all pods reach each other"
    return " and ".join([*([f"all {join(dead)} pairs are lost"] if dead else []),
                         *([f"some {join(partly)} pairs are lost"] if partly else [])])


def healed(outcomes: Outcomes, mode: str) -> str:
    if (mode, AFTER) not in outcomes.settings:
        return ""
    before, after = (outcomes.reached(PODS, mode, phase) for phase in (BEFORE, AFTER))
    return (f" Before and after, {count_of(before)} pairs reach." if before == after
            else f" Before, {count_of(before)} pairs reach; after, {count_of(after)}.")


def unnoticed(outcomes: Outcomes) -> Iterator[str]:
    """What keeps working while pods cannot reach each other."""
    bad = [(mode, phase) for mode, phase in outcomes.dropping
           if len(set(outcomes.reached(PODS, mode, phase))) == 2]
    if not bad:
        return
    pings, tcp = (tuple(map(sum, zip(*(outcomes.reached(what, *key) for key in bad),
                                     strict=True))) for what in (NODES, TCP))
    changed = [metric for metric in (cluster.SESSIONS, cluster.ROUTES) for mode, phase in bad
               if outcomes.total(SPEAKER, metric, mode, phase)
               != outcomes.total(SPEAKER, metric, mode, BEFORE)]
    yield (f"Meanwhile, where pods had lost each other, {pings[0]} of {pings[1]} pings between"
           f" nodes were answered and {tcp[0]} of {tcp[1]} pairs of nodes connected by TCP to port"
           f" {BGP_PORT}; " + (f"{join(sorted(set(changed)))} changed."
                               if changed else "no session went down and no route changed.")
           + (" Monitoring of nodes, BGP or routing tables shows nothing wrong."
              if pings[0] == pings[1] and tcp[0] == tcp[1] and not changed else ""))


def counted(outcomes: Outcomes) -> Iterator[str]:
    lost = sum(tried - reached
               for reached, tried in (outcomes.reached(PODS, *key) for key in outcomes.dropping))
    dropped = sum(outcomes.total(FILTER, cluster.DROPPED, *key) for key in outcomes.dropping)
    if lost:
        yield (f"The filters counted {dropped} dropped packets for {lost} lost pairs, which pinged"
               f" {2 * lost} times: " + ("each lost ping died in a filter." if dropped == 2 * lost
                                         else "not the same number."))


CAVEATS = (
    "The sessions are those of the built-in distributor, which are calls within one process: no"
    " filter could break them. That real BGP sessions would live is shown by the TCP connections"
    f" to port {BGP_PORT}, which cross the same filters.",
    "Node pings and TCP use the nodes' own addresses. A node's traffic to another node's pods is"
    " tunnelled like the pods' own and dies with it; that is not looked at here.",
)


if __name__ == "__main__":
    experiment.main(measure, report)
