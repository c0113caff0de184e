"""What the numbers mean, in sentences, and no more than they mean. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from calico_mn.measure.paths import CROSS_SUBNET, PATHS, SAME_NODE, SAME_SUBNET
from calico_mn.measure.samples import POD_ROUTES
from calico_mn.report.summary import NEVER, Row, Summary

_WHERE = {SAME_NODE: "Pods on the same node", SAME_SUBNET: "Nodes in the same subnet",
          CROSS_SUBNET: "Nodes in different subnets"}

#: a machine with more load a CPU than this before it began is called busy
_BUSY = 0.5

#: fewer repeats than this are too few for a comparison
_FEW = 3


def explain(summary: Summary, placed: Collection[str] = PATHS) -> tuple[str, ...]:
    """A paragraph for each path class that was measured, in order.

    ``placed`` are the classes for which the topology has a pair of pods; others are named.
    """
    paragraphs = [f"{_WHERE[path]}: " + " ".join(_about(path, summary.on(path)))
                  for path in summary.paths]
    missing = [path for path in PATHS if path not in placed]
    if missing:
        paragraphs.append(f"Not measured: {listed(missing)}; no two pods of this topology are so"
                          " placed.")
    return tuple(paragraphs)


def caveats(run: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader must know about the run itself; ``run`` as in summary.json."""
    found = []
    environment = run["environment"]
    network, machine = environment["network"], environment["machine"]
    pod, uplink = network["mtu"].get("pod eth0"), network["mtu"].get("node eth0")
    if pod and uplink and pod < uplink:
        found.append(
            f"The pods' MTU is {pod} in every mode: it was set when they were created, as in a"
            f" real cluster. So Never sends packets of {pod} bytes where {uplink} would fit.")
    load, cpus = machine["load_average"][0], machine["cpus"]
    if load > _BUSY * cpus:
        found.append(f"The machine was busy when this began (load {load:g} on {cpus} CPUs):"
                     " expect more noise.")
    if run["plan"].get("quick"):
        found.append("This was --quick: short transfers, a look rather than a measurement.")
    return tuple(found)


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def tunnelled(row: Row) -> str:
    """``yes``, ``no``, or of how many pairs."""
    if row.tunnelled in (0, row.pairs):
        return "yes" if row.tunnelled else "no"
    return f"{row.tunnelled} of {row.pairs}"


def _about(path: str, rows: Sequence[Row]) -> Iterator[str]:
    if not any(row.reached or row.throughput for row in rows):
        yield f"{listed([row.mode for row in rows])} {_verb(rows, 'connect')} none of the pairs."
        return
    if path == SAME_NODE:
        yield "the packets never reach the wire, whatever the mode." + (
            " No difference is expected; what the table shows is noise." if len(rows) > 1 else "")
        yield from _unreachable(rows)
        return
    yield from _on_the_wire(rows)
    yield from _unreachable(rows)
    yield from _compared(rows)


def _on_the_wire(rows: Sequence[Row]) -> Iterator[str]:
    tried = [row for row in rows if row.pairs]
    through = [row.mode for row in tried if row.tunnelled == row.pairs]
    direct = [row.mode for row in tried if row.seen and not row.tunnelled]
    some = [f"{row.mode} ({tunnelled(row)} pairs)" for row in tried
            if 0 < row.tunnelled < row.pairs]
    parts = []
    if through:
        parts.append(f"{listed(through)} {_verb(through, 'encapsulate')}")
    if some:
        parts.append(f"{listed(some)} {_verb(some, 'encapsulate')} in part")
    if direct:
        parts.append(f"{listed(direct)} {_verb(direct, 'do')} not")
    if parts:
        yield "; ".join(parts) + " (as seen on the wire)."


def _unreachable(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.reached == row.pairs:
            continue
        how_many = f"{row.mode} connects {row.reached or 'none'} of {row.pairs} pairs"
        if row.fabric == POD_ROUTES and row.throughput:
            # That the pair works with these routes shows that they are what was missing.
            yield (f"{how_many} on this fabric: pod addresses reach routers that have no routes to"
                   " them. Its throughput and latency were measured after adding those routes.")
        elif row.throughput:
            yield f"{how_many}."
        else:
            yield f"{how_many}, and its throughput was not measured."


def _compared(rows: Sequence[Row]) -> Iterator[str]:
    never = next((row for row in rows if row.mode == NEVER and row.throughput), None)
    if never is None:
        return
    measured = [row for row in rows if row.throughput]
    for through in (True, False):
        alike = [row.mode for row in measured if bool(row.encapsulated) is through]
        if len(alike) > 1:
            yield (f"{listed(alike)} send the same packets: what the table shows between them is"
                   " noise.")
    others = [row for row in measured if row.encapsulated != never.encapsulated]
    if others:
        yield "Against Never: " + "; ".join(_against(row) for row in others) + "."
        yield from _how_sure(others, never)


def _against(row: Row) -> str:
    text = f"{row.mode} {row.throughput_ratio:.2f} of the throughput"
    return text + (f" at {row.latency_ratio:.2f} times the round-trip time"
                   if row.latency_ratio else "")


def _how_sure(others: Sequence[Row], never: Row) -> Iterator[str]:
    assert never.throughput is not None
    counts = [never.throughput.n, *(row.throughput.n for row in others if row.throughput)]
    if min(counts) < _FEW:
        yield f"With n = {min(counts)} that is too little to call it a difference."
        return
    unclear = [row.mode for row in others
               if row.throughput and row.throughput.overlaps(never.throughput)]
    if unclear:
        yield (f"The samples of {listed([*unclear, NEVER])} overlap in throughput: no clear"
               f" difference at n = {min(counts)}.")


def _verb(subjects: Sequence[object], verb: str) -> str:
    if len(subjects) > 1:
        return verb
    return "does" if verb == "do" else verb + "s"
