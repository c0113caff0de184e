"""Mininet's prompt in the daemon's terminal, with all of calico-mn's verbs as commands.

A verb that only asks the run does so in this process. Any other, such as ``exec``, which becomes
another program, is a ``calico-mn`` of its own in this terminal.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from calico_mn.cli import verbs
from calico_mn.cli.main import ELSEWHERE, read, this_program, verb_list
from calico_mn.cli.verb import Verb, modes
from calico_mn.control.dispatcher import Dispatcher
from calico_mn.control.session import LocalSession
from calico_mn.emulation.mininet import CLI, error, output, quietRun
from calico_mn.emulation.node import NamespaceNode
from calico_mn.errors import CalicoMnError
from calico_mn.kernel import processes
from calico_mn.text import suggest_place, wrap
from calico_mn.topology.kinds import words as kinds

#: how often a silent shell is checked for being alive, in milliseconds
_CHECK_MS = 200
_WAIT_S = 60

#: Mininet's commands that need what is not there, and what to use
_INSTEAD = {
    "dpctl": "switches are Linux bridges, without OpenFlow: rack-a bridge fdb show",
    "switch": "a subnet's switch is always there: 'link NODE:DEVICE down' takes a cable down",
    "xterm": "there is no X display: 'shell NODE' opens a shell here, and so it does in any other"
             " terminal, as 'calico-mn shell NODE'",
}
_HELP = """\
  NODE CMD...  run a command in a node, pod, router or subnet, such as: web-0 ping web-2

{}

Mininet's own:
  {}

