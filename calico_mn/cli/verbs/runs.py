"""``list``, ``status``, ``down`` and ``cleanup``: runs, from any terminal."""

from __future__ import annotations

import argparse
import dataclasses
import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from calico_mn.cli.complete import RUNS, completes
from calico_mn.cli.output import columns, paint, say, show, warn
from calico_mn.cli.verb import OK, Group, UsageError, Verb, add_run, named, nothing
from calico_mn.errors import FAILED, CalicoMnError, NotFoundError, ToolError
from calico_mn.text import join_some, plural

if TYPE_CHECKING:
    from calico_mn.control.session import Session
    from calico_mn.kernel.cleanup import Removed
    from calico_mn.kernel.registry import FoundRun


# --- list

def age(started: str) -> str:
    """How long ago that was, as kubectl prints it: 42s, 5m, 3h, 2d."""
    try:
        seconds = (datetime.now(timezone.utc) - datetime.fromisoformat(started)).total_seconds()
    except ValueError:
        return ""
    for size, unit, most in ((1, "s", 120), (60, "m", 7200), (3600, "h", 172_800)):
        if seconds < most:
            return f"{max(0, int(seconds // size))}{unit}"
    return f"{int(seconds // 86_400)}d"


def shown_path(path: str) -> str:
    """A path relative to the current directory, if it is below."""
    try:
        return path.removeprefix(os.getcwd() + "/")
    except OSError:
        return path  # the current directory was removed


def _facts(run: FoundRun) -> dict[str, Any]:
    record = run.record
    return {"name": run.name, "run": run.identity, "status": run.status, "pid": run.pid,
            "started": record.get("started"), "tunnel": record.get("tunnel"),
            "iptables": record.get("iptables"), "profile": record.get("profile"),
            "topology": record.get("topology"), "version": record.get("version"),
            "directory": str(run.path)}


def _list(options: argparse.Namespace) -> int:
    from calico_mn.kernel import registry
    from calico_mn.profile import DEFAULT

    runs = [_facts(run) for run in registry.runs()]
    if options.json:
        options.json(runs)
    elif not runs:
        say("nothing is running")
    else:
        profiles = [run["profile"] for run in runs]
        is_shown = any(profile not in (None, DEFAULT.name) for profile in profiles)
        show(columns(("NAME", "STATUS", "AGE", "PID", "RUN", "TUNNEL", *["PROFILE"] * is_shown,
                      "TOPOLOGY"), [
            (run["name"], run["status"], age(run["started"] or ""), run["pid"], run["run"],
             run["tunnel"], *[run["profile"]] * is_shown, shown_path(run["topology"] or ""))
            for run in runs]))
    return OK


# --- status

#: seconds between two looks
_LOOK_S = 1.0


def _add_status(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("name", metavar="RUN", nargs="?", type=named,
                                  help="name or identity; not needed with just one run"), RUNS)
    add_run(parser)
    parser.add_argument("--watch", action="store_true",
                        help="show it again at each change, until Ctrl-C or the run's end")


def _status(options: argparse.Namespace) -> int:
    from calico_mn.control.session import remote

    follow(remote(options.name or options.run), options.json, again=options.watch)
    return OK


def follow(session: Session, as_json: Callable[[Any], None] | None = None, *, again: bool = True
           ) -> None:
    """Print the status; with ``again`` once more at each change, until the run's end or Ctrl-C."""
    before: dict[str, Any] = {}
    while True:
        status = session.ask("status")
        if status != before:
            if before and not as_json:
                say(f"\n{paint(time.strftime('%H:%M:%S'), 'title')}")
            (as_json or _show_status)(status)
            sys.stdout.flush()
        if not again:
            return
        before = status
        time.sleep(_LOOK_S)


def link_text(link: dict[str, Any]) -> str:
    """A link and what is set: ``node31:eth0: loss 1%, down``."""
    names = {"rateMbit": "rate {:g}Mbit", "delayMs": "delay {:g}ms", "jitterMs": "jitter {:g}ms",
             "lossPercent": "loss {:g}%", "reorderPercent": "reorder {:g}%"}
    words = [text.format(link[name]) for name, text in names.items() if link[name] is not None]
    by = " (by nftables, as this kernel has no netem)" if link["lossByNftables"] else ""
    return f"{link['end']}: " + ", ".join([*words, "up" if link["up"] else "down"]) + by


