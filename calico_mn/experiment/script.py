"""What a script in experiments/ is written with, so that it holds its method and little else.

The names that all of them use are handed on from here; whatever belongs to one experiment is in
the modules named after it. A script checks :mod:`calico_mn.experiment.requirements` first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from calico_mn.errors import CalicoMnError
from calico_mn.experiment import options as command_line
from calico_mn.experiment.command import exit_status
from calico_mn.experiment.conduct import Experiment, conduct
from calico_mn.experiment.options import Effort, Usual
from calico_mn.experiment.run import Run
from calico_mn.measure.metrics import Measurement
from calico_mn.measure.trials import Trial, interleaved
from calico_mn.report.document import Document

__all__ = ["Effort", "Measurement", "Run", "Trial", "interleaved", "main"]


def main(script: str, about: str | None, topology: str, full: Effort, quick: Effort,
         measure: Callable[[Run], None], report: Callable[[Run], Document],
         options: command_line.Add = command_line.no_more,
         show: Callable[[Console, Run, Document], None] | None = None) -> NoReturn:
    """Run the experiment whose file is ``script``, after which it is named, and exit.

    ``about`` is the script's docstring: its first line is what ``--help`` says. ``topology`` is
    the usual one, a file in topologies/. The rest is as in :class:`Experiment`.
    """
    path = Path(script).resolve()

    def run() -> int:
        usual = Usual(_shipped(path, topology), full, quick)
        return conduct(Experiment(path.stem.replace("_", "-"), (about or "").partition("\n")[0],
                                  usual, measure, report, options, show))

    sys.exit(exit_status(run))


def _shipped(script: Path, name: str) -> Path:
    """A topology beside the folder of the script. Raises CalicoMnError if it is not there."""
    path = script.parent.parent / "topologies" / name
    if not path.is_file():
        raise CalicoMnError(f"{path} is missing: run the script where it lies")
    return path