'help COMMAND' explains one; Ctrl-D ends the run.
"""
_MININETS = ("nodes net links dump intfs ports pingpair pingallfull pingpairfull iperfudp px py sh"
             " x xterm gterm source time noecho exit quit")


class Prompt(CLI):
    """Mininet's command line. Our verbs come on top, and take the place of those so called."""

    def __init__(self, dispatcher: Dispatcher, **options: Any) -> None:
        self._session = LocalSession(dispatcher)
        self._run = dispatcher.net.runtime.directory.identity
        self._sourced: list[Path] = []
        for name, verb in verbs.public().items():
            setattr(self, f"do_{name}", self._command(verb) if verb.prompt else
                    self._program(name))
            setattr(self, f"help_{name}", self._help(verb))
            setattr(self, f"complete_{name}", self.completedefault)
        super().__init__(dispatcher.net, **options)

    def do_help(self, line: str) -> None:
        """List the commands, or explain one."""
        if line:
            super().do_help(line)
        else:
            output(_HELP.format(verb_list(), "\n  ".join(wrap(_MININETS, 76))))

    def do_source(self, line: str) -> None:
        """Run the commands of a file. Mininet's own ends the prompt where the file is missing."""
        words = line.split()
        if len(words) != 1:
            error("*** usage: source FILE\n")
            return
        file = Path(words[0]).absolute()
        if file in self._sourced:
            error(f"*** source: {words[0]} is read already, and would never end\n")
            return
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as problem:
            error(f"*** source: {words[0]}: {problem.strerror}\n")
            return
        self._sourced.append(file)
        try:
            for command in lines:
                if self.onecmd(self.precmd(command)):
                    return
        finally:
            self._sourced.pop()

    def default(self, line: str) -> None:
        """A program in a node, or what is probably meant by a word that is no command."""
        word = line.partition(" ")[0]
        if not word or self.parseline(line)[0] in self.mn:
            super().default(line)
            return
        similar = ELSEWHERE.get(word) or suggest_place(
            word, [*verbs.public(), *_MININETS.split(), *self.mn])
        error(f"*** there is no command and no node {word!r}"
              + (f"; did you mean {similar}?" if similar else ": 'help' lists commands") + "\n")

    def do_dpctl(self, _line: str) -> None:
        """Mininet's, for OpenFlow."""
        error(f"*** dpctl: {_INSTEAD['dpctl']}\n")

    def do_switch(self, _line: str) -> None:
        """Mininet's, for Open vSwitch."""
        error(f"*** switch: {_INSTEAD['switch']}\n")

    def do_xterm(self, line: str, term: str = "xterm") -> None:
        """Open a terminal of nodes, where there is an X display."""
        if os.environ.get("DISPLAY"):
            super().do_xterm(line, term)
        else:
            error(f"*** {term}: {_INSTEAD['xterm']}\n")

    def get_names(self) -> list[str]:
        """Names that Python's cmd lists and completes, with those that only this object has."""
        return dir(self)

    def _command(self, verb: Verb) -> Callable[[str], None]:
        def do(line: str) -> None:
            try:
                options = read(verb, shlex.split(line), at_prompt=True)
                if options is not None and verb.ask is not None:
                    verb.ask(options, self._session)
                sys.stdout.flush()
            except (CalicoMnError, ValueError) as problem:
                error(f"*** {str(problem).removeprefix('calico-mn ')}\n")

        do.__doc__ = verb.summary
        return do

    def _program(self, name: str) -> Callable[[str], bool | None]:
        def do(line: str) -> bool | None:
            if name == "down" and not line.strip():
                return True
            try:
                words = shlex.split(line)
            except ValueError as problem:
                error(f"*** {problem}\n")
                return None
            if words in (["-h"], ["--help"]):
                self.onecmd(f"help {name}")
                return None
            sys.stdout.flush()
            program = processes.start([*this_program(), name, *words],
                                      env={**os.environ, "CALICO_MN_RUN": self._run})
            # Ctrl-C is for the program, as in a shell.
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                while program.returncode is None:  # it lasts as long as the person wants
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        program.wait(_WAIT_S)
            finally:
                signal.signal(signal.SIGINT, before)
                processes.end([program])
            return None

        do.__doc__ = f"calico-mn {name}"
        return do

    @staticmethod
    def _help(verb: Verb) -> Callable[[], None]:
        return lambda: output(verb.parser(verb.name, at_prompt=True).format_help())

    def onecmd(self, line: str) -> bool:
        """Run one line; an error is printed, and the prompt comes again."""
        try:
            return bool(super().onecmd(line))
        except CalicoMnError as problem:
            error(f"*** {problem}\n")
            return False

    def waitForNode(self, node: NamespaceNode) -> None:  # noqa: N802
        """Wait for the command in a node's shell, print its output, and hand keys on to it.

        Mininet's own waits for ever when the shell has ended (``exit``, or killed). This one then
        raises ToolError.
        """
        if self.isatty():
            quietRun("stty -icanon min 1")
        keys, either = select.poll(), select.poll()
        keys.register(self.stdin, select.POLLIN)
        either.register(self.stdin, select.POLLIN)
        either.register(node.stdout, select.POLLIN)
        while node.waiting:
            try:
                either.poll(_CHECK_MS)
                if any(mask & select.POLLIN for _, mask in keys.poll(0)):
                    key = self.stdin.read(1)
                    if key:
                        node.write(key)
                    else:
                        either.unregister(self.stdin)
                        keys.unregister(self.stdin)
                output(node.monitor(timeoutms=0))
            except KeyboardInterrupt:
                node.sendInt()

    def completenames(self, text: str, *ignored: Any) -> list[str]:
        """The first word: a command, or a node's name."""
        return [*super().completenames(text, *ignored),
                *(name for name in self.mn if name.startswith(text))]

    def completedefault(self, *arguments: Any) -> list[str]:
        """Further words: names of nodes and pods, modes, or kinds of resources."""
        text, line = arguments[:2]
        known = kinds() if line.startswith(
            ("get ", "describe ", "delete ", "scale ")) else modes()
        return [name for name in (*self.mn, *known) if name.startswith(text)]


def prompt(dispatcher: Dispatcher) -> None:
    """Run Mininet's prompt until the person leaves it; input from a pipe is read to its end."""
    if sys.stdin.isatty():
        with _names_are_words():
            Prompt(dispatcher)
        return
    # Mininet's prompt hands standard input to the program that runs, which would eat the commands.
    lines = sys.stdin.read().splitlines()
    reading, writing = os.pipe()
    with os.fdopen(reading) as silence, os.fdopen(writing, "w"):
        batch = _Batch(dispatcher, stdin=silence)
        for line in lines:
            if batch.onecmd(batch.precmd(line)):
                return


class _Batch(Prompt):
    """Mininet's command line without its loop over lines."""

    def run(self) -> None:
        """The caller hands in the lines."""

    @classmethod
    def initReadline(cls) -> None:  # noqa: N802
        """There is no keyboard."""


@contextlib.contextmanager
def _names_are_words() -> Any:
    """Neither the slash nor the dash of default/web-0 ends a word for readline's Tab."""
    try:
        import readline
    except ImportError:
        yield
        return
    before = readline.get_completer_delims()
    readline.set_completer_delims(before.replace("-", "").replace("/", ""))
    try:
        yield
    finally:
        readline.set_completer_delims(before)
