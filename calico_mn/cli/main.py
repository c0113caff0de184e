"""From the command line to an exit status.

    argv --> verb --> its options --> run(options), or ask(options, a running cluster) --> status

Errors become one message on standard error. ``--help`` and mistakes load nothing but the verbs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from calico_mn import streams
from calico_mn.cli import verbs
from calico_mn.cli.complete import autocomplete
from calico_mn.cli.output import say, warn
from calico_mn.cli.verb import INTERRUPTED, NOT_RUN, UsageError, Verb
from calico_mn.command_line import sudo_command
from calico_mn.errors import FAILED, WRONG_REQUEST, CalicoMnError, TopologyError, exit_code
from calico_mn.streams import complain
from calico_mn.text import suggest

#: what a shell reports for a program that SIGPIPE ended
_BROKEN_PIPE = 141

_HEAD = """\
usage: calico-mn VERB [ARGUMENT]...

Calico's data plane on this machine: boot an emulated cluster from a topology file, look into it
from any terminal, change its mode while traffic flows, follow packets."""

_TAIL = """\
to begin with:
  calico-mn check                              can this machine run clusters?
  calico-mn plan topologies/two-subnets.yaml   every command that a boot amounts to
  calico-mn up topologies/two-subnets.yaml     boot it; Mininet's prompt appears
  calico-mn up --detach FILE                   boot it in the background

'calico-mn VERB --help' explains a verb, with examples. All about it: docs/cli.md.
exit status: 0 done; 1 it failed; 2 the request is wrong; 3 no such run, node or pod;
exec and shell: the program's own, 125 if it could not be started."""


#: what other tools call a verb, or a similar one
ELSEWHERE = {
    "start": "up", "destroy": "down", "stop": "down", "ps": "list", "ls": "list",
    "inspect": "status", "create": "apply", "patch": "apply", "edit": "apply", "run": "pod add",
    "connect": "shell", "attach": "shell", "ssh": "shell", "tcpdump": "capture", "tc": "link",
    "netem": "link", "new": "init", "generate": "init", "save": "'get -o yaml'", "top": "status",
    "ipam": "'get ippools,blocks'", "traceroute": "trace",
    "logs": "'exec NODE -- cat /var/log/calico/cni/cni.log'", "xterm": "shell",
    "net": "'link show'",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    streams.reopen_std()
    if "_ARGCOMPLETE" in os.environ:
        autocomplete(_whole_parser())
    given = list(sys.argv[1:] if arguments is None else arguments)
    starts_program = given[:1] in (["exec"], ["shell"])
    try:
        status = _dispatch(given)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe; keep Python from reporting that again when it exits.
        streams.redirect_to_null(sys.stdout)
        return _BROKEN_PIPE
    except OSError as error:
        streams.redirect_to_null(sys.stdout)
        where = f"{error.filename}: " if error.filename else ""
        complain(f"calico-mn: cannot go on: {where}{error.strerror or error}")
        return NOT_RUN if starts_program else FAILED
    except CalicoMnError as error:
        text = str(error)
        prefix = "" if isinstance(error, UsageError) else "calico-mn: "
        complain(text if "\n" in text else f"{prefix}{text}")
        warn(error.warnings if isinstance(error, TopologyError) else ())
        return NOT_RUN if starts_program else exit_code(error)


def overview() -> str:
    """The help of the whole program."""
    return f"{_HEAD}\n\n{verb_list()}\n\n{_TAIL}"


def verb_list() -> str:
    """Every verb in a line, by groups."""
    groups: dict[str, list[str]] = {}
    for name, verb in verbs.public().items():
        groups.setdefault(verb.group.value, []).append(f"  {name:13}{verb.summary}")
    return "\n\n".join("\n".join([f"{group}:", *lines]) for group, lines in groups.items())


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        if given[:1] == ["help"] and len(given) > 1:
            return _dispatch([given[1], "--help"])
        say(overview())
        return 0 if given else WRONG_REQUEST
    verb = verbs.verb("version" if given[0] == "--version" else given[0])
    if verb is None:
        similar = ELSEWHERE.get(given[0]) or suggest(given[0], verbs.public())
        with suppress(CalicoMnError):
            from calico_mn.topology.kinds import kinds_named

            similar = f"'get {given[0]}'" if kinds_named(given[0]) else similar
        hint = f"; did you mean {similar}?" if similar else ""
        raise UsageError(f"calico-mn: there is no verb {given[0]!r}{hint}"
                         " ('calico-mn --help' lists them all)")
    options = read(verb, given[1:])
    if options is None:
        return 0
    if os.geteuid() != 0 and verb.needs_root(options):
        # sudo finds programs by other rules than a shell.
        command = sudo_command([*this_program(), *given], os.environ)
        raise NeedsRootError(f"{verb.name} needs root; run: {command}")
    if verb.run is not None and (verb.ask is None or not verb.needs_root(options)):
        return verb.run(options)
    assert verb.ask is not None
    from calico_mn.control.session import remote

    return verb.ask(options, remote(options.run))


class NeedsRootError(CalicoMnError):
    """The verb needs root, and this is another user."""


def read(verb: Verb, given: Sequence[str], *, at_prompt: bool = False
         ) -> argparse.Namespace | None:
    """The verb's options; None when its help was printed instead. Raises UsageError.

    Of a verb that takes a program, everything after ``--`` is the program's.
    """
    words, command = list(given), []
    if verb.command and "--" in words:
        end = words.index("--")
        words, command = words[:end], words[end + 1:]
    try:
        options = verb.parser(verb.name if at_prompt else "", at_prompt=at_prompt,
                              separated=bool(command)).parse_args(words)
    except SystemExit:
        return None
    if verb.command:
        options.command = [*(getattr(options, "command", None) or ()), *command]
    return options


def _whole_parser() -> argparse.ArgumentParser:
    """All verbs in one parser, as completion needs it."""
    parser = argparse.ArgumentParser("calico-mn")
    parser.add_argument("--version", action="store_true")
    subparsers = parser.add_subparsers()
    for name, verb in verbs.public().items():
        verb.fill(subparsers.add_parser(name, help=verb.summary))
    return parser


def this_program() -> list[str]:
    """The words that start this very program."""
    program = os.path.abspath(sys.argv[0])
    return [sys.executable, "-m", "calico_mn"] if Path(program).name == "__main__.py" else [program]
