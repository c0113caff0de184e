"""A fabric that drops IP protocol 4: from readings to what people read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from calico_mn.experiment.blocked import (
    AFTER,
    BEFORE,
    BGP_PORT,
    EVERYWHERE,
    FILTER,
    NODES,
    PHASES,
    PODS,
    ROUTERS,
    SPEAKER,
    TCP,
)
from calico_mn.experiment.common import document
from calico_mn.experiment.run import Run
from calico_mn.measure.paths import PATHS, Endpoint
from calico_mn.measure.readings import Reading, samples
from calico_mn.report import matrix
from calico_mn.report.document import BAD, GOOD, MIXED, Cell, Document, Figure, Table
from calico_mn.report.plots.grid import grid
from calico_mn.report.words import listed

_IN_WORDS = {BEFORE: "before", EVERYWHERE: "dropped everywhere", ROUTERS: "dropped by routers",
             AFTER: "after"}


class Found:
    """The readings of a run, by what was looked at, mode and phase."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._of: dict[tuple[str, str, str], list[Reading]] = defaultdict(list)
        for reading in readings:
            where = reading.setting
            self._of[reading.instrument, str(where["mode"]), str(where["phase"])].append(reading)
        self.settings = [(mode, phase) for mode in dict.fromkeys(key[1] for key in self._of)
                         for phase in PHASES if (PODS, mode, phase) in self._of]

    def readings(self, instrument: str, mode: str, phase: str) -> list[Reading]:
        """Those of one instrument, all repeats."""
        return self._of.get((instrument, mode, phase), [])

    def reached(self, instrument: str, mode: str, phase: str, path: str = ""
                ) -> tuple[int, int]:
        """(pairs that reached, pairs tried) over all repeats, on one path class or on all."""
        values = [r.values["reachable"] for r in self.readings(instrument, mode, phase)
                  if path in ("", r.setting["path"])]
        return values.count(1), len(values)

    def total(self, instrument: str, metric: str, mode: str, phase: str, place: str = "") -> int:
        """The sum of a metric over all repeats, at one place or at all."""
        return sum(int(str(r.values[metric])) for r in self.readings(instrument, mode, phase)
                   if place in ("", r.setting.get("place")))


def report(run: Run) -> Document:
    """What people read."""
    found = Found(run.log.readings)
    return document(
        run,
        title="A fabric that drops IP protocol 4",
        question="Who still reaches whom where IPIP packets are dropped, and what do nodes and"
                 " route exchange notice of it?",
        method=_METHOD,
        findings=_findings(found),
        tables=[_state(found), _where(found, run.plan["fabric"])],
        figures=_figures(found),
        caveats=_CAVEATS,
        matrices=_matrices(run, found),
    )


def _matrices(run: Run, found: Found) -> matrix.Matrices:
    """A matrix for each mode and phase."""
    pods = [Endpoint(*pod) for pod in run.plan["pods"]]
    grids: list[matrix.Grid] = []
    seen = matrix.matrices((), pods, ())
    for mode in run.plan["modes"]:
        for phase in PHASES:
            made = matrix.matrices(samples(found.readings(PODS, mode, phase)), pods, [mode])
            grids += [replace(one, mode=f"{mode}, {phase}") for one in made.grids]
    return replace(seen, grids=tuple(grids), title="Who reaches whom: before, with protocol 4"
                   " dropped everywhere, dropped by routers, after")


# --- tables and figures

def _state(found: Found) -> Table:
    rows: list[tuple[Cell, ...]] = []
    tones = []
    for mode, phase in found.settings:
        pods = [found.reached(PODS, mode, phase, path) for path in PATHS]
        rows.append((
            mode, phase, *map(_of, pods), _of(found.reached(NODES, mode, phase)),
            _of(found.reached(TCP, mode, phase)),
            found.total(SPEAKER, "sessions", mode, phase),
            found.total(SPEAKER, "routes", mode, phase)))
        tones.append(_tone(sum(count for count, _ in pods), sum(tried for _, tried in pods)))
    return Table(
        "state", "What works: pairs that reach each other, sessions, routes",
        ("mode", "dropped", *PATHS, "nodes", f"TCP {BGP_PORT}", "sessions", "routes"),
        tuple(rows), tones=tuple(tones),
        note="Over all repeats. same-node to cross-subnet: pods that ping pods; nodes: nodes that"
             f" ping nodes; TCP {BGP_PORT}: pairs of nodes that connect. sessions and routes: sums"
             " over the nodes of BGP-like sessions that are up, and of routes to other nodes' pods"
             " in the kernel.")


