"""A run's status as text: once, or again at each change.

In go a session with a run and what its operation ``status`` answers; out come lines on standard
output.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from calico_mn.cli.output import paint, say
from calico_mn.text import join_some, plural

if TYPE_CHECKING:
    from calico_mn.control.session import Session

#: seconds between two looks
_LOOK_S = 1.0


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


def follow(session: Session, as_json: Callable[[Any], None] | None = None, *, again: bool = True
           ) -> None:
    """Print the status; with ``again`` once more at each change, until the run's end or Ctrl-C."""
    before: dict[str, Any] = {}
    while True:
        status = session.ask("status")
        if status != before:
            if before and not as_json:
                say(f"\n{paint(time.strftime('%H:%M:%S'), 'title')}")
            (as_json or _show)(status)
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


def _show(status: dict[str, Any]) -> None:
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
