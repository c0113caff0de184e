"""The comparison of modes: from its readings to its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from calico_mn.experiment.common import document
from calico_mn.experiment.modes_pictures import pictures
from calico_mn.experiment.run import Run
from calico_mn.measure.paths import Endpoint
from calico_mn.measure.physics import PathLimit
from calico_mn.measure.readings import Sample
from calico_mn.report import matrix, mode_tables, physics, summary_table, terminal, words
from calico_mn.report.document import Document
from calico_mn.report.summary import Summary, summarise, variants

#: metrics whose scatter tells how noisy the machine was
NOISY = ("throughput", "latency")


def report(run: Run) -> Document:
    """What people read; also fills in what summary.json says of noise and physics."""
    samples = run.log.samples
    found = summarise(samples, run.plan["modes"])
    limits = limits_of(run.plan, found, samples)
    run.notes["noise"] = {"steal_share": run.steal_share,
                          "spread": {metric: found.noise(metric) for metric in NOISY}}
    run.notes["physics"] = physics.as_json(found, limits)
    run.notes["rows"] = summary_table.as_json(found)
    about = {"environment": run.environment, "plan": run.plan, "noise": run.notes["noise"]}
    tables = (mode_tables.speed(found), mode_tables.delay(found), mode_tables.cost(found))
    return replace(
        document(
            run, title="Calico's IPIP modes compared",
            question="What do Always, CrossSubnet and Never do to reachability, to packets, and"
                     " to speed?",
            method=_METHOD,
            findings=(*words.headline(found), *words.explain(found, run.plan["pairs"]),
                      *physics.explain(found, limits, run.steal_share)),
            tables=tuple(table for table in tables if table),
            figures=pictures(found, samples, limits, _note(run)),
            caveats=(*_offloads(run), *words.caveats(about)),
            matrices=matrix.matrices(samples, _pods(run.plan), run.plan["modes"])),
        data=(summary_table.tidy(found),))


def _note(run: Run) -> str:
    """Below each picture: where and how it was measured."""
    cluster, machine = run.environment["cluster"], run.environment["machine"]
    return (f"tunl0: {terminal.TUNNELS[cluster['tunnel']]}  \u00b7  Linux {machine['kernel']},"
            f" {machine['cpus']} CPUs  \u00b7  {Path(run.source).name}"
            f"  \u00b7  {str(run.environment['date'])[:10]}")


def _offloads(run: Run) -> Iterator[str]:
    changed = run.notes.get("offloads_changed")
    if not changed:
        return
    devices = sorted({f"{one['node']} {one['device']}" for one in changed})
    yield (f"Where offloads are off, TSO, GSO and GRO were switched off for the trial on"
           f" {', '.join(devices)}, and put back after it.")
    refused = sorted({f"{name} on {one['node']} {one['device']}"
                      for one in changed for name in one["refused"]})
    if refused:
        yield f"The kernel did not let these be switched: {', '.join(refused)}."


def show(out: Console, run: Run, found: Document) -> None:
    """The terminal's version: the comparison has a table of its own."""
    if found.matrices:
        terminal.show_matrices(out, found.matrices)
    terminal.show_table(out, summarise(run.log.samples, run.plan["modes"]))
    out.print()
    for table in found.tables[1:]:
        terminal.show_a_table(out, table)
    terminal.show_sentences(out, [*found.findings, *found.caveats])


def limits_of(plan: Mapping[str, Any], found: Summary, samples: tuple[Sample, ...]
              ) -> dict[str, PathLimit]:
    """Place -> its slowest link, for the places that have one."""
    limits = {}
    for place, setting in variants(found, samples).items():
        for limit in plan["limits"]:
            if all(setting.get(name) == limit[name]
                   for name in ("path", "tunnel", "pod_mtu", "rate")):
                limits[place] = PathLimit(limit["rate_mbit"], limit["pod_mtu_bytes"],
                                          limit["link_mtu_bytes"])
    return limits


def _pods(plan: Mapping[str, Any]) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(*pod) for pod in plan["pods"])


_METHOD = (
    "One emulated cluster boots, and its mode is changed live. On the fabric as the topology"
    " describes it, every pod pings every other in each mode, while captures on the nodes' uplinks"
    " tell which pings crossed inside IPIP.",
    "One pair of pods stands for each class of path. A trial is one mode on one path, once. Trials"
    " run in random order, in blocks that hold every combination once, after a warm-up that is"
    " discarded; so a drift of the machine meets all modes alike, and each block allows a paired"
    " comparison with Never.",
    "A pair that the fabric cannot connect is measured with the pods' routes added to the routers"
    " for that trial, and labelled so.",
)