def _show_status(status: dict[str, Any]) -> None:
    from statistics import median

    from calico_mn.calico.encapsulation import DEFAULT

    facts = [
        ("run", f"{status['name']} ({status['run']}), pid {status['pid']},"
                f" up for {age(status['started'])}"),
        ("topology", shown_path(status["topology"]) or "from Python"),
        ("cluster", ", ".join(plural(status[what], what[:-1])
                              for what in ("nodes", "pods", "routers", "hosts", "subnets")
                              if status[what] or what != "hosts")),
        (DEFAULT.device, status["tunnel"]),
        ("Felix's rules", ("" if status["iptables"] == "none" else
                           f"iptables-{status['iptables']}: ") + status["iptablesReason"]),
        ("routes by", status["routeEngine"]),
        ("profile", status["profile"]),
    ]
    for pool in status["pools"]:
        others = "".join(f"; {node} alone: {mode}" for node, mode in pool["nodes"].items())
        facts.append(("pool", f"{pool['name']} {pool['cidr']}: {pool['mode']}{others}"
                              f"{' (disabled)' if pool['disabled'] else ''}"))
    if status["waitingPods"]:
        facts.append(("not running", f"{plural(len(status['waitingPods']), 'pod')}:"
                                     " see 'calico-mn get pods -A'"))
    if status["unstartedNodes"]:
        facts.append(("calico-node", "not started on " + ", ".join(status["unstartedNodes"])))
    if status["podRoutes"]:
        facts.append(("pod routes", f"known to {', '.join(status['podRoutes'])}"))
    if not (status["mesh"] or status["bgpPeers"]):
        facts.append(("no routes by", "BGP: there is no node-to-node mesh"))
    elif status["sessionsDown"]:
        down = status["sessionsDown"]
        facts.append(("BGP down", join_some(
            [f"{'-'.join(session['nodes'])} ({session['reason']})" for session in down], 3)))
    if status["deadSpeakers"]:
        facts.append(("speaker dead", ", ".join(status["deadSpeakers"])))
    facts += [("BIRD", f"{node}: {text}") for node, text in status["endedBirds"].items()]
    if memory := status["birdMemoryKB"].values():
        facts.append(("BIRDs' memory", f"{sum(memory) / 1e3:.1f} MB in"
                                       f" {plural(len(memory), 'BIRD')}, median"
                                       f" {median(memory) / 1e3:.1f} MB"))
    facts += [("lost at", f"{place}: {', '.join(drops)}")
              for place, drops in status["filters"].items()]
    facts += [("link", link_text(link)) for link in status["links"]]
    if status["exercise"]:
        facts.append(("exercise", "{number}: {symptom}".format(**status["exercise"])))
    facts.append(("files", status["directory"]))
    width = max(len(name) for name, _ in facts)
    for name, fact in facts:
        say(f"{paint(name.ljust(width), 'faint')}  {fact}")


# --- down

#: how long a run may take to end, in seconds; large ones have thousands of namespaces
_ENDING_S = 120


def _add_down(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("names", metavar="RUN", nargs="*", type=named,
                                  help="names or identities; not needed with just one run"), RUNS)
    add_run(parser)
    parser.add_argument("--all", action="store_true",
                        help="every run that takes requests; those that belong to a program of"
                             " their own, such as an experiment, are left alone")


def _down(options: argparse.Namespace) -> int:
    runs = _wanted(options)
    failures: list[CalicoMnError] = []
    with ExitStack() as held:
        ending = []
        # All are asked before the first is waited for, so that they end at the same time.
        for run in runs:
            try:
                ending.append((run, _ask_to_end(run, held)))
            except CalicoMnError as error:
                failures.append(error)
        for run, process in ending:
            if select.select([process], [], [], _ENDING_S)[0]:
                say(f"{run.name} is down")
            else:
                failures.append(ToolError(
                    f"run {run.name} did not end within {_ENDING_S} s: see {run.path}/daemon.log;"
                    f" after 'kill -9 {run.pid}', 'calico-mn cleanup' removes what is left"))
    if len(runs) == 1 and failures:
        raise failures[0]
    warn(map(str, failures))
    return FAILED if failures else OK


