"""What the numbers mean, in sentences, and no more than they mean. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from calico_mn.measure import statistics
from calico_mn.measure.paths import CROSS_SUBNET, PATHS, SAME_NODE, SAME_SUBNET
from calico_mn.measure.trials import POD_ROUTES
from calico_mn.report.document import ends_of
from calico_mn.report.summary import Row, Summary
from calico_mn.text import join

_WHERE = {SAME_NODE: "Pods on the same node", SAME_SUBNET: "Nodes in the same subnet",
          CROSS_SUBNET: "Nodes in different subnets"}

_SHORT = {SAME_NODE: "within a node", SAME_SUBNET: "within a subnet",
          CROSS_SUBNET: "across subnets"}

_METRICS = {"throughput": "Throughput", "latency": "Round-trip time"}

#: a machine with more load a CPU than this before it began is called busy
_BUSY = 0.5

#: too noisy: more than this share of the CPU time that was wanted went to other machines
NOISY_STEAL = 0.05
#: too noisy: samples of one mode and path typically differ by more than this, from quartile to
#: quartile, as a share of their median
NOISY_SPREAD = {"throughput": 0.1, "latency": 0.2}


def explain(summary: Summary, placed: Collection[str] = PATHS) -> tuple[str, ...]:
    """A paragraph for each path class that was measured, in order.

    ``placed`` are the classes for which the topology has a pair of pods; others are named.
    """
    paragraphs = [f"{_WHERE[path]}: " + " ".join(
                      _about(path, _variants(summary, path), summary.baseline))
                  for path in summary.paths]
    paragraphs += _about_intervals(summary.rows)
    missing = [path for path in PATHS if path not in placed]
    if missing:
        paragraphs.append(f"Not measured: {join(missing)}; no two pods of this topology are so"
                          " placed.")
    return tuple(paragraphs)


def headline(summary: Summary) -> tuple[str, ...]:
    """The answer in a line: how many pairs each mode connects, and where it tunnels, as seen."""
    parts = []
    for mode in summary.modes:
        rows = {row.path: row for row in summary.rows if row.mode == mode and row.pairs}
        if not rows:
            continue
        reached = sum(row.reached for row in rows.values())
        pairs = sum(row.pairs for row in rows.values())
        inside = [_SHORT[path] for path, row in rows.items() if row.tunnelled]
        how = (f", through the tunnel {join(inside)}" if inside else
               ", without a tunnel" if any(row.seen for row in rows.values()) else "")
        parts.append(f"{mode} connects {'all' if reached == pairs else reached} of {pairs} pairs"
                     f"{how}")
    return ("; ".join(parts) + ".",) if parts else ()


def caveats(run: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader must know about the run itself; ``run`` as in summary.json."""
    sentences = []
    environment = run["environment"]
    network, machine = environment["network"], environment["machine"]
    pod, uplink = network["mtu"].get("pod eth0"), network["mtu"].get("node eth0")
    by_encapsulation = run["plan"].get("pod_mtus", {})
    if by_encapsulation:
        mtus = join([f"{mtu} with {name}" for name, mtu in by_encapsulation.items()])
        sentences.append(
            f"The pods' MTU is {mtus} in every mode: it was set when they were created, as in a"
            " real cluster. Each is compared with Never at its own MTU.")
    elif pod and uplink and pod < uplink:
        sentences.append(
            f"The pods' MTU is {pod} in every mode: it was set when they were created, as in a"
            f" real cluster. So Never sends packets of {pod} bytes where {uplink} would fit.")
    load, cpus = (machine.get("load_average") or [0])[0], machine["cpus"]  # no load of a real one
    if load and load > _BUSY * cpus:
        sentences.append(f"The machine was busy when this began (load {load:g} on {cpus} CPUs):"
                         " expect more noise.")
    sentences += _noise(run["noise"])
    return tuple(sentences)


