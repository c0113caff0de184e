"""Leads an experiment from its command line to its report.

    command line -> directory, log -> measure(run) -> report(run) -> files, terminal, summary.json

A run that is taken up again (--resume) begins with the directory of the former one; where nothing
is left to be measured, only the report is made, without a cluster and without root.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from calico_mn import results
from calico_mn.calico.cluster import Cluster
from calico_mn.errors import CalicoMnError, KernelError, ToolError
from calico_mn.experiment import real, record, requirements, scripts
from calico_mn.experiment.arguments import Options
from calico_mn.experiment.interruption import Interruption
from calico_mn.experiment.options import KUBERNETES
from calico_mn.experiment.record import output_directory
from calico_mn.experiment.run import Run
from calico_mn.measure.reading_log import FORMAT, READINGS, RECORD, SUMMARY, TOPOLOGY, ReadingLog
from calico_mn.measure.readings import known_metrics
from calico_mn.measure.resources import StealTime
from calico_mn.model import Topology
from calico_mn.privileges import as_invoking_user
from calico_mn.report import drawing, terminal
from calico_mn.report.document import Document
from calico_mn.report.estimates import with_machines
from calico_mn.report.page import publish
from calico_mn.report.summary import NEVER
from calico_mn.streams import complain
from calico_mn.text import one_line
from calico_mn.topology import read_topology

if TYPE_CHECKING:
    from calico_mn.experiment.frame import Experiment

#: what takes the readings, what makes the report of them, what shows it on the terminal
Measure = Callable[[Run], None]
Report = Callable[[Run], Document]
Show = Callable[[Console, Run, Document], None]


def run_experiment(experiment: Experiment, measure: Measure, report: Report,
                   show: Show | None = None, arguments: list[str] | None = None) -> int:
    """Run it; the exit status. Raises CalicoMnError for what cannot even begin.

    ``measure`` boots clusters and takes readings; ``report`` makes of them what people read. The
    second also runs when the first was cut short, with what there is. ``show`` prints the report;
    without it, all of it is printed.
    """
    options = experiment.parse(arguments)
    if options.on and not options.real and options.resume is None:
        return _run_on(experiment.name, options)
    known_metrics()  # imports all instruments, which the invoking user may not be able to read
    resumed = options.resume
    before = None
    if resumed is not None:
        with as_invoking_user(resumed):
            before = record.read(resumed, experiment.name)
            is_merged = "blocks" in record.everything(resumed)
        asked = experiment.parse(before.arguments)
        if KUBERNETES in (options.on, asked.on) and options.on not in ("", asked.on):
            raise CalicoMnError(f"{resumed}: was measured"
                                f"{' on a real cluster' if asked.real else ' elsewhere'}, and is"
                                " only gone on with there: leave out --on")
        options = replace(asked, topology=resumed / TOPOLOGY, resume=resumed,
                          on=options.on or asked.on)
    # What lies in the user's directory is read with the user's rights, what root is given as root.
    with as_invoking_user(resumed) if resumed is not None else nullcontext():
        topology, text = _read(options)
        private = not options.real and record.is_private(options.topology)
        known = real.before(resumed) if resumed and options.real else {}
    if resumed and before and (finished := _finished(resumed)) and not known.get("former_mode"):
        return _report_again(experiment.name, report, show, options, before, topology, finished)
    cluster = None
    if options.real:
        cluster = real.prepared(options, known)
        text = real.resources(cluster)
    elif options.on:
        return _run_on(experiment.name, options)
    elif resumed and is_merged:
        raise CalicoMnError(f"{resumed}: was measured by several workers: go on with sweep, or with"
                            " --on and a scheduler's address")
    else:
        requirements.require_root_and_programs()
    with Interruption() as interruption:
        with as_invoking_user(resumed or options.output or Path()):
            directory = resumed or output_directory(
                options.output, experiment.name, datetime.now())
        with as_invoking_user(directory):
            before = before or record.begin(
                directory, experiment.name, options, text, private=private,
                source=real.source(cluster) if cluster else "")
            opened = ReadingLog(directory / READINGS, experiment.name, resume=resumed is not None)
        with opened as log:
            run = Run(experiment.name, options, topology, before.topology, directory, log,
                      terminal.console(), interruption, real=cluster)
            steal, begun = StealTime(), time.monotonic()
            try:
                interruption.interruptible(_measured, measure, run)
            finally:
                stolen = None if cluster else steal.share()
                run.close()
        run.steal_share = None if stolen is None else round(stolen, 4)
        run.elapsed_s = round(time.monotonic() - begun, 1)
        if interruption.reason and not run.plan and (resumed or not log.readings):
            return _not_begun(run)
        _conclude(run, before, report, show)
    return interruption.status or (1 if run.failures else 0)


def _run_on(name: str, options: Options) -> int:
    """The same on several machines."""
    from calico_mn.experiment.workers import run_on

    return run_on(name, options, rebuild)


def rebuild(directory: Path) -> int:
    """Make the report of a run once more, also of one that was cut short; the exit status.

    The report is that of the experiment's script in experiments/. Raises CalicoMnError for a
    directory that holds no run of one of them, or one from which no report can be made.
    """
    with as_invoking_user(directory):
        about = results.load(directory).about
        name = str(about.get("experiment"))
        before = record.read(directory, name)
        begun = record.everything(directory)
    if not about.get("plan") or not about.get("environment"):
        raise CalicoMnError(f"{directory}: was cut short before anything was measured")
    script = scripts.load(name)
    known_metrics()
    options = replace(script.experiment.parse(before.arguments), topology=directory / TOPOLOGY,
                      resume=directory)
    with as_invoking_user(directory):
        topology, _ = _read(options)
    return _report_again(name, script.report, getattr(script, "show", None), options, before,
                         topology, {**about, **_course(begun)})


def _read(options: Options) -> tuple[Topology, str]:
    """The topology and its text; of a real cluster there is none to read."""
    return (real.NO_TOPOLOGY, "") if options.real else read_topology(options.topology)


def _measured(measure: Measure, run: Run) -> None:
    run.open()
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
            summary = results.load(directory).about
        except CalicoMnError:
            return None
        begun = record.everything(directory)
    is_whole = (summary.get("complete") is True and summary.get("failures") == []
                and isinstance(summary.get("plan"), dict) and summary["plan"]
                and isinstance(summary.get("environment"), dict) and "steal_share" in begun)
    return {**summary, **_course(begun)} if is_whole else None


def _course(begun: Mapping[str, Any]) -> dict[str, float | None]:
    """What run.json knows of the course of a run: numbers, or None."""
    return {name: value if isinstance(value, (int, float)) else None
            for name in ("steal_share", "elapsed_s") for value in [begun.get(name)]}


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
        run.steal_share, run.elapsed_s = known["steal_share"], known["elapsed_s"]
        run.picture = None if options.real else drawing.draw(Cluster(topology, 2))
        try:
            run.interruption.reason = _sanitized(known.get("cut_short"))
            run.failures = list(map(one_line, known.get("failures") or ()))
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
        record.add(run.directory, {"plan": run.plan, "steal_share": run.steal_share,
                                   "elapsed_s": run.elapsed_s})
    written = run.directory
    if not run.log.readings or not run.plan:
        run.out.print("Nothing was measured.")
    elif run.options.with_report:
        document = with_machines(report(run), run.log.readings,
                                 str(run.plan.get("baseline", NEVER)))
        run.notes["findings"] = list(document.findings)
        written = run.directory / publish(
            run.directory, document, (READINGS, SUMMARY, RECORD, TOPOLOGY), as_invoking_user)[0]
        if show is None:
            terminal.show_document(run.out, document)
        else:
            show(run.out, run, document)
    _summarise(run, begun, cut_short)
    for failure in run.failures:
        complain(f"a trial failed: {failure}")
    if cut_short:
        go_on = (f"; to go on, add --resume {run.directory} to the command and leave out its other"
                 " options")
        complain(f"Not complete: {cut_short.rstrip('.')}. The {len(run.log.readings)} readings"
                 f" taken before that are kept{go_on}.")
    title = "Report" if written != run.directory else "Directory"
    run.out.print(Text(one_line(f"{title}: {written}")), soft_wrap=True)


def _summarise(run: Run, begun: record.Record, cut_short: str | None) -> None:
    summary: dict[str, Any] = {
        "format": FORMAT, "experiment": run.experiment, "command": begun.command,
        "complete": cut_short is None, "cut_short": cut_short,
        "failures": run.failures, "plan": run.plan, "environment": run.environment, **run.notes}
    with as_invoking_user(run.directory):
        record.write_json(run.directory / SUMMARY, summary)
