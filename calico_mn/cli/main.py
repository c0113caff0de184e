"""From the words on the command line to an exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from calico_mn import __version__, command_line, streams
from calico_mn.cli import help as words
from calico_mn.cli import verbs
from calico_mn.cli.output import say
from calico_mn.cli.verb import (
    FAILED,
    INTERRUPTED,
    NOT_FOUND,
    NOT_RUN,
    WRONG_REQUEST,
    UsageError,
    Verb,
    run_meant,
)
from calico_mn.errors import (
    CalicoMnError,
    KernelError,
    NotFoundError,
    ToolError,
    UnsupportedError,
)
from calico_mn.streams import complain

#: what a shell reports for a program that SIGPIPE ended
_NOBODY_READS = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    streams.reopen_std()
    given = list(sys.argv[1:] if arguments is None else arguments)
    failed_itself = NOT_RUN if given[:1] in (["exec"], ["shell"]) else None
    try:
        status = _dispatch(given)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has enough; Python shall not complain about that at its end, either.
        streams.redirect_to_null(sys.stdout)
        return _NOBODY_READS
    except OSError as error:
        streams.redirect_to_null(sys.stdout)
        where = f"{error.filename}: " if error.filename else ""
        complain(f"calico-mn: cannot go on: {where}{error.strerror or error}")
        return FAILED if failed_itself is None else failed_itself
    except CalicoMnError as error:
        text = str(error)
        prefix = "" if isinstance(error, UsageError) else "calico-mn: "
        complain(text if "\n" in text else f"{prefix}{text}")
        return exit_status(error) if failed_itself is None else failed_itself


def exit_status(error: CalicoMnError) -> int:
    """1 for what failed, 2 for a mistake in the request, 3 for what is not there."""
    if isinstance(error, NotFoundError):
        return NOT_FOUND
    return FAILED if isinstance(error, (KernelError, ToolError, UnsupportedError)) else (
        WRONG_REQUEST)


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        if given[:1] == ["help"] and len(given) > 1:
            return _dispatch([given[1], "--help"])
        say(words.overview())
        return 0 if given else WRONG_REQUEST
    if given[0] == "--version":
        from calico_mn.measure.source import digest

        say(f"calico-mn {__version__} (code {digest()})")
        return 0
    verb = verbs.verb(given[0])
    if verb is None:
        raise UsageError(words.unknown(given[0]))
    options = read(verb, given[1:])
    if options is None:
        return 0
    if os.geteuid() != 0 and verb.needs_root(options):
        raise UnsupportedRequestError(f"{verb.name} needs root; run: {_again(given)}")
    if verb.ask is None:
        assert verb.run is not None
        return verb.run(options)
    from calico_mn.control.session import RemoteSession
    from calico_mn.kernel import registry

    return verb.ask(options, RemoteSession(registry.find(run_meant(options.run))))


class UnsupportedRequestError(CalicoMnError):
    """Asked by somebody who may not."""


def read(verb: Verb, given: Sequence[str], *, at_prompt: bool = False
         ) -> argparse.Namespace | None:
    """The verb's options; None when help was asked for and given. Raises UsageError.

    Of a verb that takes a program, all after ``--`` is the program's, whatever it looks like.
    """
    own, tail = list(given), []
    if verb.command and "--" in own:
        place = own.index("--")
        own, tail = own[:place], own[place + 1:]
    try:
        options = verb.parser(verb.name if at_prompt else "", at_prompt=at_prompt).parse_args(own)
    except SystemExit:
        return None
    if verb.command:
        options.command = [*(getattr(options, "command", None) or ()), *tail]
    return options


def _again(given: Sequence[str]) -> str:
    """This very command as root: sudo finds programs by other rules than a shell."""
    program = [os.path.abspath(sys.argv[0])]
    if Path(program[0]).name == "__main__.py":
        program = [sys.executable, "-m", "calico_mn"]
    return command_line.sudo_command([*program, *given], os.environ)