def _wanted(options: argparse.Namespace) -> list[FoundRun]:
    """The runs to end. Raises NotFoundError if one is missing, before any is asked."""
    from calico_mn.kernel import registry

    if not options.all:
        names = options.names or [options.run or os.environ.get("CALICO_MN_RUN", "")]
        runs = [registry.find(name) for name in names]
        return list({run.identity: run for run in runs}.values())
    if options.names or options.run:
        raise UsageError("calico-mn down: --all takes no names (see 'calico-mn down --help')")
    runs = [run for run in registry.runs() if run.status == registry.RUNNING]
    if not runs:
        say("nothing is running")
    return runs


def _ask_to_end(run: FoundRun, held: ExitStack) -> int:
    """Ask a run to end; a pidfd, readable once its process has ended."""
    from calico_mn.control.session import RemoteSession

    # Opened before the request, so that it cannot be another process of the same number.
    try:
        process = os.pidfd_open(run.pid)
    except OSError:
        raise NotFoundError(f"run {run.name} ended meanwhile") from None
    held.callback(os.close, process)
    RemoteSession(run).ask("down")
    return process


# --- cleanup

def removal(removed: Removed) -> str:
    """What was removed of a killed run, in a line."""
    from calico_mn.kernel import runtime_dir

    programs = ", ".join(f"{name or '?'} ({pid})" for pid, name in removed.programs)
    text = (f"removed what run {removed.run} ({removed.identity}) left when it was killed"
            f"{': ' if programs else ''}{programs}")
    if removed.neighbour_limit:
        before, now = removed.neighbour_limit
        text += f"; the neighbour-table limit is {now:,} again, from {before:,}"
    if removed.failure:
        text += (f"; but {runtime_dir.find()}/{removed.identity} cannot be removed:"
                 f" {removed.failure}")
    return text


def _cleanup(options: argparse.Namespace) -> int:
    from calico_mn.kernel import cleanup

    removals = cleanup.remove_all()
    status = FAILED if any(removed.failure for removed in removals) else OK
    if options.json:
        options.json([dataclasses.asdict(removed) for removed in removals])
        return status
    for removed in removals:
        say(removal(removed))
    if not removals:
        say("nothing to clean up")
    return status


VERBS = (
    Verb(
        "list", Group.RUNS, "the runs on this machine",
        "Lists the runs on this machine, oldest first. STATUS is one of running, starting, "
        "private (it belongs to a program, such as an experiment, and takes no requests), "
        "elsewhere (in another container or user namespace) and dead (killed; see cleanup).",
        nothing, run=_list, json=True, root=True),
    Verb(
        "status", Group.RUNS, "what a run is: cluster, modes, tunnel, what was changed",
        "Shows what a run is, and what was changed since its boot: nodes in another mode than "
        "their pools', packet filters, links, dead route distributors.",
        _add_status, run=_status, json=True, root=True,
        examples=(("calico-mn status", "the only run"),
                  ("calico-mn status --watch", "and again whenever something changes"),
                  ("calico-mn status lab", "the one called lab"))),
    Verb(
        "down", Group.RUNS, "end runs, with every program in them",
        "Ends runs and waits until they have ended: programs in their nodes (also other "
        "terminals' shells), namespaces, files. A run with Mininet's prompt ends, too.",
        _add_down, run=_down, root=True,
        examples=(("calico-mn down", "the only run"),
                  ("calico-mn down lab other", "two by name"),
                  ("calico-mn down --all", "all of them"))),
    Verb(
        "cleanup", Group.RUNS, "remove what killed runs left behind",
        "Removes what runs left whose process was killed: their directories below /run/calico-mn, "
        "and programs that carry their mark in the environment. Nothing else is touched; "
        "namespaces and devices end by themselves. 'up' does the same first.",
        nothing, run=_cleanup, json=True, root=True),
)
