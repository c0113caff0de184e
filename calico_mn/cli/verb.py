"""What a verb is: its help, its arguments, and what it does.

A verb is data, a :class:`Verb` in the ``VERBS`` of a module in :mod:`calico_mn.cli.verbs`; argparse
reads its arguments, and its ``run`` or ``ask`` returns the exit status. The types of arguments
that several verbs take are here, too.
"""

from __future__ import annotations

import argparse
import os
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NoReturn

from calico_mn.cli.complete import FILES, RUNS, completes
from calico_mn.cli.output import print_json, print_yaml
from calico_mn.command_line import ENCAPSULATIONS, Parser
from calico_mn.errors import CalicoMnError
from calico_mn.text import join, one_line, suggest

if TYPE_CHECKING:
    from calico_mn.calico.encapsulation import Encapsulation
    from calico_mn.control.session import Session
    from calico_mn.model import EncapsulationMode

#: exit statuses; see docs/cli.md
OK, INTERRUPTED = 0, 130
#: of exec and shell, whose other statuses are the program's own, as with env(1)
NOT_RUN = 125

_WIDTH = 88


class Group(Enum):
    """The groups of verbs, in the order of the help."""

    OFFLINE = "without a cluster and without root"
    RUNS = "runs"
    STATE = "what a run has"
    INSIDE = "inside a node or pod"
    CHANGES = "changes"
    FAULTS = "faults"
    EXERCISES = "exercises"
    TRAFFIC = "traffic"
    EXPERIMENTS = "experiments"
    RESULTS = "results of experiments, without root"
    LEARNING = "to learn"


class UsageError(CalicoMnError):
    """The arguments are not what the verb takes."""


@dataclass(frozen=True)
class Verb:
    """One verb. ``run`` does it, or ``ask`` where a run answers; of both, ``run`` what needs no
    root.

    ``examples`` are (command, what it does). ``status`` says what exit statuses mean beyond the
    common ones; ``usage`` replaces argparse's own. ``json``: has ``--json``. ``root``:
    needs root, always or with these options (every ``ask`` does). ``command``: takes words after
    ``--``; ``program`` is the help of those of a program, which need no ``--``. ``prompt``: at
    Mininet's prompt it runs in the prompt's own process; others get a process of their own.
    """

    name: str
    group: Group
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
    program: str = ""
    prompt: bool = False

    def needs_root(self, options: argparse.Namespace) -> bool:
        """Whether an ordinary user cannot do it, with these options."""
        if callable(self.root):
            return self.root(options)
        return self.root or self.ask is not None

    def parser(self, prog: str = "", *, at_prompt: bool = False, separated: bool = False
               ) -> argparse.ArgumentParser:
        """The verb's parser. ``at_prompt``: there is just one run, and root asks. ``separated``: a
        program's words come apart, after ``--``.
        """
        prog = prog or f"calico-mn {self.name}"
        parser = _Parser(prog=prog, usage=f"{prog} {self.usage}" if self.usage else None,
                         description=textwrap.fill(self.description, _WIDTH),
                         epilog=self._epilog(at_prompt), allow_abbrev=False,
                         formatter_class=_formatter)
        self.fill(parser, at_prompt=at_prompt, separated=separated)
        return parser

    def fill(self, parser: argparse.ArgumentParser, *, at_prompt: bool = False,
             separated: bool = False) -> None:
        """Add the verb's arguments to a parser."""
        self.add(parser)
        if self.program and not separated:
            parser.add_argument("command", metavar="-- CMD", nargs=argparse.REMAINDER,
                                help=self.program)
        if self.json:
            add_json(parser)
            if self.name != "get":
                parser.add_argument("-o", dest="json", metavar="FORM", type=form,
                                    help="json, yaml, or wide: the table as it is")
        if self.ask is not None and not at_prompt:
            add_run(parser, "name or identity; not needed while there is just one run")

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


def form(text: str) -> Callable[[Any], None] | None:
    """What prints an answer in the form that kubectl calls so; None prints it for people."""
    forms = {"json": print_json, "yaml": print_yaml, "wide": None}
    if text not in forms:
        raise argparse.ArgumentTypeError(f"invalid choice: {text[:40]!r} (choose from"
                                         f" {', '.join(forms)})")
    return forms[text]


def named(text: str) -> str:
    """The type of an argument that is a name; refuses '', such as an unset variable of a script."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return text


_WHOLE = re.compile("[+-]?[0-9]{1,9}")


def whole(text: str) -> int:
    """The type of an option that takes a whole number, as people write it in ASCII."""
    if not _WHOLE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number")
    return int(text)


def check_ending(verb: str, path: str, endings: tuple[str, ...], instead: str = "") -> None:
    """Raises UsageError where the name of a file says that it is something else than is written."""
    ending = os.path.splitext(path)[1].lower()
    if ending and ending not in endings:
        raise UsageError(f"calico-mn {verb}: {one_line(path)}: no {one_line(ending)} file can be"
                         f" written, end the name in {join(endings, 'or')}{instead}")


def add_json(parser: argparse.ArgumentParser, dest: str = "json", **options: Any) -> None:
    """``--json``."""
    parser.add_argument("--json", dest=dest, action="store_const", const=print_json,
                        help="print JSON (docs/cli.md)", **options)


def add_run(parser: argparse.ArgumentParser, text: str = argparse.SUPPRESS) -> None:
    """``--run``. Verbs that take a run's name without it have it, too, with no help of its own."""
    completes(parser.add_argument("--run", metavar="RUN", type=named, help=text), RUNS)


def add_files(parser: argparse.ArgumentParser) -> None:
    """The place of topology files on the command line."""
    completes(parser.add_argument(
        "file", metavar="FILE", nargs="+",
        help="a topology file (docs/topology-files.md); '-' is standard input"), FILES)


def modes() -> tuple[str, ...]:
    """The modes of a pool's encapsulation; loaded late, because most verbs have none."""
    from calico_mn.model import EncapsulationMode

    return tuple(mode.value for mode in EncapsulationMode)


def mode(text: str) -> str:
    """The type of an argument that is a mode: neither case nor a dash (cross-subnet) matters."""
    name = next((name for name in modes() if name.lower() == text.lower().replace("-", "")), "")
    if not name:
        similar = suggest(text, modes())
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no mode: " + (
            f"did you mean {similar}?" if similar else f"say {join(modes(), 'or')}"))
    return name


def add_mode(parser: argparse.ArgumentParser, what: str) -> None:
    """``--mode`` and ``--encapsulation``."""
    parser.add_argument("--mode", type=mode, choices=modes(), metavar="MODE",
                        help=f"{what} ({', '.join(modes())})")
    add_encapsulation(parser)


def add_encapsulation(parser: argparse.ArgumentParser) -> None:
    """``--encapsulation``."""
    parser.add_argument("--encapsulation", type=str.lower, choices=ENCAPSULATIONS,
                        help="of all pools (default: each keeps its own)")


def mode_and_encapsulation(options: argparse.Namespace
                           ) -> tuple[EncapsulationMode | None, Encapsulation | None]:
    """What ``--mode`` and ``--encapsulation`` say; None where each pool keeps its own."""
    from calico_mn.calico.encapsulation import named as encapsulation_named
    from calico_mn.model import EncapsulationMode

    return (EncapsulationMode(options.mode) if options.mode else None,
            encapsulation_named(options.encapsulation) if options.encapsulation else None)


def nothing(_parser: argparse.ArgumentParser) -> None:
    """For a verb without arguments of its own."""