def offloads(switched: Collection[Mapping[str, Any]]) -> Iterator[str]:
    """Which devices' offloads were switched off, and which features could not be."""
    if not switched:
        return
    devices = sorted({f"{device['node']} {device['device']}" for device in switched})
    yield (f"Where offloads are off, TSO, GSO and GRO were switched off for the trial on"
           f" {', '.join(devices)}, and put back after it.")
    refused = sorted({f"{feature} on {device['node']} {device['device']}"
                      for device in switched for feature in device["refused"]})
    if refused:
        yield f"The kernel did not let these be switched: {', '.join(refused)}."


def _noise(noise: Mapping[str, Any]) -> Iterator[str]:
    reasons = []
    steal = noise["steal_share"]
    if steal is not None and steal > NOISY_STEAL:
        reasons.append(f"{100 * steal:.0f} % of the CPU time wanted went to other machines (steal;"
                       f" limit {100 * NOISY_STEAL:.0f} %)")
    for metric, limit in NOISY_SPREAD.items():
        share = noise["spread"][metric]
        if share is not None and share > limit:
            reasons.append(f"repeats of one and the same trial typically differ by"
                           f" {100 * share:.0f} % in {metric} (quartile to quartile; limit"
                           f" {100 * limit:.0f} %)")
    if reasons:
        yield (f"The machine was too noisy: {'; '.join(reasons)}. Small differences do not show in"
               " such a run: repeat it on a quiet machine, or with more repeats.")


def sample_count(counts: Sequence[int]) -> str:
    """``n = 5``, or ``n = 4 to 5`` where a trial failed."""
    return f"n = {ends_of(counts, str)}"


def tunnelled_pairs(row: Row) -> str:
    """``yes``, ``no``, or of how many pairs; ``?`` where the wire was not seen."""
    if row.reached and not row.seen:
        return "?"
    if row.tunnelled in (0, row.pairs):
        return "yes" if row.tunnelled else "no"
    return f"{row.tunnelled} of {row.pairs}"


def _variants(summary: Summary, path: str) -> dict[str, tuple[Row, ...]]:
    """The rows of a path class, by the levels of further factors."""
    return {rows[0].variant: rows for rows in map(summary.on, summary.places)
            if rows[0].path == path}


def _about(path: str, variants: Mapping[str, Sequence[Row]], baseline: str) -> Iterator[str]:
    # Who reaches whom, and how packets cross, does not depend on the further factors.
    rows = next(iter(variants.values()))
    if not any(row.reached or row.measures for row in rows):
        yield f"{join([row.mode for row in rows])} {_verb(rows, 'connect')} none of the pairs."
        if path == SAME_NODE:
            yield ("On one node no mode plays a part: look for a policy that blocks these pods,"
                   " such as a default deny of the whole cluster.")
        return
    if path == SAME_NODE:
        yield "the packets never reach the wire, whatever the mode." + (
            " The modes should perform the same: any difference in the table is noise."
            if sum(bool(row.measures) for row in rows) > 1 else "")
        yield from _unreachable(rows)
        return
    yield from _on_the_wire(rows)
    yield from _unreachable(rows)
    yield from _alike(rows, baseline)
    for variant, group in variants.items():
        sentences = tuple(_compared(group, baseline))
        if sentences:
            text = " ".join(sentences)
            yield f"With {variant}: {text[0].lower()}{text[1:]}" if variant else text


def _on_the_wire(rows: Sequence[Row]) -> Iterator[str]:
    tried = [row for row in rows if row.pairs]
    through = [row.mode for row in tried if row.tunnelled == row.pairs]
    direct = [row.mode for row in tried if row.seen and not row.tunnelled]
    some = [f"{row.mode} ({tunnelled_pairs(row)} pairs)" for row in tried
            if 0 < row.tunnelled < row.pairs]
    parts = []
    if through:
        parts.append(f"{join(through)} {_verb(through, 'encapsulate')}")
    if some:
        parts.append(f"{join(some)} {_verb(some, 'encapsulate')} in part")
    if direct:
        parts.append(f"{join(direct)} {_verb(direct, 'do')} not")
    if parts:
        yield "; ".join(parts) + " (as seen on the wire)."


