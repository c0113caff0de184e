"""What a verb is: its words of help, its arguments, and what it does."""

from __future__ import annotations

import argparse
import os
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from calico_mn.command_line import Parser
from calico_mn.errors import CalicoMnError
from calico_mn.text import one_line

if TYPE_CHECKING:
    from calico_mn.control.session import Session

#: exit statuses; see docs/cli.md
OK, FAILED, WRONG_REQUEST, NOT_FOUND, INTERRUPTED = 0, 1, 2, 3, 130
#: of exec and shell, whose other statuses are the program's own, as with env(1)
NOT_RUN = 125

#: what a word on the command line can be completed to; the first four need no run
FILES, MODES, RUNS, SHELLS, NODES, PODS, PLACES = (
    "files", "modes", "runs", "shells", "nodes", "pods", "places")


_WIDTH = 88


class UsageError(CalicoMnError):
    """The words on the command line are not what the verb takes."""


@dataclass(frozen=True)
class Verb:
    """One verb. ``run`` does it, or ``ask`` where a run answers.

    ``examples`` are (command, what it does). ``status`` says what exit statuses mean beyond the
    common ones; ``usage`` replaces argparse's own. ``json``: has ``--json``. ``root``:
    needs root, always or with these options (every ``ask`` does). ``command``: takes a program's
    words after ``--``. ``prompt``: is offered at Mininet's prompt.
    """

    name: str
    group: str
    summary: str
    description: str
    add: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int] | None = None
    ask: Callable[[argparse.Namespace, Session], int] | None = None
    examples: tuple[tuple[str, str], ...] = ()
    status: str = ""
    usage: str = ""
    json: bool = False
    root: bool | Callable[[argparse.Namespace], bool] = False
    command: bool = False
    prompt: bool = False

    def needs_root(self, options: argparse.Namespace) -> bool:
        """Whether an ordinary user cannot do it, with these options."""
        if callable(self.root):
            return self.root(options)
        return self.root or self.ask is not None

    def parser(self, prog: str = "", *, at_prompt: bool = False) -> argparse.ArgumentParser:
        """What reads the verb's words. ``at_prompt``: there is just one run, and no root to ask."""
        prog = prog or f"calico-mn {self.name}"
        found = _Parser(prog=prog, usage=f"{prog} {self.usage}" if self.usage else None,
                        description=textwrap.fill(self.description, _WIDTH),
                        epilog=self._epilog(at_prompt), allow_abbrev=False,
                        formatter_class=_formatter)
        self.add(found)
        if self.json:
            found.add_argument("--json", action="store_true", help="print JSON (docs/cli.md)")
        if self.ask is not None and not at_prompt:
            completes(found.add_argument(
                "--run", metavar="RUN", type=named,
                help="name or identity; not needed while there is just one run"), RUNS)
        return found

    def _epilog(self, at_prompt: bool) -> str:
        examples = [(command.removeprefix("calico-mn ") if at_prompt else command, what)
                    for command, what in self.examples]
        width = max((len(command) for command, _ in examples), default=0)
        lines = [f"  {command:{width}}   {what}" if width < 52 else f"  {command}\n      {what}"
                 for command, what in examples]
        text = "examples:\n" + "\n".join(lines) if lines else ""
        if self.status:
            text += f"{chr(10) * 2 if text else ''}exit status: {self.status}"
        return text


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=22, width=_WIDTH)


class _Parser(Parser):
    def error(self, text: str) -> NoReturn:
        """A mistake is one line, not the whole usage."""
        raise UsageError(f"{self.prog}: {one_line(text)} (see '{self.prog} --help')")


def named(text: str) -> str:
    """The type of an argument that names something: an unset variable of a script does not."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return text


_WHOLE = re.compile("[+-]?[0-9]{1,9}")


def whole(text: str) -> int:
    """The type of an option that takes a whole number, as people write it in ASCII."""
    if not _WHOLE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number")
    return int(text)


def run_meant(given: str | None) -> str:
    """The run that is asked about: the one given, else that of the environment, else any."""
    return given or os.environ.get("CALICO_MN_RUN", "")


def completes(action: argparse.Action, what: str) -> None:
    """Note what an argument's values are, for the shell's Tab."""
    action.completes = what  # type: ignore[attr-defined]


def nothing(_parser: argparse.ArgumentParser) -> None:
    """For a verb without arguments of its own."""
