"""A fabric that drops encapsulated packets: pods of which mode die, does anything else notice?

Question  IPIP is IP protocol 4, VXLAN is UDP to port 4789, and firewalls and clouds often drop
          them. Who still reaches whom in Always, CrossSubnet and Never? And what do the nodes and
          the route exchange see of it?
Method    One cluster; its routers know the pods' blocks, so that Never has a way across subnets
          too and nothing but the drop makes a difference. In each mode four phases follow each
          other: before; every switch and router drops what is encapsulated (nftables); only
          the routers do; after. In each phase every pod pings every other, captures on the nodes'
          uplinks show which pings left encapsulated, and the filters' counters where they died.
          Then every node pings every other and connects by TCP to its port 179, that of BGP; and
          each node's sessions and its routes in the kernel are counted.
Expected  Always loses all pods of other nodes, CrossSubnet those of other subnets, Never none.
          With routers alone that drop it, Always too loses other subnets only. The nodes' pings,
          TCP, sessions and routes stay as they were: nodes do not encapsulate their own packets.
          Packets die in the first device that drops them. See
          docs/experiments/blocked_protocol_4.md.
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
except ImportError as missing:
    sys.exit(f"{__file__}: {missing}; run it where it lies, after ./install.sh")

experiment = Experiment(__file__, __doc__, topology="two-subnets.yaml",
                        why_emulated="it drops packets in the network between nodes",
                        full=Repetitions(3, duration=0.2), quick=Repetitions(1, duration=0.05))
experiment.encapsulation()
MODES = experiment.factor("--modes", options.mode_list, options.MODES, "MODE[,MODE...]",
                          f"modes to try (default: {','.join(options.MODES)})")

if __name__ == "__main__":
    experiment.check_command_line()

# What follows takes long to import.
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from calico_mn.calico.encapsulation import Encapsulation
from calico_mn.experiment.report import document, heading
from calico_mn.experiment.run import Run
from calico_mn.measure import cluster, paths, reachability
from calico_mn.measure.paths import PATHS, Endpoint
from calico_mn.measure.reachability import REACHABLE
from calico_mn.measure.readings import Measurement, Reading, Value, by_factors, under, values
from calico_mn.measure.trials import Trial
from calico_mn.report import matrix
from calico_mn.report.document import BAD, GOOD, MIXED, Cell, Document, Figure, Numbers, Table
from calico_mn.report.plots.grid import grid
from calico_mn.text import join, plural

BEFORE, EVERYWHERE, ROUTERS, AFTER = "before", "everywhere", "routers", "after"
#: what drops the packets, in order: nothing; switches and routers; routers; nothing again
PHASES = (BEFORE, EVERYWHERE, ROUTERS, AFTER)
DROPPED = {EVERYWHERE: "dropped everywhere", ROUTERS: "dropped by routers"}
#: instruments
PODS, NODES, TCP, SPEAKER, FILTER = "ping", "node ping", "node tcp", "speaker", "filter"
#: where BGP listens (RFC 4271, section 4)
BGP_PORT = 179
#: seconds that a pair's ping takes, a TCP pair besides its connections, a phase with losses
_PAIR_S, _TCP_S, _UNREACHABLE_S = 0.008, 0.15, 1.2


# --- method

def measure(run: Run) -> None:
    net, encapsulation = run.net(), run.encapsulation
    endpoints = paths.endpoints(net)
    hosts = [Endpoint(node.name, node.ip, node.name, subnet) for node in net.nodes
             for subnet in {pod.subnet for pod in endpoints if pod.node == node.name}]
    pods, nodes = paths.ordered_pairs(endpoints), paths.ordered_pairs(hosts)
    # Each two nodes once: a connection has both directions.
    tcp = [pair for pair in nodes if pair.source.name < pair.destination.name]
    run.plan = {
        **run.levels(MODES), "phases": list(PHASES), "tunnel": run.tunnel(net),
        "fabric": [device.name for device in net.fabric],
        "pods": [[pod.name, pod.ip, pod.node, pod.subnet] for pod in endpoints],
        "nodes": [[node.name, node.ip, node.node, node.subnet] for node in hosts], **run.design}
    phase_seconds = {
        phase: (len(pods) + len(nodes)) * _PAIR_S + len(tcp) * (run.duration + _TCP_S)
        + (_UNREACHABLE_S if phase in DROPPED else 0) for phase in PHASES}
    seconds = run.repeats * len(run[MODES]) * sum(phase_seconds.values())
    run.heading(f"A fabric that drops {what(encapsulation)} ({encapsulation})", [
        *heading(run, net),
        ("fabric", f"{', '.join(run.plan['fabric'])}; the routers know the pods"),
        ("phases", f"{plural(len(run[MODES]), 'mode')} x {', '.join(PHASES)} x"
         f" {plural(run.repeats, 'repeat')}; about {seconds:.0f} s")], seconds)
    readings = [
        *((PODS, pair.factors) for pair in pods),
        *((FILTER, {"place": device.name}) for device in net.fabric),
        *((NODES, pair.factors) for pair in nodes), *((TCP, pair.factors) for pair in tcp),
        *((SPEAKER, {"node": node.name}) for node in net.nodes)]

    def look() -> Iterator[tuple[str, dict[str, Value], Measurement]]:
        """All that a phase reads, the pods first: the counters are theirs alone."""
        for reached in reachability.matrix(net, pods):
            yield PODS, reached.pair.factors, reached.measurement
        for device in net.fabric:
            yield FILTER, {"place": device.name}, cluster.dropped(net, device, encapsulation.match)
        for reached in reachability.matrix(net, nodes):
            yield NODES, reached.pair.factors, reached.measurement
        for pair in tcp:
            client, server = (net.nameToNode[name] for name in pair.names)
            yield TCP, pair.factors, reachability.by_tcp(client, server, port=BGP_PORT,
                                                         duration=run.duration)
        net.refresh_sessions()
        for node in net.nodes:
            yield SPEAKER, {"node": node.name}, cluster.route_exchange(net, node)

    net.set_pod_routes(True)
    for repeat in range(1, run.repeats + 1):
        for mode in run[MODES]:
            net.set_mode(mode, encapsulation=encapsulation)
            for phase in PHASES:
                trial = Trial({"mode": mode, "phase": phase, **run.encapsulation_factor}, repeat)
                droppers = {EVERYWHERE: net.fabric, ROUTERS: net.routers}.get(phase, [])
                if not run.has(trial, readings):
                    # The counters begin at 0 with the filters.
                    with net.dropping(droppers, encapsulation.match), run.trial(trial):
                        for instrument, factors, measurement in look():
                            run.record(instrument, trial, measurement, factors=factors)
                run.step(f"{mode}: {phase}", phase_seconds[phase])


# --- report

class Count(NamedTuple):
    """Pairs that reached, of those that tried."""

    reached: int
    tried: int

    def __str__(self) -> str:
        return f"{self.reached} of {self.tried}" if self.tried else ""

    @property
    def lost(self) -> int:
        """Pairs that did not reach."""
        return self.tried - self.reached

    @property
    def cell(self) -> Numbers | None:
        """For a table; None if no pair tried."""
        return Numbers(str(self), {"": self.reached, " of": self.tried}) if self.tried else None

    @property
    def tone(self) -> str:
        """Good if all reached."""
        return GOOD if self.reached == self.tried else MIXED if self.reached else BAD


class Outcomes:
    """The readings of a run, by mode and phase; over all repeats."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._of = by_factors(readings, "mode", "phase")
        self.modes = list(dict.fromkeys(mode for mode, _ in self._of))
        self.settings = [(mode, phase) for mode in self.modes for phase in PHASES
                         if (mode, phase) in self._of]
        self.dropping = [key for key in self.settings if key[1] in DROPPED]

    def readings(self, instrument: str, mode: str, phase: str) -> list[Reading]:
        """Those of one instrument."""
        return under(self._of.get((mode, phase), ()), instrument)

    def reached(self, instrument: str, mode: str, phase: str, **levels: Value) -> Count:
        """How many of an instrument's pairs reached."""
        reached = values(self.readings(instrument, mode, phase), REACHABLE, **levels)
        return Count(reached.count(1), len(reached))

    def pods(self, mode: str, phase: str) -> dict[str, Count]:
        """The pods' pings by path class."""
        return {path: self.reached(PODS, mode, phase, path=path) for path in PATHS}

    def total(self, metric: str, mode: str, phase: str, **levels: Value) -> int:
        """The sum of a metric."""
        return int(sum(values(self._of.get((mode, phase), ()), metric, **levels)))


