"""What a script in experiments/ declares, and how it is run.

    experiment = Experiment(__file__, __doc__, topology="two-subnets.yaml",
                            full=Repetitions(6, duration=1), quick=Repetitions(2, duration=0.25))
    MODES = experiment.factor("--modes", mode_list, options.MODES, "MODE[,MODE...]", "...")

    if __name__ == "__main__":
        experiment.check_command_line()

    # what takes long to import; measure(run) and report(run)

    if __name__ == "__main__":
        experiment.main(measure, report)

``run[MODES]`` are the levels that were asked for. Imports little itself, so that --help and
mistakes on the command line are answered at once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from calico_mn import command_line, streams
from calico_mn.calico.encapsulation import DEFAULT
from calico_mn.errors import FAILED, WRONG_REQUEST, CalicoMnError, exit_code
from calico_mn.experiment import options, requirements
from calico_mn.experiment.arguments import (
    ENCAPSULATION,
    Defaults,
    Factor,
    Options,
    Repetitions,
    parse,
)
from calico_mn.experiment.interruption import INTERRUPTED, ignore_signals
from calico_mn.kernel import processes

if TYPE_CHECKING:
    from rich.console import Console

    from calico_mn.experiment.run import Run
    from calico_mn.report.document import Document

__all__ = ["Experiment", "Factor", "Repetitions", "exit_status"]

T = TypeVar("T")


class Experiment:
    """An experiment's name, its one sentence, its defaults and its factors.

    It is named after the file ``script``. ``about`` is the script's docstring: its first line is
    what ``--help`` says, and the parts that begin with "Question" and "Method" are the report's.
    ``topology`` is the usual one, a file in topologies/. ``why_emulated`` is why it needs an
    emulated cluster, as a part of a sentence; empty for one that takes a real cluster, too.
    """

    def __init__(self, script: str, about: str | None, *, topology: str, full: Repetitions,
                 quick: Repetitions, why_emulated: str = "it sets up a cluster of its own") -> None:
        path = Path(script).resolve()
        self.name = path.stem.replace("_", "-")
        self.sentence = (about or "").partition("\n")[0]
        self.defaults = Defaults(path.parent.parent / "topologies" / topology, full, quick)
        self.why_emulated = why_emulated
        self.factors: list[Factor[Any]] = []
        self.question = " ".join(_part(about or "", "Question"))
        self.method = tuple(_part(about or "", "Method"))

    def factor(self, flag: str, read: Callable[[str], T], default: Any, metavar: str, help: str,
               *, quick: Any = None, emulated: bool = False) -> Factor[T]:
        """Add an option; its value in a run is ``run[factor]``. Arguments as of :class:`Factor`."""
        factor: Factor[T] = Factor(flag, read, default, metavar, help, quick, emulated)
        self.factors.append(factor)
        return factor

    def encapsulation(self) -> None:
        """Add ``--encapsulation``: what ``run.encapsulation`` is."""
        self.factor(ENCAPSULATION, options.encapsulation, DEFAULT,
                    "|".join(command_line.ENCAPSULATIONS),
                    f"what the tunnels are (default: {str(DEFAULT).lower()})")

    def parse(self, arguments: Sequence[str] | None = None) -> Options:
        """Read the command line; with a mistake in it, argparse exits with status 2."""
        return parse(self.sentence, self.defaults, self.factors, arguments, self.why_emulated)

    def check_command_line(self) -> None:
        """End the process here if the command line has a mistake or asks for --help.

        Also if the usual topology is not beside the script, or is to be emulated without root.
        """
        def check() -> int:
            if not self.defaults.topology.is_file():
                raise CalicoMnError(f"{self.defaults.topology} is missing: run the script where it"
                                    " lies")
            asked = self.parse()
            if not asked.on and asked.resume is None and asked.topology == self.defaults.topology:
                requirements.require_root_and_programs()
            return 0

        status = exit_status(check)
        if status:
            sys.exit(status)

    def main(self, measure: Callable[[Run], None], report: Callable[[Run], Document],
             show: Callable[[Console, Run, Document], None] | None = None) -> NoReturn:
        """Run the experiment, and end the process; arguments as of :func:`.run_experiment`."""
        def run() -> int:
            from calico_mn.experiment.runner import run_experiment

            return run_experiment(self, measure, report, show)

        sys.exit(exit_status(run))


def _part(about: str, name: str) -> list[str]:
    """The paragraphs of the docstring's part ``name``: each begins on a line with a number, or
    follows an empty one.
    """
    _, _, rest = about.partition(f"\n{name}")
    text = re.split(r"\n(?=\S)", rest, maxsplit=1)[0]
    return [" ".join(paragraph.split()) for paragraph in
            re.split(r"\n\s*\n|\n\s*(?=[0-9]\. )", text) if paragraph.strip()]


def exit_status(main: Callable[[], int]) -> int:
    """Run ``main``; its status, or 2 for a mistake in what was asked for, or 1 for a failure.

    An exception of ours becomes a message without a traceback. Only for a process that ends with
    this status: after an interruption it ignores further ones.
    """
    streams.reopen_std()
    try:
        status = main()
        if status == INTERRUPTED:
            ignore_signals()
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        ignore_signals()
        return INTERRUPTED
    except CalicoMnError as error:
        streams.complain(str(error))
        return min(exit_code(error), WRONG_REQUEST)
    except OSError as error:
        # A full disk, a results directory that was removed, a reader of our output that is gone.
        streams.redirect_to_null(sys.stdout)
        if processes.is_limit(error.errno):
            streams.complain(
                f"{error.filename or 'the results cannot be written'}: {error.strerror}."
                " Earlier results are intact; once this is fixed, --resume goes on.")
        else:
            where = f"{error.filename}: " if error.filename else ""
            streams.complain(f"cannot go on: {where}{error.strerror or error}")
        return FAILED
