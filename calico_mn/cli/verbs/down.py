"""``down``: one run, several or all of them end; each is waited for."""

from __future__ import annotations

import argparse
import os
import select
from contextlib import ExitStack
from typing import TYPE_CHECKING

from calico_mn.cli.output import say
from calico_mn.cli.verb import FAILED, OK, RUNS, UsageError, Verb, completes, named
from calico_mn.cli.verbs.up import GROUP
from calico_mn.errors import CalicoMnError, NotFoundError, ToolError
from calico_mn.streams import complain

if TYPE_CHECKING:
    from calico_mn.kernel.registry import FoundRun

#: how long a run may take to end, in seconds; large ones have thousands of namespaces
_ENDING_S = 120


def _add(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("names", metavar="RUN", nargs="*", type=named,
                                  help="names or identities; not needed with just one run"), RUNS)
    parser.add_argument("--all", action="store_true",
                        help="every run that takes requests; those that belong to a program of"
                             " their own, such as an experiment, are left alone")


def _down(options: argparse.Namespace) -> int:
    found = _wanted(options)
    failures: list[CalicoMnError] = []
    with ExitStack() as held:
        ending = []
        # All are asked before the first is waited for, so that they end side by side.
        for run in found:
            try:
                ending.append((run, _asked(run, held)))
            except CalicoMnError as error:
                failures.append(error)
        for run, process in ending:
            if select.select([process], [], [], _ENDING_S)[0]:
                say(f"{run.name} is down")
            else:
                failures.append(ToolError(
                    f"run {run.name} did not end within {_ENDING_S} s: see {run.path}/daemon.log;"
                    f" after 'kill -9 {run.pid}', 'calico-mn cleanup' removes what is left"))
    if len(found) == 1 and failures:
        raise failures[0]
    for failure in failures:
        complain(f"calico-mn: {failure}")
    return FAILED if failures else OK


def _wanted(options: argparse.Namespace) -> list[FoundRun]:
    """The runs that are meant; with one of them not there, none is ended."""
    from calico_mn.kernel import registry

    if not options.all:
        names = options.names or [os.environ.get("CALICO_MN_RUN", "")]
        found = [registry.find(name) for name in names]
        return list({run.identity: run for run in found}.values())
    if options.names:
        raise UsageError("calico-mn down: --all takes no names (see 'calico-mn down --help')")
    found = [run for run in registry.runs() if run.status == registry.RUNNING]
    if not found:
        say("nothing is running")
    return found


def _asked(run: FoundRun, held: ExitStack) -> int:
    """Ask a run to end; what is readable once its process has ended."""
    from calico_mn.control.session import RemoteSession

    # Held from before the request: the number cannot go to another process meanwhile.
    try:
        process = os.pidfd_open(run.pid)
    except OSError:
        raise NotFoundError(f"run {run.name} ended meanwhile") from None
    held.callback(os.close, process)
    RemoteSession(run).ask("down")
    return process


VERBS = {
    "down": Verb(
        "down", GROUP, "end runs, with every program in them",
        "Ends runs and waits until they have ended: programs in their nodes (also other "
        "terminals' shells), namespaces, files. A run with Mininet's prompt ends, too.",
        _add, run=_down, root=True,
        examples=(("calico-mn down", "the only run"),
                  ("calico-mn down lab other", "the ones called so"),
                  ("calico-mn down --all", "all of them"))),
}