def _unreachable(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.reached == row.pairs:
            continue
        how_many = f"{row.mode} connects {row.reached or 'none'} of {row.pairs} pairs"
        if row.fabric == POD_ROUTES and row.measures:
            # That the pair works with these routes shows that they are what was missing.
            yield (f"{how_many} on this fabric: pod addresses reach routers that have no routes to"
                   f" them. {row.mode} was measured after adding those routes.")
        elif row.measures:
            yield f"{how_many}."
        else:
            yield f"{how_many}, and nothing else was measured of it."


def _alike(rows: Sequence[Row], baseline: str) -> Iterator[str]:
    if not any(row.mode == baseline and row.measures for row in rows):
        return
    measured = [row for row in rows if row.measures]
    for through in (True, False):
        alike = [row.mode for row in measured if row.encapsulated is through]
        if len(alike) > 1:
            yield (f"{join(alike)} send the same packets and should perform the same: any"
                   " difference between them in the table is noise.")


def _compared(rows: Sequence[Row], baseline: str) -> Iterator[str]:
    measured = [row for row in rows if row.measures]
    base = next((row for row in measured if row.mode == baseline), None)
    if base is None:
        return
    others = [row for row in measured if row is not base and not row.sends_as(base)]
    if not others:
        return
    compared = [(name, [(row.mode, ratio) for row in others
                        for ratio in [getattr(row, f"{metric}_ratio")] if ratio])
                for metric, name in _METRICS.items()]
    for name, ratios in compared:
        if ratios:
            yield (f"{name} as a ratio to {baseline}: "
                   + "; ".join(f"{mode} {_judged(ratio)}" for mode, ratio in ratios) + ".")
    counts = [ratio.n for _, ratios in compared for _, ratio in ratios
              if ratio.verdict == statistics.TOO_FEW]
    if counts:
        yield (f"With n = {min(counts)} there is no interval, and that is too little to call it a"
               " difference.")


def _judged(comparison: statistics.Comparison) -> str:
    text = comparison.bracketed("{:.2f}".format)
    if comparison.interval is None:
        return text
    text += f", {comparison.verdict}"
    if comparison.verdict != statistics.NO_DIFFERENCE:
        return text
    how_many = (f"about {comparison.needed}" if comparison.needed
                else f"more than {statistics.MOST_REPEATS}")
    return f"{text} at n = {comparison.n} ({how_many} needed)"


def _about_intervals(rows: Sequence[Row]) -> Iterator[str]:
    """What brackets mean in the sentences, where there are some."""
    judged = [ratio for row in rows for ratio in (row.throughput_ratio, row.latency_ratio)
              if ratio and ratio.verdict in (
                  statistics.FASTER, statistics.SLOWER, statistics.NO_DIFFERENCE)]
    confidences = {ratio.n: ratio.interval.confidence for ratio in judged if ratio.interval}
    if not confidences:
        return
    few = min(confidences)
    text = f"In brackets: {100 * statistics.CONFIDENCE:.0f} % intervals."
    if confidences[few] < statistics.CONFIDENCE:
        text = (f"In brackets: the ratios' range, all that n = {few} allows; it holds the true"
                f" median with {100 * confidences[few]:.0f} %. So a difference is called one only"
                " if Student's t says so too (5 %).")
    if any(ratio.verdict == statistics.NO_DIFFERENCE for ratio in judged):
        text += (" Needed is roughly how many repeats would detect a difference of this size with"
                 " 80 % power.")
    yield text


def _verb(subjects: Sequence[object], verb: str) -> str:
    if len(subjects) > 1:
        return verb
    return "does" if verb == "do" else verb + "s"
