"""``list``, ``status`` and ``cleanup``: runs, from any terminal."""

from __future__ import annotations

import argparse
import dataclasses
import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from calico_mn.cli.output import columns, paint, print_json, say, show
from calico_mn.cli.verb import FAILED, OK, RUNS, Verb, completes, named, nothing, run_meant
from calico_mn.cli.verbs.files import counted
from calico_mn.cli.verbs.up import GROUP, told

if TYPE_CHECKING:
    from calico_mn.control.session import Session
    from calico_mn.kernel.registry import FoundRun


def age(started: str) -> str:
    """How long ago that was, in kubectl's way: 42s, 5m, 3h, 2d."""
    try:
        seconds = (datetime.now(timezone.utc) - datetime.fromisoformat(started)).total_seconds()
    except ValueError:
        return ""
    for size, unit, most in ((1, "s", 120), (60, "m", 7200), (3600, "h", 172_800)):
        if seconds < most:
            return f"{max(0, int(seconds // size))}{unit}"
    return f"{int(seconds // 86_400)}d"


# --- list

def _facts(run: FoundRun) -> dict[str, Any]:
    record = run.record
    return {"name": run.name, "run": run.identity, "status": run.status, "pid": run.pid,
            "started": record.get("started"), "tunnel": record.get("tunnel"),
            "topology": record.get("topology"), "version": record.get("version"),
            "directory": str(run.path)}


def _list(options: argparse.Namespace) -> int:
    from calico_mn.kernel import registry

    found = [_facts(run) for run in registry.runs()]
    if options.json:
        print_json(found)
    elif not found:
        say("nothing is running")
    else:
        show(columns(("NAME", "STATUS", "AGE", "PID", "RUN", "TUNNEL", "TOPOLOGY"), [
            (run["name"], run["status"], age(run["started"] or ""), run["pid"], run["run"],
             run["tunnel"], shown_path(run["topology"] or "")) for run in found]))
    return OK


def shown_path(path: str) -> str:
    """A path from here where it lies below."""
    try:
        return path.removeprefix(os.getcwd() + "/")
    except OSError:
        return path  # the directory that we are in was removed


# --- status

def _add_run(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("name", metavar="RUN", nargs="?", type=named,
                                  help="name or identity; not needed with just one run"), RUNS)


def _status(options: argparse.Namespace) -> int:
    from calico_mn.control.session import RemoteSession
    from calico_mn.kernel import registry

    return status(options, RemoteSession(registry.find(run_meant(options.name))))


def status(options: argparse.Namespace, session: Session) -> int:
    """What a run is, and what differs from a fresh boot."""
    found = session.ask("status")
    if options.json:
        print_json(found)
        return OK
    facts = [
        ("run", f"{found['name']} ({found['run']}), pid {found['pid']},"
                f" up for {age(found['started'])}"),
        ("topology", shown_path(found["topology"]) or "from Python"),
        ("cluster", ", ".join(counted(found[what], what[:-1])
                              for what in ("nodes", "pods", "routers", "subnets"))),
        ("tunl0", found["tunnel"]), ("routes by", found["routeEngine"]),
        ("profile", found["profile"]),
    ]
    for pool in found["pools"]:
        others = "".join(f"; {node} alone: {mode}" for node, mode in pool["nodes"].items())
        facts.append(("pool", f"{pool['name']} {pool['cidr']}: {pool['ipipMode']}{others}"
                              f"{' (disabled)' if pool['disabled'] else ''}"))
    if found["podRoutes"]:
        facts.append(("pod routes", f"known to {', '.join(found['podRoutes'])}"))
    if found["deadSpeakers"]:
        facts.append(("no routes by", f"{', '.join(found['deadSpeakers'])}: speaker dead"))
    facts += [("lost at", f"{place}: {', '.join(drops)}")
              for place, drops in found["filters"].items()]
    facts.append(("files", found["directory"]))
    width = max(len(name) for name, _ in facts)
    for name, fact in facts:
        say(f"{paint(name.ljust(width), 'faint')}  {fact}")
    return OK


# --- cleanup

def _cleanup(options: argparse.Namespace) -> int:
    from calico_mn.kernel import leftovers

    found = leftovers.remove_all()
    status = FAILED if any(removed.kept for removed in found) else OK
    if options.json:
        print_json([dataclasses.asdict(removed) for removed in found])
        return status
    for removed in found:
        say(told(removed))
    if not found:
        say("nothing to clean up")
    return status


VERBS = {
    "list": Verb(
        "list", GROUP, "the runs on this machine",
        "Lists the runs that are found on disk, oldest first. STATUS is running; starting; "
        "private (kept by a program of its own, such as an experiment: it takes no requests); "
        "elsewhere (in another container or user namespace); or dead (killed: see cleanup).",
        nothing, run=_list, json=True, root=True),
    "status": Verb(
        "status", GROUP, "what a run is: cluster, modes, tunnel, what was changed",
        "Shows what a run is, and what is not as a fresh boot would have it: nodes alone in "
        "another mode, packet filters, dead route distributors.",
        _add_run, run=_status, json=True, root=True,
        examples=(("calico-mn status", "the only run"),
                  ("calico-mn status lab", "the one called lab"))),
    "cleanup": Verb(
        "cleanup", GROUP, "remove what killed runs left behind",
        "Removes what runs left whose process was killed: their directories below /run/calico-mn, "
        "and programs that carry their mark in the environment. Nothing else is touched; "
        "namespaces and devices end by themselves. 'up' does the same first.",
        nothing, run=_cleanup, json=True, root=True),
}