def _where(found: Found, fabric: Sequence[str]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for mode, phase in found.settings:
        if phase not in (EVERYWHERE, ROUTERS):
            continue
        filters = {str(r.setting["place"]) for r in found.readings(FILTER, mode, phase)
                   if r.seen.get("filters")}
        reached, tried = found.reached(PODS, mode, phase)
        rows.append((mode, phase, tried - reached, *(
            found.total(FILTER, "dropped", mode, phase, place) if place in filters else None
            for place in fabric)))
    return Table(
        "where", "Where the pods' pings died: packets that each device dropped",
        ("mode", "dropped", "pairs lost", *fabric), tuple(rows),
        note="Over all repeats; an empty cell had no filter. Each lost pair pinged twice, and the"
             " first device on the way that drops a packet counts it.")


def _figures(found: Found) -> Iterator[Figure]:
    """For each drop a picture: what works, by mode."""
    modes = list(dict.fromkeys(mode for mode, _ in found.settings))
    for phase in (EVERYWHERE, ROUTERS):
        cells = {}
        for mode in modes:
            counts = {f"pods, {path}": found.reached(PODS, mode, phase, path) for path in PATHS}
            counts["nodes, ping"] = found.reached(NODES, mode, phase)
            counts[f"nodes, TCP {BGP_PORT}"] = found.reached(TCP, mode, phase)
            cells.update({(row, mode): (_of(count), _tone(*count))
                          for row, count in counts.items() if count[1]})
        if cells:
            yield grid(
                phase, f"IP protocol 4 {_IN_WORDS[phase]}: who still reaches whom",
                list(dict.fromkeys(row for row, _ in cells)), modes, cells,
                column_heading="pairs that got an answer, by mode",
                caption="Pods lose each other where their packets are inside IPIP on a device that"
                        " drops protocol 4. The nodes notice nothing.")


def _of(counts: tuple[int, int]) -> str:
    return f"{counts[0]} of {counts[1]}" if counts[1] else ""


def _tone(reached: int, tried: int) -> str:
    return GOOD if reached == tried else MIXED if reached else BAD


# --- sentences

def _findings(found: Found) -> Iterator[str]:
    for mode in dict.fromkeys(mode for mode, _ in found.settings):
        phases = [phase for where, phase in found.settings if where == mode]
        by_fate: dict[str, list[str]] = {}
        for phase in phases:
            if phase in (EVERYWHERE, ROUTERS):
                by_fate.setdefault(_fate(found, mode, phase), []).append(_IN_WORDS[phase])
        if by_fate:
            said = "; ".join(f"with protocol 4 {' or '.join(where)}, {fate}"
                             for fate, where in by_fate.items())
            yield f"{mode}: {said}.{_healed(found, mode)}"
    yield from _unnoticed(found)
    yield from _counted(found)


def _fate(found: Found, mode: str, phase: str) -> str:
    counts = {path: found.reached(PODS, mode, phase, path) for path in PATHS}
    dead = [path for path, (reached, tried) in counts.items() if tried and not reached]
    partly = [path for path, (reached, tried) in counts.items() if 0 < reached < tried]
    if not dead and not partly:
        return "all pods reach each other"
    return " and ".join([*([f"all {listed(dead)} pairs are lost"] if dead else []),
                         *([f"some {listed(partly)} pairs are lost"] if partly else [])])


def _healed(found: Found, mode: str) -> str:
    if (mode, AFTER) not in found.settings:
        return ""
    before, after = (found.reached(PODS, mode, phase) for phase in (BEFORE, AFTER))
    return (f" Before and after, {_of(before)} pairs reach." if before == after
            else f" Before, {_of(before)} pairs reach; after, {_of(after)}.")


def _unnoticed(found: Found) -> Iterator[str]:
    """The treacherous part: what stays fine while pods are dead."""
    bad = [(mode, phase) for mode, phase in found.settings if phase in (EVERYWHERE, ROUTERS)
           and len(set(found.reached(PODS, mode, phase))) == 2]
    if not bad:
        return
    pings, tcp = (tuple(map(sum, zip(*(found.reached(what, *place) for place in bad),
                                     strict=True))) for what in (NODES, TCP))
    changed = [metric for metric in ("sessions", "routes") for mode, phase in bad
               if found.total(SPEAKER, metric, mode, phase)
               != found.total(SPEAKER, metric, mode, BEFORE)]
    yield (f"Meanwhile, where pods had lost each other, {pings[0]} of {pings[1]} pings between"
           f" nodes were answered and {tcp[0]} of {tcp[1]} pairs of nodes connected by TCP to port"
           f" {BGP_PORT}; " + (f"{listed(sorted(set(changed)))} changed."
                               if changed else "no session went down and no route changed.")
           + (" Whoever watches nodes, BGP or routing tables sees nothing wrong."
              if pings[0] == pings[1] and tcp[0] == tcp[1] and not changed else ""))


def _counted(found: Found) -> Iterator[str]:
    places = [s for s in found.settings if s[1] in (EVERYWHERE, ROUTERS)]
    lost = sum(tried - reached for reached, tried in (found.reached(PODS, *s) for s in places))
    dropped = sum(found.total(FILTER, "dropped", *s) for s in places)
    if lost:
        yield (f"The filters counted {dropped} dropped packets for {lost} lost pairs, which pinged"
               f" {2 * lost} times: " + ("each lost ping died in a filter." if dropped == 2 * lost
                                         else "not the same number."))


_METHOD = (
    "One cluster, whose routers know the pods' blocks in every mode, so that Never has a way"
    " across subnets and only the drop makes a difference. In each mode four phases follow each"
    " other: before; every switch and router drops IP protocol 4; only the routers do; after.",
    "In each phase every pod pings every other, a second time if there was no answer. Captures on"
    " the nodes' uplinks tell which pings left inside IPIP, and the filters' counters (nftables)"
    " where they died.",
    f"Then every node pings every other and connects to its TCP port {BGP_PORT}, and each node's"
    " sessions and the routes in its kernel are counted.",
)

_CAVEATS = (
    "The sessions are those of the built-in distributor, which are calls within one process: no"
    " filter could break them. That real BGP sessions would live is shown by the TCP connections"
    f" to port {BGP_PORT}, which cross the same filters.",
    "Node pings and TCP use the nodes' own addresses. A node's traffic to another node's pods is"
    " tunnelled like the pods' own and dies with it; that is not looked at here.",
)
