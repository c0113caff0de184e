"""An experiment from its command line to its report, around the method that is its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from calico_mn import results
from calico_mn.calico.cluster import Cluster
from calico_mn.errors import CalicoMnError, KernelError, ToolError
from calico_mn.experiment import options as command_line
from calico_mn.experiment import record, requirements
from calico_mn.experiment.interruption import Interruption
from calico_mn.experiment.invoker import writing
from calico_mn.experiment.options import Usual
from calico_mn.experiment.output import output_directory
from calico_mn.experiment.run import Run
from calico_mn.measure.cpu import StealTime
from calico_mn.measure.readings import FORMAT, ReadingLog
from calico_mn.model import Topology
from calico_mn.report import drawing, terminal
from calico_mn.report.document import Document
from calico_mn.report.page import publish
from calico_mn.streams import complain
from calico_mn.text import one_line
from calico_mn.topology import read_topology

READINGS = "results.jsonl"
SUMMARY = "summary.json"
_UNKNOWN = object()


@dataclass(frozen=True)
class Experiment:
    """A name for directories, one sentence, what is usual, and the two parts of the method.

    ``measure`` boots clusters and takes readings; ``report`` makes of them what people read. The
    second also runs when the first was cut short, with what there is. ``options`` adds options
    to the command line. ``show`` prints the report; without it, all of it is printed.
    """

    name: str
    sentence: str
    usual: Usual
    measure: Callable[[Run], None]
    report: Callable[[Run], Document]
    options: command_line.Add = command_line.no_more
    show: Callable[[Console, Run, Document], None] | None = None


def conduct(experiment: Experiment, arguments: list[str] | None = None) -> int:
    """Run it; the exit status. Raises CalicoMnError for what cannot even begin."""
    options = command_line.parse(experiment.sentence, experiment.usual, experiment.options,
                                 arguments)
    resumed = options.resume
    before = None
    if resumed is not None:
        with writing(resumed):
            before = record.read(resumed, experiment.name)
        options = replace(
            command_line.parse(experiment.sentence, experiment.usual, experiment.options,
                               before.arguments),
            topology=resumed / record.TOPOLOGY, resume=resumed)
    # What lies in the user's directory is read with the user's rights, what root is given as root.
    with writing(resumed) if resumed is not None else nullcontext():
        topology, text = read_topology(options.topology)
        source = record.source(options.topology, text)
    finished = _finished(resumed) if resumed is not None else None
    if resumed is not None and before is not None and finished is not None:
        return _report_again(experiment, options, before, topology, finished)
    requirements.require_root_and_programs()
    with Interruption() as interruption:
        with writing(resumed or options.output or Path()):
            directory = resumed or output_directory(
                options.output, experiment.name, datetime.now())
        with writing(directory):
            before = before or record.begin(directory, experiment.name, options, source)
            opened = ReadingLog(directory / READINGS, experiment.name, resume=resumed is not None)
        with opened as log:
            run = Run(experiment.name, options, topology, before.topology, directory, log,
                      terminal.console(), interruption)
            steal = StealTime()
            try:
                interruption.may_stop(_measured, experiment, run)
            finally:
                stolen = steal.share()
                run.close()
        run.steal_share = None if stolen is None else round(stolen, 4)
        if interruption.reason and not run.plan and (resumed or not log.readings):
            return _not_begun(run)
        conclude(experiment, run, before)
    return interruption.status or (1 if run.failures else 0)


def _measured(experiment: Experiment, run: Run) -> None:
    try:
        experiment.measure(run)
    except (ToolError, KernelError) as error:
        run.look_over(f"Noticed when this failed: {str(error).splitlines()[0]}.")
        raise
    run.look_over("Noticed after the last trial.")


def _finished(directory: Path) -> Mapping[str, Any] | None:
    """What is known about a run in which nothing is left to be measured; None for another."""
    with writing(directory):
        try:
            found = results.load(directory).summary
        except CalicoMnError:
            return None
        steal = record.also(directory).get("steal_share", _UNKNOWN)
    is_whole = (found.get("complete") is True and found.get("failures") == []
                and isinstance(found.get("plan"), dict) and found["plan"]
                and isinstance(found.get("environment"), dict) and steal is not _UNKNOWN)
    return {**found, "steal_share": steal} if is_whole else None


def _legible(found: Any) -> Any:
    """Values of a file that anybody may have changed, without what a terminal would act on."""
    if isinstance(found, dict):
        return {one_line(str(name)): _legible(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_legible(value) for value in found]
    return one_line(found) if isinstance(found, str) else found


def _report_again(experiment: Experiment, options: command_line.Options, begun: record.Record,
                  topology: Topology, known: Mapping[str, Any]) -> int:
    """Make the report anew, from what is on disk: that takes no cluster and no root."""
    directory = options.resume
    assert directory is not None
    with Interruption() as interruption:
        with writing(directory):
            opened = ReadingLog(directory / READINGS, experiment.name, resume=True)
        with opened as log:
            run = Run(experiment.name, options, topology, begun.topology, directory, log,
                      terminal.console(), interruption)
        run.steal_share = known["steal_share"]
        run.picture = drawing.draw(Cluster(topology, 2))
        try:
            run.plan, run.environment = _legible(known["plan"]), _legible(known["environment"])
            conclude(experiment, run, begun)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            # Found by a person who has changed them, or written by another version.
            raise CalicoMnError(f"{directory}: {SUMMARY} and {READINGS} do not fit together"
                                f" ({type(error).__name__}: {error}); without {SUMMARY} the run"
                                " is taken up again") from error
    return interruption.status


def _not_begun(run: Run) -> int:
    """Leave things as they were; the exit status, unless an error tells more."""
    if run.options.resume is None:
        with writing(run.directory):
            for logs in run.directory.glob("logs*"):
                shutil.rmtree(logs)
            (run.directory / READINGS).unlink()
            record.discard(run.directory)
    if run.interruption.error is not None:
        raise run.interruption.error
    complain("Interrupted before anything was measured.")
    return run.interruption.status


def conclude(experiment: Experiment, run: Run, begun: record.Record) -> None:
    """Write the report and summary.json; show what was found, or that nothing was measured."""
    cut_short = run.interruption.reason
    with writing(run.directory):
        record.add(run.directory, {"plan": run.plan, "steal_share": run.steal_share})
    files: tuple[str, ...] = ()
    if run.log.readings and run.plan:
        document = experiment.report(run)
        with writing(run.directory):
            files = publish(run.directory, document,
                            (READINGS, SUMMARY, record.RECORD, record.TOPOLOGY))
        if experiment.show is None:
            terminal.show_document(run.out, document)
        else:
            experiment.show(run.out, run, document)
    else:
        run.out.print("Nothing was measured.")
    _summarise(run, begun, cut_short)
    for failure in run.failures:
        complain(f"a trial failed: {failure}")
    logs = sorted(path.name + "/" for path in run.directory.glob("logs*"))
    names = [*files, READINGS, SUMMARY, record.RECORD, record.TOPOLOGY, *logs]
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
    with writing(run.directory):
        record.write_json(run.directory / SUMMARY, summary)
