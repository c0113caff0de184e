"""The end of an experiment: its files written, its results shown."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from calico_mn.experiment.options import Options
from calico_mn.measure import iperf
from calico_mn.measure.paths import Endpoint, Pair
from calico_mn.measure.physics import PathLimit
from calico_mn.measure.ping import PINGS
from calico_mn.measure.samples import SampleLog
from calico_mn.report import files, matrix, physics, plot, terminal, words
from calico_mn.report.summary import Summary, summarise

PLOT = "ipip-modes.png"


def run_record(options: Options, pairs: Mapping[str, Pair], environment: Mapping[str, Any],
               limits: Mapping[str, PathLimit]) -> dict[str, Any]:
    """What summary.json says about a run besides its results."""
    effort = options.effort
    return {
        "experiment": "ipip-modes",
        "command": shlex.join([sys.executable, *sys.argv]),
        "plan": {
            "modes": list(options.modes), "repeats": effort.repeats,
            "duration_s": effort.duration,
            "counted_s": {path: iperf.counted_seconds(effort.duration, path in limits)
                          for path in pairs},
            "pings": PINGS, "seed": options.seed,
            "quick": options.quick,
            "pairs": {path: [pair.source.name, pair.destination.name]
                      for path, pair in pairs.items()},
        },
        "environment": dict(environment),
    }


def conclude(out: Console, directory: Path, log: SampleLog, pods: Sequence[Endpoint],
             run: dict[str, Any], limits: Mapping[str, PathLimit], steal_share: float | None,
             cut_short: str | None) -> None:
    """Write the summary, draw the plot, show the tables and what they mean.

    ``steal_share`` is the share of CPU time that the machine lost to others while measuring.
    """
    modes = run["plan"]["modes"]
    summary = summarise(log.samples, modes)
    run = {**run, "noise": {
        "steal_share": None if steal_share is None else round(steal_share, 4),
        "spread": {metric: summary.noise(metric) for metric in ("throughput", "latency")}}}
    files.write(directory, summary, {
        **run, "complete": cut_short is None, "cut_short": cut_short, "failures": log.failures,
        "physics": physics.as_json(summary, limits)})
    drawn = any(row.throughput or row.latency for row in summary.rows)
    if drawn:
        plot.draw(directory / PLOT, summary, log.samples, _footer(run, summary))
    terminal.show_matrices(out, matrix.matrices(log.samples, pods, modes))
    terminal.show_table(out, summary)
    terminal.show_sentences(out, [
        *words.explain(summary, run["plan"]["pairs"]), *physics.explain(summary, limits),
        *words.caveats(run)]
        if log.samples else ["Nothing was measured."])
    for failure in log.failures:
        terminal.complain(f"a trial failed: {failure}")
    _show_files(out, directory, drawn)
    if cut_short:
        terminal.complain(f"Not complete: {cut_short}. The {len(log.samples)} samples taken before"
                          " that are in the files above.")


def _show_files(out: Console, directory: Path, drawn: bool) -> None:
    names = ["results.jsonl", "summary.csv", "summary.json", *([PLOT] if drawn else []), "logs/"]
    out.print()
    out.print(Text(f"Files in {directory}: ") + Text(", ".join(names)), soft_wrap=True)


def _footer(run: Mapping[str, Any], summary: Summary) -> str:
    environment = run["environment"]
    cluster, machine = environment["cluster"], environment["machine"]
    counts = [row.throughput.n for row in summary.rows if row.throughput]
    counts = counts or [row.latency.n for row in summary.rows if row.latency]
    seconds = " or ".join(f"{s:g}" for s in sorted(set(run["plan"]["counted_s"].values())))
    return (f"{words.counted(counts)} a mode and path, {seconds} s each"
            f"  ·  tunl0: {terminal.TUNNELS[cluster['tunnel']]}"
            f"  ·  Linux {machine['kernel']}, {machine['cpus']} CPUs"
            f"  ·  {Path(cluster['topology']).name}"
            f"  ·  {environment['date'][:10]}")
