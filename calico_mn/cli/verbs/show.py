"""``routes`` and ``verify``: what a run has.

Worded as kubectl and calicoctl do, with only those columns that an emulated cluster can fill
truthfully.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from calico_mn.cli.complete import PLACES, completes
from calico_mn.cli.output import columns, paint, say, show
from calico_mn.cli.verb import INTERRUPTED, OK, Verb
from calico_mn.errors import FAILED

if TYPE_CHECKING:
    from calico_mn.control.session import Session

GROUP = "what a run has"


_Facts = dict[str, Any]


# --- routes

def _add_routes(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("places", metavar="NODE", nargs="*",
                                  help="nodes, pods or routers (default: every node)"), PLACES)


def _routes(options: argparse.Namespace, session: Session) -> int:
    (options.json or _show_routes)(session.ask("routes", places=options.places))
    return OK


def _show_routes(routes: list[_Facts]) -> None:
    show(columns(("NODE", "DESTINATION", "GATEWAY", "IFACE", "PROTO", "FLAGS", "WHAT"), [
        (route["place"], route["destination"], route["gateway"], route["device"],
         route["protocol"], _flags(route), route["meaning"]) for route in routes]))


def _flags(route: _Facts) -> str:
    flags = [] if route["type"] == "unicast" else [route["type"]]
    flags += [f"scope-{route['scope']}"] if route["scope"] else []
    return ",".join([*flags, *(["onlink"] if route["onlink"] else [])])


# --- verify

def _add_verify(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("places", metavar="NODE", nargs="*",
                                  help="nodes, pods, routers or subnets (default: all)"), PLACES)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--repair", action="store_true",
                     help="bring it back to what it should be, and show what that took")
    how.add_argument("--watch", action="store_true",
                     help="print differences as they appear and disappear, until Ctrl-C")


def _verify(options: argparse.Namespace, session: Session) -> int:
    if options.watch:
        return _watch(options, session)
    if options.repair:
        return _repair(options, session)
    differences = session.ask("verify", places=options.places)
    if options.json:
        options.json(differences)
    elif differences:
        _show(differences)
    else:
        _say_all_is_well(session)
    for remark in () if options.json else session.ask("remarks", places=options.places):
        say(f"NOTE  {remark}")
    return FAILED if differences else OK


def _say_all_is_well(session: Session) -> None:
    rules = session.ask("status")["iptables"]
    say("all is as it should be" + (f", rules by iptables-{rules}" if rules != "none" else ""))


def _repair(options: argparse.Namespace, session: Session) -> int:
    done = session.ask("repair", places=options.places)
    if options.json:
        options.json(done)
    elif not done["found"]:
        _say_all_is_well(session)
    else:
        _show(done["found"])
        say()
        say(paint("repaired by:" if done["done"] else "nothing could be done", "title"))
        before = ""
        for step in done["done"]:
            if step["namespace"] != before:
                say(f"{paint(step['namespace'], 'place')}:")
                before = step["namespace"]
            for command in step["commands"]:
                say(f"  {command}")
        for failure in done["failures"]:
            say(paint(failure, "bad"))
        if done["remaining"]:
            say()
            say(paint("still different:", "bad"))
            _show(done["remaining"])
    return FAILED if done["remaining"] else OK


def _watch(options: argparse.Namespace, session: Session) -> int:
    def report(change: dict[str, list[_Facts]]) -> None:
        if not any(change.values()):
            return
        now = time.strftime("%H:%M:%S")
        if options.json:
            print(json.dumps({"time": now, **change}), flush=True)
            return
        for word, text, style in (("appeared", "differs", "bad"),
                                  ("disappeared", "differs no more", "good")):
            if change[word]:
                say(f"{now} {paint(text, style)}")
                _show(change[word])
        sys.stdout.flush()

    try:
        session.ask("watch", progress=report, places=options.places)
    except KeyboardInterrupt:
        return OK if session.is_local else INTERRUPTED
    return OK


def _show(differences: Iterable[_Facts]) -> None:
    """Lines with - for what is missing and + for what is there instead, by namespace."""
    before = ""
    for item in differences:
        if item["namespace"] != before:
            say(f"{paint(item['namespace'], 'place')}:")
            before = item["namespace"]
        for mark, text, style in (("-", item["wanted"], "bad"), ("+", item["present"], "good"),
                                  ("!", item["failure"], "bad")):
            if text:
                say("  " + paint(f"{mark} {text}", style))


VERBS = {
    "routes": Verb(
        "routes", GROUP, "the kernel's routes, and what each is for",
        "Reads the main routing tables from the kernel, so routes that were added by hand are "
        "listed, too. WHAT says what a route is for, where the cluster knows it.",
        _add_routes, ask=_routes, json=True, prompt=True,
        examples=(("calico-mn routes", "of all nodes"),
                  ("calico-mn routes node31 r1", "of a node and a router"))),
    "verify": Verb(
        "verify", GROUP, "compare the kernel with what should be there; --repair it",
        "Compares what every namespace should hold with what the kernel says it holds: devices, "
        "addresses, routes, sysctls. A line with - is wanted and missing, one with + is there and "
        "should not be. What you added for yourself is left alone: docs/verify.md says which.",
        _add_verify, ask=_verify, json=True, prompt=True,
        examples=(("calico-mn verify", "everything"),
                  ("calico-mn verify node31 web-0", "a node and a pod"),
                  ("calico-mn verify --repair", "bring it back; the commands that it took"),
                  ("calico-mn verify --watch", "what changes by hand, as it happens")),
        status="1 if something differs (with --repair: still differs)"),
}