def what(encapsulation: Encapsulation) -> str:
    """What the fabric drops: ``IP protocol 4``."""
    match = encapsulation.match
    return f"UDP port {match.port}" if match.port else f"IP protocol {match.protocol}"


def report(run: Run) -> Document:
    outcomes, dropped = Outcomes(run.log.readings), what(run.encapsulation)
    short = dropped.removeprefix("IP ")
    marks = {", ".join(key): {
        (reading.text("source"), reading.text("destination")): matrix.mark(
            reading.values[REACHABLE] == 1, reading.seen.get("encapsulated") is True)
        for reading in outcomes.readings(PODS, *key)} for key in outcomes.settings}
    return document(
        run, experiment, title=f"A fabric that drops {dropped}", findings=findings(outcomes, short),
        tables=[state(outcomes), where(outcomes, run.plan["fabric"])],
        figures=pictures(outcomes, run.encapsulation), caveats=CAVEATS, matrices=replace(
            matrix.drawn(marks, [Endpoint(*pod) for pod in run.plan["pods"]]),
            title=f"Who reaches whom: before, with {short} {', '.join(DROPPED.values())}, after"))


def state(outcomes: Outcomes) -> Table:
    return Table(
        "state", "What works: pairs that reach each other, sessions, routes",
        ("mode", "dropped", *PATHS, "nodes", f"TCP {BGP_PORT}", "sessions", "routes"),
        tuple((*key, *(count.cell for count in outcomes.pods(*key).values()),
               outcomes.reached(NODES, *key).cell, outcomes.reached(TCP, *key).cell,
               outcomes.total(cluster.SESSIONS, *key), outcomes.total(cluster.ROUTES, *key))
              for key in outcomes.settings),
        tones=tuple(outcomes.reached(PODS, *key).tone for key in outcomes.settings),
        note="Over all repeats. same-node to cross-subnet: pods that ping pods; nodes: nodes that"
             f" ping nodes; TCP {BGP_PORT}: pairs of nodes that connect. sessions and routes: sums"
             " over the nodes of BGP-like sessions that are up, and of routes to other nodes' pods"
             " in the kernel.")


