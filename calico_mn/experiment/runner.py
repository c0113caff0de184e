"""Leads an experiment from its command line to its report.

    command line -> directory, log -> measure(run) -> report(run) -> files, terminal, summary.json

A run that is taken up again (--resume) begins with the directory of the former one; where nothing
is left to be measured, only the report is made, without a cluster and without root.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from calico_mn import results
from calico_mn.calico.cluster import Cluster
from calico_mn.errors import CalicoMnError, KernelError, ToolError
from calico_mn.experiment import record, requirements
from calico_mn.experiment.interruption import Interruption
from calico_mn.experiment.options import Options
from calico_mn.experiment.record import output_directory
from calico_mn.experiment.run import Run
from calico_mn.measure.metrics import known_metrics
from calico_mn.measure.readings import FORMAT, READINGS, RECORD, SUMMARY, TOPOLOGY, ReadingLog
from calico_mn.measure.resources import StealTime
from calico_mn.model import Topology
from calico_mn.privileges import as_invoking_user
from calico_mn.report import drawing, terminal
from calico_mn.report.document import Document
from calico_mn.report.page import publish
from calico_mn.streams import complain
from calico_mn.text import one_line
from calico_mn.topology import read_topology

_UNKNOWN = object()

#: what takes the readings, what makes the report of them, what shows it on the terminal
Measure = Callable[[Run], None]
Report = Callable[[Run], Document]
Show = Callable[[Console, Run, Document], None]


class Experiment(Protocol):
    """What is asked of a :class:`.frame.Experiment`: its name, and to read a command line."""

    name: str

    def parse(self, arguments: Sequence[str] | None = None) -> Options:
        """The options; with a mistake in them, argparse exits with status 2."""


def run_experiment(experiment: Experiment, measure: Measure, report: Report,
                   show: Show | None = None, arguments: list[str] | None = None) -> int:
    """Run it; the exit status. Raises CalicoMnError for what cannot even begin.

    ``measure`` boots clusters and takes readings; ``report`` makes of them what people read. The
    second also runs when the first was cut short, with what there is. ``show`` prints the report;
    without it, all of it is printed.
    """
    options = experiment.parse(arguments)
    known_metrics()  # imports all instruments, which the invoking user may not be able to read
    resumed = options.resume
    before = None
    if resumed is not None:
        with as_invoking_user(resumed):
            before = record.read(resumed, experiment.name)
        options = replace(
            experiment.parse(before.arguments), topology=resumed / TOPOLOGY, resume=resumed)
    # What lies in the user's directory is read with the user's rights, what root is given as root.
    with as_invoking_user(resumed) if resumed is not None else nullcontext():
        topology, text = read_topology(options.topology)
        private = record.is_private(options.topology)
    finished = _finished(resumed) if resumed is not None else None
    if resumed is not None and before is not None and finished is not None:
        return _report_again(experiment.name, report, show, options, before, topology, finished)
    requirements.require_root_and_programs()
    with Interruption() as interruption:
        with as_invoking_user(resumed or options.output or Path()):
            directory = resumed or output_directory(
                options.output, experiment.name, datetime.now())
        with as_invoking_user(directory):
            before = before or record.begin(directory, experiment.name, options, text,
                                            private=private)
            opened = ReadingLog(directory / READINGS, experiment.name, resume=resumed is not None)
        with opened as log:
            run = Run(experiment.name, options, topology, before.topology, directory, log,
                      terminal.console(), interruption)
            steal = StealTime()
            try:
                interruption.interruptible(_measured, measure, run)
            finally:
                stolen = steal.share()
                run.close()
        run.steal_share = None if stolen is None else round(stolen, 4)
        if interruption.reason and not run.plan and (resumed or not log.readings):
            return _not_begun(run)
        _conclude(run, before, report, show)
    return interruption.status or (1 if run.failures else 0)


def _measured(measure: Measure, run: Run) -> None:
    try:
        measure(run)
    except (ToolError, KernelError) as error:
        run.check(f"Noticed when this failed: {str(error).splitlines()[0]}.")
        raise
    run.check("Noticed after the last trial.")


def _finished(directory: Path) -> Mapping[str, Any] | None:
    """What is known about a run in which nothing is left to be measured; None for another."""
    with as_invoking_user(directory):
        try:
            summary = results.load(directory).summary
        except CalicoMnError:
            return None
        steal = record.everything(directory).get("steal_share", _UNKNOWN)
    is_whole = (summary.get("complete") is True and summary.get("failures") == []
                and isinstance(summary.get("plan"), dict) and summary["plan"]
                and isinstance(summary.get("environment"), dict) and steal is not _UNKNOWN)
    return {**summary, "steal_share": steal} if is_whole else None


def _sanitized(value: Any) -> Any:
    """A value of a file that others may have changed, without what a terminal would act on."""
    if isinstance(value, dict):
        return {one_line(str(name)): _sanitized(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_sanitized(inner) for inner in value]
    return one_line(value) if isinstance(value, str) else value


def _report_again(name: str, report: Report, show: Show | None, options: Options,
                  begun: record.Record, topology: Topology, known: Mapping[str, Any]) -> int:
    """Make the report once more, from what is on disk: that takes no cluster and no root."""
    directory = options.resume
    assert directory is not None
    with Interruption() as interruption:
        with as_invoking_user(directory):
            opened = ReadingLog(directory / READINGS, name, resume=True)
        with opened as log:
            run = Run(name, options, topology, begun.topology, directory, log,
                      terminal.console(), interruption)
        run.steal_share = known["steal_share"]
        run.picture = drawing.draw(Cluster(topology, 2))
        try:
            run.plan, run.environment = _sanitized(known["plan"]), _sanitized(known["environment"])
            _conclude(run, begun, report, show)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            # Found by a person who has changed them, or written by another version.
            raise CalicoMnError(f"{directory}: {SUMMARY} and {READINGS} do not fit together"
                                f" ({type(error).__name__}: {error}); without {SUMMARY} the run"
                                " is taken up again") from error
    return interruption.status


def _not_begun(run: Run) -> int:
    """Remove what was begun; returns the exit status, or raises the error that ended the run."""
    if run.options.resume is None:
        with as_invoking_user(run.directory):
            for logs in run.directory.glob("logs*"):
                shutil.rmtree(logs)
            (run.directory / READINGS).unlink()
            record.discard(run.directory)
    if run.interruption.error is not None:
        raise run.interruption.error
    complain("Interrupted before anything was measured.")
    return run.interruption.status


def _conclude(run: Run, begun: record.Record, report: Report, show: Show | None) -> None:
    """Write the report and summary.json; show what was found, or that nothing was measured."""
    cut_short = run.interruption.reason
    with as_invoking_user(run.directory):
        record.add(run.directory, {"plan": run.plan, "steal_share": run.steal_share})
    files: tuple[str, ...] = ()
    if run.log.readings and run.plan:
        document = report(run)
        files = publish(run.directory, document, (READINGS, SUMMARY, RECORD, TOPOLOGY),
                        as_invoking_user)
        if show is None:
            terminal.show_document(run.out, document)
        else:
            show(run.out, run, document)
    else:
        run.out.print("Nothing was measured.")
    _summarise(run, begun, cut_short)
    for failure in run.failures:
        complain(f"a trial failed: {failure}")
    logs = sorted(path.name + "/" for path in run.directory.glob("logs*"))
    names = [*files, READINGS, SUMMARY, RECORD, TOPOLOGY, *logs]
    run.out.print()
    run.out.print(Text(one_line(
        f"Files in {run.directory}: {', '.join(names)}")), soft_wrap=True)
    if cut_short:
        complain(
            f"Not complete: {cut_short.rstrip('.')}. The {len(run.log.readings)} readings taken"
            f" before that are in the files above; to go on, add --resume {run.directory} to the"
            " command and leave out its other options.")


def _summarise(run: Run, begun: record.Record, cut_short: str | None) -> None:
    summary: dict[str, Any] = {
        "format": FORMAT, "experiment": run.experiment, "command": begun.command,
        "complete": cut_short is None, "cut_short": cut_short,
        "failures": run.failures, "plan": run.plan, "environment": run.environment, **run.notes}
    with as_invoking_user(run.directory):
        record.write_json(run.directory / SUMMARY, summary)