def where(outcomes: Outcomes, fabric: Sequence[str]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for key in outcomes.dropping:
        filters = {reading.text("place") for reading in outcomes.readings(FILTER, *key)
                   if reading.seen.get("filters")}
        rows.append((*key, outcomes.reached(PODS, *key).lost, *(
            outcomes.total(cluster.DROPPED, *key, place=device) if device in filters else None
            for device in fabric)))
    return Table(
        "where", "Where the pods' pings died: packets that each device dropped",
        ("mode", "dropped", "pairs lost", *fabric), tuple(rows),
        note="Over all repeats; an empty cell had no filter. Each lost pair pinged twice, and the"
             " first device on the way that drops a packet counts it.")


def pictures(outcomes: Outcomes, encapsulation: Encapsulation) -> Iterator[Figure]:
    """For each drop a picture: what works, by mode."""
    dropped = what(encapsulation)
    for phase, in_words in DROPPED.items():
        cells = {
            (row, mode): (str(count), count.tone) for mode in outcomes.modes
            for row, count in {
                **{f"pods, {path}": count for path, count in outcomes.pods(mode, phase).items()},
                "nodes, ping": outcomes.reached(NODES, mode, phase),
                f"nodes, TCP {BGP_PORT}": outcomes.reached(TCP, mode, phase)}.items()
            if count.tried}
        if cells:
            yield grid(
                phase, f"{dropped} {in_words}: who still reaches whom",
                list(dict.fromkeys(row for row, _ in cells)), outcomes.modes, cells,
                column_heading="pairs that got an answer, by mode",
                caption=f"Pods lose each other where their packets are inside {encapsulation} on a"
                        f" device that drops {dropped.removeprefix('IP ')}. The nodes notice"
                        " nothing.")


# --- findings

def findings(outcomes: Outcomes, dropped: str) -> Iterator[str]:
    for mode in outcomes.modes:
        by_fate: dict[str, list[str]] = {}
        for phase in [phase for other, phase in outcomes.dropping if other == mode]:
            by_fate.setdefault(fate(outcomes.pods(mode, phase)), []).append(DROPPED[phase])
        before, after = (outcomes.reached(PODS, mode, phase) for phase in (BEFORE, AFTER))
        if by_fate:
            yield (f"{mode}: " + "; ".join(f"with {dropped} {' or '.join(drops)}, {words}"
                                           for words, drops in by_fate.items()) + "."
                   + ("" if not after.tried else
                      f" Before and after, {before} pairs reach." if before == after else
                      f" Before, {before} pairs reach; after, {after}."))
    # What keeps working while pods cannot reach each other.
    bad = [key for key in outcomes.dropping if len(set(outcomes.reached(PODS, *key))) == 2]
    pings, tcp = (together(outcomes.reached(instrument, *key) for key in bad)
                  for instrument in (NODES, TCP))
    changed = [metric for metric in (cluster.ROUTES, cluster.SESSIONS) if any(
        outcomes.total(metric, *key) != outcomes.total(metric, key[0], BEFORE) for key in bad)]
    if bad:
        yield (f"Meanwhile, where pods had lost each other, {pings} pings between nodes were"
               f" answered and {tcp} pairs of nodes connected by TCP to port {BGP_PORT}; "
               + (f"{join(changed)} changed." if changed else
                  "no session went down and no route changed.")
               + (" Monitoring of nodes, BGP or routing tables shows nothing wrong."
                  if pings.tone == tcp.tone == GOOD and not changed else ""))
    lost = sum(outcomes.reached(PODS, *key).lost for key in outcomes.dropping)
    count = sum(outcomes.total(cluster.DROPPED, *key) for key in outcomes.dropping)
    if lost:
        yield (f"The filters counted {count} dropped packets for {lost} lost pairs, which pinged"
               f" {2 * lost} times: " + ("each lost ping died in a filter." if count == 2 * lost
                                         else "not the same number."))


def together(counts: Iterable[Count]) -> Count:
    return Count(*map(sum, zip(Count(0, 0), *counts, strict=True)))


def fate(pods: Mapping[str, Count]) -> str:
    dead = [path for path, count in pods.items() if count.tried and not count.reached]
    partly = [path for path, count in pods.items() if 0 < count.reached < count.tried]
    lost = [f"{how_many} {join(some)} pairs are lost"
            for how_many, some in (("all", dead), ("some", partly)) if some]
    return " and ".join(lost) or "all pods reach each other"


CAVEATS = (
    "The sessions are those of the built-in distributor, which speaks no BGP: a session counts as"
    f" up where a TCP connection to port {BGP_PORT} crosses the same filters.",
    "Node pings and TCP use the nodes' own addresses. A node's traffic to another node's pods is"
    " tunnelled like the pods' own and dies with it; that is not looked at here.",
)


if __name__ == "__main__":
    experiment.main(measure, report)
